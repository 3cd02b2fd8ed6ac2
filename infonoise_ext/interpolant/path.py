"""Interpolants I_tau = c alpha(tau) z + tau a between noise z and data a (arXiv 2501.00988)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from ..channel import Channel
from ..channel.channel import wide
from ..curves.arguments import number


@dataclass(frozen=True)
class Interpolant(Channel):
    """A path I_tau = c alpha(tau) z + tau a, tau from 0 (noise) to 1 (data), as a noise channel.

    Its time is tau, its noise level sigma = c alpha / tau, with tau = 0 at sigma = inf and tau = 1
    at sigma = 0, both exact. Results are float32, or float64 where an input is.

    Args:
        c: standard deviation of the noise at tau = 0. For data of dimension d, "variance
            preserving" is c = 1 and "variance exploding" c = sqrt(d).

    Raises:
        ValueError: c is not a finite number above 0.

    Source:
        arXiv 2501.00988, the set-up: alpha and the path's end do not depend on d.
    """

    c: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "c", number("c", self.c, above=0))

    @staticmethod
    @abstractmethod
    def alpha(tau: Tensor) -> Tensor:
        """Return the noise's share at tau in [0, 1], of tau's shape; alpha is its own inverse."""

    @staticmethod
    @abstractmethod
    def shares(ratio: Tensor) -> tuple[Tensor, Tensor]:
        """Return (alpha, tau) where alpha / tau = ratio in [0, inf], each to full relative accuracy."""

    @staticmethod
    @abstractmethod
    def velocity_weights(alpha: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Return (p, q) of the velocity p D + q x, D = E[a | I_tau = x]; alpha > 0."""

    @staticmethod
    @abstractmethod
    def tau_steps(alpha: Tensor, tau: Tensor) -> Tensor:
        """Return the differences of tau [n + 1] along its vector, [n], free of cancellation at both ends."""

    def sigma(self, t: Tensor) -> Tensor:
        """Return c alpha(t) / t for tau = t in [0, 1]; inf at 0."""
        t = wide(t)
        return self.c * self.alpha(t) / t

    def time_of(self, sigma: Tensor) -> Tensor:
        """Return tau for sigma in [0, inf]."""
        return self.shares(wide(sigma) / self.c)[1]

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return (tau, c alpha) for sigma in [0, inf]."""
        alpha, tau = self.shares(wide(sigma) / self.c)
        return tau, self.c * alpha

    def velocity(self, x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        """Return b = E[dI/dtau | I_tau = x], the right-hand side of dx/dtau = b.

        Args:
            x: [B, ...] states I_tau, which are tau times x0 + sigma eps.
            denoised: [B, ...] E[a | I_tau = x]; at sigma = inf the mean of the data.
            sigma: [B], or a scalar tensor, in (0, inf]. At 0, where the denoised sample is x itself,
                it no longer determines the velocity.

        Returns:
            [B, ...] of x's shape.
        """
        sigma = wide(sigma).reshape(sigma.shape + (1,) * (x.ndim - sigma.ndim))
        p, q = self.velocity_weights(*self.shares(sigma / self.c))
        return p * denoised + q * x


class Linear(Interpolant):
    """alpha = 1 - tau. With c = 1 it is flow matching's path, `channel.Flow("data")`.

    Velocity (D - x) / (1 - tau).
    """

    @staticmethod
    def alpha(tau: Tensor) -> Tensor:
        return 1.0 - tau

    @staticmethod
    def shares(ratio: Tensor) -> tuple[Tensor, Tensor]:
        return 1.0 / (1.0 + 1.0 / ratio), 1.0 / (1.0 + ratio)

    @staticmethod
    def velocity_weights(alpha: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        return 1.0 / alpha, -1.0 / alpha

    @staticmethod
    def tau_steps(alpha: Tensor, tau: Tensor) -> Tensor:
        return alpha[:-1] * tau[1:] - alpha[1:] * tau[:-1]


class Trigonometric(Interpolant):
    """alpha = sqrt(1 - tau^2).

    Velocity (D - tau x) / (1 - tau^2), which near tau = 1 is stiff: an Euler step of size h there
    leaves noise of order c sqrt(h).
    """

    @staticmethod
    def alpha(tau: Tensor) -> Tensor:
        return ((1.0 - tau) * (1.0 + tau)).sqrt()

    @staticmethod
    def shares(ratio: Tensor) -> tuple[Tensor, Tensor]:
        return 1.0 / (1.0 + ratio.square().reciprocal()).sqrt(), 1.0 / (1.0 + ratio.square()).sqrt()

    @staticmethod
    def velocity_weights(alpha: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        return 1.0 / alpha.square(), -tau / alpha.square()

    @staticmethod
    def tau_steps(alpha: Tensor, tau: Tensor) -> Tensor:
        # With alpha = cos, tau = sin of an angle: sin b - sin a = (cos a + cos b) tan((b - a) / 2).
        sine = alpha[:-1] * tau[1:] - alpha[1:] * tau[:-1]
        cosine = alpha[:-1] * alpha[1:] + tau[:-1] * tau[1:]
        return (alpha[:-1] + alpha[1:]) * sine / (1.0 + cosine)
