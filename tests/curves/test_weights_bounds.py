"""Loss weights and mmse bounds against their formulas, quadrature and Monte Carlo."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate

from infonoise_ext.curves.bounds import BinaryBound, GaussianBound
from infonoise_ext.curves.weights import EDMWeight, as_weight, evaluate, unit_weight

SIGMAS = 6.0  # two-sided false-alarm rate 2e-9 per Monte Carlo comparison


def _log_sigma(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return 8.0 * torch.rand(shape, dtype=torch.float64, generator=generator) - 5.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edm_weight_is_eq_52(dtype: torch.dtype, generator) -> None:
    """The paper's quotient, in sigma's dtype and shape."""
    sigma = _log_sigma(generator, 4, 25).exp().to(dtype)
    w = EDMWeight(0.7)(sigma)
    assert (w.dtype, w.shape) == (dtype, sigma.shape)
    s = sigma.double().numpy()
    expected = (s**2 + 0.7**2) / (s * 0.7) ** 2
    np.testing.assert_allclose(w.numpy(), expected, rtol=4 * torch.finfo(dtype).eps)


def test_edm_weight_survives_where_the_quotient_does_not() -> None:
    """In float32, where the denominator of the quotient would be subnormal or infinite."""
    w = EDMWeight(1e-3)(torch.tensor([1e-18, 1e20]))
    np.testing.assert_allclose(w.numpy(), [1e36, 1e6], rtol=1e-6)


@pytest.mark.parametrize("weight", [EDMWeight(0.5), unit_weight], ids=["EDM", "unit"])
def test_weights_trace_whole(weight, generator) -> None:
    sigma = _log_sigma(generator, 10).exp().float()
    torch._dynamo.reset()
    compiled = torch.compile(lambda s: weight(s) * s, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(sigma), weight(sigma) * sigma, rtol=0.0, atol=0.0)


def test_unit_weight_is_what_none_means(generator) -> None:
    sigma = _log_sigma(generator, 3).exp().float()
    assert torch.equal(unit_weight(sigma), torch.ones(3))
    assert as_weight(None) is unit_weight


def test_weight_is_called_in_float64(generator) -> None:
    """The callable sees float64 and may return a tensor, an array or a list."""
    sigma = _log_sigma(generator, 20).exp().float().requires_grad_()
    seen = []

    def weight(s: torch.Tensor) -> torch.Tensor:
        seen.append(s.dtype)
        return (1.0 + s).float()

    w = evaluate("weight", weight, sigma, positive=True)
    assert seen == [torch.float64]
    assert w.dtype == torch.float64
    assert not w.requires_grad
    expected = 1.0 + sigma.detach().double()
    torch.testing.assert_close(w, expected, rtol=1e-6, atol=0.0)
    for give in (lambda s: (1.0 + s).numpy(), lambda s: (1.0 + s).tolist()):
        torch.testing.assert_close(evaluate("weight", give, sigma, positive=True), expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (lambda s: None, r"weight\(sigma\) is None, but must be a tensor"),
        (lambda s: "unit", r"weight\(sigma\) is 'unit', but must be a tensor"),
        (lambda s: 1.0, r"the shape of weight\(sigma\) is \[\], but must be that of sigma, \[3\]"),
        (lambda s: s[:-1], r"shape of weight\(sigma\) is \[2\]"),
        (lambda s: s - 2.0, r"weight\(1\) is -1.0, but must be finite and above 0"),
        (lambda s: 0.0 * s, r"weight\(1\) is 0.0, but must be finite and above 0"),
        (lambda s: s / 0.0, r"weight\(1\) is inf, but must be finite"),
        (lambda s: s * math.nan, r"weight\(1\) is nan, but must be finite"),
    ],
)
def test_bad_weights_are_refused(weight, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate("weight", weight, torch.tensor([1.0, 2.0, 3.0]), positive=True)


def test_gaussian_bound_is_the_posterior_variance() -> None:
    """Against the quadrature of E (x - E[x|y])^2 with the posterior mean by quadrature too."""
    std, sigma = 0.6, 0.9
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()
    x, y = std * z[:, None], std * z[:, None] + sigma * z[None, :]
    joint = weight[:, None] * weight[None, :]
    gain = (joint * x * y).sum() / (joint * y * y).sum()
    expected = (joint * (x - gain * y) ** 2).sum()
    got = GaussianBound(std)(torch.tensor([[sigma]], dtype=torch.float32))
    assert (got.dtype, got.shape) == (torch.float64, (1, 1))
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_gaussian_bound_ends_and_monte_carlo(generator) -> None:
    """0 and the variance at the ends; the best linear estimator attains it within 6 errors."""
    ends = GaussianBound(2.0)(torch.tensor([0.0, math.inf], dtype=torch.float64))
    assert ends.tolist() == [0.0, 4.0]
    x = 2.0 * torch.randn(200_000, dtype=torch.float64, generator=generator)
    y = x + 3.0 * torch.randn(200_000, dtype=torch.float64, generator=generator)
    loss = (x - 4.0 / 13.0 * y).square()
    bound = GaussianBound(2.0)(torch.tensor(3.0)).item()
    assert abs(loss.mean().item() - bound) < SIGMAS * loss.std().item() / math.sqrt(loss.numel())


def _binary_mmse(low: float, high: float, p: float, sigma: float) -> float:
    """Quadrature over y of p(y) Var(x | y), each term in logs, split at its peak and kinks."""

    def integrand(y: float) -> float:
        on = math.log(p) - 0.5 * ((y - high) / sigma) ** 2
        off = math.log1p(-p) - 0.5 * ((y - low) / sigma) ** 2
        total = float(np.logaddexp(on, off))
        variance = 2.0 * math.log(high - low) + on + off - 2.0 * total
        return math.exp(total + variance) / (sigma * math.sqrt(2.0 * math.pi))

    middle = 0.5 * (low + high) - sigma**2 / (high - low) * math.log(p / (1.0 - p))
    width = min(sigma, sigma**2 / (high - low))
    centres = [middle, low, high]
    steps = [-40, -10, -3, -1, 0, 1, 3, 10, 40]
    points = {c + k * width for c in centres for k in steps}
    points |= {c + k * sigma for c in centres for k in (-14, -9, -4, 4, 9, 14)}
    span = sorted(q for q in points if low - 14 * sigma <= q <= high + 14 * sigma)
    parts = pairwise(span)
    return sum(integrate.quad(integrand, *part, epsabs=0.0, epsrel=1e-11)[0] for part in parts)


@pytest.mark.parametrize(
    ("low", "high", "p"),
    [(-1.0, 1.0, 0.5), (-1.0, 1.0, 0.05), (0.0, 1.0, 0.9), (2.0, 7.0, 1e-4), (-1.0, 1.0, 1e-20)],
)
@pytest.mark.filterwarnings("error")
def test_binary_bound_matches_quadrature(low: float, high: float, p: float) -> None:
    """Relative 1e-8 from sigma = 0.05 of the spacing to far above it."""
    ratio = np.concatenate([np.linspace(0.05, 1.0, 20), [1.5, 3.0, 10.0, 200.0]])
    sigma = torch.tensor(ratio * (high - low), dtype=torch.float64)
    got = BinaryBound(low, high, p)(sigma)
    expected = [_binary_mmse(low, high, p, float(s)) for s in sigma]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-8)


@pytest.mark.filterwarnings("error")
def test_binary_bound_is_the_known_tanh_form() -> None:
    """For +-1 with even odds, mmse = 1 - E tanh(1 / sigma^2 + Z / sigma)."""
    sigma = torch.tensor([[0.3, 0.5, 0.8], [1.0, 2.0, 5.0]], dtype=torch.float64)
    got = BinaryBound()(sigma)
    assert got.shape == sigma.shape
    for s, value in zip(sigma.flatten().tolist(), got.flatten().tolist(), strict=True):

        def lost(z: float, s: float = s) -> float:
            gap = -2.0 * (s**-2 + z / s)
            tail = 2.0 / (1.0 + math.exp(-gap)) if gap < 700.0 else 2.0  # 1 - tanh
            return tail * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

        pieces = sorted([-14.0, -2.0 / s, -1.0 / s, 0.0, 3.0, 14.0])
        parts = pairwise(pieces)
        expected = sum(integrate.quad(lost, *q, epsabs=0.0, epsrel=1e-12)[0] for q in parts)
        assert value == pytest.approx(expected, rel=1e-8, abs=0.0)


@pytest.mark.parametrize("p", [0.5, 0.01, 1e-12, 1.0 - 1e-6])
def test_binary_bound_is_tame_everywhere(p: float) -> None:
    """From 0 to infinity: finite, never negative, rising from 0 to the variance."""
    log_sigma = torch.linspace(-30.0, 30.0, 2001, dtype=torch.float64)
    inside = BinaryBound(-1.0, 1.0, p)(log_sigma.exp())
    ends = BinaryBound(-1.0, 1.0, p)(torch.tensor([0.0, 1e-300, math.inf], dtype=torch.float64))
    variance = 4.0 * p * (1.0 - p)
    assert bool(torch.isfinite(inside).all())
    assert bool((inside >= 0.0).all())
    assert bool((inside.diff() >= -1e-12 * variance).all())
    np.testing.assert_allclose(ends.numpy(), [0.0, 0.0, variance], rtol=1e-10)
    assert inside[-1].item() == pytest.approx(variance, rel=1e-10, abs=0.0)


def test_binary_bound_is_mirrored_by_p_and_shifted_by_nothing(generator) -> None:
    """Exchanging the values, moving them or scaling them with sigma changes only the units."""
    sigma = _log_sigma(generator, 50).exp()
    base = BinaryBound(-1.0, 1.0, 0.2)(sigma)
    for other in (BinaryBound(-1.0, 1.0, 0.8)(sigma), BinaryBound(99.0, 101.0, 0.2)(sigma)):
        torch.testing.assert_close(other, base, rtol=1e-10, atol=1e-300)
    scaled = BinaryBound(-5.0, 5.0, 0.2)(5.0 * sigma)
    torch.testing.assert_close(scaled, 25.0 * base, rtol=1e-10, atol=1e-300)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("classes", [2, 5, 1000])
def test_one_hot_bound_matches_quadrature(classes: int) -> None:
    """A coordinate is on once in `classes`; any float dtype in, float64 out."""
    sigma = torch.tensor([0.1, 0.4, 1.0, 6.0])
    got = BinaryBound.one_hot(classes, low=0.0, high=1.0)(sigma)
    expected = [_binary_mmse(0.0, 1.0, 1.0 / classes, float(s)) for s in sigma]
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-8)


@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.0, 3.0])
def test_one_hot_bound_lies_above_the_joint_mmse(sigma: float, generator) -> None:
    """Monte Carlo of the joint posterior is below it, of the coordinate's posterior on it."""
    classes, n = 5, 40_000
    label = torch.randint(classes, (n,), generator=generator)
    x = 2.0 * torch.nn.functional.one_hot(label, classes).double() - 1.0
    y = x + sigma * torch.randn(n, classes, dtype=torch.float64, generator=generator)
    bound = BinaryBound.one_hot(classes)(torch.tensor(sigma)).item()
    joint = 2.0 * torch.softmax(2.0 * y / sigma**2, 1) - 1.0
    alone = torch.tanh(y / sigma**2 - 0.5 * math.log(classes - 1))
    losses = [(guess - x).square().mean(1) for guess in (joint, alone)]
    error = [SIGMAS * loss.std().item() / math.sqrt(n) for loss in losses]
    assert losses[0].mean().item() < bound + error[0]
    assert abs(losses[1].mean().item() - bound) < error[1]


def test_weight_is_none_or_a_callable() -> None:
    with pytest.raises(ValueError, match=r"weight is 2\.0, but must be None or a callable"):
        as_weight(2.0)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: EDMWeight(0.0), "sigma_data is 0.0, but must be a finite number above 0"),
        (lambda: EDMWeight(math.nan), "sigma_data"),
        (lambda: EDMWeight(None), "sigma_data"),
        (lambda: GaussianBound(-1.0), "std"),
        (lambda: GaussianBound(math.inf), "std"),
        (lambda: BinaryBound(1.0, 1.0), "high"),
        (lambda: BinaryBound(math.nan, 1.0), "low"),
        (lambda: BinaryBound(p=0.0), "p is 0.0"),
        (lambda: BinaryBound(p=1.0), "p is 1.0"),
        (lambda: BinaryBound.one_hot(1), "classes"),
        (lambda: BinaryBound.one_hot(2.5), "classes"),
        (lambda: BinaryBound.one_hot(3, 1.0, 0.0), "high"),
    ],
)
def test_bad_arguments_are_named(make, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()
