"""The pages of docs/integrations: their code runs as it stands there."""

import ast
import math
import re
import sys
import types
from argparse import Namespace

import pytest
import torch
from support import ROOT, generator, hosts, trainers
from support.runs import fed, gaussian_mmse

import infonoise_ext as inx
from infonoise_ext.channel import Flow, LossWeight, UniformTime
from infonoise_ext.integrations.trainers import make_schedule

PAGES = ROOT / "docs" / "integrations"


def block(page, holding):
    """The one Python block of a page that holds the given text."""
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.S)
    (found,) = [text for text in blocks if holding in text]
    return found


@pytest.mark.parametrize(
    "page", ["diffusers", "k-diffusion", "edm", "discrete-time", "kohya-and-trainers", "dit-sit-repa"]
)
def test_page_begins_with_the_lines_to_add(page):
    """All of them: those of a diffusers script with import, set-up, ranks and resume."""
    before, code = (PAGES / f"{page}.md").read_text().split("```python\n", 1)
    assert before.count("\n") < 8
    assert code.split("```")[0].count("\n") <= (5 if page == "diffusers" else 4)


@pytest.mark.parametrize("holding", ["schedule.density(", "schedule.timesteps("])
def test_a_diffusers_script_gains_five_lines_at_most(holding):
    """With import, set-up, resume and ranks: every line of the block, each a statement, none of them continued."""
    code = block("diffusers", holding)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) == len(ast.parse(code).body) <= 5
    assert sum("# was" in line for line in lines) == 1  # in place of a line that the script has


def test_complete_run_of_discrete_time(capsys):
    exec(block("discrete-time", "import torch"), {})
    assert capsys.readouterr().out.startswith("active")


NUMBERS = {"train_batch_size": 1, "gradient_accumulation_steps": 1, "max_train_steps": 500}
KOHYA = Namespace(
    timestep_sampling="shift", sigmoid_scale=1.0, discrete_flow_shift=3.0, model_prediction_type="raw", **NUMBERS
)
LATENTS = torch.randn(16, 4, 2, 2, generator=generator(1))


class Accelerator:
    """What `make_schedule` asks of one."""

    device, num_processes = torch.device("cpu"), 1

    def __init__(self):
        self.registered = []
        self.register_for_checkpointing = self.registered.append


def recipe(holding, **names):
    """The names that a block of the trainers' page leaves."""
    names |= {"inx": inx, "torch": torch}
    exec(block("kohya-and-trainers", holding), names)
    return names


def watch(schedule):
    """What it is given from now on; it goes on recording."""
    seen, plain = [], schedule.observe
    schedule.observe = lambda sigma, error, mask=None: (seen.append((sigma, error)), plain(sigma, error, mask))
    return seen


def assert_recorded(schedule, seen, sigma, steps, latents=LATENTS):
    """The levels that were used, the clean errors, and as many steps as the optimizer made."""
    for given, error in seen:
        torch.testing.assert_close(error, trainers.clean_error(latents), rtol=2e-3, atol=0)
        assert len(given) == len(latents)
    torch.testing.assert_close(seen[-1][0], sigma.flatten(), rtol=2e-3, atol=0)
    assert schedule.summary()["steps"] == steps
    assert schedule.summary()["recorded"] == len(seen) * len(latents)


def flow(t):
    return t / (1 - t)


def test_kohyas_recipe_trains_on_the_schedule_and_validates_without_it():
    utils = trainers.Utils()
    names = recipe("kohya(flux_train_utils", flux_train_utils=utils, FluxNetworkTrainer=trainers.FluxNetworkTrainer)
    trainer, accelerator = names["InfoNoiseTrainer"](utils), Accelerator()
    assert trainer.load_target_model(KOHYA, torch.bfloat16, accelerator) == "model"
    assert accelerator.registered == [trainer.schedule]
    seen = watch(trainer.schedule)
    for _ in range(3):
        trainer.process_batch(None, None, None, LATENTS, torch.bfloat16)
        used = trainer.t
        trainer.all_reduce_network(None, None)
    drawn = trainer.schedule.state.rng[1].clone()
    trainer.process_batch(None, None, None, LATENTS, torch.bfloat16, is_train=False)
    assert (trainer.t == 0.5).all()
    assert torch.equal(trainer.schedule.state.rng[1], drawn)
    assert_recorded(trainer.schedule, seen, flow(used), steps=3)


def test_kohyas_recipe_for_tables():
    pytest.importorskip("diffusers")
    utils, own = trainers.Utils(), trainers.SdxlNetworkTrainer
    names = recipe("InfoNoiseTableTrainer", train_util=utils, SdxlNetworkTrainer=own)
    trainer, accelerator = names["InfoNoiseTableTrainer"](utils), Accelerator()
    trainer.load_target_model(Namespace(min_snr_gamma=5.0, **NUMBERS), torch.bfloat16, accelerator)
    assert trainer.schedule.weight == LossWeight("eps", "min_snr", 5.0)
    seen, scheduler = watch(trainer.schedule), trainer.get_noise_scheduler(None, "cpu")
    for _ in range(2):
        trainer.process_batch(None, None, scheduler, LATENTS, torch.bfloat16)
        trainer.all_reduce_network(None, None)
    used = trainer.timesteps
    trainer.process_batch(None, None, scheduler, LATENTS, torch.bfloat16, is_train=False)
    assert (trainer.timesteps == 500).all()
    assert len(used.unique()) > 4
    assert_recorded(trainer.schedule, seen, trainer.schedule.entries.sigmas[used], steps=2)


@pytest.mark.parametrize("own", [trainers.NetworkTrainer, trainers.WanNetworkTrainer])
def test_musubis_recipe_records_the_draws_that_its_expert_kept(own, monkeypatch):
    monkeypatch.setattr(trainers.NetworkTrainer, "get_noisy_model_input_and_timesteps", None)  # put back afterwards
    module = types.ModuleType("musubi_tuner.training.trainer_base")
    module.NetworkTrainer = trainers.NetworkTrainer
    for name in ("musubi_tuner", "musubi_tuner.training", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    trainer, accelerator = recipe("musubi_tuner", WanNetworkTrainer=own)["InfoNoiseTrainer"](), Accelerator()
    trainer.on_transformer_loaded(Namespace(timestep_sampling="uniform", **NUMBERS), accelerator, None)
    assert accelerator.registered == [trainer.schedule]
    seen = watch(trainer.schedule)
    for sync in (False, True):
        loss, _ = trainer.process_batch(None, LATENTS)
        assert loss.requires_grad
        trainer.on_post_optimizer_step(None, None, None, None, sync, 0)
    assert own is trainers.NetworkTrainer or (trainer.t >= 0.5).all()
    assert trainer.noisy.dtype == torch.float32
    assert_recorded(trainer.schedule, seen, flow(trainer.t), steps=1)


def test_simpletuners_recipe_steps_with_the_trainer():
    names = recipe("InfoNoiseModel", Flux=trainers.SimpleTunerFlux)
    config = Namespace(flow_sigmoid_scale=1.0, flow_schedule_shift=3.0, **NUMBERS)
    model, accelerator = names["InfoNoiseModel"](config, Accelerator()), None
    assert model.accelerator.registered == [model.schedule]
    assert model.schedule.prior.shift == 3
    seen = watch(model.schedule)
    for global_step in (7, 7, 8, 8, 9):  # resumed at 7, two micro-batches in each
        model.step(LATENTS, global_step)
    assert accelerator is None
    assert_recorded(model.schedule, seen, flow(model.t), steps=2)


def test_ai_toolkits_recipe_fills_the_table_that_it_picks_from():
    trainer = recipe("SDTrainer", SDTrainer=trainers.SDTrainer)["InfoNoiseTrainer"]()
    trainer.hook_before_train_loop()
    seen = watch(trainer.schedule)
    for accumulating in (True, False, False):
        trainer.is_grad_accumulation_step = accumulating
        trainer.hook_train_loop(trainers.Batch(LATENTS))
    assert_recorded(trainer.schedule, seen, flow(trainer.t), steps=2)


def test_onetrainers_recipe_starts_from_its_own_density():
    setup = recipe("FluxLoRASetup", FluxLoRASetup=trainers.FluxLoRASetup)["InfoNoiseSetup"]()
    setup.setup_model(None, None)
    for q, t in ((0.125, 0.25), (0.5, 0.5), (0.875, 0.75)):  # of the mean of two uniform numbers
        assert float(setup.schedule.prior.level(q)) == pytest.approx(flow(t), rel=0.03)
    seen = watch(setup.schedule)
    for _ in range(4):
        setup.train(LATENTS)
    used = setup.t
    setup.train(LATENTS, deterministic=True)
    assert setup.t.tolist() == [0.5]
    assert_recorded(setup.schedule, seen, flow(used), steps=4)


def test_onetrainers_weights_are_its_formulas():
    """Each named weight and each lambda of the page against its loss: factor times the error of the prediction."""
    page = (PAGES / "kohya-and-trainers.md").read_text()
    debiased, p2, sigma = (re.search(pattern, page).group(1) for pattern in (
        r"`(lambda s: .*-0\.5)`", r"`(lambda s: .*-gamma)`", r"sigma `(lambda s: [^`]*)`",
    ))  # fmt: skip
    s, gamma = torch.tensor([0.1, 0.5, 2.0, 9.0], dtype=torch.float64), 0.7
    v, velocity = LossWeight("v")(s), LossWeight("velocity")(s)
    torch.testing.assert_close(eval(debiased)(s), v * (s**-2 + 1).rsqrt())
    torch.testing.assert_close(eval(p2, {"gamma": gamma})(s), v * (1 + (s**-2 + 1)) ** -gamma)
    torch.testing.assert_close(eval(sigma)(s), velocity * s / (1 + s))


def test_torchtitans_lines():
    schedule = make_schedule()
    noise = torch.randn_like(LATENTS)
    names = {"self": Namespace(schedule=schedule), "bsz": 16, "target": noise - LATENTS}
    seen = watch(schedule)

    def predict(names):
        names["latent_noise_pred"] = trainers.prediction(LATENTS, noise, names["timesteps"])

    run_lines(block("kohya-and-trainers", "latent_noise_pred"), names, {0: predict})
    schedule.step()
    assert_recorded(schedule, seen, schedule._drawn, steps=1)


def test_first_lines_of_the_trainers_page():
    names = {"schedule": make_schedule(), "latents": LATENTS, "noise": torch.randn_like(LATENTS)}
    names["target"] = names["noise"] - LATENTS

    def predict(names):
        names["model_pred"] = trainers.prediction(LATENTS, names["noise"], names["t"])
        names["seen"] = watch(names["schedule"])

    run_lines(block("kohya-and-trainers", "noisy, t = schedule.mix"), names, {0: predict})
    torch.testing.assert_close(names["noisy"], (1 - names["t"]) * LATENTS + names["t"] * names["noise"])
    assert_recorded(names["schedule"], names["seen"], flow(names["t"]), steps=1)


def run_lines(text, names, between):
    """The statements of a block one after the other, and after each what the host does there."""
    for number, statement in enumerate(ast.parse(text).body):
        exec(ast.unparse(statement), names)
        between.get(number, lambda names: None)(names)


def test_lines_of_the_flow_scripts():
    """SD3 and Flux, with the schedulers and functions of diffusers around them; the checkpoint is the accelerator's."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    args = Namespace(weighting_scheme="logit_normal", logit_mean=0.0, logit_std=1.0, mode_scale=1.29, **NUMBERS)
    names = {"noise_scheduler_copy": scheduler, "args": args, "accelerator": Accelerator(), "bsz": 16}

    def noised(names):
        indices = (names["u"] * scheduler.config.num_train_timesteps).long()
        names["timesteps"] = scheduler.timesteps[indices]
        noise = torch.randn_like(LATENTS)
        names |= {
            "model_pred": trainers.prediction(LATENTS, noise, names["timesteps"] / 1000),
            "target": noise - LATENTS,
        }
        names["seen"] = watch(names["schedule"])

    run_lines(block("diffusers", "schedule.density("), names, {2: noised})
    assert names["accelerator"].registered == [names["schedule"]]
    assert_recorded(names["schedule"], names["seen"], flow(names["timesteps"] / 1000), steps=1)


def test_lines_of_the_ddpm_scripts():
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear")
    names = {"noise_scheduler": scheduler, "args": Namespace(snr_gamma=5.0, **NUMBERS), "accelerator": Accelerator()}

    def noised(names):
        a2 = scheduler.alphas_cumprod[names["timesteps"]].view(-1, 1, 1, 1)
        noise = torch.randn_like(LATENTS)
        snr = a2 / (1 - a2)
        names |= {"model_pred": noise + 0.1 * snr.sqrt() * LATENTS, "target": noise, "sigma": snr.rsqrt()}
        names["seen"] = watch(names["schedule"])

    names["bsz"] = 16
    run_lines(block("diffusers", "schedule.timesteps("), names, {2: noised})
    assert names["schedule"].weight == LossWeight("eps", "min_snr", 5.0)
    assert_recorded(names["schedule"], names["seen"], names["sigma"], steps=1)


def test_dits_lines():
    diffusion = trainers.GaussianDiffusion()
    names = {"inx": inx, "torch": torch, "diffusion": diffusion, "device": "cpu", "process_group": None}
    exec(block("dit-sit-repa", "alphas_cumprod"), names)
    torch.testing.assert_close(
        names["table"].mass(names["schedule"].prior), torch.full((1000,), 1e-3).double(), rtol=1e-4, atol=0
    )
    seen = watch(names["schedule"])
    exec(block("dit-sit-repa", "training_losses(model"), names | {"x": LATENTS, "model": None, "model_kwargs": {}})
    names["schedule"].step()
    assert_recorded(names["schedule"], seen, diffusion.sigma, steps=1)


def test_sits_lines():
    transport = trainers.Transport()
    names = {"inx": inx, "torch": torch, "transport": transport, "device": "cpu", "process_group": None, "x": LATENTS}
    names |= {"Flow": Flow, "UniformTime": UniformTime, "model": lambda x, t, y: x, "model_kwargs": {"y": 0}}
    exec(block("dit-sit-repa", "transport.sample = sample"), names)
    seen = watch(names["schedule"])
    exec(block("dit-sit-repa", "training_losses(seen"), names)
    names["schedule"].step()
    assert_recorded(names["schedule"], seen, (1 - transport.t) / transport.t, steps=1)


def test_repas_lines():
    schedule = inx.InfoNoise(1e-3, 1e3, weight="velocity", prior=UniformTime())
    seen = watch(schedule)
    names = {"inx": inx, "Flow": Flow, "images": LATENTS, "self": Namespace(schedule=schedule)}
    names["denoising_loss"] = (0.1 * LATENTS).square().mean((1, 2, 3))
    exec(block("dit-sit-repa", "time_input"), names)
    schedule.step()
    t = names["time_input"]
    assert t.shape == (16, 1, 1, 1)
    ((given, error),) = seen
    torch.testing.assert_close(given, flow(t).flatten(), rtol=2e-3, atol=0)
    torch.testing.assert_close(error, t.flatten().square() * names["denoising_loss"], rtol=2e-3, atol=0)


def test_repas_cosine_path():
    """Its velocity is pi / 2 times v, as the page says: a' x0 + b' eps with a = cos(pi t / 2)."""
    t, (x0, eps) = torch.tensor(0.3, dtype=torch.float64), torch.randn(2, 64, dtype=torch.float64)
    a, b = (math.pi / 2 * t).cos(), (math.pi / 2 * t).sin()
    target = -math.pi / 2 * b * x0 + math.pi / 2 * a * eps
    torch.testing.assert_close(target, math.pi / 2 * (a * eps - b * x0))
    assert float(inx.channel.VP().time_of(b / a)) == pytest.approx(0.3)


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
    density = {"sigma_sample_density": {"type": "lognormal", "mean": -1.2, "std": 1.2}}
    names["model_config"] = {"sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0} | density
    names |= {"config": {"model": names["model_config"]}, "inner_model": lambda x, sigma: 0.1 * x}
    names["accelerator"] = Accelerator()
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
