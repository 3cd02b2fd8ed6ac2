"""PyTorch Lightning: a callback that places, steps, logs and checkpoints a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import InfoNoise
from ..curves.arguments import refuse, whole
from ..watch.plot import schedule_figure

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError:
    from pytorch_lightning import Callback, LightningModule, Trainer


class InfoNoiseCallback(Callback):
    """Does all but `sample` and `observe`, which are for `training_step`.

    The schedule becomes an attribute of the module, moves to the Trainer's device, steps once per
    optimizer step (however many micro-batches are accumulated), goes to the Trainer's loggers and
    into its checkpoints. Optimizer steps are those of `trainer.global_step`, which counts one that a
    gradient scaler skips; several optimizers that step in one batch are one step of the schedule.

    Args:
        schedule: an `InfoNoise`, or a function without arguments that makes one. Lightning forms the
            process group after the callback is made, so several processes need the function.
        log_every: optimizer steps between logs of `summary()`; 0 is never.
        figure_every: optimizer steps between figures, for a TensorBoardLogger or WandbLogger; 0 is
            never. Needs matplotlib.
        name: attribute of the module, prefix of the logged keys and key in the checkpoint; schedules
            of one Trainer need different ones.

    Raises:
        ValueError: log_every or figure_every is negative; in `setup`, the schedule was made for
            another number of processes than the Trainer has.
    """

    def __init__(
        self,
        schedule: InfoNoise | Callable[[], InfoNoise],
        log_every: int = 50,
        figure_every: int = 0,
        name: str = "schedule",
    ) -> None:
        super().__init__()
        self._given, self.name = schedule, name
        self.log_every = whole("log_every", log_every, least=0)
        self.figure_every = whole("figure_every", figure_every, least=0)
        self._seen = 0

    @property
    def state_key(self) -> str:
        """Key in the checkpoint, one per `name`."""
        return self._generate_state_key(name=self.name)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the schedule if a function was given, move it to the device, hand it to the module."""
        if not isinstance(self._given, InfoNoise):
            self._given = self._given()
        self.schedule = self._given
        self.schedule.to(trainer.strategy.root_device)
        if self.schedule.world != trainer.world_size:
            refuse("schedule.world", self.schedule.world, f"{trainer.world_size}, the Trainer's number of processes")
        setattr(pl_module, self.name, self.schedule)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where the Trainer stands, which is not 0 after a resume."""
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Step the schedule if an optimizer stepped, and log when due."""
        before, now = self._seen, trainer.global_step
        if now == before:
            return
        self._seen = now
        self.schedule.step()
        if not trainer.is_global_zero:
            return
        # Not pl_module.log_dict: it drops what is not on the cadence of the Trainer's log_every_n_steps.
        if _passed(self.log_every, before, now):
            values = {f"{self.name}/{key}": value for key, value in self.schedule.summary().items()}
            for logger in trainer.loggers:
                logger.log_metrics(values, step=now)
        if _passed(self.figure_every, before, now):
            self._log_figure(trainer, now)

    def _log_figure(self, trainer: Trainer, step: int) -> None:
        figure, key = schedule_figure(self.schedule), f"{self.name}/figure"
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(key, [figure], step=step)
            elif hasattr(logger.experiment, "add_figure"):
                logger.experiment.add_figure(key, figure, step)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's state; Lightning puts it into the checkpoint under `state_key`."""
        return self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy a state into the schedule; Lightning calls it after `setup`."""
        self.schedule.load_state_dict(state_dict)


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return every > 0 and now // every > before // every
