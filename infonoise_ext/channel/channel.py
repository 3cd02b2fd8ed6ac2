"""Coordinates of the noise channel: sigma, the host's time, logSNR; and conversions of losses.

Every path x = a x0 + b eps is the reference path x_sigma = x0 + sigma eps divided by 1/a, with
sigma = b / a and logSNR = -2 ln sigma. Results are float32, or float64 where an input is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..curves.arguments import choice, refuse
from ..curves.weights import PREDICTIONS, loss_of_clean


def wide(x: Tensor) -> Tensor:
    """Return x in float32, or in its own dtype if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Channel(ABC):
    """A noising path x = a x0 + b eps, told apart by its scales and by its time."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Return sigma = b / a at host time t, of t's shape."""

    @abstractmethod
    def time_of(self, sigma: Tensor) -> Tensor:
        """Return the host time of sigma, of sigma's shape."""

    @abstractmethod
    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return (a, b) of x = a x0 + b eps, each of sigma's shape."""

    def logsnr(self, sigma: Tensor) -> Tensor:
        """Return ln(a^2 / b^2) = -2 ln sigma, in nats, of sigma's shape."""
        return -2.0 * wide(sigma).log()

    def sigma_of_logsnr(self, logsnr: Tensor) -> Tensor:
        """Return sigma = exp(-logsnr / 2), of logsnr's shape."""
        return (-0.5 * wide(logsnr)).exp()

    def corrupt(self, x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Return x = a x0 + b noise.

        Args:
            x0: [B, ...] clean samples.
            noise: standard normal noise of x0's shape.
            sigma: [B], [B, T, ...] for a level a frame or token, or a scalar tensor for all samples.

        Returns:
            [B, ...] in x0's dtype, computed in float32 or wider.

        Raises:
            ValueError: noise has another shape than x0, or sigma's shape does not begin it.
        """
        if noise.shape != x0.shape:
            refuse("the shape of noise", list(noise.shape), f"that of x0, {list(x0.shape)}")
        if sigma.shape != x0.shape[: sigma.ndim]:
            refuse("the shape of sigma", list(sigma.shape), f"how that of x0 begins, {list(x0.shape)}")
        a, b = self.scales(sigma.reshape(sigma.shape + (1,) * (x0.ndim - sigma.ndim)))
        return (a * x0 + b * noise).to(x0.dtype)


@dataclass(frozen=True)
class VE(Channel):
    """Variance exploding: a = 1, b = sigma, time t = sigma.

    Source:
        EDM (arXiv 2206.00364), x = x0 + sigma eps; used by EDM and k-diffusion.
    """

    def sigma(self, t: Tensor) -> Tensor:
        """Return t."""
        return wide(t)

    def time_of(self, sigma: Tensor) -> Tensor:
        """Return sigma."""
        return wide(sigma)

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return (1, sigma)."""
        sigma = wide(sigma)
        return torch.ones_like(sigma), sigma


@dataclass(frozen=True)
class VP(Channel):
    """Variance preserving: a^2 + b^2 = 1, with the cosine time a = cos(pi t / 2), 0 < t < 1.

    A host with a table of alpha_bar has no use for the cosine time: see `sigma_from_alpha_bar`.

    Source:
        EDM (arXiv 2206.00364) Table 1, VP column: scale a = 1 / sqrt(1 + sigma^2).
    """

    def sigma(self, t: Tensor) -> Tensor:
        """Return tan(pi t / 2), as a quotient of sines, which is inf at t = 1."""
        t = wide(t)
        return (t * (math.pi / 2.0)).sin() / ((1.0 - t) * (math.pi / 2.0)).sin()

    def time_of(self, sigma: Tensor) -> Tensor:
        """Return (2 / pi) atan(sigma)."""
        return wide(sigma).atan() * (2.0 / math.pi)

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return (1, sigma) / sqrt(1 + sigma^2), also where sigma is inf or its square would be."""
        sigma = wide(sigma)
        return (1.0 + sigma.square()).rsqrt(), (1.0 + sigma.reciprocal().square()).rsqrt()


@dataclass(frozen=True)
class Flow(Channel):
    """Linear flow matching: a = 1 / (1 + sigma), b = sigma / (1 + sigma), so a + b = 1.

    Args:
        time: what t = 1 stands for. "noise": x = (1 - t) x0 + t eps (diffusers, SD3, Flux);
            "data": x = t x0 + (1 - t) eps (flow_matching, torchcfm). Both are in use and the
            wrong one fails silently, so there is no default.

    Raises:
        ValueError: time is neither "noise" nor "data".

    Source:
        SD3 (arXiv 2403.03206) Eq. 13, rectified flow.
    """

    time: str

    def __post_init__(self) -> None:
        choice("time", self.time, ("noise", "data"))

    def sigma(self, t: Tensor) -> Tensor:
        """Return t / (1 - t), or (1 - t) / t where t = 1 is data."""
        t = wide(t)
        return t / (1.0 - t) if self.time == "noise" else (1.0 - t) / t

    def time_of(self, sigma: Tensor) -> Tensor:
        """Return sigma / (1 + sigma), or 1 / (1 + sigma) where t = 1 is data."""
        a, b = self.scales(sigma)
        return b if self.time == "noise" else a

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return (1, sigma) / (1 + sigma), also where sigma is inf."""
        sigma = wide(sigma)
        return 1.0 / (1.0 + sigma), 1.0 / (1.0 + 1.0 / sigma)


def sigma_from_alpha_bar(alpha_bar: Tensor) -> Tensor:
    """Return sigma = sqrt((1 - alpha_bar) / alpha_bar) for a table of a^2 = alpha_bar in (0, 1]."""
    alpha_bar = wide(alpha_bar)
    return ((1.0 - alpha_bar) / alpha_bar).sqrt()


def alpha_bar_from_sigma(sigma: Tensor) -> Tensor:
    """Return alpha_bar = 1 / (1 + sigma^2), the inverse of `sigma_from_alpha_bar`."""
    return 1.0 / (1.0 + wide(sigma).square())


def clean_error(error: Tensor, sigma: Tensor, prediction: str, sigma_data: float | None = None) -> Tensor:
    """Convert the squared error of a prediction to that of the clean sample, exactly.

    At a given x every prediction is affine in the clean sample, so the two errors differ by a
    factor that depends on sigma alone. Differentiable, free of host synchronisation.

    Args:
        error: unweighted squared error per sample, sum or mean over its elements.
        sigma: noise levels, of error's shape, or a scalar tensor.
        prediction: "x0": the clean sample; "eps": the unit noise, on any path; "v": a eps - b x0
            on the VP path; "velocity": eps - x0 or x0 - eps on the flow path; "edm_f": the raw
            EDM network F, before c_out and c_skip.
        sigma_data: EDM's standard deviation of the data; needed by "edm_f" only.

    Returns:
        ||x0 - x0hat||^2 in the reduction of ``error``, of its shape, float32 or wider. At sigma = inf (flow time 1,
        terminal SNR zero) it is the limit, which for "eps" is infinite: there eps tells nothing of the sample.

    Raises:
        ValueError: unknown prediction, "edm_f" without a positive sigma_data, or a sigma that
            does not fit error.

    Source:
        InfoNoise (arXiv 2602.18647) takes the x0 error; EDM (arXiv 2206.00364) Table 1 for c_out.
    """
    if sigma.ndim > 0 and sigma.shape != error.shape:
        refuse("the shape of sigma", list(sigma.shape), f"that of error, {list(error.shape)}, or of a scalar")
    return wide(error) / loss_of_clean(wide(sigma), choice("prediction", prediction, PREDICTIONS), sigma_data)
