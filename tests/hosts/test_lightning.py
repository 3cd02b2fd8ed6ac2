"""The Lightning callback under a real Trainer."""

from types import SimpleNamespace

import pytest
import torch

import infonoise_ext as inx
from infonoise_ext.state.tensors import MUTABLE

pl = pytest.importorskip("lightning.pytorch")
loggers = pytest.importorskip("lightning.pytorch.loggers")
from infonoise_ext.integrations.lightning import InfoNoiseCallback  # noqa: E402


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 2)

    def training_step(self, batch, batch_idx):
        (x,) = batch
        sigma = self.schedule.sample(len(x))
        y = x + sigma[:, None] * torch.randn_like(x)
        error = (self.net(torch.cat((y, sigma[:, None]), 1)) - x).square().mean(1)
        self.schedule.observe(sigma, error)
        return error.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


class Numbers(loggers.logger.DummyLogger):
    """Keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_metrics(self, metrics, step=None):
        self.rows.setdefault(step, {}).update(metrics)


def fit(callback, *, module=None, batches=12, logger=False, ckpt_path=None, **options):
    data = torch.utils.data.TensorDataset(torch.randn(8 * batches, 2))
    trainer = pl.Trainer(
        accelerator="cpu", logger=logger, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback], **({"max_epochs": 1} | options),
    )  # fmt: skip
    module = module or Module()
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    trainer.fit(module, loader, ckpt_path=ckpt_path, weights_only=None if ckpt_path is None else True)
    return trainer, module


@pytest.mark.parametrize("accumulate", [1, 4])
def test_one_step_per_optimizer_step_and_logs_on_its_own_cadence(accumulate):
    schedule, numbers = inx.InfoNoise(seed=1), Numbers()
    callback = InfoNoiseCallback(schedule, log_every=2)
    _, module = fit(callback, logger=numbers, accumulate_grad_batches=accumulate, log_every_n_steps=5)
    assert module.schedule is schedule
    assert schedule.summary()["steps"] == 12 // accumulate
    assert schedule.summary()["recorded"] == 96
    logged = {step: row for step, row in numbers.rows.items() if "schedule/recorded" in row}
    assert sorted(logged) == list(range(2, 12 // accumulate + 1, 2))
    for step, row in logged.items():
        assert row["schedule/steps"] == step
        assert row["schedule/recorded"] == 8 * accumulate * step


def test_two_optimizers_in_a_batch_are_one_step():
    class Manual(Module):
        automatic_optimization = False

        def configure_optimizers(self):
            return [torch.optim.SGD(self.parameters(), 1e-3), torch.optim.SGD(self.parameters(), 1e-3)]

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()

    schedule, numbers = inx.InfoNoise(seed=1), Numbers()
    fit(InfoNoiseCallback(schedule, log_every=3), module=Manual(), batches=10, logger=numbers)
    assert schedule.summary()["steps"] == 10
    # global_step goes 2, 4, ...: a log falls where a multiple of 3 was passed, not only where one was met.
    assert sorted(step for step, row in numbers.rows.items() if "schedule/steps" in row) == [4, 6, 10, 12, 16, 18]


def test_resume_restores_schedules_under_their_names(tmp_path):
    first, second = inx.InfoNoise(seed=1, warmup=3), inx.InfoNoise(seed=2, warmup=3, bins=16)
    callback, other = InfoNoiseCallback(first), InfoNoiseCallback(second, name="second")
    trainer, _ = fit(callback, batches=24, max_steps=6, accumulate_grad_batches=2)
    other.schedule = second
    trainer.callbacks.append(other)
    path = tmp_path / "run.ckpt"
    trainer.save_checkpoint(path)
    assert torch.load(path, weights_only=True)["callbacks"].keys() >= {callback.state_key, other.state_key}
    resumed = inx.InfoNoise(seed=99, warmup=3)
    trainer, _ = fit(InfoNoiseCallback(resumed), max_steps=6, ckpt_path=path)
    assert trainer.global_step == 6
    for name in MUTABLE:
        assert torch.equal(getattr(first.state, name), getattr(resumed.state, name)), name
    assert torch.equal(first.sample(9), resumed.sample(9))
    again = inx.InfoNoise(seed=5, warmup=3)
    options = {"max_steps": 8, "max_epochs": 3, "accumulate_grad_batches": 2}
    trainer, _ = fit(InfoNoiseCallback(again), batches=24, ckpt_path=path, **options)
    # Two more: the first micro-batch after a resume, which does not reach the optimizer, is no step.
    assert again.summary()["steps"] == trainer.global_step == 8


def test_a_function_makes_the_schedule_when_processes_are_known():
    made = []

    def make():
        made.append(inx.InfoNoise(seed=1))
        return made[-1]

    _, module = fit(InfoNoiseCallback(make))
    assert made == [module.schedule]
    assert made[0].summary()["steps"] == 12


def test_schedule_of_another_number_of_processes_is_refused():
    trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(root_device=torch.device("cpu")))
    with pytest.raises(ValueError, match=r"schedule\.world is 1, but must be 2"):
        InfoNoiseCallback(inx.InfoNoise()).setup(trainer, Module(), "fit")
    fine = inx.InfoNoise(rank=1, world=2)
    InfoNoiseCallback(fine).setup(trainer, Module(), "fit")


@pytest.mark.parametrize("argument", ["log_every", "figure_every"])
def test_negative_cadence_is_named(argument):
    with pytest.raises(ValueError, match=f"{argument} is -1"):
        InfoNoiseCallback(inx.InfoNoise(), **{argument: -1})


def test_figures_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    pytest.importorskip("matplotlib")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = loggers.TensorBoardLogger(tmp_path)
    fit(InfoNoiseCallback(inx.InfoNoise(seed=1), log_every=0, figure_every=12), logger=logger)
    logger.finalize("success")
    events = EventAccumulator(logger.log_dir).Reload()
    assert [image.step for image in events.Images("schedule/figure")] == [12]
    assert not [tag for tag in events.Tags()["scalars"] if tag.startswith("schedule/")]
