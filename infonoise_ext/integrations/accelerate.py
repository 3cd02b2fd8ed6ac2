"""Hugging Face accelerate: a schedule in its checkpoints and on its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import InfoNoise
from ..curves.arguments import refuse

if TYPE_CHECKING:
    from accelerate import Accelerator


def attach(accelerator: Accelerator, schedule: InfoNoise) -> InfoNoise:
    """Register the schedule for `save_state` and `load_state`, and move it to the device.

    Call it once per schedule, in the same order in every run: accelerate tells custom objects apart by
    their order. The main process alone writes the file, and every process loads it.

    Args:
        accelerator: of the run.
        schedule: see `InfoNoise`. To share one table with all ranks it is made after the accelerator.

    Returns:
        the schedule itself.

    Raises:
        ValueError: the schedule was made for another number of processes.
    """
    schedule.to(accelerator.device)
    if schedule.world != accelerator.num_processes:
        refuse("schedule.world", schedule.world, f"{accelerator.num_processes}, the accelerator's number of processes")
    accelerator.register_for_checkpointing(schedule)
    return schedule
