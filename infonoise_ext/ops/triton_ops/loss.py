"""`denoising_error` and its gradient: one pass over memory, sums in an order that only the shape decides."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..checks import check_aligned, check_gradient, error_dtype
from .common import on_device, options

TILE = 1024
"""Elements of a program's tile: of one sample, or of several small ones."""
RUN = tl.constexpr(4)
"""Tiles summed in the arithmetic's own type before float64 takes over."""
PIECE = 8192
MOST_PIECES = 4096
"""A sample is cut into pieces of at least PIECE elements, at most so many."""


@triton.jit
def span_of(i, pieces, piece, B, M, ROWS: tl.constexpr):
    """Samples of program i, those that exist, and the first and the last element of its piece."""
    row = (i // pieces) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    first = (i % pieces) * piece
    return row, row < B, first, tl.minimum(first + piece, M)


@triton.jit
def difference(denoised, target, row, live, start, end, M, COLS: tl.constexpr, WIDE: tl.constexpr):
    """Places of a tile [ROWS, COLS], columns before `end` [1, COLS], and denoised - target: 0 where not live."""
    column = start + tl.arange(0, COLS)
    place = row[:, None] * M + column[None, :]
    inside = (column < end)[None, :]
    held = live[:, None] & inside
    a = tl.load(denoised + place, mask=held, other=0.0).to(WIDE)
    b = tl.load(target + place, mask=held, other=0.0).to(WIDE)
    return place, inside, a - b


@triton.jit(do_not_specialize=["B", "pieces"])
def denoising_error_kernel(
    denoised, target, out, B, M, pieces, piece, ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr
):
    """A program a piece of ROWS samples: its share of their errors into out [B, pieces]."""
    i = tl.program_id(0).to(tl.int64)
    row, live, first, end = span_of(i, pieces, piece, B, M, ROWS)
    total = tl.zeros((ROWS, COLS), tl.float64)
    for start in range(first, end, COLS * RUN):
        run = tl.zeros((ROWS, COLS), WIDE)
        for j in tl.static_range(RUN):
            _, _, x = difference(denoised, target, row, live, start + j * COLS, end, M, COLS, WIDE)
            run += x * x
        total += run.to(tl.float64)
    share = tl.sum(total, 1) / M
    tl.store(out + row * pieces + i % pieces, share.to(out.dtype.element_ty), mask=live)


@triton.jit(do_not_specialize=["pieces"])
def denoising_fold_kernel(shares, out, pieces, COLS: tl.constexpr):
    """A program a sample: the sum of its shares."""
    i = tl.program_id(0).to(tl.int64)
    total = tl.zeros((COLS,), tl.float64)
    for start in range(0, pieces, COLS):
        column = start + tl.arange(0, COLS)
        total += tl.load(shares + i * pieces + column, mask=column < pieces, other=0.0)
    tl.store(out + i, tl.sum(total, 0).to(out.dtype.element_ty))


@triton.jit(do_not_specialize=["B", "pieces"])
def denoising_gradient_kernel(
    grad_error, denoised, target, out, grad_stride, B, M, pieces, piece,
    ROWS: tl.constexpr, COLS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A program a piece of ROWS samples; 0 where grad_error is, whatever the sample holds."""
    i = tl.program_id(0).to(tl.int64)
    row, live, first, end = span_of(i, pieces, piece, B, M, ROWS)
    scale = tl.load(grad_error + row * grad_stride, mask=live, other=0.0).to(tl.float64) * 2 / M
    used = live & (scale != 0)
    for start in range(first, end, COLS):
        place, inside, x = difference(denoised, target, row, used, start, end, M, COLS, WIDE)
        gradient = scale.to(WIDE)[:, None] * x
        if out.dtype.element_ty != tl.float64:
            gradient = gradient.to(tl.float32)  # the interpreter takes no float64 to 16 bits at once
        tl.store(out + place, gradient.to(out.dtype.element_ty), mask=live[:, None] & inside)


def plan(denoised: Tensor, target: Tensor) -> tuple[dict[str, int], dict[str, object]]:
    """Sizes, and constants of a tile, for two batches that are not empty."""
    batch, size = denoised.shape[0], denoised.shape[1:].numel()
    pieces = min(triton.cdiv(size, PIECE), MOST_PIECES)
    cols = min(TILE, triton.next_power_of_2(size))
    wide = tl.float64 if error_dtype(denoised, target) == torch.float64 else tl.float32
    sizes = {"B": batch, "M": size, "pieces": pieces, "piece": triton.cdiv(size, pieces * TILE) * TILE}
    return sizes, {"ROWS": TILE // cols, "COLS": cols, "WIDE": wide}


def programs(sizes: dict[str, int], tile: dict[str, object]) -> tuple[int]:
    """The grid: a program for each piece of ROWS samples."""
    return (triton.cdiv(sizes["B"], tile["ROWS"]) * sizes["pieces"],)


def denoising_error(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample, float32 [B], float64 if an input is: one launch, two of large samples."""
    check_aligned(denoised, target)
    batch = denoised.shape[0]
    out = torch.empty(batch, dtype=error_dtype(denoised, target), device=denoised.device)
    if batch == 0:
        return out
    sizes, tile = plan(denoised, target)
    cut = sizes["pieces"] > 1
    shares = torch.empty((batch, sizes["pieces"]), dtype=torch.float64, device=out.device) if cut else out
    with on_device(denoised):
        denoising_error_kernel[programs(sizes, tile)](denoised, target, shares, **sizes, **tile, **options())
        if cut:
            denoising_fold_kernel[(batch,)](shares, out, sizes["pieces"], COLS=TILE, **options())
    return out


def denoising_error_backward(grad_error: Tensor, denoised: Tensor, target: Tensor) -> Tensor:
    """Gradient of the errors by `denoised`, in its dtype and format: one launch."""
    check_aligned(denoised, target)
    check_gradient(grad_error, denoised)
    out = torch.empty_like(denoised)
    if len(out) == 0:
        return out
    sizes, tile = plan(denoised, target)
    with on_device(denoised):
        denoising_gradient_kernel[programs(sizes, tile)](
            grad_error, denoised, target, out, grad_error.stride(0), **sizes, **tile, **options()
        )
    return out
