"""Directions of a data set whose information is measured apart from the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from ..curves.arguments import refuse, whole

_ORTHONORMAL = 1e-3


@torch.no_grad()
def principal_components(data: Tensor, r: int | None = None) -> Tensor:
    """The directions in which the data varies most, as `features` of `offline_profile`.

    It holds a matrix of the square of D or of N, the smaller, and takes its eigenvectors: for large ones, give some
    of the samples.

    Args:
        data: [N, ...] clean samples, floating, N at least 2; D numbers in each.
        r: how many. None takes those above the largest gap in the logarithm of the spectrum (the eigenvalues of the
            covariance), looked for in its upper half: the lower half is where the noise of N samples makes gaps
            of its own. A spectrum without a gap has no such number, and gets what chance made of it.

    Returns:
        [D, r] orthonormal columns, most variance first, float32 or, for float64 data, float64.

    Raises:
        ValueError: data that is not two finite samples that differ, or r not in [1, rank].
    """
    if not data.is_floating_point() or data.dim() < 2 or len(data) < 2 or not bool(data.isfinite().all()):
        refuse("data", f"{data.dtype} {list(data.shape)}", "2 or more finite floating samples")
    x = data.flatten(1).double()
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x @ x.T if len(x) < x.shape[1] else x.T @ x)
    values, vectors = values.flip(0), vectors.flip(1)
    rank = int((values > values[0] * len(values) * torch.finfo(values.dtype).eps).sum())
    if not rank:
        refuse("data", f"{len(x)} equal samples", "samples that differ")
    count = _above_gap(values[:rank]) if r is None else whole("r", r, least=1, most=rank)
    top = vectors[:, :count]
    basis = torch.linalg.qr(x.T @ top).Q if len(x) < x.shape[1] else top
    return basis.to(torch.promote_types(data.dtype, torch.float32))


def _above_gap(spectrum: Tensor) -> int:
    """How many of a descending spectrum stand above its largest gap; 1 of a single one."""
    if len(spectrum) == 1:
        return 1
    half = (len(spectrum) + 1) // 2
    return 1 + int(spectrum[: half + 1].log().diff().argmin())


def checked_basis(features: Tensor) -> Tensor:
    """`features`; ValueError unless it is [D, r] with r < D orthonormal columns."""
    shape = list(features.shape)
    if not features.is_floating_point() or features.dim() != 2 or not 0 < shape[1] < shape[0]:
        refuse("features", f"{features.dtype} {shape}", "floating [D, r] with 0 < r < D")
    columns = features.double()
    excess = columns.T @ columns - torch.eye(shape[1], dtype=columns.dtype, device=columns.device)
    if not bool(excess.abs().max() < _ORTHONORMAL):
        worst = float(excess.abs().max())
        refuse("max |features.T @ features - 1|", worst, "near 0: take torch.linalg.qr(features).Q")
    return features
