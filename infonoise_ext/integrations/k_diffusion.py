"""k-diffusion: the training density, the sampling grid, and the record of its losses."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import InfoNoise, Table
from ..channel import clean_error
from ..curves.arguments import refuse
from ..curves.density import Schedule
from ..curves.weights import EDMWeight
from ..distributed import all_ranks
from ..grids import Source, info_grid

_DRAWS = 2**18


def make_schedule(denoiser: Any, model_config: Any, accelerator: Any = None, **options: Any) -> InfoNoise:
    """The schedule of a training script: range, own density as the warm-up, the loss's weight, ranks and checkpoints.

    Args:
        denoiser: the `K.layers.Denoiser`, before accelerate wraps it.
        model_config: `config["model"]` of the script: `sigma_min`, `sigma_max` and `sigma_sample_density`, whose
            draws make the warm-up.
        accelerator: of the script; the schedule goes to its device and into its `save_state`.
        **options: for `InfoNoise`, in place of what is read.

    Raises:
        ValueError: a denoiser whose loss is not a weighted squared error.
    """
    own: dict[str, Any] = {
        "sigma_min": model_config["sigma_min"],
        "sigma_max": model_config["sigma_max"],
        "weight": loss_weight(denoiser),
        "process_group": None if {"rank", "world"} & set(options) else all_ranks(),
        "device": getattr(accelerator, "device", None),
    }
    if "prior" not in options:
        own["prior"] = _own_density(model_config)
    schedule = InfoNoise(**(own | options))
    if accelerator is not None:
        accelerator.register_for_checkpointing(schedule)
    return schedule


def _own_density(model_config: Any) -> Table:
    """The histogram of what the script would draw: the same on all ranks, and not from the script's random stream."""
    draw = importlib.import_module("k_diffusion.config").make_sample_density(model_config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Table.from_levels(draw([_DRAWS]))


def density(schedule: Schedule) -> Callable[..., Tensor]:
    """A `sample_density`, as `K.config.make_sample_density` returns one.

    Inside `K.utils.enable_stratified` it draws the strata that k-diffusion asks for, from torch's
    generator; outside, the schedule's own stream.

    Args:
        schedule: what draws, on the device that will be asked for.

    Returns:
        a function `(shape, device="cpu", dtype=torch.float32) -> sigma` of that shape.
    """

    def sample_density(shape: Any, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        shape = torch.Size(shape)
        utils = sys.modules.get("k_diffusion.utils")  # nothing is stratified where it was never imported
        if utils is None or getattr(utils.stratified_settings, "disable", True):
            sigma = schedule.sample(shape.numel()).view(shape)
        else:
            u = utils.stratified_with_settings(shape, device=device, dtype=torch.float64)
            sigma = schedule.table().level(u.clamp(min=2.0**-54))
        return sigma.to(device, dtype)

    return sample_density


def get_sigmas_info(schedule: Source, n: int, device: torch.device | str = "cpu") -> Tensor:
    """`info_grid` under the conventions of `K.sampling.get_sigmas_karras`.

    Returns:
        [n + 1] float32, descending, the last 0.
    """
    return info_grid(schedule, n).to(device)


def loss_weight(denoiser: Any) -> Callable[[Tensor], Tensor]:
    """The weight w(sigma) that `denoiser.loss` puts on the error of a clean sample: `InfoNoise(weight=...)`.

    Args:
        denoiser: a `K.layers.Denoiser`.

    Raises:
        ValueError: a denoiser whose loss is not a weighted squared error.
    """
    _check(denoiser)
    edm = EDMWeight(denoiser.sigma_data)  # of the raw network F: 1 / c_out^2
    return lambda sigma: denoiser.weighting(sigma) * edm(sigma)


def observe_losses(schedule: Schedule, denoiser: Any, losses: Tensor, sigma: Tensor, **options: Any) -> None:
    """Record what `denoiser.loss(reals, noise, sigma)` returned, freed of its weight.

    Args:
        schedule: what learns.
        denoiser: the `K.layers.Denoiser`.
        losses: [B].
        sigma: [B].
        **options: `mask` and `group` of `InfoNoise.observe`.

    Raises:
        ValueError: a denoiser whose loss is not a weighted squared error.
    """
    _check(denoiser)
    error = losses.detach().float() / denoiser.weighting(sigma)
    schedule.observe(sigma, clean_error(error, sigma, "edm_f", denoiser.sigma_data), **options)


def _check(denoiser: Any) -> None:
    plain = type(denoiser).loss.__qualname__ == "Denoiser.loss" and denoiser.scales == 1
    if not plain:
        found = f"{type(denoiser).__name__} with scales={getattr(denoiser, 'scales', None)}"
        refuse("denoiser", found, "a K.layers.Denoiser with scales=1: else its loss is no weighted squared error")
