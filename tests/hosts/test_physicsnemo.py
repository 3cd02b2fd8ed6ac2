"""The PhysicsNeMo scheduler, on the library's own schedulers, imported as `hosts` says: its networks do not run."""

import copy
import pickle

import pytest
import torch
from support import hosts
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.integrations.physicsnemo import InfoNoiseScheduler, make_schedule, weight_of

library = hosts.load("physicsnemo.diffusion.noise_schedulers")


@pytest.fixture(params=["EDM", "VP", "EDMLogUniform", "VE", "IDDPM"])
def base(request):
    return getattr(library, f"{request.param}NoiseScheduler")()


def make(base, **options):
    schedule = inx.InfoNoise(seed=1, sigma_min=0.02, sigma_max=80.0, weight=weight_of(base), **options)
    return InfoNoiseScheduler(base, schedule)


def measured(base):
    """Active, on the losses of N(0, 1)."""
    return InfoNoiseScheduler(base, fed(lambda s: gaussian_mmse(s, 1.0), sigma_min=0.02, sigma_max=80.0))


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


def test_weight_per_channel_is_averaged():
    base = library.EDMNoiseScheduler(sigma_data=torch.tensor([0.5, 2.0]))
    sigma = torch.tensor([0.1, 3.0], dtype=torch.float64)
    wanted = (inx.EDMWeight(0.5)(sigma) + inx.EDMWeight(2.0)(sigma)) / 2
    torch.testing.assert_close(weight_of(base)(sigma), wanted)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    # Not VP in bfloat16: there the host's own loss_weight divides by 0 at low noise.
    [("EDM", torch.float32), ("EDM", torch.bfloat16), ("VP", torch.float32)],
)
def test_a_loss_in_the_hosts_way_measures_the_mmse(kind, dtype):
    """Exact denoiser of N(0, 1); every sample recorded; bins within 5.5 standard errors and 2% for their width."""
    base = getattr(library, f"{kind}NoiseScheduler")()
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
    with pytest.raises(ValueError, match="nothing is measured"):
        make(base).timesteps(4)
    scheduler = measured(base)
    t = scheduler.timesteps(9)
    assert t.shape == (10,)
    assert t[-1] == 0
    assert (t.diff() < 0).all()
    level = base.sigma(t[:-1].double()) / base.alpha(t[:-1].double())
    torch.testing.assert_close(level.float(), inx.info_grid(scheduler.schedule, 9)[:-1], rtol=3e-3, atol=0)


def test_the_rest_is_the_bases_and_copies_work(base):
    scheduler = make(base)
    assert isinstance(scheduler, library.NoiseScheduler)  # which `__getattr__` helps: so the class is asked too
    protocol = {name for name in vars(library.NoiseScheduler) if not name.startswith("_")}
    assert protocol <= set(dir(InfoNoiseScheduler))
    assert scheduler.sigma == base.sigma
    t = torch.tensor([0.3, 0.4])
    assert scheduler.init_latents((3, 2), t).shape == (2, 3, 2)
    assert callable(scheduler.get_denoiser(x0_predictor=lambda x, t: x))
    for duplicate in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        twin = duplicate(scheduler)
        assert torch.equal(twin.sample_time(4), scheduler.sample_time(4))


def test_another_path_or_range_is_refused():
    class Half(library.EDMNoiseScheduler):
        def alpha(self, t):
            return torch.full_like(t, 0.5)

    with pytest.raises(ValueError, match="from base, a Half"):
        make(Half())


def test_the_hosts_loss_takes_it(base):
    """`MSEDSMLoss`: what is recorded is the error of the model on the noise that the loss drew."""
    losses = hosts.load("physicsnemo.diffusion.metrics.losses")
    scheduler = make(base)
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


def test_the_hosts_solver_takes_the_grid(base):
    """The probability flow of N(0, 1), whose exact denoiser is known, scales a sample by a known ratio."""
    samplers = hosts.load("physicsnemo.diffusion.samplers")
    scheduler = measured(base)

    def x0_predictor(x, t):
        a, b = scheduler.alpha(t)[:, None], scheduler.sigma(t)[:, None]
        return a * x / (a * a + b * b)

    t = scheduler.timesteps(100, dtype=torch.float64)[:1].expand(20)
    x = scheduler.init_latents((3,), t, dtype=torch.float64)
    out = samplers.sample(scheduler.get_denoiser(x0_predictor=x0_predictor), x, scheduler, num_steps=100, solver="heun")
    std = (scheduler.alpha(t) ** 2 + scheduler.sigma(t) ** 2).sqrt()
    torch.testing.assert_close(out, x / std[:, None], rtol=0.03, atol=0)


def test_schedule_of_a_scheduler_starts_from_its_own_times(base):
    """Quantiles of its levels by other draws, and the range that its adapter can serve."""
    schedule = make_schedule(base)
    InfoNoiseScheduler(base, schedule)  # checks the range against the times
    torch.manual_seed(9)
    t = base.sample_time(50_000, dtype=torch.float64)
    levels = base.sigma(t) / base.alpha(t)
    for q in (0.1, 0.5, 0.9):
        assert float(schedule.prior.below(levels.quantile(q))) == pytest.approx(q, abs=0.02)
    sigma = schedule.state.row("sigma")
    torch.testing.assert_close(schedule.state.row("weight"), weight_of(base)(sigma).double())
