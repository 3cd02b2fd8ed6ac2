"""Schedules of flow trainers: their warm-up against draws by formula, and their functions' interface by stand-ins."""

import math
from argparse import Namespace

import pytest
import torch
from scipy import stats
from support import generator
from support.trainers import Utils

import infonoise_ext as inx
from infonoise_ext.channel import LossWeight
from infonoise_ext.integrations.trainers import kohya, make_schedule

KOHYA = {"sigmoid_scale": 1.0, "discrete_flow_shift": 3.0, "weighting_scheme": "none", "model_prediction_type": "raw"}
MUSUBI = {
    "sigmoid_scale": 1.0,
    "discrete_flow_shift": 3.0,
    "weighting_scheme": "none",
    "logit_mean": 0.4,
    "logit_std": 1.6,
}


def shifted(t, shift):
    return t * shift / (1 + (shift - 1) * t)


def mu(tokens, last, top):
    return 0.5 + (tokens - 256) * (top - 0.5) / (last - 256)


N, U = torch.distributions.Normal(0, 1).sample((40_000,)), torch.rand(40_000)
DRAWS = {  # of t, as the trainers draw it, and the arguments that ask for it
    "uniform": (KOHYA, {}, lambda: U),
    "sigmoid": (KOHYA, {"sigmoid_scale": 1.7}, lambda: (1.7 * N).sigmoid()),
    "shift": (KOHYA, {}, lambda: shifted(N.sigmoid(), 3.0)),
    "flux_shift": (KOHYA, {"resolution": "768,1024"}, lambda: shifted(N.sigmoid(), math.exp(mu(48 * 64, 4096, 1.15)))),
    "nextdit_shift": (KOHYA, {"resolution": (1024, 1024)}, lambda: shifted(U, math.exp(1.15))),
    "qwen_shift": (MUSUBI, {}, lambda: shifted(N.sigmoid(), math.exp(mu(4096, 8192, 0.9)))),
    "logsnr": (MUSUBI, {}, lambda: (-(0.4 + 1.6 * N) / 2).sigmoid()),
    "sigma": (KOHYA, {}, lambda: shifted(U, 3.0)),
}


@pytest.mark.parametrize("sampling", DRAWS)
def test_warm_up_is_the_trainers_own_density(sampling):
    """Two-sample Kolmogorov-Smirnov with a false-alarm rate of 1e-6; the table of "sigma" is 1000 levels."""
    args, more, draw = DRAWS[sampling]
    torch.manual_seed(3)
    prior = make_schedule(Namespace(**(args | more), timestep_sampling=sampling)).prior
    t = draw()
    kept = (t > 0.002) & (t < 0.998)
    ours = prior.sample(40_000).double()
    ours = ours / (1 + ours)
    ours = ours[(ours > 0.002) & (ours < 0.998)]
    assert stats.ks_2samp(ours.numpy(), t[kept].numpy()).pvalue > 1e-6


def test_sd3_of_kohya_draws_in_an_ascending_table():
    """Its u is a timestep itself, shifted towards noise; its loss compares clean latents."""
    args = Namespace(
        weighting_scheme="logit_normal", logit_mean=0.5, logit_std=1.0, mode_scale=1.29, training_shift=2.0
    )
    schedule = make_schedule(args)
    assert float(schedule.prior.level(0.5)) == pytest.approx(2 * math.exp(0.5), rel=0.01)
    assert schedule.weight == LossWeight("x0")
    assert schedule.prediction == "x0"
    args.weighting_scheme = "cosmap"
    assert make_schedule(args).weight == LossWeight("x0", "cosmap")


def test_weighting_scheme_counts_where_the_trainer_applies_it():
    """musubi's on every velocity, kohya's on none that is raw."""
    musubi, kohyas = (Namespace(**(args | {"weighting_scheme": "cosmap"})) for args in (MUSUBI, KOHYA))
    assert make_schedule(musubi).weight == LossWeight("velocity", "cosmap")
    assert make_schedule(kohyas).weight == LossWeight("velocity")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"ip_noise_gamma": 0.1}, r"args\.ip_noise_gamma is 0\.1, but must be off"),
        ({"num_timestep_buckets": 5}, r"args\.num_timestep_buckets is 5"),
        ({"model_prediction_type": "sigma_scaled"}, "model_prediction_type is 'sigma_scaled', but must be 'raw'"),
        ({"timestep_sampling": "qinglong_flux"}, "timestep_sampling is 'qinglong_flux', but must be one of 'sigma'"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(args, words):
    with pytest.raises(ValueError, match=words):
        make_schedule(Namespace(**args))


def test_density_of_ones_own_takes_the_place_of_an_unknown_one():
    schedule = make_schedule(Namespace(timestep_sampling="qinglong_flux"), prior=inx.LogNormal(0.0, 1.0))
    assert schedule.prior.mean == 0


@pytest.mark.parametrize("make", [lambda **o: make_schedule(None, **o), lambda **o: make_diffusers(**o)])
def test_ranks_share_one_table_unless_told_otherwise(make):
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    torch.distributed.init_process_group("fake", rank=1, world_size=2, store=fake.FakeStore())
    try:
        shared, own = make(), make(rank=1, world=2)
    finally:
        torch.distributed.destroy_process_group()
    assert shared.process_group is not None
    assert own.process_group is None
    assert (shared.rank, shared.world) == (own.rank, own.world) == (1, 2)
    assert torch.equal(shared.prior.mass(shared.state.edges), own.prior.mass(own.state.edges))  # on all ranks alike


def make_diffusers(**options):
    diffusers = pytest.importorskip("diffusers")
    from infonoise_ext.integrations.diffusers import make_schedule

    return make_schedule(diffusers.DDPMScheduler(), **options)


def test_time_range_of_the_trainer_is_the_schedules():
    """An expert of high noise, as --min_timestep 875 with --preserve_distribution_shape."""
    schedule = make_schedule(Namespace(timestep_sampling="uniform", min_timestep=875, max_timestep=1000))
    assert schedule.config.sigma_min == pytest.approx(7.0)
    assert (schedule.times(10_000) >= 0.875).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_levels_that_are_recorded_are_those_that_were_mixed(dtype):
    """Also at high noise, where a time in bfloat16 is another level: the drawn ones, to float32."""
    utils, schedule = Utils(), make_schedule(Namespace(**KOHYA, timestep_sampling="shift"))
    own = utils.get_noisy_model_input_and_timesteps
    latents, noise = torch.zeros(4000, 1, 1, 1, dtype=dtype), torch.ones(4000, 1, 1, 1, dtype=dtype)
    with kohya(utils, schedule):
        noisy, timesteps, t = utils.get_noisy_model_input_and_timesteps(None, None, latents, noise, "cpu", dtype)
    assert utils.get_noisy_model_input_and_timesteps == own
    assert (noisy.dtype, timesteps.dtype, t.dtype) == (dtype, dtype, torch.float32)
    seen = []
    schedule.observe = lambda sigma, error, mask: seen.append(sigma)
    schedule.record(torch.zeros(4000, 1, requires_grad=True), torch.zeros(4000, 1))
    torch.testing.assert_close(seen[0], (t / (1 - t)).flatten(), rtol=1e-4, atol=0)  # 1 - t has lost digits
    torch.testing.assert_close(noisy.float(), t.to(dtype).float(), rtol=2e-2, atol=0)
    assert seen[0].max() > 20


def test_sd3_function_has_no_scheduler_and_its_error_is_the_clean_one():
    class SD3TrainUtils:
        def get_noisy_model_input_and_timesteps(self, args, latents, noise, device, dtype):
            raise AssertionError

    utils = SD3TrainUtils()
    schedule = make_schedule(Namespace(training_shift=1.0, weighting_scheme="none"))
    latents, noise = torch.randn(2, 8, 4, 2, 2, generator=generator(1))
    with kohya(utils, schedule):
        noisy, timesteps, t = utils.get_noisy_model_input_and_timesteps(None, latents, noise, "cpu", torch.float32)
    torch.testing.assert_close(noisy, (1 - t) * latents + t * noise)
    torch.testing.assert_close(timesteps, 1000 * t.flatten())
    seen = []
    schedule.observe = lambda sigma, error, mask: seen.append(error)
    wrong = (0.5 * latents).requires_grad_()
    schedule.record(wrong, latents)
    torch.testing.assert_close(seen[0], 0.25 * latents.square().mean((1, 2, 3)))


def test_record_of_given_times_is_the_clean_error():
    """musubi hands its times on in float32, after it has drawn again what its expert does not train on."""
    schedule, seen = make_schedule(Namespace(**MUSUBI)), []
    schedule.observe = lambda sigma, error, mask: seen.append((sigma, error, mask))
    latents, wrong, noise = torch.randn(3, 6, 8, generator=generator(4))
    t, mask = torch.linspace(0.01, 0.99, 6), torch.arange(6) > 1
    schedule.record((noise - wrong).requires_grad_(), noise - latents, t, mask=mask)
    ((sigma, error, given),) = seen
    torch.testing.assert_close(sigma, t / (1 - t))
    torch.testing.assert_close(error, t**2 * (wrong - latents).square().mean(1), rtol=1e-4, atol=0)
    assert given is mask
    with pytest.raises(ValueError, match=r"dtype of t is torch\.bfloat16, but must be torch\.float32"):
        schedule.record((noise - wrong).requires_grad_(), noise - latents, t.bfloat16())


def test_record_without_a_draw_for_it_is_refused():
    schedule = make_schedule()
    pred = torch.zeros(3, 4, requires_grad=True)
    with pytest.raises(ValueError, match="the number of times drawn is None, but must be that of samples, 3"):
        schedule.record(pred, pred)
    schedule.times(2)
    with pytest.raises(ValueError, match="the number of times drawn is 2"):
        schedule.record(pred, pred)
