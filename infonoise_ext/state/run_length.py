"""Options for a run of known length: fewer bins and earlier refreshes where few losses come in."""

from __future__ import annotations

from typing import Any

_SHORT = 20_000
"""Losses below which the default grid would be measured too late to be of use."""


def run_options(steps: int | None, batch: int) -> dict[str, Any]:
    """What to give to an `InfoNoise` for so many optimizer steps of so many losses each, over all ranks.

    The bins are those of a table of a thousand timesteps or fewer: narrower ones would hold no entry. A short run, as
    of LoRA at batch 1, has some hundred losses before the table should move.

    Args:
        steps: of the optimizer; None or 0 is not known.
        batch: losses in each.
    """
    if not steps or steps * batch >= _SHORT:
        return {"bins": 32}
    cadence = min(100, max(steps // 20, 1))
    return {"bins": 16, "min_count": 4, "warmup": cadence, "refresh_every": cadence}
