"""The k-diffusion integration: against its interface, and against the library itself where it is installed.

Tests named `real` run k-diffusion's own density, denoiser and samplers, imported as `hosts` says.
"""

import runpy

import pytest
import torch
from scipy import stats
from support import ROOT, hosts
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.integrations import k_diffusion as inx_k

ALPHA = 1e-6  # false-alarm rate of each Kolmogorov-Smirnov test
EXAMPLE = ROOT / "examples" / "k_diffusion.py"


@pytest.fixture
def kd():
    """The real k-diffusion."""
    return hosts.load("k_diffusion")


class Plain(torch.nn.Module):
    """The interface of `K.layers.Denoiser` that the integration reads."""

    def __init__(self, weighting=torch.ones_like, scales=1):
        super().__init__()
        self.sigma_data, self.weighting, self.scales = 0.7, weighting, scales

    def loss(self, x0, noise, sigma):
        """Of the network F = 0: D = c_skip x."""
        s = sigma.view(-1, 1)
        denoised = self.sigma_data**2 / (s**2 + self.sigma_data**2) * (x0 + s * noise)
        c_out2 = s**2 * self.sigma_data**2 / (s**2 + self.sigma_data**2)
        return ((denoised - x0).square() / c_out2).mean(1) * self.weighting(sigma)


Plain.__name__ = "Denoiser"
Plain.loss.__qualname__ = "Denoiser.loss"


class Recorder:
    """Takes what would be recorded."""

    def observe(self, sigma, error, **options):
        self.sigma, self.error, self.options = sigma, error, options


def snr(sigma):
    return 0.7**2 / (sigma**2 + 0.7**2)


@pytest.mark.parametrize("schedule", [inx.LogNormal(-1.2, 1.2), inx.InfoNoise(seed=4)], ids=["fixed", "adaptive"])
def test_density_has_the_shape_dtype_and_law_asked_for(schedule):
    torch.manual_seed(0)
    sample = inx_k.density(schedule)
    assert sample([20, 3], device="cpu").shape == (20, 3)
    assert sample((5,), dtype=torch.float64).dtype == torch.float64
    sigma = sample([50_000])
    assert sigma.dtype == torch.float32
    u = schedule.table().below(sigma).numpy()
    assert stats.kstest(u, "uniform").pvalue > ALPHA


@pytest.mark.parametrize("weighting", [torch.ones_like, snr], ids=["karras", "snr"])
def test_record_is_the_clean_error_and_the_weight_is_what_multiplies_it(weighting):
    g = torch.Generator().manual_seed(1)
    denoiser, recorder = Plain(weighting), Recorder()
    x0, noise = torch.randn(2, 64, 5, generator=g)
    sigma = torch.exp(3 * torch.randn(64, generator=g))
    losses = denoiser.loss(x0, noise, sigma)
    inx_k.observe_losses(recorder, denoiser, losses, sigma, mask=None)
    s = sigma.view(-1, 1)
    exact = (0.49 / (s**2 + 0.49) * (x0 + s * noise) - x0).square().mean(1)
    torch.testing.assert_close(recorder.error, exact, rtol=1e-4, atol=0)
    torch.testing.assert_close(inx_k.loss_weight(denoiser)(sigma) * exact, losses, rtol=1e-4, atol=0)
    assert recorder.options == {"mask": None}


def test_denoisers_with_another_loss_are_refused():
    class Other(Plain):
        def loss(self, x0, noise, sigma):
            return None

    for denoiser in (Plain(scales=2), Other()):
        with pytest.raises(ValueError, match="no weighted squared error"):
            inx_k.loss_weight(denoiser)
        with pytest.raises(ValueError, match="no weighted squared error"):
            inx_k.observe_losses(Recorder(), denoiser, torch.ones(2), torch.ones(2))


def test_grid_is_descending_and_ends_in_zero():
    schedule = fed(lambda s: gaussian_mmse(s, 1.0))
    sigmas = inx_k.get_sigmas_info(schedule, 9, device="cpu")
    assert torch.equal(sigmas, inx.info_grid(schedule, 9))


def test_example_trains_and_samples(capsys):
    runpy.run_path(str(EXAMPLE))
    assert capsys.readouterr().out.startswith("active;")


def test_real_density_signature_and_strata(kd):
    """Same call as k-diffusion's own density, and one draw in every stratum where strata are asked for."""
    config = {"sigma_data": 0.5, "sigma_sample_density": {"type": "lognormal", "mean": -1.2, "std": 1.2}}
    theirs = kd.config.make_sample_density(config)
    schedule = inx.LogNormal(-1.2, 1.2)
    ours = inx_k.density(schedule)
    for options in ({}, {"device": "cpu"}, {"dtype": torch.float64}):
        a, b = theirs([7], **options), ours([7], **options)
        assert (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)
    for group in range(2):
        with kd.utils.enable_stratified(group, 2):
            strata = [(schedule.table().below(density([50])) * 100).floor().long() for density in (ours, theirs)]
        assert torch.equal(strata[0], torch.arange(group, 100, 2))
        assert torch.equal(strata[1], strata[0])
    with kd.utils.enable_stratified(0, 2, disable=True):
        assert not torch.equal((schedule.table().below(ours([50])) * 100).floor().long(), torch.arange(0, 100, 2))


@pytest.mark.parametrize("weighting", ["karras", "soft-min-snr", "snr"])
def test_real_denoiser_loss_gives_the_clean_error(kd, weighting):
    g = torch.Generator().manual_seed(2)
    inner = torch.nn.Conv2d(1, 1, 3, padding=1)
    denoiser = kd.layers.Denoiser(lambda x, sigma: inner(x), sigma_data=0.6, weighting=weighting)
    x0, noise = torch.randn(2, 40, 1, 6, 6, generator=g)
    sigma = torch.exp(2 * torch.randn(40, generator=g))
    losses = denoiser.loss(x0, noise, sigma)
    recorder = Recorder()
    inx_k.observe_losses(recorder, denoiser, losses, sigma)
    exact = (denoiser(x0 + noise * sigma.view(-1, 1, 1, 1), sigma) - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(recorder.error, exact, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(inx_k.loss_weight(denoiser)(sigma) * exact, losses, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="no weighted squared error"):
        inx_k.loss_weight(kd.layers.DenoiserWithVariance(inner))


SAMPLERS = ["euler", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2m"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_real_sampler_takes_the_grid(kd, name):
    """On Gaussian data the probability flow is known: a sample shrinks by the ratio of standard deviations."""
    schedule = fed(lambda s: gaussian_mmse(s, 1.0))
    sigmas = inx_k.get_sigmas_info(schedule, 60)
    assert sigmas.shape == kd.sampling.get_sigmas_karras(60, 0.002, 80.0).shape
    x = 80 * torch.randn(50, 1, generator=torch.Generator().manual_seed(3))
    options = {"eta": 0.0} if "ancestral" in name else {}
    sampler = getattr(kd.sampling, f"sample_{name}")
    out = sampler(lambda x, sigma: x / (1 + sigma[0] ** 2), x, sigmas, disable=True, **options)
    torch.testing.assert_close(out, x / (1 + 80.0**2) ** 0.5, rtol=4e-2, atol=0)


@pytest.mark.parametrize("name", ["dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde"])
def test_real_stochastic_sampler_takes_the_grid(kd, name):
    """The law of the data is N(0, 1): its variance, within 6 standard errors and 3% for the steps."""
    torch.manual_seed(4)
    sigmas = inx_k.get_sigmas_info(fed(lambda s: gaussian_mmse(s, 1.0)), 60)
    x = 80 * torch.randn(20_000, 1)
    sampler = getattr(kd.sampling, f"sample_{name}")
    out = sampler(lambda x, sigma: x / (1 + sigma[0] ** 2), x, sigmas, disable=True)
    assert abs(float(out.var()) - 1) < 0.03 + 6 * (2 / len(out)) ** 0.5
