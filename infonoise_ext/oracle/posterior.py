"""Exact posterior mean and variance over a finite data set, streamed (docs/research/empirical-bayes.md)."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..ops import library
from ..ops.checks import FLOATS
from ..ops.graphs import never_compiled

_HALVES = (torch.float16, torch.bfloat16)
_CHUNK = {"cpu": 2**20}
"""A chunk's points and its scores hold at most this many numbers each, by device type."""
_CHUNK_ELSEWHERE = 2**25
_CHUNK_MIN_POINTS = 64
_CENTRE_POINTS = 63


@never_compiled("empirical_bayes chooses chunks and precision as it runs")
@torch.no_grad()
def empirical_bayes(y: Tensor, sigma: Tensor | float, data: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean and variance of x0, uniform over a data set, given y = x0 + sigma eps.

    mean_i = sum_j w_ij x_j and variance_i = sum_j w_ij |x_j - mean_i|^2 with
    w_ij = softmax_j(-|y_i - x_j|^2 / (2 sigma_i^2)). The average of the variance over y drawn from
    the channel is the exact mmse(sigma) of the data set.

    It computes in the wider dtype of y and data: `y.double()` buys float64 arithmetic without a
    float64 copy of the data. Two tensors of one 16-bit dtype are computed in float32; on CUDA they
    go to the matrix units as they are, with the weights rounded to their dtype. In float32, squared
    distances are good to about 1e-7 of |x|^2 + |y|^2, taken from the middle of the data: float64 is
    for data sets in which points closer than that compete at small sigma.

    Never holds B x N numbers: beside y, data and the results, about 2 B D numbers and two chunks of
    2^20 (CPU) or 2^25, or of 64 D where that is more. No gradient flows. `torch.compile` breaks its
    graph here and runs it as it stands.

    Args:
        y: [B, ...] noisy samples, floating.
        sigma: noise levels above 0: [B], or one for all as a scalar tensor or a number. Infinity
            gives the mean of the data. Values are checked on the CPU only; on other devices, where
            reading them would wait, 0 acts as the limit (the nearest point), a negative one as its
            magnitude, and NaN gives NaN in its row.
        data: [N, ...] clean samples, floating, N at least 1, on the device of y.

    Returns:
        mean, of y's shape and dtype, and variance [B], the sum over all coordinates, at least 0,
        float32 or, where y or data is, float64. A NaN in a row of y gives NaN in that row alone.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or, on the CPU, a sigma not above 0.

    Source:
        InfoNoise (arXiv 2602.18647), App. B.4.
    """
    _check(y, data)
    sigma = _checked_sigma(sigma, y)
    work = torch.promote_types(y.dtype, data.dtype)
    if work in _HALVES and not _multiplies_halves(y.device):
        work = torch.float32
    wide = torch.promote_types(work, torch.float32)
    with torch.autocast(y.device.type, enabled=False), _float32_in_full():
        mean, variance = _posterior(y.reshape(len(y), data[0].numel()), sigma.to(wide), data, work)
    return mean.to(y.dtype).view(y.shape), variance


def _posterior(y: Tensor, sigma: Tensor, data: Tensor, work: torch.dtype) -> tuple[Tensor, Tensor]:
    batch, dim = y.shape
    limits = torch.finfo(sigma.dtype)
    rate = (math.log2(math.e) / sigma.square()).clamp(limits.tiny, limits.max).expand(batch).unsqueeze(1)
    centre = _centre(data, work)
    query = (y.to(work) - centre).to(work)
    peak = rate.new_full((batch, 1), -math.inf)
    mean, moments = rate.new_zeros(batch, dim), rate.new_zeros(batch, 2)
    points, queries = _chunk_sizes(dim, y.device)
    blocks = list(zip(*(x.split(queries) for x in (query, rate, peak, mean, moments)), strict=True))
    for chunk in data.split(points):
        x = (chunk.reshape(len(chunk), dim).to(work) - centre).to(work)
        half_norm = _half_norm(x, sigma.dtype)
        for block in blocks:
            _absorb(x, half_norm, *block)
    half_square, total = moments.unbind(1)
    mean /= total.unsqueeze(1)
    variance = 2 * (half_square / total - _half_norm(mean, sigma.dtype)).clamp(min=0)
    return mean + centre, variance


def _absorb(
    x: Tensor, half_norm: Tensor, query: Tensor, rate: Tensor, peak: Tensor, mean: Tensor, moments: Tensor
) -> None:
    """Add the points x to a block's running sums of w x and (w |x|^2 / 2, w), in place; w is 1 at the peak."""
    weigh = _fused_weigh() if x.dtype in _HALVES and library.triton_is_installed() else _weigh
    weight, kept, sums = weigh(_product(query, x.T), half_norm, rate, peak, x.dtype)
    torch.addcmul(_product(weight, x), mean, kept, out=mean)
    torch.addcmul(sums, moments, kept, out=moments)


def _weigh(
    score: Tensor, half_norm: Tensor, rate: Tensor, peak: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [b, n] of y.x in `score`, what the sums so far keep [b, 1], the weights' own sums; moves the peak."""
    score.sub_(half_norm)  # falls by half of what |y - x|^2 rises
    top = torch.maximum(peak, score.amax(1, keepdim=True))
    kept = ((peak - top) * rate).exp2()
    peak.copy_(top)
    weight = score.sub_(top).mul_(rate).exp2_().to(dtype)
    exact = weight.to(score.dtype)  # the sums count what the product multiplies by
    return weight, kept, torch.stack((exact @ half_norm, exact.sum(1)), 1)


@functools.cache
def _fused_weigh() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    return torch.compile(_weigh, dynamic=True, fullgraph=True)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product that is summed and kept in float32 where the factors are narrower."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.dtype in _HALVES else a @ b


def _multiplies_halves(device: torch.device) -> bool:
    return device.type == "cuda"


def _half_norm(x: Tensor, dtype: torch.dtype) -> Tensor:
    """|x|^2 / 2, summed in float64 and rounded once, so that a mean on a point has the norm of that point."""
    return (torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).square() / 2).to(dtype)


def _centre(data: Tensor, work: torch.dtype) -> Tensor:
    """A point amid the data, which no outlier moves far; 0 for 16-bit data, which a shift would round."""
    if work in _HALVES:
        return torch.zeros((), dtype=work, device=data.device)
    some = data[:: -(-len(data) // _CENTRE_POINTS)]
    return some.reshape(len(some), data[0].numel()).to(work).median(0).values


def _chunk_sizes(dim: int, device: torch.device) -> tuple[int, int]:
    """Points and queries of a chunk; multiples of 64 keep rows aligned for matrix units."""
    numbers = _CHUNK.get(device.type, _CHUNK_ELSEWHERE)
    points = max(_CHUNK_MIN_POINTS, min(numbers // dim, numbers >> 10) // 64 * 64)
    return points, max(1, numbers // points)


@contextlib.contextmanager
def _float32_in_full() -> Iterator[None]:
    """Forbid TF32 and bfloat16 inside float32 products; touches a global setting only where it allows them."""
    matmuls = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    loose = [(m, m.fp32_precision) for m in matmuls if m.fp32_precision not in ("none", "ieee")]
    try:
        for matmul, _ in loose:
            matmul.fp32_precision = "ieee"
        yield
    finally:
        for matmul, precision in loose:
            matmul.fp32_precision = precision


def _check(y: Tensor, data: Tensor) -> None:
    for name, x in (("y", y), ("data", data)):
        if x.dtype not in FLOATS:
            refuse(f"the dtype of {name}", x.dtype, f"one of {', '.join(map(str, FLOATS))}")
        if x.dim() < 1:
            refuse(f"the shape of {name}", [], "[samples, ...]")
    if data.numel() == 0:
        refuse("the shape of data", list(data.shape), "that of one sample or more, of one number or more")
    if y.shape[1:] != data.shape[1:]:
        refuse("the shape of a sample in y", list(y.shape[1:]), f"that of one in data, {list(data.shape[1:])}")
    if y.device != data.device:
        refuse("the device of y", str(y.device), f"that of data, {data.device}")


def _checked_sigma(sigma: Tensor | float, y: Tensor) -> Tensor:
    if not isinstance(sigma, Tensor):
        sigma = torch.tensor(sigma, dtype=torch.float64)
    elif sigma.dim() > 0 and sigma.device != y.device:
        refuse("the device of sigma", str(sigma.device), f"that of y, {y.device}")
    if sigma.dim() > 0 and sigma.shape != y.shape[:1]:
        refuse("the shape of sigma", list(sigma.shape), f"{list(y.shape[:1])} or that of a scalar")
    if sigma.device.type == "cpu" and not bool((sigma > 0).all()):
        refuse("sigma", float(sigma[~(sigma > 0)][0]), "above 0")
    return sigma.to(y.device)
