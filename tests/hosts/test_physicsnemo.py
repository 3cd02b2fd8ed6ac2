"""The PhysicsNeMo scheduler, on the library's own schedulers and, so that it is tested without, on stand-ins for two.

The library is imported as `hosts` says: its schedulers, loss and solvers run, its networks do not. Our stand-ins
follow its published protocol (physicsnemo 2.2: `NoiseScheduler`, and what `LinearGaussianNoiseScheduler` adds).
"""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from support import hosts
from support.runs import gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.integrations.physicsnemo import InfoNoiseScheduler, weight_of

METHODS = ("sample_time", "add_noise", "timesteps", "init_latents", "get_denoiser", "loss_weight")


class StandIn:
    def sample_time(self, N, *, device=None, dtype=None):
        raise NotImplementedError

    def timesteps(self, num_steps, *, device=None, dtype=None):
        raise NotImplementedError

    def add_noise(self, x0, time):
        t = time.reshape(-1, *(1,) * (x0.ndim - 1))
        return self.alpha(t) * x0 + self.sigma(t) * torch.randn_like(x0)

    def init_latents(self, spatial_shape, tN, *, device=None, dtype=None):
        return self.sigma(tN).reshape(-1, *(1,) * len(spatial_shape)) * torch.randn(len(tN), *spatial_shape)

    def get_denoiser(self, **options):
        return lambda x, t: x


class EDMNoiseScheduler(StandIn):
    def __init__(self, sigma_data=0.5):
        self.sigma_data = torch.as_tensor(sigma_data)

    def sigma(self, t):
        return t

    sigma_inv = sigma

    def alpha(self, t):
        return torch.ones_like(t)

    def loss_weight(self, t):
        sd = self.sigma_data.to(t)
        t = t[:, None] if sd.ndim else t
        return (t**2 + sd**2) / (t * sd) ** 2


class VPNoiseScheduler(StandIn):
    def alpha(self, t):
        return torch.exp(-0.25 * 19.1 * t**2 - 0.05 * t)

    def sigma(self, t):
        return (1 - self.alpha(t) ** 2).sqrt()

    def sigma_inv(self, sigma):
        return (-0.1 + (0.01 - 2 * 19.1 * torch.log1p(-(sigma**2))).sqrt()) / 19.1

    def loss_weight(self, t):
        return (self.alpha(t) / self.sigma(t)) ** 2


STAND_INS = SimpleNamespace(EDMNoiseScheduler=EDMNoiseScheduler, VPNoiseScheduler=VPNoiseScheduler)
KINDS = [f"{kind}NoiseScheduler" for kind in ("EDM", "VP", "EDMLogUniform", "VE", "IDDPM")]


@pytest.fixture
def library():
    """The real schedulers."""
    return hosts.load("physicsnemo.diffusion.noise_schedulers")


@pytest.fixture(params=["stand-in", "real"])
def host(request):
    """What has the schedulers by name."""
    return STAND_INS if request.param == "stand-in" else request.getfixturevalue("library")


@pytest.fixture(params=[f"stand-in {kind}" for kind in KINDS[:2]] + KINDS)
def base(request):
    if request.param.startswith("stand-in"):
        return getattr(STAND_INS, request.param.split()[1])()
    return getattr(request.getfixturevalue("library"), request.param)()


def make(base, **options):
    schedule = inx.InfoNoise(seed=1, sigma_min=0.02, sigma_max=80.0, weight=weight_of(base), **options)
    return InfoNoiseScheduler(base, schedule)


def measure(schedule):
    """Activate it on the losses of N(0, 1)."""
    for _ in range(150):
        sigma = schedule.sample(500)
        schedule.observe(sigma, gaussian_mmse(sigma, 1.0))
        schedule.step()


def test_times_have_the_drawn_noise_levels(base):
    scheduler = make(base)
    twin = inx.InfoNoise(seed=1, sigma_min=0.02, sigma_max=80.0)
    t = scheduler.sample_time(500)
    assert t.dtype == torch.float32
    t = t.double()
    torch.testing.assert_close(base.sigma(t) / base.alpha(t), twin.sample(500).double(), rtol=3e-3, atol=0)
    assert scheduler.sample_time(3, device="cpu", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_weight_is_that_of_the_host(base):
    scheduler = make(base)
    t = scheduler.sample_time(100)
    wanted = base.loss_weight(t.double())
    torch.testing.assert_close(scheduler.schedule.weight(scheduler._level(t.double())), wanted, rtol=1e-3, atol=0)


def test_weight_per_channel_is_averaged(host):
    base = host.EDMNoiseScheduler(sigma_data=torch.tensor([0.5, 2.0]))
    sigma = torch.tensor([0.1, 3.0], dtype=torch.float64)
    wanted = (inx.EDMWeight(0.5)(sigma) + inx.EDMWeight(2.0)(sigma)) / 2
    torch.testing.assert_close(weight_of(base)(sigma), wanted)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    # Not VP in bfloat16: there the host's own loss_weight divides by 0 at low noise.
    [("EDMNoiseScheduler", torch.float32), ("EDMNoiseScheduler", torch.bfloat16), ("VPNoiseScheduler", torch.float32)],
)
def test_a_loss_in_the_hosts_way_measures_the_mmse(host, kind, dtype):
    """Exact denoiser of N(0, 1); every sample recorded; bins within 5.5 standard errors and 2% for their width."""
    base = getattr(host, kind)()
    torch.manual_seed(2)
    scheduler = make(base, prior=inx.LogUniform(), capacity=4096)
    for _ in range(8):
        t = scheduler.sample_time(10_000, dtype=dtype)
        x0 = torch.randn(len(t), 2)
        wide = t.float()[:, None]
        x = scheduler.add_noise(x0, t.float())
        a, b = base.alpha(wide), base.sigma(wide)
        loss = base.loss_weight(t)[:, None] * (a * x / (a * a + b * b) - x0).square()
        scheduler.observe(t, loss)
    assert scheduler.schedule.summary()["recorded"] == 80_000
    profile = scheduler.schedule.profile()
    bias = (profile.mmse - gaussian_mmse(profile.sigma, 1.0)).abs() - 0.02 * profile.mmse
    assert (bias / profile.standard_error).max() < 5.5


def test_timesteps_are_the_info_grid(base):
    scheduler = make(base)
    with pytest.raises(ValueError, match="nothing is measured"):
        scheduler.timesteps(4)
    measure(scheduler.schedule)
    t = scheduler.timesteps(9)
    assert t.shape == (10,)
    assert t[-1] == 0
    assert (t.diff() < 0).all()
    level = base.sigma(t[:-1].double()) / base.alpha(t[:-1].double())
    torch.testing.assert_close(level.float(), inx.info_grid(scheduler.schedule, 9)[:-1], rtol=3e-3, atol=0)


def test_the_rest_is_the_bases_and_copies_work(base):
    scheduler = make(base)
    assert all(callable(getattr(InfoNoiseScheduler, name)) for name in METHODS)
    assert scheduler.sigma == base.sigma
    t = torch.tensor([0.3, 0.4])
    assert scheduler.init_latents((3, 2), t).shape == (2, 3, 2)
    assert callable(scheduler.get_denoiser(x0_predictor=lambda x, t: x))
    for duplicate in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        twin = duplicate(scheduler)
        assert torch.equal(twin.sample_time(4), scheduler.sample_time(4))


def test_another_path_or_range_is_refused(host):
    class Half(type(host.EDMNoiseScheduler())):
        def alpha(self, t):
            return torch.full_like(t, 0.5)

    with pytest.raises(ValueError, match="from base, a Half"):
        make(Half())


@pytest.mark.parametrize("kind", KINDS)
def test_real_loss_takes_it(library, kind):
    """`MSEDSMLoss` of the library: what is recorded is the error of the model on the noise that the loss drew."""
    losses = hosts.load("physicsnemo.diffusion.metrics.losses")
    base = getattr(library, kind)()
    scheduler = make(base)
    assert isinstance(scheduler, library.NoiseScheduler)
    loss_fn = losses.MSEDSMLoss(lambda x, t, condition=None: 0.5 * x, scheduler, reduction="none")
    x0, t, given = torch.randn(16, 3, 4, 4), scheduler.sample_time(16), []
    scheduler.schedule.observe = lambda sigma, error: given.append((sigma, error))
    torch.manual_seed(6)
    scheduler.observe(t, loss_fn(x0, t=t))
    torch.manual_seed(6)
    ((sigma, error),) = given
    torch.testing.assert_close(error, (0.5 * base.add_noise(x0, t) - x0).square().mean((1, 2, 3)), rtol=1e-4, atol=0)
    torch.testing.assert_close(sigma.float(), base.sigma(t) / base.alpha(t), rtol=1e-3, atol=0)
    assert loss_fn(x0).shape == x0.shape  # draws by itself


@pytest.mark.parametrize("kind", KINDS)
def test_real_solver_takes_the_grid(library, kind):
    """The probability flow of N(0, 1), whose exact denoiser is known, scales a sample by a known ratio."""
    samplers = hosts.load("physicsnemo.diffusion.samplers")
    scheduler = make(getattr(library, kind)())
    measure(scheduler.schedule)

    def x0_predictor(x, t):
        a, b = scheduler.alpha(t)[:, None], scheduler.sigma(t)[:, None]
        return a * x / (a * a + b * b)

    t = scheduler.timesteps(100, dtype=torch.float64)[:1].expand(20)
    x = scheduler.init_latents((3,), t, dtype=torch.float64)
    out = samplers.sample(scheduler.get_denoiser(x0_predictor=x0_predictor), x, scheduler, num_steps=100, solver="heun")
    std = (scheduler.alpha(t) ** 2 + scheduler.sigma(t) ** 2).sqrt()
    torch.testing.assert_close(out, x / std[:, None], rtol=0.03, atol=0)
