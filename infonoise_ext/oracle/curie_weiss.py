"""The Curie-Weiss magnet: d spins whose interaction is their mean."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..curves.arguments import number, whole
from .base import device_of, positive
from .discrete import Discrete
from .quadrature import sign_mmse
from .two_modes import TwoPoint

_BISECTIONS = 100
_FIELD_LIMIT = 50.0
_STEP = 0.75
_REACH = 9.0
_CHUNK = 2**17
MAX_BETA = 10.0


class _Posterior(NamedTuple):
    up: Tensor
    down: Tensor
    entropy: Tensor


class CurieWeiss(Discrete):
    """Spins x0 in {-1, 1}^d with P(x0) ~ exp(beta M^2 / (2 d) + field M), M = sum(x0).

    For beta > 1 they magnetise: M / d lies near +-m*, m* = tanh(beta m*). The field is solved for, so that
    P(M > 0) + P(M = 0) / 2 = p.

    Given y, the spins are independent once an auxiliary mean m is known (Hubbard-Stratonovich), so denoiser,
    posterior variance and posterior entropy are integrals over m. Their trapezoid rule has a relative error
    of 2 exp(-2 pi^2 / 0.75^2), 1e-15, for every y, beta and d. The entropy of x0 is a sum over M. mmse(sigma) and
    entropy(sigma) average the posterior over y: quadratures for d <= 2, else Monte Carlo, and
    `mmse_estimate` gives the standard error. `asymptotic_mmse` is a closed form for large d.

    Args:
        dim: d.
        beta: inverse temperature, in (0, 10]; at 10, spins are aligned but for 2e-9.
        p: probability of a positive magnetisation.
        samples: see `Discrete`.
        seed: see `Discrete`.

    Raises:
        ValueError: an argument out of range.

    Source:
        Aranguri, Biroli, Mezard and Vanden-Eijnden (arXiv 2501.00988), Curie-Weiss model.
    """

    def __init__(self, dim: int, beta: float = 1.5, p: float = 0.8, samples: int = 4096, seed: int = 0) -> None:
        super().__init__(samples, seed)
        self.dim, self.p = whole("dim", dim, least=1), number("p", p, above=0, below=1)
        self.beta = number("beta", beta, above=0, most=MAX_BETA)
        up = torch.arange(self.dim + 1, dtype=torch.float64)
        self._total = 2 * up - self.dim
        self._log_count = math.lgamma(self.dim + 1) - torch.lgamma(up + 1) - torch.lgamma(self.dim - up + 1)
        self.field = self._solve_field()
        self._probability = self._log_weight(self.field).softmax(0)

    def _log_weight(self, field: float) -> Tensor:
        return self._log_count + self.beta * self._total.square() / (2 * self.dim) + field * self._total

    def _solve_field(self) -> float:
        low, high = -_FIELD_LIMIT, _FIELD_LIMIT
        share = 0.5 * (1 + self._total.sign())
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if float((share * self._log_weight(middle).softmax(0)).sum()) < self.p:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    @property
    def magnetisation(self) -> float:
        """m*, the non-negative solution of m = tanh(beta m) that is stable."""
        return float(TwoPoint().fixed_points(self.beta**-0.5)[2].nan_to_num())

    @property
    def total_variance(self) -> float:
        mean = float(self._probability @ self._total) / self.dim
        return self.dim * (1 - mean) * (1 + mean)

    @property
    def total_entropy(self) -> float:
        """H(x0) in nats, a sum over M: the limit of `entropy` at large sigma."""
        return float(torch.special.entr(self._probability).sum() + self._probability @ self._log_count)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """See `Oracle.sample`: M by its probabilities, then which spins are up."""
        device = device_of(generator)
        up = torch.multinomial(self._probability.to(device), n, replacement=True, generator=generator)
        order = torch.rand(n, self.dim, generator=generator, device=device, dtype=torch.float64).argsort(1)
        return torch.where(order < up.unsqueeze(1), 1.0, -1.0).double()

    def asymptotic_mmse(self, sigma: Tensor | float) -> Tensor:
        """Limit of mmse for large d: spins that know the magnetisation, plus the magnetisation's sign.

        With V = sigma^2 + 1 - m*^2 it is d times the mmse of a spin of mean m* given y, plus
        d (m* sigma^2 / V)^2 times that of a sign of probability p at the signal-to-noise ratio d m*^2 / V.

        Args:
            sigma: positive and finite, any shape.

        Returns:
            float64, of sigma's shape.
        """
        square, m = positive("sigma", sigma).square(), self.magnetisation
        spins = sign_mmse(1 / square, (1 + m) / 2)
        variance = square + (1 - m) * (1 + m)
        sign = sign_mmse(self.dim * m**2 / variance, self.p)
        return self.dim * (spins + (m * square / variance).square() * sign)

    @property
    def _values(self) -> int:
        return int(2**self.dim)

    def _support(self) -> tuple[Tensor, Tensor]:
        x = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * self.dim).view(-1, self.dim)
        up = (x > 0).sum(1)
        return x, self._probability[up] / self._log_count[up].exp()

    def _denoise(self, y: Tensor, sigma: Tensor) -> Tensor:
        at = self._posterior(y, sigma)
        return at.up - at.down

    def _posterior_variance(self, y: Tensor, sigma: Tensor) -> Tensor:
        at = self._posterior(y, sigma)
        return 4 * (at.up * at.down).sum(1)

    def _posterior_entropy(self, y: Tensor, sigma: Tensor) -> Tensor:
        return self._posterior(y, sigma).entropy

    def _posterior(self, y: Tensor, sigma: Tensor) -> _Posterior:
        scale = (self.dim * self.beta) ** -0.5
        half = math.ceil((1 + _REACH * scale) / (_STEP * scale))
        m = _STEP * scale * torch.arange(-half, half + 1, dtype=torch.float64, device=y.device)
        tilt = y / sigma.square().unsqueeze(1)
        parts = [self._given(b, m) for b in tilt.split(max(1, _CHUNK // (len(m) * self.dim)))]
        return _Posterior(*(torch.cat(x) for x in zip(*parts, strict=True)))

    def _given(self, tilt: Tensor, m: Tensor) -> _Posterior:
        """The magnet in the fields tilt [N, d] = y / sigma^2 beside its own, by the nodes m [Q]."""
        local = (self.beta * m + self.field).unsqueeze(1)
        b = tilt.unsqueeze(1)
        # log(2 cosh(local + b)) - |b| without the cancellation of large |b|.
        log_cosh = torch.logaddexp(local - 2 * (-b).relu(), -local - 2 * b.relu())
        log_weight = log_cosh.sum(2) - 0.5 * self.dim * self.beta * m.square()
        weight = log_weight.softmax(1).unsqueeze(1)
        up = (weight @ (2 * (local + b)).sigmoid()).squeeze(1)
        down = (weight @ (-2 * (local + b)).sigmoid()).squeeze(1)
        # log Z - E log of the unnormalised P(x0 | y), both relative to sum |b|; E M^2 from that of m.
        log_z = log_weight.logsumexp(1) + math.log(_STEP / math.sqrt(2 * math.pi))
        pairs = 0.5 * (self.dim * self.beta * (weight.squeeze(1) @ m.square()) - 1)
        against = 2 * (tilt.abs() * torch.where(tilt > 0, down, up)).sum(1)
        entropy = log_z - pairs - self.field * (up - down).sum(1) + against
        return _Posterior(up, down, entropy.clamp(min=0))
