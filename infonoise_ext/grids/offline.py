"""The profile of a frozen denoiser, measured on data at given noise levels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, overload

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ..curves.arguments import choice, refuse, whole
from ..ops.checks import FLOATS
from ..state.config import InfoNoiseConfig
from ..state.profile import Profile, mean_and_error
from ..state.tensors import edges_and_centres
from .features import checked_basis

Denoiser = Callable[[Tensor, Tensor], Tensor]
Data: TypeAlias = Tensor | Iterable[Any]
Levels: TypeAlias = int | Sequence[float] | Tensor | None
ERRORS = ("mean", "sum")
_UNEVEN = 1e-3
"""Relative difference of a step in log sigma from the others that is more than rounding."""


@overload
def offline_profile(
    net: Denoiser, data: Data, sigmas: Levels = None, *, features: None = None, sigma_min: float | None = None,
    sigma_max: float | None = None, error: str = "mean", batch_size: int = 256,
    generator: torch.Generator | None = None, progress: bool = True,
) -> Profile: ...  # fmt: skip


@overload
def offline_profile(
    net: Denoiser, data: Data, sigmas: Levels = None, *, features: Tensor, sigma_min: float | None = None,
    sigma_max: float | None = None, error: str = "mean", batch_size: int = 256,
    generator: torch.Generator | None = None, progress: bool = True,
) -> list[Profile]: ...  # fmt: skip


@torch.no_grad()
def offline_profile(
    net: Denoiser,
    data: Data,
    sigmas: Levels = None,
    *,
    features: Tensor | None = None,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    error: str = "mean",
    batch_size: int = 256,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> Profile | list[Profile]:
    """Evaluate a denoiser at every noise level, in one pass over the data and without gradients.

    A sample meets the same noise at all levels, so that the levels share its luck: the curve's steps from level to
    level are known much better than the standard errors, each of a level by itself, say (docs/grids.md has
    numbers). No more than one batch at one level is held.

    Args:
        net: maps y [B, ...] of the data's dtype and sigma [B], float32 or, for float64 data, float64, to the
            denoised samples [B, ...]. A module is evaluated in eval mode and gets its modes back; what any
            other callable does there is its own affair.
        data: [N, ...] clean samples, or an iterable of batches of them, such as a DataLoader: tensors, or tuples
            or lists of which the first is taken. The noise is made where they are, so they must be on the
            device of net.
        sigmas: the levels: a number of bins, or 2 and more levels, ascending and uniform in log sigma, around
            which bins are made. None is `InfoNoiseConfig`'s number.
        features: [D, r] orthonormal basis, as `principal_components` gives it, of the D elements of a sample:
            splits the error into the part in its span and the rest. Needs r < D.
        sigma_min: lower end of the lowest bin; None is `InfoNoiseConfig`'s. Not beside given levels.
        sigma_max: upper end of the highest bin, likewise.
        error: "mean" or "sum" of the squares over a sample's elements. Grids are the same: only a factor
            differs. A part of a split is divided by all D elements too, so the parts add up.
        batch_size: samples at a time of a tensor.
        generator: of the noise; one on another device than the data makes it there.
        progress: show a bar where tqdm is installed, on a terminal or in a notebook.

    Returns:
        The profile, whose `count` is N in every bin; with features a list of two, the span's and the rest's.

    Raises:
        ValueError: an argument out of range, data that is empty, not floating or not finite, or a net
            whose result has another shape or, at the level named, NaN or infinity.
    """
    edges, levels = _levels(sigmas, sigma_min, sigma_max)
    choice("error", error, ERRORS)
    basis = None if features is None else checked_basis(features)
    moments = torch.zeros(1 if basis is None else 2, len(levels), 3, dtype=torch.float64, device="cpu")
    with _evaluating(net):
        for x0 in _bar(_batches(data, batch_size), progress):
            moments += _moments(_errors(net, _checked(x0), levels.tolist(), basis, generator, error == "mean"))
    if not moments[0, 0, 0]:
        refuse("the number of samples in data", 0, "at least 1")
    profiles = [
        Profile.from_mmse(edges, levels, mmse, deviation, n) for n, mmse, deviation in map(mean_and_error, moments)
    ]
    return profiles[0] if basis is None else profiles


def _levels(sigmas: Levels, sigma_min: float | None, sigma_max: float | None) -> tuple[Tensor, Tensor]:
    """Edges [K + 1] and levels [K]."""
    ends = {"sigma_min": sigma_min, "sigma_max": sigma_max}
    given = {name: value for name, value in ends.items() if value is not None}
    if sigmas is None or isinstance(sigmas, int):
        bins = {} if sigmas is None else {"bins": sigmas}
        return edges_and_centres(InfoNoiseConfig().with_options(given | bins))
    if given:
        name, value = next(iter(given.items()))
        refuse(name, value, "None where sigmas are the levels themselves")
    levels = torch.as_tensor(sigmas, dtype=torch.float64, device="cpu")
    return _edges_around(levels), levels


def _edges_around(levels: Tensor) -> Tensor:
    logs = levels.log()
    if levels.dim() != 1 or len(levels) < 2 or not bool(logs.isfinite().all() & (logs.diff() > 0).all()):
        refuse("sigmas", levels.tolist(), "2 or more finite numbers that ascend from above 0")
    steps = logs.diff()
    width = steps.mean()
    if bool(((steps - width).abs() > _UNEVEN * width).any()):
        between = [float(f"{float(step):.4g}") for step in (steps.min(), steps.max())]
        refuse("the range of steps in log sigmas", between, "one number: uniform, as those of torch.logspace are")
    return torch.cat((logs - width / 2, logs[-1:] + width / 2)).exp()


def _batches(data: Data, batch_size: int) -> Iterable[Any]:
    batch_size = whole("batch_size", batch_size, least=1)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        refuse("data", type(data).__name__, "batches: give a DataLoader of these single samples, or a tensor")
    if isinstance(data, Tensor):
        return data.split(batch_size) if data.dim() else [data]
    return data


def _checked(batch: Any) -> Tensor:
    x0 = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(x0, Tensor):
        refuse("a batch of data", type(x0).__name__, "a tensor, or a tuple or list that begins with one")
    if x0.dtype not in FLOATS or x0.dim() == 0 or 0 in x0.shape[1:]:
        refuse("a batch of data", f"{x0.dtype} {list(x0.shape)}", "floating samples [B, ...] with elements")
    if not bool(x0.isfinite().all()):
        refuse("data", "NaN or infinity somewhere", "finite")
    return x0


def _errors(
    net: Denoiser, x0: Tensor, levels: list[float], basis: Tensor | None, generator: torch.Generator | None, mean: bool
) -> Tensor:
    """Squared errors [parts, K, B] of a batch, float64 on the CPU."""
    wide = torch.promote_types(x0.dtype, torch.float32)
    source = x0.device if generator is None else generator.device
    eps = torch.randn(x0.shape, generator=generator, device=source, dtype=wide).to(x0.device)
    clean, basis = x0.to(wide), None if basis is None else basis.to(x0.device, wide)
    each = [_error_at(net, x0.dtype, clean, eps, level, basis) for level in levels]
    errors = torch.stack(each, 1).cpu().double()
    bad = ~errors.isfinite().all(0)  # [K, B]
    if bool(bad.any()):
        k = int(bad.any(1).nonzero()[0])
        refuse(f"net(y, {levels[k]:.6g})", f"NaN or infinity for {int(bad[k].sum())} of {len(x0)} samples", "finite")
    return errors / x0.shape[1:].numel() if mean else errors


def _error_at(
    net: Denoiser, dtype: torch.dtype, clean: Tensor, eps: Tensor, level: float, basis: Tensor | None
) -> Tensor:
    """Sums of squares [parts, B]."""
    sigma = clean.new_full(clean.shape[:1], level)
    denoised = net((clean + level * eps).to(dtype), sigma)
    if not isinstance(denoised, Tensor) or denoised.shape != clean.shape:
        got = list(denoised.shape) if isinstance(denoised, Tensor) else type(denoised).__name__
        refuse("net(y, sigma)", got, f"a tensor of y's shape, {list(clean.shape)}")
    with torch.autocast(clean.device.type, enabled=False):
        return _parts((denoised.to(clean.dtype) - clean).flatten(1), basis)


def _parts(wrong: Tensor, basis: Tensor | None) -> Tensor:
    """Sums of squares [parts, B] of [B, D]."""
    if basis is None:
        return wrong.square().sum(1).unsqueeze(0)
    if len(basis) != wrong.shape[1]:
        refuse("the number of rows of features", len(basis), f"{wrong.shape[1]}, the elements of a sample")
    along = wrong @ basis
    return torch.stack((along.square().sum(1), (wrong - along @ basis.T).square().sum(1)))


def _moments(errors: Tensor) -> Tensor:
    """Count, sum and sum of squares [parts, K, 3]."""
    return torch.stack((torch.ones_like(errors), errors, errors.square()), -1).sum(2)


@contextlib.contextmanager
def _evaluating(net: Denoiser) -> Iterator[None]:
    """A module in eval mode; then every submodule in its own again, parents before children."""
    modes = [(module, module.training) for module in net.modules()] if isinstance(net, torch.nn.Module) else []
    if isinstance(net, torch.nn.Module):
        net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.train(training)


def _bar(batches: Iterable[Any], progress: bool) -> Iterable[Any]:
    if not progress:
        return batches
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return batches
    return tqdm(batches, desc="offline_profile", unit="batch", disable=None)
