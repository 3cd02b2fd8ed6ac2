"""`make_schedule` in the lines of diffusers' training scripts, under a real Accelerator and the library's functions."""

import os
from argparse import Namespace

import numpy as np
import pytest
import torch
from scipy import stats
from support import generator
from support.entries import ALPHA, p_value

from infonoise_ext.channel import Flow, LossWeight
from infonoise_ext.integrations.diffusers import make_schedule

os.environ.setdefault("HF_HUB_OFFLINE", "1")
diffusers = pytest.importorskip("diffusers")
accelerate = pytest.importorskip("accelerate")
from diffusers.training_utils import compute_density_for_timestep_sampling  # noqa: E402

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FLUX = Namespace(
    weighting_scheme="none", logit_mean=0.0, logit_std=1.0, mode_scale=1.29, max_train_steps=500, train_batch_size=1,
    gradient_accumulation_steps=1,
)  # fmt: skip


def changed(args, **values):
    return Namespace(**(vars(args) | values))


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(
    "own",
    [
        {"weighting_scheme": "none"},
        {"weighting_scheme": "logit_normal"},
        {"weighting_scheme": "logit_normal", "logit_mean": 1.0, "logit_std": 0.6},
        {"weighting_scheme": "mode"},
        {"weighting_scheme": "mode", "mode_scale": 0.5},
    ],
    ids=str,
)
def test_warm_up_of_a_flow_is_the_scripts_own_density(own, shift):
    """100,000 entries as the library's function has the script draw them, against the masses of the prior."""
    args = changed(FLUX, **own)
    schedule = make_schedule(diffusers.FlowMatchEulerDiscreteScheduler(shift=shift), args)
    torch.manual_seed(11)
    u = compute_density_for_timestep_sampling(
        args.weighting_scheme, 100_000, args.logit_mean, args.logit_std, args.mode_scale
    )
    assert p_value((u * 1000).long().numpy(), schedule.entries.mass(schedule.prior).numpy()) > ALPHA


def test_positive_logit_mean_is_less_noise():
    """Its u is a place in a table that descends."""
    medians = [
        float(make_schedule(
            diffusers.FlowMatchEulerDiscreteScheduler(), changed(FLUX, weighting_scheme="logit_normal", logit_mean=mean)
        ).prior.level(0.5))
        for mean in (-1.0, 1.0)
    ]  # fmt: skip
    assert medians == pytest.approx([np.e, 1 / np.e], rel=0.01)


def test_warm_up_of_sdxl_is_uniform_timesteps():
    schedule = make_schedule(diffusers.DDPMScheduler(**SD), Namespace())
    torch.testing.assert_close(
        schedule.entries.mass(schedule.prior), torch.full((1000,), 1e-3).double(), rtol=1e-4, atol=0
    )
    assert float(schedule.prior.level(0.5)) == pytest.approx(1.62, rel=0.01)  # that of timestep 500


@pytest.mark.parametrize(
    ("prediction_type", "own", "weight"),
    [
        ("epsilon", {}, LossWeight("eps")),
        ("epsilon", {"snr_gamma": 5.0}, LossWeight("eps", "min_snr", 5.0)),
        ("v_prediction", {"snr_gamma": 1.0}, LossWeight("v", "min_snr", 1.0)),
        ("epsilon", {"prediction_type": "v_prediction"}, LossWeight("v")),
        ("sample", {}, LossWeight("x0")),
        ("epsilon", {"v_parameterization": True, "scale_v_pred_loss_like_noise_pred": True}, LossWeight("eps")),
        ("epsilon", {"debiased_estimation_loss": True}, LossWeight("eps", "debiased")),
    ],
)
def test_weight_of_a_ddpm_is_that_of_its_options(prediction_type, own, weight):
    schedule = make_schedule(diffusers.DDPMScheduler(prediction_type=prediction_type, **SD), Namespace(**own))
    assert schedule.weight == weight
    assert (schedule.bound is None) == (weight.prediction != "eps")


@pytest.mark.parametrize("precondition", [0, 1])
@pytest.mark.parametrize("scheme", ["logit_normal", "sigma_sqrt", "cosmap"])
def test_weight_of_a_flow_is_that_of_its_options(scheme, precondition):
    args = changed(FLUX, weighting_scheme=scheme, precondition_outputs=precondition)
    weight = make_schedule(diffusers.FlowMatchEulerDiscreteScheduler(), args).weight
    assert weight == LossWeight("x0" if precondition else "velocity", "none" if scheme == "logit_normal" else scheme)


@pytest.mark.parametrize("name", ["noise_offset", "input_perturbation", "do_edm_style_training"])
def test_what_is_not_white_noise_is_refused(name):
    with pytest.raises(ValueError, match=rf"args\.{name} is 0\.1, but must be off"):
        make_schedule(diffusers.DDPMScheduler(**SD), Namespace(**{name: 0.1}))


def test_rounded_times_are_refused():
    schedule = make_schedule(diffusers.FlowMatchEulerDiscreteScheduler(), FLUX)
    x = torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"dtype of timesteps is torch\.bfloat16, but must be torch\.float32"):
        schedule.record(torch.tensor([500.0, 3.0], dtype=torch.bfloat16), x, x)


@pytest.mark.parametrize("wrong", ["t", "places", "integers", "1 - t"])
def test_timesteps_that_are_no_entries_are_not_recorded(wrong):
    """Their nearest entries would be a table of its own: recorded low, learned low, drawn low."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    schedule, x = make_schedule(scheduler, FLUX), torch.zeros(900, 4)
    place = torch.arange(50, 950)
    steps = scheduler.timesteps[place]
    given = {"t": steps / 1000, "places": place.float(), "integers": steps.long(), "1 - t": 1000 - steps}[wrong]
    if wrong == "integers":
        with pytest.raises(ValueError, match=r"dtype of timesteps is torch\.int64, but must be torch\.float32"):
            schedule.record(given, x, x)
        return
    schedule.record(given, x, x)
    summary = schedule.summary()
    assert summary["skipped_nonfinite_sigma"] > 800
    assert summary["recorded"] + summary["skipped_nonfinite_sigma"] == 900


def test_timesteps_of_a_ddpm_outside_of_its_table_are_not_recorded():
    schedule = make_schedule(diffusers.DDPMScheduler(**SD), Namespace())
    schedule.record(torch.tensor([-1, 0, 999, 1000]), torch.zeros(4, 2), torch.ones(4, 2))
    assert schedule.summary()["recorded"] == 2
    assert schedule.summary()["skipped_nonfinite_sigma"] == 2
    with pytest.raises(ValueError, match=r"dtype of timesteps is torch\.bfloat16"):
        schedule.record(torch.tensor([501.0], dtype=torch.bfloat16), torch.zeros(1, 2), torch.zeros(1, 2))


@pytest.mark.parametrize(("low", "high"), [(0, 200), (200, 1000), (None, None), (300, 700)])
def test_an_expert_draws_its_own_timesteps(low, high):
    """Uniformly in [min_timestep, max_timestep) to begin with, as kohya's scripts do; an end may have half."""
    schedule = make_schedule(diffusers.DDPMScheduler(**SD), Namespace(min_timestep=low, max_timestep=high), floor=0.0)
    drawn, low, high = schedule.timesteps(20_000), low or 0, high or 1000
    assert (int(drawn.min()), int(drawn.max())) == (low, high - 1)
    assert stats.kstest(drawn.double().numpy(), stats.uniform(low, high - low).cdf).statistic < 0.02
    with pytest.raises(ValueError, match=r"args\.max_timestep is 1001, but must be an integer in"):
        make_schedule(diffusers.DDPMScheduler(**SD), Namespace(max_timestep=1001))


def test_a_bias_of_the_scripts_own_draw_is_refused():
    with pytest.raises(ValueError, match=r"args\.timestep_bias_strategy is 'later', but must be 'none'"):
        make_schedule(diffusers.DDPMScheduler(**SD), Namespace(timestep_bias_strategy="later"))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_record_of_a_flow_finds_the_entries_that_were_used(shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    schedule = make_schedule(scheduler, FLUX)
    seen = []
    schedule.observe = lambda sigma, error: seen.append((sigma, error))
    images, wrong, noise = torch.randn(3, 1000, 8, generator=generator(2))
    t = scheduler.sigmas[:, None]
    schedule.record(scheduler.timesteps, noise - wrong, noise - images)
    ((sigma, error),) = seen
    torch.testing.assert_close(sigma, schedule.entries.sigmas)
    expected = t.flatten().square() * (wrong - images).square().mean(1)
    torch.testing.assert_close(error[1:], expected[1:], rtol=1e-3, atol=0)  # entry 0 is pure noise


def script(accelerator, args, steps, resume=None):
    """The Flux script less its models, with the five lines: returns what it drew, and the schedule."""
    noise_scheduler_copy = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    net = accelerator.prepare(torch.nn.Linear(8, 8))
    schedule = make_schedule(noise_scheduler_copy, args, accelerator, seed=4)
    if resume:
        accelerator.load_state(resume)
    drawn, g = [], generator(6)
    while len(drawn) < steps:
        with accelerator.accumulate(net):
            model_input, noise = torch.randn(2, args.train_batch_size, 8, generator=g)
            u = schedule.density(
                weighting_scheme=args.weighting_scheme, batch_size=len(model_input), logit_mean=args.logit_mean,
                logit_std=args.logit_std, mode_scale=args.mode_scale,
            )  # fmt: skip
            indices = (u * noise_scheduler_copy.config.num_train_timesteps).long()
            timesteps = noise_scheduler_copy.timesteps[indices].to(device=model_input.device)
            t = (timesteps / 1000)[:, None]
            noisy = (1 - t) * model_input + t * noise
            sigma = t / (1 - t)
            model_pred = (noisy - (1 + sigma) / (1 + sigma**2) * noisy) / t + 0 * net(noisy)  # exact for such latents
            target = noise - model_input
            schedule.record(timesteps, model_pred, target)
        if accelerator.sync_gradients:
            schedule.step()
            drawn.append(timesteps)
    return drawn, schedule


@pytest.fixture
def accelerator():
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return accelerate.Accelerator(cpu=True)


@pytest.mark.parametrize("batch", [1, 4])
def test_flux_lora_at_batch_one_is_active_within_500_steps(accelerator, batch):
    _, schedule = script(accelerator, changed(FLUX, train_batch_size=batch), 500)
    assert schedule.status == "active"
    summary = schedule.summary()
    assert summary["recorded"] + summary["skipped_nonfinite_sigma"] == 500 * batch
    assert summary["skipped_out_of_range"] == 0


def exact_flow(steps, batch, seed, std, **own):
    """The draws and records of a flow script around the exact network of Gaussian latents; when it became active."""
    scheduler, g = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), generator(seed)
    schedule, active = make_schedule(scheduler, changed(FLUX, **own), seed=seed), None
    for step in range(1, steps + 1):
        latents, noise = torch.randn(2, batch, 16, generator=g)
        latents *= std
        timesteps = scheduler.timesteps[(schedule.density("none", batch) * 1000).long()]
        t = (timesteps / 1000)[:, None]
        noisy = (1 - t) * latents + t * noise
        known = (1 - t) * std**2 / ((1 - t) ** 2 * std**2 + t**2) * noisy
        schedule.record(timesteps, (noisy - known) / t, noise - latents)
        schedule.step()
        if active is None and step >= 50 and schedule.status == "active":
            active = step
    return schedule, active


@pytest.mark.parametrize("std", [0.5, 1.0])
@pytest.mark.parametrize("scheme", ["none", "logit_normal"])
def test_500_steps_at_batch_one_find_the_levels_of_a_long_run(std, scheme):
    """Active at the first refresh, and near the end's median: 0.1 in log sigma is the worst of 32 runs.

    Deterministic by its seeds; the bound of 0.5 is what the page promises.
    """
    long, _ = exact_flow(500, 64, 99, std, weighting_scheme=scheme)
    for seed in (0, 1):
        short, active = exact_flow(500, 1, seed, std, weighting_scheme=scheme)
        assert active == 50
        assert short.status == long.status == "active"
        assert abs(float(short.table().level(0.5).log() - long.table().level(0.5).log())) < 0.5


def test_checkpoint_of_the_script_brings_the_schedule_back(accelerator, tmp_path):
    """One more run from the script's own checkpoint draws what the unbroken run draws."""
    script(accelerator, FLUX, 30)
    accelerator.save_state(tmp_path / "checkpoint-30")
    schedule = accelerator._custom_objects[-1]
    ahead = schedule.sample(20)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    _, resumed = script(accelerate.Accelerator(cpu=True), FLUX, 0, resume=tmp_path / "checkpoint-30")
    assert resumed.summary()["steps"] == 30
    assert torch.equal(resumed.sample(20), ahead)


def test_an_option_given_beside_the_script_holds():
    schedule = make_schedule(diffusers.FlowMatchEulerDiscreteScheduler(), FLUX, bins=24, seed=1)
    assert schedule.config.bins == 24


EXACT = {
    "SD": SD,
    "DDPM": {"beta_schedule": "linear"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


@pytest.mark.parametrize("table", EXACT)
def test_exact_epsilon_network_neither_starves_low_noise_nor_floods_high_noise(table):
    """Gaussian latents of standard deviation 1, whose denoiser is known, under the plain epsilon loss.

    Uniform timesteps are what such networks are trained on. The learned levels keep at least a third of their share
    below the latents' own scale, at most half more (and 0.05) above 20, where nothing is left to learn, and have
    their lower quartile and median within a factor of 4, their upper quartile at most 4 times as high: that of
    uniform timesteps is itself in the waste (17 in DDPM's linear table).
    """
    schedule = make_schedule(diffusers.DDPMScheduler(**EXACT[table]), Namespace(train_batch_size=256), seed=5)
    g = generator(7)
    for _ in range(600):
        sigma = schedule.entries.sigmas[schedule.timesteps(256)]
        mmse = sigma.square() / (1 + sigma.square())
        schedule.observe(sigma, mmse * torch.randn(256, 16, generator=g).square().mean(1))
        schedule.step()
    assert schedule.status == "active"
    uniform = schedule.entries.uniform()
    low, learned_low = float(uniform.below(1.0)), float(schedule.table().below(1.0))
    high, learned_high = 1 - float(uniform.below(20.0)), 1 - float(schedule.table().below(20.0))
    assert learned_low > low / 3, (learned_low, low)
    assert learned_high < 1.5 * high + 0.05, (learned_high, high)
    for u, least in ((0.25, 1 / 4), (0.5, 1 / 4), (0.75, 0)):
        assert least < float(schedule.table().level(u)) / float(uniform.level(u)) < 4, u


def test_levels_of_the_flow_are_times_of_it():
    """The Flow of this package and the scheduler's own table name the same noise."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    schedule = make_schedule(scheduler, FLUX)
    torch.testing.assert_close(Flow("noise").time_of(schedule.entries.sigmas), scheduler.sigmas, rtol=1e-5, atol=1e-6)
    assert stats.kstest(schedule.prior.sample(10_000).log().numpy(), stats.logistic(np.log(3)).cdf).statistic < 0.03
