"""The pages of docs/integrations: their code runs as it stands there."""

import re

import pytest
import torch
from support import ROOT, hosts
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.channel import clean_error

PAGES = ROOT / "docs" / "integrations"


def block(page, holding):
    """The one Python block of a page that holds the given text."""
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.S)
    (found,) = [text for text in blocks if holding in text]
    return found


@pytest.mark.parametrize("page", ["diffusers", "k-diffusion", "edm", "discrete-time", "kohya-and-trainers"])
def test_page_begins_with_the_lines_to_add(page):
    before, code = (PAGES / f"{page}.md").read_text().split("```python\n", 1)
    assert before.count("\n") < 8
    assert code.split("```")[0].count("\n") <= 4


def test_complete_run_of_discrete_time(capsys):
    exec(block("discrete-time", "import torch"), {})
    assert capsys.readouterr().out.startswith("active")


@pytest.fixture
def recipes():
    names = {}
    exec(block("kohya-and-trainers", "def make_schedule"), names)
    return names


def test_recipe_draws_flow_time_and_records_the_clean_error(recipes):
    torch.manual_seed(0)
    schedule = recipes["make_schedule"]("cpu")
    t = recipes["draw"](schedule, 64)
    assert ((t > 0) & (t < 1)).all()
    latents, noise, guess = torch.randn(3, 64, 4, 2, 2)
    shaped = t.view(-1, 1, 1, 1)
    x = (1 - shaped) * latents + shaped * noise
    seen = {}
    schedule.observe = lambda sigma, error, mask: seen.update(sigma=sigma, error=error, mask=mask)
    recipes["record"](schedule, t, (x - guess) / shaped, noise - latents)
    torch.testing.assert_close(seen["error"], (guess - latents).square().mean((1, 2, 3)), rtol=1e-3, atol=0)
    torch.testing.assert_close(seen["sigma"], t / (1 - t))
    raw = torch.rand(64)
    weighted = recipes["velocity_weight"](seen["sigma"]) * clean_error(raw, seen["sigma"], "velocity")
    torch.testing.assert_close(weighted, raw)


@pytest.mark.parametrize("trainer", ["kohya", "musubi"])
def test_recipe_makes_the_noisy_input_of_the_trainer(recipes, trainer):
    recipes["schedule"] = recipes["make_schedule"]("cpu")
    exec(block("kohya-and-trainers", {"kohya": "(args, noise_sch", "musubi": "(self, args"}[trainer]), recipes)
    latents = torch.randn(5, 4, 3, 2, 2) if trainer == "musubi" else torch.randn(5, 4, 3, 2)
    noise = torch.randn_like(latents)
    make = recipes["get_noisy_model_input_and_timesteps"]
    if trainer == "kohya":
        noisy, timesteps, sigmas = make(None, None, latents, noise, "cpu", torch.float32)
        t = timesteps / 1000
        torch.testing.assert_close(sigmas.flatten(), t)
    else:
        this = type("Trainer", (), {"schedule": recipes["schedule"]})()
        noisy, timesteps = make(this, None, noise, latents, None, None, "cpu", torch.float32)
        t = (timesteps - 1) / 1000
    shaped = t.view(-1, *(1,) * (latents.ndim - 1))
    torch.testing.assert_close(noisy, (1 - shaped) * latents + shaped * noise, rtol=1e-4, atol=1e-5)


def test_recipe_of_simpletuner_returns_times_and_timesteps(recipes):
    exec(block("kohya-and-trainers", "def sample_flow_sigmas"), recipes)
    this = type("Model", (), {"schedule": recipes["make_schedule"]("cpu")})()
    t, timesteps = recipes["sample_flow_sigmas"](this, {"latents": torch.zeros(7, 1)}, {})
    assert t.shape == (7,)
    torch.testing.assert_close(timesteps, 1000 * t)


def test_set_up_of_the_diffusers_page():
    pytest.importorskip("diffusers")
    names = {}
    exec(block("diffusers", "def velocity_weight"), names)
    u = names["compute_density_for_timestep_sampling"]("none", batch_size=9)
    assert ((u > 0) & (u < 1)).all()


def test_set_up_of_the_edm_page():
    names = {}
    exec(block("edm", "loss_fn = EDM2Loss(schedule)"), names)
    loss = names["loss_fn"](lambda x, sigma, labels, return_logvar: (x, sigma.log()), torch.zeros(3, 1, 2, 2))
    assert loss.shape == (3, 1, 2, 2)
    assert names["schedule"].weight == inx.EDMWeight(0.5)


def test_lucidrains_page():
    library = hosts.load("denoising_diffusion_pytorch")
    unet = library.Unet(dim=8, dim_mults=(1,), channels=1, learned_sinusoidal_cond=True)
    diffusion = library.ElucidatedDiffusion(unet, image_size=8, channels=1)
    names = {"diffusion": diffusion, "images": torch.rand(4, 1, 8, 8)}
    exec(block("lucidrains", "lucidrains.loss"), names)
    assert names["loss"].requires_grad
    assert names["schedule"].summary()["recorded"] == 4


def test_physicsnemo_page():
    """Its lines in order, with a network of one weight."""
    library = hosts.load("physicsnemo.diffusion.noise_schedulers")
    losses = hosts.load("physicsnemo.diffusion.metrics.losses")
    scale = torch.nn.Parameter(torch.ones(()))
    names = {"inx": inx, "EDMNoiseScheduler": library.EDMNoiseScheduler, "MSEDSMLoss": losses.MSEDSMLoss}
    names |= {"model": lambda x, t, condition=None: scale * x, "optimizer": torch.optim.SGD([scale], 1e-3)}
    exec(block("physicsnemo", "base = EDM"), names)
    names["x0"] = torch.randn(4, 2, 3, 3)
    exec(block("physicsnemo", "loss_fn = "), names)
    assert names["schedule"].summary()["recorded"] == 4
    assert names["schedule"].summary()["steps"] == 1
    assert scale != 1


def test_k_diffusion_page():
    """Set-up, the lines to add and the sampler, around k-diffusion's own denoiser."""
    names = {"K": hosts.load("k_diffusion"), "torch": torch, "device": "cpu", "shape": (4, 2)}
    names |= {"sigma_min": 0.002, "sigma_max": 80.0}
    names |= {"config": {"model": {"sigma_data": 0.5}}, "inner_model": lambda x, sigma: 0.1 * x}
    exec(block("k-diffusion", "make_denoiser_wrapper"), names)
    reals, noise = torch.randn(2, 4, 2)
    names["sigma"] = sigma = names["sample_density"]([4], device="cpu")
    names["losses"] = names["model"].loss(reals, noise, sigma)
    exec(block("k-diffusion", "# was K."), names)
    assert names["schedule"].summary()["recorded"] == 4
    names["schedule"] = fed(lambda s: gaussian_mmse(s, 0.5))
    exec(block("k-diffusion", "K.sampling.sample_heun"), names)
    assert names["x"].shape == (4, 2)
    assert torch.isfinite(names["x"]).all()
