"""The diffusers integration against the library's own schedulers and the code of its training scripts."""

import os

import pytest
import torch
from scipy import stats
from support import generator
from support.entries import ALPHA, cell_masses, p_value
from support.hosts import Recorder

import infonoise_ext as inx
from infonoise_ext.integrations import diffusers as inx_diffusers

os.environ.setdefault("HF_HUB_OFFLINE", "1")
diffusers = pytest.importorskip("diffusers")

GRID = torch.tensor([80.0, 20.0, 5.0, 1.0, 0.3, 0.05, 0.002, 0.0])
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FLOWS = {
    "plain": {},
    "shift": {"shift": 3.0},
    "dynamic": {"use_dynamic_shifting": True},
    "dynamic, linear": {"use_dynamic_shifting": True, "time_shift_type": "linear"},
}
UNIPC = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"])
@pytest.mark.parametrize("config", FLOWS)
def test_flow_schedulers_take_the_grid_as_flow_time(name, config):
    scheduler = getattr(diffusers, name)(**FLOWS[config])
    inx_diffusers.set_sigmas(scheduler, GRID)
    torch.testing.assert_close(scheduler.sigmas, GRID / (1 + GRID), rtol=1e-6, atol=0)
    torch.testing.assert_close(scheduler.timesteps, 1000 * scheduler.sigmas[:-1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_unipc_takes_the_grid_as_flow_time(shift):
    scheduler = diffusers.UniPCMultistepScheduler(flow_shift=shift, **UNIPC)
    inx_diffusers.set_sigmas(scheduler, GRID)
    torch.testing.assert_close(scheduler.sigmas, GRID / (1 + GRID), rtol=1e-6, atol=0)
    assert len(scheduler.timesteps) == len(GRID) - 1


def test_edm_takes_the_grid_itself():
    scheduler = diffusers.EDMEulerScheduler()
    inx_diffusers.set_sigmas(scheduler, GRID, device="cpu")
    torch.testing.assert_close(scheduler.sigmas, GRID, rtol=1e-6, atol=0)
    torch.testing.assert_close(scheduler.timesteps, GRID[:-1].log() / 4)


def test_euler_takes_the_grid_with_all_its_steps():
    scheduler = diffusers.EulerDiscreteScheduler(use_karras_sigmas=True, **SD)
    table = inx_diffusers.sigma_table(scheduler)
    grid = torch.tensor([table.sigma_max, 5.0, 1.0, 0.3, table.sigma_min, 0.0])
    inx_diffusers.set_sigmas(scheduler, grid)
    torch.testing.assert_close(scheduler.sigmas, grid, rtol=1e-6, atol=0)
    assert len(scheduler.timesteps) == 5
    assert scheduler.timesteps[0] == pytest.approx(999, abs=0.01)


REFUSED = {
    "Karras flow": ("FlowMatchEulerDiscreteScheduler", {"use_karras_sigmas": True}, "re-maps it: .*use_karras_sigmas"),
    "beta flow": ("FlowMatchLCMScheduler", {"use_beta_sigmas": True}, "re-maps it: .*use_beta_sigmas"),
    "stretched flow": ("FlowMatchEulerDiscreteScheduler", {"shift_terminal": 0.1}, "re-maps it: .*shift_terminal"),
    "inverted flow": ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, "re-maps it: .*invert_sigmas"),
    "Karras UniPC": ("UniPCMultistepScheduler", UNIPC | {"use_karras_sigmas": True}, "re-maps it: .*use_karras_sigmas"),
    "UniPC": ("UniPCMultistepScheduler", {}, "use_flow_sigmas=True"),
    "exponential EDM": ("EDMEulerScheduler", {"sigma_schedule": "exponential"}, "re-maps it: .*exponential"),
    "EDM to sigma_min": ("EDMEulerScheduler", {"final_sigmas_type": "sigma_min"}, "re-maps it: .*sigma_min"),
    "EDM from 100": ("EDMEulerScheduler", {"sigma_max": 100.0}, "is 80.0, but must be .*sigma_max = 100.0"),
    "Euler, too wide": ("EulerDiscreteScheduler", SD, r"is \[0.002\d*, 80.0\], but .* \[0.0291\d*, 14.61\d*\]"),
    "Heun": ("HeunDiscreteScheduler", {}, "but must be one whose set_timesteps takes sigmas"),
    "DPM-Solver++": ("DPMSolverMultistepScheduler", {}, "but must be one whose set_timesteps takes sigmas"),
    "a flow in another convention": ("LTXEulerAncestralRFScheduler", {}, "one that is known here"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_scheduler_that_would_change_the_grid_is_named(case):
    name, config, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        inx_diffusers.set_sigmas(getattr(diffusers, name)(**config), GRID)


@pytest.mark.parametrize("bad", [[1.0, 0.5], [0.5, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0], [torch.inf, 1.0, 0.0]])
def test_what_is_no_grid_is_refused(bad):
    with pytest.raises(ValueError, match="descend and end in 0"):
        inx_diffusers.set_sigmas(diffusers.EDMEulerScheduler(), torch.tensor(bad))


def test_pipeline_gets_sigmas_that_its_scheduler_turns_into_the_grid():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    before = scheduler.sigmas.clone()
    given = inx_diffusers.pipeline_sigmas(scheduler, GRID)
    assert torch.equal(scheduler.sigmas, before)
    scheduler.set_timesteps(sigmas=given, device="cpu")  # as the pipelines do with the `sigmas` they are given
    assert len(scheduler.timesteps) == len(GRID) - 1
    torch.testing.assert_close(scheduler.sigmas, GRID / (1 + GRID), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="use_dynamic_shifting=False"):
        inx_diffusers.pipeline_sigmas(diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), GRID)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_table_is_the_schedulers(shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    ours = inx.SigmaTable.from_flow("noise", shift=shift)
    torch.testing.assert_close(inx_diffusers.sigma_table(scheduler).sigmas, ours.sigmas, rtol=2e-4, atol=0)


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_ddpm_table_is_the_noise_that_add_noise_adds(beta_schedule):
    scheduler = diffusers.DDPMScheduler(beta_schedule=beta_schedule)
    t = torch.arange(1000)
    one = torch.ones(1000, 1, dtype=torch.float64)
    signal = scheduler.add_noise(one, 0 * one, t)
    noise = scheduler.add_noise(0 * one, one, t)
    table = inx_diffusers.sigma_table(scheduler)
    torch.testing.assert_close(table.sigmas.double(), (noise / signal).flatten(), rtol=1e-5, atol=0)


def test_zero_terminal_snr_is_pure_noise():
    table = inx_diffusers.sigma_table(diffusers.DDPMScheduler(rescale_betas_zero_snr=True))
    assert table.sigmas[-1] == torch.inf
    assert torch.isfinite(table.sigmas[:-1]).all()


def test_what_has_no_training_table_is_refused():
    used = diffusers.FlowMatchEulerDiscreteScheduler()
    used.set_timesteps(10)
    for scheduler, words in ((used, "from_config"), (diffusers.EDMEulerScheduler(), "one with a training table")):
        with pytest.raises(ValueError, match=words):
            inx_diffusers.sigma_table(scheduler)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_density_in_the_lines_of_the_sd3_script(shift):
    """Entries, timesteps and flow times that the script derives from u, against the cells' masses."""
    torch.manual_seed(31)
    noise_scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    table = inx_diffusers.sigma_table(noise_scheduler)
    draw = inx_diffusers.density(inx.LogitNormal(0.3, 0.9), table)
    u = draw(weighting_scheme="logit_normal", batch_size=100_000, logit_mean=0.0, logit_std=1.0, mode_scale=1.29)
    assert (u.dtype, u.shape) == (torch.float32, (100_000,))
    indices = (u * noise_scheduler.config.num_train_timesteps).long()
    timesteps = noise_scheduler.timesteps[indices]
    t = noise_scheduler.sigmas[indices].double()
    everywhere = noise_scheduler.sigmas.double()
    mass = cell_masses((everywhere / (1 - everywhere)).numpy(), stats.norm(0.3, 0.9))
    assert p_value(indices.numpy(), mass) > ALPHA
    torch.testing.assert_close(table.sigmas[indices].double(), t / (1 - t), rtol=1e-4, atol=0)
    torch.testing.assert_close(timesteps.double(), 1000 * t, rtol=1e-6, atol=0)


class EveryEntry:
    """Draws every finite entry of a table once, in order."""

    def __init__(self, table):
        self.sigmas = table.sigmas[torch.isfinite(table.sigmas)]

    def sample(self, n, group=None):
        return self.sigmas


@pytest.mark.parametrize("steps", [1000, 37, 4096])
def test_density_reaches_every_entry_and_no_neighbour(steps):
    noise_scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=steps, shift=3.0)
    table = inx_diffusers.sigma_table(noise_scheduler)
    u = inx_diffusers.density(EveryEntry(table), table)("none", batch_size=steps - 1)
    assert torch.equal((u * steps).long(), torch.arange(1, steps))  # entry 0 is pure noise


def test_record_of_a_flow_is_the_clean_error():
    """A network that predicts the velocity of a known wrong image; float16, and a mask that goes through."""
    images, wrong, noise = torch.randn(3, 6, 2, 4, 4, generator=generator(5))
    t = torch.linspace(0.1, 0.9, 6).view(-1, 1, 1, 1)
    noisy = (1 - t) * images + t * noise
    model_pred = (noisy - wrong) / t  # the velocity eps - x0 that `wrong` implies
    sigma = (t / (1 - t)).flatten()
    recorder, mask = Recorder(), torch.arange(6) > 2
    inx_diffusers.observe(recorder, sigma, model_pred, noise - images, "flow_prediction", mask=mask)
    torch.testing.assert_close(recorder.error, (wrong - images).square().mean((1, 2, 3)), rtol=1e-4, atol=0)
    assert recorder.options["mask"] is mask
    inx_diffusers.observe(recorder, sigma, model_pred.half(), (noise - images).half(), "flow_prediction")
    assert recorder.error.dtype == torch.float32


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_record_of_a_ddpm_is_the_clean_error(prediction_type):
    """The clean image is what diffusers' own step makes of the prediction."""
    scheduler = diffusers.DDPMScheduler(prediction_type=prediction_type, clip_sample=False)
    images, noise, model_pred = torch.randn(3, 5, 1, 4, 4, generator=generator(6))
    timesteps = torch.tensor([0, 30, 200, 500, 900])
    noisy = scheduler.add_noise(images, noise, timesteps)
    target = {"epsilon": noise, "v_prediction": scheduler.get_velocity(images, noise, timesteps), "sample": images}
    pairs = zip(model_pred, timesteps, noisy, strict=True)
    clean = torch.stack([scheduler.step(p, int(t), x).pred_original_sample for p, t, x in pairs])
    recorder = Recorder()
    sigma = inx_diffusers.sigma_table(scheduler).sigmas[timesteps]
    inx_diffusers.observe(recorder, sigma, model_pred, target[prediction_type], prediction_type)
    torch.testing.assert_close(recorder.error, (clean - images).square().mean((1, 2, 3)), rtol=1e-3, atol=0)


def test_unknown_prediction_and_shapes_that_differ_are_named():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"prediction_type is 'eps', but must be one of"):
        inx_diffusers.observe(Recorder(), torch.ones(2), x, x, "eps")
    with pytest.raises(ValueError, match=r"shape of target is .*, but must be that of model_pred"):
        inx_diffusers.observe(Recorder(), torch.ones(2), x, x[:, :1], "epsilon")
