"""EDM and EDM2: loss classes with the call signature of their trainers, written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..curves.arguments import refuse
from ..curves.densities import LogNormal
from ..curves.density import Density
from ..curves.weights import EDMWeight
from ..distributed import all_ranks
from ..schedule import InfoNoise


class _Loss:
    """What both losses share: the draw, the weighted error with its record, and the schedule's state."""

    _density = (0.0, 1.0)

    def __init__(
        self,
        schedule: InfoNoise | Density | None = None,
        P_mean: float | None = None,
        P_std: float | None = None,
        sigma_data: float = 0.5,
        **options: Any,
    ) -> None:
        if schedule is None:
            mean, std = self._density
            prior = LogNormal(mean if P_mean is None else P_mean, std if P_std is None else P_std)
            own: dict[str, Any] = {"weight": EDMWeight(sigma_data), "prior": prior}
            if options.get("rank") is None:
                own["process_group"] = all_ranks()
            schedule = InfoNoise(**(own | options))
        elif options or (P_mean, P_std) != (None, None):
            refuse("schedule", schedule, "None beside options or a density, which describe the one to make")
        self.schedule: InfoNoise | Density = schedule
        if not isinstance(self.schedule.weight, EDMWeight):
            refuse("schedule.weight", self.schedule.weight, "an EDMWeight, EDM's loss weight")

    def _corrupt(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy images, and their sigma [B, 1, ...]."""
        if self.schedule.device != images.device:
            self.schedule.to(images.device)
        sigma = self.schedule.sample(len(images)).view(-1, *(1,) * (images.ndim - 1))
        return images + sigma * torch.randn_like(images), sigma

    def _weighted_error(self, denoised: Tensor, images: Tensor, sigma: Tensor) -> Tensor:
        """w(sigma) (D - images)^2, of images' shape; its unweighted mean over elements is recorded."""
        squared = (denoised - images).float().square()
        self.schedule.observe(sigma.flatten(), squared.detach().flatten(1).mean(1))
        return self.schedule.weight(sigma) * squared

    def state_dict(self) -> dict[str, Any]:
        """The schedule's."""
        return self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the schedule's."""
        self.schedule.load_state_dict(state_dict)


class EDMLoss(_Loss):
    """EDM's training loss under a schedule: draws sigma, weighs the error, records it unweighted.

    The trainer sums the elements it returns and divides by the batch. Call `loss_fn.schedule.step()` once
    after every optimizer step, on every rank. The schedule follows the images to their device, and is pickled with
    the object, less its process group.

    Args:
        schedule: an `InfoNoise` or a `Density` with an `EDMWeight`. None makes an `InfoNoise` of what follows, so that
            a trainer can build the object from its class name: one table for all ranks of torch.distributed.
        P_mean: mean of ln sigma in the warm-up; None is that of EDM's own class, -1.2 (EDM2's -0.4).
        P_std: its standard deviation; None is 1.2 (EDM2's 1.0).
        sigma_data: standard deviation of the data.
        **options: of the `InfoNoise` that None makes, such as `bins`, or `rank` for a table of each rank's own.

    Raises:
        ValueError: a schedule whose weight is not EDM's, or a density or options beside a schedule.

    Source:
        EDM (arXiv 2206.00364) Table 1, "loss weighting" and "noise distribution".
    """

    _density = (-1.2, 1.2)

    def __call__(
        self,
        net: Callable[..., Tensor],
        images: Tensor,
        labels: Tensor | None = None,
        augment_pipe: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Return w(sigma) times the squared error of every element.

        Args:
            net: the denoiser D(x, sigma, labels, augment_labels=...), with sigma [B, 1, ...].
            images: [B, ...] clean samples.
            labels: [B, ...] or None.
            augment_pipe: images to (augmented images, what was done to them).

        Returns:
            loss of images' shape, float32.
        """
        images, augment_labels = (images, None) if augment_pipe is None else augment_pipe(images)
        noisy, sigma = self._corrupt(images)
        return self._weighted_error(net(noisy, sigma, labels, augment_labels=augment_labels), images, sigma)


class EDM2Loss(_Loss):
    """EDM2's training loss under a schedule: EDM's divided by a learned e^u(sigma), plus u(sigma).

    The record stays the raw error, and the schedule's density is divided by EDM's weight alone: u is
    learned, and evens out the size of gradients. Else as `EDMLoss`, for arguments and errors too, with the density of
    EDM2's own class.

    Source:
        EDM2 (arXiv 2312.02696), the loss with uncertainty u(sigma).
    """

    _density = (-0.4, 1.0)

    def __call__(
        self,
        net: Callable[..., tuple[Tensor, Tensor]],
        images: Tensor,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Return w(sigma) / e^u times the squared error, plus u, of every element.

        Args:
            net: (x, sigma, labels, return_logvar=True) to (denoised, u), u of shape [B, 1, ...].
            images: [B, ...] clean samples.
            labels: [B, ...] or None.

        Returns:
            loss of images' shape, float32.
        """
        noisy, sigma = self._corrupt(images)
        denoised, u = net(noisy, sigma, labels, return_logvar=True)
        return self._weighted_error(denoised, images, sigma) / u.exp() + u
