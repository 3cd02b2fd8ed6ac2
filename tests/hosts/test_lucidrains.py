"""denoising-diffusion-pytorch: losses, weights and grids against the library's own, imported as `hosts` says."""

import copy
import pickle

import pytest
import torch
from support import hosts
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.integrations import lucidrains

library = hosts.load("denoising_diffusion_pytorch")


class Net(torch.nn.Module):
    """The best linear denoiser of white noise data, in the prediction that the host asks for."""

    channels = out_dim = 1
    self_condition = False

    def __init__(self, continuous=True):
        super().__init__()
        self.random_or_learned_sinusoidal_cond = continuous
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.host = None

    def forward(self, x, t, x_self_cond=None):
        if self.random_or_learned_sinusoidal_cond:
            return 0.3 * self.scale * x
        a = self.host.sqrt_alphas_cumprod[t].view(-1, 1, 1, 1)
        b = self.host.sqrt_one_minus_alphas_cumprod[t].view(-1, 1, 1, 1)
        x0 = 0.8 * self.scale * a * x
        noise = (x - a * x0) / b
        return {"pred_x0": x0, "pred_noise": noise, "pred_v": a * noise - b * x0}[self.host.objective]


def elucidated(**options):
    return library.ElucidatedDiffusion(Net(), image_size=4, channels=1, **options)


def table(objective, **options):
    net = Net(continuous=False)
    diffusion = library.GaussianDiffusion(net, image_size=4, objective=objective, **options)
    object.__setattr__(net, "host", diffusion)  # not as a submodule, which would be a cycle
    return diffusion


def recorded(diffusion, images, seed=1, **options):
    """Loss, and what the schedule was given."""
    schedule = lucidrains.make_schedule(diffusion, seed=seed, **options)
    given, plain = [], schedule.observe
    schedule.observe = lambda sigma, error: (given.append((sigma, error.detach())), plain(sigma, error))
    torch.manual_seed(seed)
    loss = lucidrains.loss(diffusion, images, schedule)
    return loss, *given[0], schedule


def test_elucidated_error_is_the_unweighted_one():
    diffusion, images = elucidated(sigma_data=0.7), torch.rand(64, 1, 4, 4)
    loss, sigma, error, schedule = recorded(diffusion, images)
    torch.manual_seed(1)
    clean, s = images * 2 - 1, sigma.view(-1, 1, 1, 1)
    denoised = diffusion.preconditioned_network_forward(clean + s * torch.randn_like(clean), sigma)
    torch.testing.assert_close(error, (denoised - clean).square().mean((1, 2, 3)), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(loss, (schedule.weight(sigma) * error).mean(), rtol=1e-4, atol=0)
    assert loss.requires_grad
    assert (schedule.config.sigma_min, schedule.config.sigma_max) == (0.002, 80)


@pytest.mark.parametrize("beta_schedule", ["linear", "cosine", "sigmoid"])
@pytest.mark.parametrize("min_snr", [False, True])
def test_every_objective_records_the_same_clean_error(beta_schedule, min_snr):
    """One denoiser in three predictions: the same noise must give the same error of the clean sample."""
    images, rows = torch.rand(256, 1, 4, 4), []
    for objective in ("pred_x0", "pred_noise", "pred_v"):
        diffusion = table(objective, beta_schedule=beta_schedule, min_snr_loss_weight=min_snr)
        loss, sigma, error, schedule = recorded(diffusion, images, prior=inx.LogUniform())
        rows.append((sigma, error))
        torch.testing.assert_close(loss, (schedule.weight(sigma) * error).mean(), rtol=1e-4, atol=0)
        assert schedule.summary()["recorded"] == 256  # none outside of the grid
        assert lucidrains._table(diffusion) is lucidrains._table(diffusion)  # read once
        levels = (1 / diffusion.alphas_cumprod.double() - 1).sqrt()
        assert ((sigma.double()[:, None] / levels - 1).abs().min(1).values < 1e-3).all()
    for sigma, error in rows[1:]:
        assert torch.equal(sigma, rows[0][0])
        torch.testing.assert_close(error, rows[0][1], rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("options", [{"offset_noise_strength": 0.1}, {"immiscible": True}])
def test_noise_that_is_not_plain_is_refused(options):
    diffusion = table("pred_v", **options)
    with pytest.raises(ValueError, match="offset_noise_strength or immiscible"):
        lucidrains.loss(diffusion, torch.rand(2, 1, 4, 4), lucidrains.make_schedule(diffusion))


def test_sampler_runs_on_the_grid_and_copies_keep_it():
    diffusion = elucidated(num_sample_steps=5)
    with pytest.raises(ValueError, match="nothing is measured"):
        lucidrains.use_info_grid(diffusion, lucidrains.make_schedule(diffusion))
    source = fed(lambda s: gaussian_mmse(s, 1.0))
    own = diffusion.sample_schedule(7)
    lucidrains.use_info_grid(diffusion, source)
    assert torch.equal(diffusion.sample_schedule(7), inx.info_grid(source, 7))
    for copied in (diffusion, copy.deepcopy(diffusion), pickle.loads(pickle.dumps(diffusion))):
        assert torch.equal(copied.sample_schedule(), inx.info_grid(source, 5))
        assert torch.isfinite(copied.sample(batch_size=2)).all()
    del diffusion.sample_schedule
    assert torch.equal(diffusion.sample_schedule(7), own)


@pytest.mark.parametrize("sampler", ["sample", "sample_using_dpmpp"])
def test_sampler_on_the_grid_follows_the_probability_flow(sampler):
    """A network of 0 leaves the exact denoiser of N(0, 0.15^2), whose flow scales a sample by a known ratio."""
    diffusion = elucidated(sigma_data=0.15, sigma_max=20.0, S_churn=0)
    torch.nn.init.zeros_(diffusion.net.scale)
    schedule = fed(lambda s: gaussian_mmse(s, 0.15), sigma_max=20.0)
    lucidrains.use_info_grid(diffusion, schedule)
    torch.manual_seed(5)
    out = 2 * getattr(diffusion, sampler)(batch_size=32, num_sample_steps=60) - 1  # the host's images are in [0, 1]
    torch.manual_seed(5)
    noise = torch.randn(32, 1, 4, 4)
    torch.testing.assert_close(out, noise * 20 * 0.15 / (0.15**2 + 20.0**2) ** 0.5, rtol=2e-2, atol=1e-6)


def test_grid_for_a_diffusion_of_a_table_is_refused():
    with pytest.raises(ValueError, match="is 'GaussianDiffusion', but must be an ElucidatedDiffusion"):
        lucidrains.use_info_grid(table("pred_v"), fed(lambda s: gaussian_mmse(s, 1.0)))


class Net1D(Net):
    """For sequences [B, C, N]: 0.8 of the noisy one is the clean one."""

    def forward(self, x, t, x_self_cond=None):
        a = self.host.sqrt_alphas_cumprod[t].view(-1, 1, 1)
        b = self.host.sqrt_one_minus_alphas_cumprod[t].view(-1, 1, 1)
        noise = (x - a * 0.8 * self.scale * x) / b
        return {"pred_x0": 0.8 * self.scale * x, "pred_noise": noise, "pred_v": a * noise - b * 0.8 * x}[
            self.host.objective
        ]


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_sequences_are_recorded_as_images_are(objective):
    """The class for them has neither offset noise nor immiscible pairing."""
    net = Net1D(continuous=False)
    diffusion = library.GaussianDiffusion1D(net, seq_length=16, objective=objective)
    object.__setattr__(net, "host", diffusion)
    sequences = torch.rand(32, 1, 16)
    loss, sigma, error, schedule = recorded(diffusion, sequences)
    assert loss.requires_grad
    torch.manual_seed(1)
    noise = torch.randn(32, 1, 16)
    images, a = 2 * sequences - 1, (1 / (1 + sigma**2).sqrt()).view(-1, 1, 1)
    x = a * images + (1 - a**2).sqrt() * noise
    torch.testing.assert_close(error, (0.8 * x - images).square().mean((1, 2)), rtol=0.02, atol=1e-4)
    assert schedule.summary()["recorded"] == 32


def test_warm_up_is_the_hosts_own_density():
    schedule = lucidrains.make_schedule(table("pred_noise"))
    entries = inx.SigmaTable.from_alphas_cumprod(table("pred_noise").alphas_cumprod)
    torch.testing.assert_close(entries.mass(schedule.prior), torch.full((1000,), 1e-3).double(), rtol=0.01, atol=0)
    assert schedule.bound == inx.GaussianBound(1.0)
    assert lucidrains.make_schedule(table("pred_v")).bound is None
    prior = lucidrains.make_schedule(elucidated(P_mean=-0.7, P_std=0.9)).prior
    assert (prior.mean, prior.std) == (-0.7, 0.9)
