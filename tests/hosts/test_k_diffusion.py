"""The k-diffusion integration on the library's own density, denoiser and samplers, imported as `hosts` says."""

import sys
from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from support import generator, hosts
from support.entries import ALPHA
from support.hosts import Recorder
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.integrations import k_diffusion as inx_k

K = hosts.load("k_diffusion")


@pytest.fixture(scope="module")
def learned():
    return fed(lambda s: gaussian_mmse(s, 1.0))


@pytest.mark.parametrize("schedule", [inx.LogNormal(-1.2, 1.2), inx.InfoNoise(seed=4)], ids=["fixed", "adaptive"])
def test_density_has_the_shape_dtype_and_law_asked_for(schedule, monkeypatch):
    """As where the library was never imported."""
    monkeypatch.delitem(sys.modules, "k_diffusion.utils")
    torch.manual_seed(0)
    sample = inx_k.density(schedule)
    assert sample([20, 3], device="cpu").shape == (20, 3)
    assert sample((5,), dtype=torch.float64).dtype == torch.float64
    sigma = sample([50_000])
    assert sigma.dtype == torch.float32
    u = schedule.table().below(sigma).numpy()
    assert stats.kstest(u, "uniform").pvalue > ALPHA


def test_density_has_the_signature_and_the_strata_of_the_hosts():
    """Same call as k-diffusion's own density, and one draw in every stratum where strata are asked for."""
    config = {"sigma_data": 0.5, "sigma_sample_density": {"type": "lognormal", "mean": -1.2, "std": 1.2}}
    theirs = K.config.make_sample_density(config)
    schedule = inx.LogNormal(-1.2, 1.2)
    ours = inx_k.density(schedule)
    for options in ({}, {"device": "cpu"}, {"dtype": torch.float64}):
        a, b = theirs([7], **options), ours([7], **options)
        assert (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)
    for group in range(2):
        with K.utils.enable_stratified(group, 2):
            strata = [(schedule.table().below(density([50])) * 100).floor().long() for density in (ours, theirs)]
        assert torch.equal(strata[0], torch.arange(group, 100, 2))
        assert torch.equal(strata[1], strata[0])
    with K.utils.enable_stratified(0, 2, disable=True):
        assert not torch.equal((schedule.table().below(ours([50])) * 100).floor().long(), torch.arange(0, 100, 2))


@pytest.mark.parametrize("weighting", ["karras", "soft-min-snr", "snr"])
def test_record_is_the_clean_error_and_the_weight_is_what_multiplies_it(weighting):
    inner = torch.nn.Conv2d(1, 1, 3, padding=1)
    denoiser = K.layers.Denoiser(lambda x, sigma: inner(x), sigma_data=0.6, weighting=weighting)
    x0, noise = torch.randn(2, 40, 1, 6, 6, generator=generator(2))
    sigma = torch.exp(3 * torch.randn(40, generator=generator(3)))
    losses = denoiser.loss(x0, noise, sigma)
    recorder = Recorder()
    inx_k.observe_losses(recorder, denoiser, losses, sigma, mask=None)
    exact = (denoiser(x0 + noise * sigma.view(-1, 1, 1, 1), sigma) - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(recorder.error, exact, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(inx_k.loss_weight(denoiser)(sigma) * exact, losses, rtol=1e-4, atol=1e-7)
    assert recorder.options == {"mask": None}


@pytest.mark.parametrize("kind", ["Denoiser", "DenoiserWithVariance"])
def test_denoisers_with_another_loss_are_refused(kind):
    denoiser = getattr(K.layers, kind)(torch.nn.Linear(1, 1), **({"scales": 2} if kind == "Denoiser" else {}))
    with pytest.raises(ValueError, match="no weighted squared error"):
        inx_k.loss_weight(denoiser)
    with pytest.raises(ValueError, match="no weighted squared error"):
        inx_k.observe_losses(Recorder(), denoiser, torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2m"])
def test_sampler_takes_the_grid(learned, name):
    """On Gaussian data the probability flow is known: a sample shrinks by the ratio of standard deviations."""
    sigmas = inx_k.get_sigmas_info(learned, 60, device="cpu")
    assert torch.equal(sigmas, inx.info_grid(learned, 60))
    assert sigmas.shape == K.sampling.get_sigmas_karras(60, 0.002, 80.0).shape
    x = 80 * torch.randn(50, 1, generator=generator(3))
    options = {"eta": 0.0} if "ancestral" in name else {}
    sampler = getattr(K.sampling, f"sample_{name}")
    out = sampler(lambda x, sigma: x / (1 + sigma[0] ** 2), x, sigmas, disable=True, **options)
    torch.testing.assert_close(out, x / (1 + 80.0**2) ** 0.5, rtol=4e-2, atol=0)


@pytest.mark.parametrize("name", ["dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde"])
def test_stochastic_sampler_takes_the_grid(learned, name):
    """The law of the data is N(0, 1): its variance, within 6 standard errors and 3% for the steps."""
    torch.manual_seed(4)
    sigmas = inx_k.get_sigmas_info(learned, 60)
    x = 80 * torch.randn(20_000, 1)
    sampler = getattr(K.sampling, f"sample_{name}")
    out = sampler(lambda x, sigma: x / (1 + sigma[0] ** 2), x, sigmas, disable=True)
    assert abs(float(out.var()) - 1) < 0.03 + 6 * (2 / len(out)) ** 0.5


@pytest.mark.parametrize(
    "density",
    [{"type": "lognormal", "mean": -0.6, "std": 1.4}, {"type": "loguniform"}, {"type": "cosine-interpolated"}],
    ids=lambda density: density["type"],
)
def test_schedule_of_a_script_has_its_range_density_and_weight(density):
    """Quantiles of the warm-up against those of other draws by the library; its random stream is left alone."""
    config = {"sigma_min": 0.01, "sigma_max": 160.0, "sigma_data": 0.5, "input_size": [64, 64]}
    config["sigma_sample_density"] = density
    model = K.layers.Denoiser(lambda x, sigma: x, sigma_data=0.5, weighting="soft-min-snr")
    before = torch.get_rng_state()
    schedule = inx_k.make_schedule(model, config, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert (schedule.config.sigma_min, schedule.config.sigma_max) == (0.01, 160.0)
    sigma = schedule.state.row("sigma")
    torch.testing.assert_close(schedule.state.row("weight"), inx_k.loss_weight(model)(sigma))
    torch.manual_seed(5)
    drawn = K.config.make_sample_density(config)([200_000]).double()
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert float(schedule.prior.below(drawn.quantile(q))) == pytest.approx(q, abs=0.006)  # 5 standard errors


def test_schedule_of_a_script_is_in_its_checkpoints():
    config = {"sigma_min": 0.01, "sigma_max": 80.0, "sigma_data": 0.5}
    config["sigma_sample_density"] = {"type": "lognormal", "mean": -1.2, "std": 1.2}
    registered = []
    accelerator = SimpleNamespace(device=torch.device("cpu"), register_for_checkpointing=registered.append)
    model = K.layers.Denoiser(lambda x, sigma: x, sigma_data=0.5)
    assert registered == [inx_k.make_schedule(model, config, accelerator)]
