"""Loss weights w(sigma): what the objective multiplies the error of a clean sample by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from .arguments import choice, number, refuse

Weight = Callable[[Tensor], Tensor]
PREDICTIONS = ("x0", "eps", "v", "velocity", "edm_f")
"""What a network may predict; `clean_error` says what each is."""
_SCHEMES = {
    "none": PREDICTIONS[:4],
    "min_snr": ("x0", "eps", "v"),
    "debiased": ("eps", "v"),
    "p2": ("eps",),
    "sigma_sqrt": ("x0", "velocity"),
    "cosmap": ("x0", "velocity"),
}
"""Named weights, and the predictions whose losses they are defined for."""
_GAMMAS = {"min_snr": 5.0, "p2": 1.0}
_TOP_SNR = 1e3
"""Where trainers cut the SNR of the debiased weight."""


@dataclass(frozen=True)
class EDMWeight:
    """EDM's loss weight, w = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2.

    Calling it with sigma of any shape returns w of the same shape, dtype and device.

    Args:
        sigma_data: standard deviation of the data, in the units of sigma.

    Raises:
        ValueError: sigma_data is not a finite number above 0.

    Source:
        InfoNoise (arXiv 2602.18647) Eq. 52; EDM (arXiv 2206.00364) Table 1.
    """

    sigma_data: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma_data", number("sigma_data", self.sigma_data, above=0))

    def __call__(self, sigma: Tensor) -> Tensor:
        """Return w(sigma), of sigma's shape, dtype and device."""
        # Eq. 52 written as a sum of inverse squares: no product that could under- or overflow.
        return sigma.reciprocal().square() + self.sigma_data**-2


def loss_of_clean(sigma: Tensor, prediction: str, sigma_data: float | None = None) -> Tensor:
    """Squared error of a prediction in units of the clean sample's, at sigma in (0, inf]; as sigma."""
    snr = sigma.reciprocal().square()
    if prediction == "x0":
        return torch.ones_like(sigma)
    if prediction == "eps":
        return snr
    if prediction == "v":
        return 1.0 + snr
    if prediction == "velocity":
        return (1.0 + sigma.reciprocal()).square()
    return snr + number("sigma_data", sigma_data, above=0) ** -2


@dataclass(frozen=True)
class LossWeight:
    """The weight of a training loss by the names that trainers have for it, as the factor of the CLEAN error.

    A loss is the mean squared error of a prediction times the scheme's factor; at a given sigma the two errors are
    proportional (`clean_error`), so the loss is the clean error times w(sigma), which this gives.
    ``weight="velocity"`` means ``LossWeight("velocity")``, and so for "x0", "eps" and "v".

    | scheme | factor on the loss of the prediction; snr = sigma^-2, t = sigma / (1 + sigma) |
    |---|---|
    | "none" | 1: also for diffusers' "logit_normal" and "mode", which are densities |
    | "min_snr" | min(snr, gamma) / snr on eps, / (snr + 1) on v, times 1 on x0; w is min(snr, gamma) for all |
    | "debiased" | 1 / sqrt(snr) on eps; 1 / (snr + 1) on v, as kohya's trainer has it; snr is cut at 1000 |
    | "p2" | (1 + snr)^-gamma on eps |
    | "sigma_sqrt" | t^-2, on x0 (``--precondition_outputs``) or velocity |
    | "cosmap" | 2 / (pi (1 - 2 t + 2 t^2)), on x0 or velocity |

    Calling it with sigma of any shape returns w of the same shape, dtype and device.

    Args:
        prediction: "x0", "eps", "v" or "velocity": what the loss compares; see `clean_error`. The raw network of EDM
            has `EDMWeight`.
        scheme: from the table.
        gamma: of "min_snr" (None is 5) and "p2" (None is 1) alone.

    Raises:
        ValueError: an unknown name, a scheme that is not defined for the prediction, or a gamma that is out of place.

    Source:
        Min-SNR (arXiv 2303.09556) Sec. 3.4; Debias the Training of Diffusion Models (arXiv 2310.08442); P2 (arXiv
        2204.00227) Eq. 8 with k = 1; SD3 (arXiv 2403.03206) Sec. 3.1 for the last two.
    """

    prediction: str
    scheme: str = "none"
    gamma: float | None = None

    def __post_init__(self) -> None:
        choice("prediction", self.prediction, PREDICTIONS[:4])
        choice("scheme", self.scheme, tuple(_SCHEMES))
        if self.prediction not in _SCHEMES[self.scheme]:
            refuse(f"prediction of {self.scheme!r}", self.prediction, f"one of {', '.join(_SCHEMES[self.scheme])}")
        if self.gamma is not None and self.scheme not in _GAMMAS:
            refuse("gamma", self.gamma, f"None: {self.scheme!r} has none")
        gamma = _GAMMAS.get(self.scheme) if self.gamma is None else number("gamma", self.gamma, above=0)
        object.__setattr__(self, "gamma", gamma)

    def __call__(self, sigma: Tensor) -> Tensor:
        """Return w(sigma), of sigma's shape, dtype and device."""
        snr, t = sigma.reciprocal().square(), 1.0 / (1.0 + sigma.reciprocal())
        if self.scheme == "min_snr":
            return snr.clamp(max=self.gamma)
        plain = loss_of_clean(sigma, self.prediction)
        if self.scheme == "debiased":
            cut = snr.clamp(max=_TOP_SNR)
            if self.prediction == "v":
                return plain / (1.0 + cut)
            return cut.sqrt() * (snr / _TOP_SNR).clamp(min=1.0)  # snr / sqrt(cut), without 0 / 0 at pure noise
        if self.scheme == "p2":  # snr (1 + snr)^-gamma, without inf times 0 at low noise
            return (1.0 + snr) ** (1.0 - (self.gamma or 0.0)) / (1.0 + sigma.square())
        if self.scheme == "sigma_sqrt":
            return plain * t.square().reciprocal()
        if self.scheme == "cosmap":
            return plain * (2.0 / math.pi) / (1.0 - 2.0 * t + 2.0 * t.square())
        return plain


def unit_weight(sigma: Tensor) -> Tensor:
    """Return ones of sigma's shape, dtype and device: the weight that ``None`` means."""
    return torch.ones_like(sigma)


def evaluate(name: str, curve: Weight, sigma: Tensor, *, positive: bool) -> Tensor:
    """Call a weight or a bound on a table of sigma and check what it returns; waits for the device.

    Args:
        name: of the curve, for the message.
        curve: callable that is given float64 sigma, or float32 if it fails with that; a module, sigma in the dtype
            and on the device of its parameters. It may return a tensor or whatever ``torch.as_tensor`` takes.
        sigma: any shape.
        positive: whether values must be finite and above 0, as a weight's; else they must be at least 0.

    Returns:
        float64 curve(sigma), of sigma's shape, on sigma's device, detached.

    Raises:
        ValueError: what it returns is no tensor, has another shape than sigma, or holds a value out of range.
    """
    sigma = sigma.detach().to(torch.float64)
    with torch.no_grad():
        value = _called(curve, sigma)
    try:
        y = torch.as_tensor(value, dtype=torch.float64, device=sigma.device).detach()
    except (TypeError, ValueError, RuntimeError):
        refuse(f"{name}(sigma)", value, "a tensor")
    if y.shape != sigma.shape:
        refuse(f"the shape of {name}(sigma)", list(y.shape), f"that of sigma, {list(sigma.shape)}")
    bad = ~(torch.isfinite(y) & (y > 0.0)) if positive else ~(y >= 0.0)
    if bool(bad.any()):
        at, first = sigma[bad][0].item(), y[bad][0].item()
        refuse(f"{name}({at:.4g})", first, "finite and above 0" if positive else "at least 0")
    return y


def is_trained(curve: Weight, sigma: Tensor) -> bool:
    """Whether a weight depends on parameters that gradients reach, so that it will not stay as it is."""
    with torch.enable_grad():
        value = _called(curve, sigma.detach())
    return isinstance(value, Tensor) and value.requires_grad


def _called(curve: Weight, sigma: Tensor) -> Tensor:
    """The curve at float64 sigma, which a module of float32 parameters does not multiply with."""
    if isinstance(curve, torch.nn.Module):
        for tensor in chain(curve.parameters(), curve.buffers()):
            if tensor.is_floating_point():
                return curve(sigma.to(tensor.device, tensor.dtype))
    try:
        return curve(sigma)
    except RuntimeError:  # a function around such a module
        return curve(sigma.float())


def as_weight(weight: Weight | str | None) -> Weight:
    """Return ``weight`` itself, `unit_weight` for None, or the `LossWeight` of a prediction's name.

    Raises:
        ValueError: weight is neither None, nor a name, nor callable.
    """
    if isinstance(weight, str):
        return LossWeight(choice("weight", weight, PREDICTIONS[:4]))
    if weight is not None and not callable(weight):
        refuse("weight", weight, "None or a callable sigma -> w, or the name of a prediction")
    return unit_weight if weight is None else weight
