"""NVIDIA PhysicsNeMo: a `NoiseScheduler` whose training times and sampling steps are the schedule's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import InfoNoise, Table, info_grid
from ..curves.arguments import refuse
from ..distributed import all_ranks

_DRAWS = 2**17


class InfoNoiseScheduler:
    """A linear Gaussian noise scheduler of the host, with training times drawn by a schedule.

    Answers to the host's `NoiseScheduler` protocol; everything but `sample_time` and `timesteps` is
    the base's own. `make_schedule(base)` makes the schedule; one of your own needs `weight=weight_of(base)`.

    Args:
        base: a `LinearGaussianNoiseScheduler` with alpha = 1 or alpha^2 + sigma^2 = 1: EDM, EDM
            log-uniform, VE, VP, iDDPM. (Student-t noise is not Gaussian: the schedule's premise fails.)
        schedule: in noise levels sigma(t) / alpha(t).

    Raises:
        ValueError: the base's times do not give back the schedule's noise levels.
    """

    def __init__(self, base: Any, schedule: InfoNoise) -> None:
        self.base, self.schedule = base, schedule
        self._time = _time_of(base)
        low, high = schedule.config.sigma_min, schedule.config.sigma_max
        sigma = low * (high / low) ** torch.linspace(0, 1, 9, dtype=torch.float64)
        back = self._level(self._time(sigma))
        if not torch.allclose(back, sigma, rtol=0.01):
            allowed = f"{sigma.tolist()}: alpha = 1 or alpha^2 + sigma^2 = 1, on the whole range of the schedule"
            refuse(f"the noise levels that come back from base, a {type(base).__name__},", back.tolist(), allowed)

    def _level(self, t: Tensor) -> Tensor:
        return self.base.sigma(t) / self.base.alpha(t)

    def sample_time(
        self, N: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Draw N training times from the schedule; [N] in `dtype`, else float32."""
        return self._time(self.schedule.sample(N).double()).to(device=device, dtype=dtype or torch.float32)

    def observe(self, t: Tensor, loss: Tensor) -> None:
        """Record the loss of `MSEDSMLoss(..., reduction="none")(x0, t=t)`.

        Args:
            t: [B] times that were used.
            loss: [B, ...] squared error of the clean sample times `loss_weight(t)`, unreduced.
        """
        w = self.base.loss_weight(t)
        error = (loss / w.reshape(w.shape + (1,) * (loss.ndim - w.ndim))).flatten(1).mean(1)
        sigma, config = self._level(t.double()), self.schedule.config
        inside = sigma.clamp(config.sigma_min, config.sigma_max)
        # A bfloat16 time is off by up to 0.4%, and its level on a VP path by up to ten times that.
        near = (sigma - inside).abs() < 0.05 * inside
        self.schedule.observe(torch.where(near, inside, sigma), error)

    def timesteps(
        self, num_steps: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """`info_grid` as times: [num_steps + 1] descending, the last 0.

        Raises:
            ValueError: nothing is measured yet; `base.timesteps` has the host's own grid.
        """
        sigma = info_grid(self.schedule, num_steps).double()
        times = torch.cat((self._time(sigma[:-1]), sigma[-1:]))
        return times.to(device=device, dtype=dtype or torch.float32)

    def add_noise(self, x0: Tensor, time: Tensor) -> Tensor:
        """The base's."""
        return self.base.add_noise(x0, time)

    def init_latents(self, spatial_shape: tuple[int, ...], tN: Tensor, **options: Any) -> Tensor:
        """The base's."""
        return self.base.init_latents(spatial_shape, tN, **options)

    def get_denoiser(self, **options: Any) -> Any:
        """The base's."""
        return self.base.get_denoiser(**options)

    def loss_weight(self, t: Tensor) -> Tensor:
        """The base's."""
        return self.base.loss_weight(t)

    def __getattr__(self, name: str) -> Any:
        """What the protocol does not name, such as `sigma` and `alpha`, is the base's too."""
        if name == "base":
            raise AttributeError(name)
        return getattr(self.base, name)


def make_schedule(base: Any, **options: Any) -> InfoNoise:
    """The schedule of a host's scheduler: its range, its loss weight, its own training times as the warm-up, all ranks.

    Args:
        base: as `InfoNoiseScheduler` takes it.
        **options: for `InfoNoise`, in place of what is read.
    """
    with torch.random.fork_rng(devices=[]):  # the same on all ranks, and not from the script's random stream
        torch.manual_seed(0)
        t = base.sample_time(_DRAWS, device="cpu", dtype=torch.float64)
    levels = base.sigma(t) / base.alpha(t)
    own: dict[str, Any] = {
        "sigma_min": getattr(base, "sigma_min", float(levels.min())),
        "sigma_max": getattr(base, "sigma_max", float(levels.max())),
        "weight": weight_of(base),
        "prior": Table.from_levels(levels),
        "process_group": None if {"rank", "world"} & set(options) else all_ranks(),
    }
    return InfoNoise(**(own | options))


def weight_of(base: Any) -> Callable[[Tensor], Tensor]:
    """The loss weight of a host's scheduler as a function of the noise level, for `InfoNoise(weight=)`.

    A weight per channel is averaged over channels.
    """
    return partial(_weight, base, _time_of(base))


def _weight(base: Any, time_of: Callable[[Tensor], Tensor], sigma: Tensor) -> Tensor:
    w: Tensor = base.loss_weight(time_of(sigma.reshape(-1)))
    return w.reshape(sigma.numel(), -1).mean(1).reshape(sigma.shape)


def _time_of(base: Any) -> Callable[[Tensor], Tensor]:
    """Times of noise levels: the host inverts sigma(t), which is the level itself only where alpha is 1."""
    t = base.sigma_inv(torch.tensor([0.5], dtype=torch.float64))
    return base.sigma_inv if bool(base.alpha(t) == 1) else partial(_preserving_time, base)


def _preserving_time(base: Any, sigma: Tensor) -> Tensor:
    return base.sigma_inv(sigma / (1 + sigma.square()).sqrt())
