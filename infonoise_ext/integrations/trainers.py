"""Flow-matching trainers that draw in one function and have the error in another: kohya, musubi-tuner and their kin.

All of them mix x = (1 - t) x0 + t noise. They have no plug-in for it, so the page shows which methods to override.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .. import InfoNoise, LogitNormal, LogNormal
from ..channel import Flow, LossWeight, SigmaTable, UniformTime, clean_error
from ..channel.sd3 import option, places
from ..curves.arguments import refuse
from ..curves.density import Density
from ..distributed import all_ranks

_FLOW = Flow("noise")
_SHIFTS = {
    "flux_shift": (4096, 1.15),
    "flux2_shift": (4096, 1.15),
    "nextdit_shift": (4096, 1.15),
    "qwen_shift": (8192, 0.9),
    "krea2_shift": (6400, 1.15),
}
"""Log of the shift at so many tokens, on a line through 0.5 at 256: a token is 16 x 16 pixels."""
_NOT_PLAIN = ("ip_noise_gamma", "noise_offset", "multires_noise_iterations", "num_timestep_buckets")


class FlowSchedule(InfoNoise):
    """An `InfoNoise` of flow times, which remembers the levels it drew last: no trainer has to hand them on.

    `make_schedule` makes it. Times that pass through a trainer are often rounded to bfloat16, shifted or scaled on
    their way, and then are other noise levels than those that were trained on.
    """

    prediction = "velocity"
    _drawn: Tensor | None = None

    def times(self, n: int) -> Tensor:
        """Draw n flow times: float32 in (0, 1), where 1 is noise."""
        self._drawn = self.sample(n)
        return _FLOW.time_of(self._drawn)

    def mix(self, latents: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy latents at drawn times, and those times.

        Args:
            latents: [B, ...] clean.
            noise: of latents' shape.

        Returns:
            (1 - t) latents + t noise, and t [B, 1, ...]; both float32 or wider: cast the first, and mix again with
            nothing that was cast.
        """
        t = self.times(len(latents)).view(-1, *(1,) * (latents.ndim - 1)).to(latents.device)
        return (1 - t) * latents + t * noise, t

    def record(self, model_pred: Tensor, target: Tensor, t: Tensor | None = None, mask: Tensor | None = None) -> None:
        """Record the plain error of a training batch; a pass without gradients, as validation is, records nothing.

        Args:
            model_pred: [B, ...] before any weight, mask or Huber loss.
            target: [B, ...].
            t: [B] flow times in float32 that were used; None are those that were drawn last.
            mask: bool [B], False leaves a sample out, as a regularisation image.

        Raises:
            ValueError: nothing was drawn for it, another number of samples, or times of 16 bits.
        """
        if not model_pred.requires_grad:
            return
        sigma = self._drawn if t is None else _FLOW.sigma(_checked(t).flatten().to(self.device))
        if sigma is None or len(sigma) != len(model_pred):
            drawn = None if sigma is None else len(sigma)
            refuse(
                "the number of times drawn", drawn, f"that of samples, {len(model_pred)}: draw with `times` or `mix`"
            )
        error = (model_pred.detach().float() - target.detach().float()).square().flatten(1).mean(1)
        self.observe(sigma, clean_error(error.to(self.device), sigma, self.prediction), mask)


def make_schedule(args: Any = None, accelerator: Any = None, **options: Any) -> FlowSchedule:
    """The schedule of a trainer, from its own objects; call it before the trainer resumes.

    Args:
        args: of kohya's or musubi's scripts: `timestep_sampling` with `sigmoid_scale`, `discrete_flow_shift`,
            `logit_mean`, `logit_std`, `mode_scale` and `resolution` make the warm-up; `weighting_scheme` and
            `model_prediction_type` the weight; `min_timestep` and `max_timestep` the range; `max_train_steps`,
            `train_batch_size` and `gradient_accumulation_steps` the bins. None is a uniform t and a plain loss.
        accelerator: of Hugging Face accelerate; the schedule goes to its device and into its checkpoints.
        **options: for `InfoNoise`, in place of what is read.

    Raises:
        ValueError: an argument under which the noise is not white and Gaussian, or the loss not a plain one.
    """
    for name in _NOT_PLAIN:
        if option(args, name):
            refuse(
                f"args.{name}", option(args, name), "off: the schedule draws itself, and measures white Gaussian noise"
            )
    sd3 = option(args, "training_shift") is not None  # kohya's SD3: its loss compares clean latents
    if option(args, "model_prediction_type", "raw") != "raw" and not sd3:
        refuse("args.model_prediction_type", args.model_prediction_type, "'raw', the plain velocity")
    low, high = option(args, "min_timestep", 0) / 1000, option(args, "max_timestep", 1000) / 1000
    own: dict[str, Any] = {
        "sigma_min": max(low, 1e-3) / (1 - max(low, 1e-3)),
        "sigma_max": min(high, 0.999) / (1 - min(high, 0.999)),
        "weight": _weight_of("x0" if sd3 else "velocity", args),
        "process_group": None if {"rank", "world"} & set(options) else all_ranks(),
        "device": getattr(accelerator, "device", None),
    }
    if "prior" not in options:
        own["prior"] = _own_density(args)
    schedule = FlowSchedule(**(own | options))
    schedule.prediction = "x0" if sd3 else "velocity"
    if accelerator is not None:
        accelerator.register_for_checkpointing(schedule)
    return schedule


@contextmanager
def kohya(module: Any, schedule: FlowSchedule) -> Iterator[None]:
    """Let `get_noisy_model_input_and_timesteps` of a module of kohya's sd-scripts draw from the schedule.

    For `flux_train_utils` (also HunyuanImage's), `lumina_train_util` and `sd3_train_utils`. The trainer's own
    function is back afterwards, for validation at the trainer's own times.
    """
    own = module.get_noisy_model_input_and_timesteps

    def get_noisy_model_input_and_timesteps(args: Any, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        latents, noise, _, dtype = rest[-4:]  # before them stands a noise_scheduler, but for SD3
        noisy, t = schedule.mix(latents, noise)
        return noisy.to(dtype), (1000 * t.flatten()).to(dtype), t

    module.get_noisy_model_input_and_timesteps = get_noisy_model_input_and_timesteps
    try:
        yield
    finally:
        module.get_noisy_model_input_and_timesteps = own


def _weight_of(prediction: str, args: Any) -> LossWeight:
    scheme = option(args, "weighting_scheme", "none")
    if prediction == "velocity" and hasattr(
        args, "model_prediction_type"
    ):  # kohya's scheme is not for the raw velocity
        scheme = "none"
    return LossWeight(prediction, scheme if scheme in ("sigma_sqrt", "cosmap") else "none")


def _own_density(args: Any) -> Density:
    """What the trainer would draw from; within the range of the schedule, as by rejection."""
    sampling = option(args, "timestep_sampling", "uniform" if args is None else "sigma")
    scale = option(args, "sigmoid_scale", 1.0)
    if option(args, "training_shift") is not None:
        shift, u = args.training_shift, places(args)
        return SigmaTable.from_flow("data").density_of_places(shift * u / (1 + (shift - 1) * u))
    if sampling == "uniform":
        return UniformTime()
    if sampling in ("sigmoid", "shift"):
        return LogitNormal(0.0, scale, option(args, "discrete_flow_shift", 3.0) if sampling == "shift" else 1.0)
    if sampling in _SHIFTS:
        shift = _resolution_shift(sampling, option(args, "resolution", 1024))
        return UniformTime(shift) if sampling == "nextdit_shift" else LogitNormal(0.0, scale, shift)
    if sampling == "logsnr":  # t = sigmoid(-logsnr / 2)
        return LogNormal(-option(args, "logit_mean", 0.0) / 2, option(args, "logit_std", 1.0) / 2)
    if sampling == "sigma":
        table = SigmaTable.from_flow("noise", shift=option(args, "discrete_flow_shift", 3.0))
        return table.density_of_places(places(args))
    known = ", ".join(map(repr, ("sigma", "uniform", "sigmoid", "shift", "logsnr", *_SHIFTS)))
    refuse("args.timestep_sampling", sampling, f"one of {known}; give the density of another as prior=")


def _resolution_shift(sampling: str, resolution: Any) -> float:
    """The shift at a resolution: pixels of a side, or "WIDTH,HEIGHT"."""
    sides = str(resolution).strip("()[] ").split(",")
    width, height = float(sides[0]), float(sides[-1])
    tokens, log_shift = _SHIFTS[sampling]
    return math.exp(0.5 + (width * height / 256 - 256) * (log_shift - 0.5) / (tokens - 256))


def _checked(t: Tensor) -> Tensor:
    if t.dtype in (torch.float16, torch.bfloat16):
        refuse("the dtype of t", t.dtype, "torch.float32: rounded, they are other noise levels")
    return t
