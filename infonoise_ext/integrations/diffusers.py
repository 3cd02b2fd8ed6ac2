"""diffusers: noise levels for its samplers, timesteps for its training scripts, and the record of their errors.

The schedulers of diffusers call two things sigma: noise std over signal scale (EDM, Euler; ours), and
the flow time t = sigma / (1 + sigma) (flow matching). Everything here takes and returns ours.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import GaussianBound, InfoNoise
from ..channel import Flow, LossWeight, SigmaTable, clean_error
from ..channel.sd3 import option, places
from ..curves.arguments import choice, refuse, whole
from ..curves.density import Schedule
from ..distributed import all_ranks

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0", "flow_prediction": "velocity"}
_REMAPS = (
    "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_dynamic_shifting", "shift_terminal",
    "invert_sigmas", "sigma_schedule", "final_sigmas_type",
)  # fmt: skip
_NOT_WHITE = (
    "noise_offset", "input_perturbation", "multires_noise_iterations", "ip_noise_gamma", "dream_training",
    "do_edm_style_training",
)  # fmt: skip
_TOLERANCE = 1e-6  # relative: the float32 arithmetic of a shift and its inverse
_SAME_STEP = 0.01  # of timesteps, whose table is no denser, and which float32 rounds to less
_EDGE = 1e-3  # relative: a grid that ends where the scheduler's range does, but for rounding


def set_sigmas(scheduler: Any, sigmas: Tensor, device: torch.device | str | None = None) -> None:
    """Give a scheduler exactly these noise levels, in the convention its `set_timesteps` expects.

    Tested with the EDMEuler, EulerDiscrete, FlowMatchEulerDiscrete, FlowMatchLCM and UniPCMultistep
    schedulers (UniPC with `use_flow_sigmas`). A fixed or dynamic shift is undone. A pipeline calls
    `set_timesteps` itself: give it `pipeline_sigmas` instead.

    Args:
        scheduler: of diffusers.
        sigmas: [n + 1] descending, the last 0, such as `info_grid` makes.
        device: where the scheduler puts its timesteps.

    Raises:
        ValueError: sigmas is no such grid or leaves the range the scheduler was trained on; its
            `set_timesteps` takes no sigmas; or it re-mapped them in spite of all, so that
            `scheduler.sigmas` is not the grid.
    """
    _set(scheduler, sigmas, device)


def pipeline_sigmas(scheduler: Any, sigmas: Tensor) -> Any:
    """What to pass as `sigmas=` to a pipeline, so that its scheduler's noise levels are these.

    Checked on a copy of the scheduler. See `set_sigmas` for arguments and errors; a scheduler with
    `use_dynamic_shifting` is refused too, for only the pipeline knows the shift it will apply.

    Returns:
        a NumPy array, or a tensor for EDMEuler.
    """
    if scheduler.config.get("use_dynamic_shifting"):
        fix = f"{type(scheduler).__name__}.from_config(scheduler.config, use_dynamic_shifting=False, shift=1.0)"
        refuse("use_dynamic_shifting", True, f"False, else the pipeline shifts the sigmas: use {fix}")
    return _set(copy.deepcopy(scheduler), sigmas, None)


def sigma_table(scheduler: Any, device: torch.device | str | None = None) -> SigmaTable:
    """The noise levels a scheduler trains on, with its shift, in the order of its tables.

    The index of an entry is the timestep for schedulers with `alphas_cumprod` (DDPM and its kin), and
    the position in `scheduler.timesteps` for flow matching.

    Raises:
        ValueError: the scheduler has had inference steps set, or has no table to train on.
    """
    config = scheduler.config
    if hasattr(scheduler, "set_shift"):
        if len(scheduler.sigmas) != config.num_train_timesteps:
            fix = f"{type(scheduler).__name__}.from_config(scheduler.config)"
            refuse("scheduler", "one with inference steps", f"fresh: {fix}")
        return SigmaTable(Flow("noise").sigma(scheduler.sigmas.double()), device)
    if hasattr(scheduler, "alphas_cumprod") and not config.get("use_flow_sigmas"):
        return SigmaTable.from_alphas_cumprod(scheduler.alphas_cumprod, device)
    refuse("scheduler", type(scheduler).__name__, "one with a training table, which those of continuous sigma lack")


class ScriptSchedule(InfoNoise):
    """An `InfoNoise` of a training script: it draws the timesteps of its scheduler and takes its predictions.

    `make_schedule` makes it.

    Attributes:
        entries: the `SigmaTable` of the scheduler.
    """

    entries: SigmaTable
    _prediction_type: str
    _flow_steps: int | None

    def timesteps(self, n: int) -> Tensor:
        """Draw n timesteps of a DDPM, in place of `torch.randint(0, num_train_timesteps, (n,))`: int64."""
        return self.entries.sample(self, n)[0]

    def density(self, *args: Any, **options: Any) -> Tensor:
        """Draw in place of `compute_density_for_timestep_sampling`, which has the same arguments."""
        return density(self, self.entries)(*args, **options)

    def record(self, timesteps: Tensor, model_pred: Tensor, target: Tensor, **options: Any) -> None:
        """Record the unweighted error of a batch, where the script has both `model_pred` and `target`.

        Args:
            timesteps: [B] of the script, which the batch was noised at: entries of its scheduler's `timesteps`. Others
                (places in the table, times in [0, 1]) have no level: they are not recorded, but counted.
            model_pred: [B, ...] what its loss compares.
            target: [B, ...] to what.
            **options: `mask` and `group` of `InfoNoise.observe`.

        Raises:
            ValueError: timesteps that were rounded, or as `observe`.
        """
        sigma = self._levels(timesteps.to(self.device))
        observe(self, sigma, model_pred, target, self._prediction_type, **options)

    def _levels(self, steps: Tensor) -> Tensor:
        """The levels of timesteps, NaN where the table has none; no host sync."""
        narrow = steps.dtype in (torch.float16, torch.bfloat16)
        if narrow or (self._flow_steps is not None and not steps.is_floating_point()):
            refuse("the dtype of timesteps", steps.dtype, "torch.float32: rounded, they are other noise levels")
        if self._flow_steps is None:
            index = steps.long().clamp(0, len(self.entries) - 1)
            sigma, own = self.entries.sigmas[index], index
        else:
            _, sigma = self.entries.snap(Flow("noise").sigma(steps.double() / self._flow_steps))
            own = Flow("noise").time_of(sigma.double()) * self._flow_steps
        return torch.where((own - steps).abs() < _SAME_STEP, sigma, torch.nan)


def make_schedule(noise_scheduler: Any, args: Any = None, accelerator: Any = None, **options: Any) -> ScriptSchedule:
    """The schedule of a training script, from its own objects; call it before the script loads a checkpoint.

    It has the range of the scheduler's table, the weight of the script's loss in units of the clean error, the
    script's own density as the warm-up, and a bound for epsilon: the error of a network that predicts epsilon, times
    sigma^2, outgrows what latents of standard deviation 1 leave unknown. All ranks share it, it is on the
    accelerator's device, and in its checkpoints.

    Args:
        noise_scheduler: what the script noises with, such as `noise_scheduler_copy` of the flow scripts.
        args: of the script. Read are `weighting_scheme`, `logit_mean`, `logit_std`, `mode_scale`,
            `precondition_outputs`; `prediction_type`, `snr_gamma`; `max_train_steps`, `train_batch_size`,
            `gradient_accumulation_steps`; and kohya's `min_snr_gamma`, `v_parameterization`,
            `scale_v_pred_loss_like_noise_pred`, `debiased_estimation_loss`, `min_timestep` and `max_timestep`.
        accelerator: the script's `Accelerator`.
        **options: for `InfoNoise`, in place of what is read.

    Raises:
        ValueError: a scheduler without a training table, or an argument under which the noise is not white and
            Gaussian, or the loss not the one named.
    """
    for name in _NOT_WHITE:
        if option(args, name):
            refuse(
                f"args.{name}", option(args, name), "off: the schedule measures white Gaussian noise and a plain loss"
            )
    bias = option(args, "timestep_bias_strategy", "none")
    if bias != "none":
        refuse("args.timestep_bias_strategy", bias, "'none': the schedule draws in its place")
    table = sigma_table(noise_scheduler)
    flow = hasattr(noise_scheduler, "set_shift")
    low, high = (table.sigma_min, table.sigma_max) if flow else _range_of(table, args)
    prediction_type = _prediction_of(noise_scheduler, args, flow)
    weight = _weight_of(PREDICTIONS[prediction_type], args)
    own: dict[str, Any] = {
        "sigma_min": low,
        "sigma_max": high,
        "weight": weight,
        "prior": table.density_of_places(places(args)) if flow else table.uniform(),
        "bound": GaussianBound(1.0) if weight.prediction == "eps" else None,
        "process_group": None if {"rank", "world"} & set(options) else all_ranks(),
        "device": getattr(accelerator, "device", None),
    }
    schedule = ScriptSchedule(**(own | options))
    schedule.entries = table.to(schedule.device)
    schedule._prediction_type = prediction_type
    schedule._flow_steps = noise_scheduler.config.num_train_timesteps if flow else None
    if accelerator is not None:
        accelerator.register_for_checkpointing(schedule)
    return schedule


def _range_of(table: SigmaTable, args: Any) -> tuple[float, float]:
    """Of the timesteps of a DDPM in [min_timestep, max_timestep), as those of one of two experts."""
    first = whole("args.min_timestep", option(args, "min_timestep", 0), least=0, most=len(table) - 2)
    end = whole("args.max_timestep", option(args, "max_timestep", len(table)), least=first + 2, most=len(table))
    return float(table.sigmas[first]), min(float(table.sigmas[end - 1]), table.sigma_max)


def _prediction_of(noise_scheduler: Any, args: Any, flow: bool) -> str:
    """What the script's loss compares, a key of `PREDICTIONS`."""
    if flow:
        return "sample" if option(args, "precondition_outputs") else "flow_prediction"
    if option(args, "v_parameterization"):
        return "v_prediction"
    own = option(args, "prediction_type", noise_scheduler.config.prediction_type)
    return choice("prediction_type", own, tuple(PREDICTIONS))


def _weight_of(prediction: str, args: Any) -> LossWeight:
    """The weight of the script's loss, which compares `prediction`."""
    gamma = option(args, "snr_gamma") or option(args, "min_snr_gamma")
    if gamma:
        return LossWeight(prediction, "min_snr", gamma)
    if option(args, "debiased_estimation_loss"):
        return LossWeight(prediction, "debiased")
    if prediction == "v" and option(args, "scale_v_pred_loss_like_noise_pred"):
        return LossWeight("eps")
    scheme = option(args, "weighting_scheme", "none")
    return LossWeight(prediction, scheme if scheme in ("sigma_sqrt", "cosmap") else "none")


def density(schedule: Schedule, table: SigmaTable) -> Callable[..., Tensor]:
    """A drop-in for `compute_density_for_timestep_sampling` of the training scripts (SD3, Flux).

    The scripts take u to `indices = (u * num_train_timesteps).long()`; u is the middle of an entry's
    interval, so that each entry of the table is hit with exactly the schedule's mass of its cell.

    Args:
        schedule: what draws.
        table: `sigma_table(scheduler)`; it moves to the schedule's device.

    Returns:
        a function of the same signature; what it shapes its density by is ignored, as is `generator`.
    """

    def compute_density_for_timestep_sampling(
        weighting_scheme: str | None,
        batch_size: int,
        logit_mean: float | None = None,
        logit_std: float | None = None,
        mode_scale: float | None = None,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        index, _ = table.sample(schedule, batch_size)
        return ((index + 0.5) / len(table)).to(device)

    return compute_density_for_timestep_sampling


def observe(
    schedule: Schedule, sigma: Tensor, model_pred: Tensor, target: Tensor, prediction_type: str, **options: Any
) -> None:
    """Record the unweighted error of a batch, from the prediction and target the scripts compute.

    Args:
        schedule: what learns.
        sigma: [B] entries of the table, `table.sigmas[indices]`: not the scripts' flow-time sigmas. The
            error is moved to their device, the schedule's.
        model_pred: [B, ...] the network's output, before any weight.
        target: [B, ...] what it is trained towards.
        prediction_type: as in diffusers' configs, a key of `PREDICTIONS`.
        **options: `mask` and `group` of `InfoNoise.observe`.

    Raises:
        ValueError: an unknown prediction_type, or shapes that do not fit.
    """
    choice("prediction_type", prediction_type, tuple(PREDICTIONS))
    if model_pred.shape != target.shape:
        refuse("the shape of target", list(target.shape), f"that of model_pred, {list(model_pred.shape)}")
    error = (model_pred.detach().float() - target.detach().float()).square().flatten(1).mean(1).to(sigma.device)
    schedule.observe(sigma, clean_error(error, sigma, PREDICTIONS[prediction_type]), **options)


def _set(scheduler: Any, sigmas: Tensor, device: torch.device | str | None) -> Any:
    """Set the sigmas, check that they are there, and return what `set_timesteps` was given."""
    name, grid = type(scheduler).__name__, sigmas.detach().to("cpu", torch.float64)
    if grid.ndim != 1 or len(grid) < 2 or grid[-1] != 0 or not bool((grid.diff() < 0).all() & grid.isfinite().all()):
        refuse("sigmas", grid.tolist(), "finite numbers that descend and end in 0")
    parameters = inspect.signature(scheduler.set_timesteps).parameters
    if "sigmas" not in parameters:
        refuse("scheduler", name, "one whose set_timesteps takes sigmas, such as EulerDiscreteScheduler")
    wanted, given = _argument(scheduler, grid)
    neutral = {}
    if scheduler.config.get("use_dynamic_shifting"):
        neutral["mu"] = 0.0 if scheduler.config.time_shift_type == "exponential" else 1.0
    scheduler.set_timesteps(sigmas=given, device=device, **neutral)
    got = scheduler.sigmas.detach().to("cpu", torch.float64)
    if got.shape != wanted.shape or not torch.allclose(got, wanted, rtol=_TOLERANCE, atol=0.0):
        config = {key: scheduler.config[key] for key in _REMAPS if scheduler.config.get(key)}
        refuse(f"{name}.sigmas", got.tolist(), f"the grid {wanted.tolist()}; its config re-maps it: {config}")
    return given


def _argument(scheduler: Any, grid: Tensor) -> tuple[Tensor, Any]:
    """What `scheduler.sigmas` must be afterwards, and what `set_timesteps` must be given for it."""
    name, config, top = type(scheduler).__name__, scheduler.config, float(grid[0])
    if "sigma_schedule" in config:  # EDM: a ramp that its own rho re-maps, from noise of its own sigma_max
        if abs(top / config.sigma_max - 1) > _EDGE:
            refuse("sigmas[0]", top, f"{name}'s sigma_max = {config.sigma_max}")
        low, high = config.sigma_min ** (1 / config.rho), config.sigma_max ** (1 / config.rho)
        return grid, (grid[:-1] ** (1 / config.rho) - high) / (low - high)
    if hasattr(scheduler, "set_shift") or config.get("use_flow_sigmas"):
        shift = 1.0 if config.get("use_dynamic_shifting") else getattr(scheduler, "shift", config.get("flow_shift"))
        time = Flow("noise").time_of
        return time(grid), time(grid[:-1] / shift).numpy()  # a shift multiplies sigma = t / (1 - t)
    if "timestep_type" not in config:
        refuse("scheduler", name, "one that is known here, or made with use_flow_sigmas=True")
    if config.timestep_type == "discrete":
        _in_table(grid[:-1], sigma_table(scheduler), name)
    return grid, np.asarray(grid)


def _in_table(sigmas: Tensor, table: SigmaTable, name: str) -> None:
    low, high, top, bottom = table.sigma_min, table.sigma_max, float(sigmas[0]), float(sigmas[-1])
    if top > high * (1 + _EDGE) or bottom < low * (1 - _EDGE):  # there the timestep would clamp
        trained = f"inside of [{low:.6g}, {high:.6g}], which {name} was trained on"
        refuse("the range of sigmas", [bottom, top], trained)
