"""Directions of a data set whose information is measured apart from the rest."""

from __future__ import annotations

import torch
from torch import Tensor

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
        raise ValueError(f"data must be 2 or more finite floating samples, got {data.dtype} {list(data.shape)}")
    x = data.flatten(1).double()
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x @ x.T if len(x) < x.shape[1] else x.T @ x)
    values, vectors = values.flip(0), vectors.flip(1)
    rank = int((values > values[0] * len(values) * torch.finfo(values.dtype).eps).sum())
    count = _above_gap(values[:rank]) if r is None else r
    if not 1 <= count <= rank:
        raise ValueError(f"r is {r}, but must be in [1, {rank}], the rank of the data")
    top = vectors[:, :count]
    basis = torch.linalg.qr(x.T @ top).Q if len(x) < x.shape[1] else top
    return basis.to(torch.promote_types(data.dtype, torch.float32))


def _above_gap(spectrum: Tensor) -> int:
    """How many of a descending spectrum stand above its largest gap; 1 of a single one, 0 of none."""
    if len(spectrum) < 2:
        return len(spectrum)
    half = (len(spectrum) + 1) // 2
    return 1 + int(spectrum[: half + 1].log().diff().argmin())


def checked_basis(features: Tensor) -> Tensor:
    """`features`; ValueError unless it is [D, r] with r < D orthonormal columns."""
    shape = list(features.shape)
    if not features.is_floating_point() or features.dim() != 2 or not 0 < shape[1] < shape[0]:
        raise ValueError(f"features must be floating [D, r] with 0 < r < D, got {features.dtype} {shape}")
    columns = features.double()
    excess = columns.T @ columns - torch.eye(shape[1], dtype=columns.dtype, device=columns.device)
    if not bool(excess.abs().max() < _ORTHONORMAL):
        raise ValueError("features must have orthonormal columns, such as torch.linalg.qr(features).Q has")
    return features
