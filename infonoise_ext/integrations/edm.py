"""EDM and EDM2: loss classes with the call signature of their trainers, written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..schedule import InfoNoise
from ..weights import EDMWeight


class EDMLoss:
    """EDM's training loss under a schedule: draws sigma, weighs the error, records it unweighted.

    The trainer sums the elements and divides by the batch; the record is the mean over elements, before
    the weight. Call `loss_fn.schedule.step()` once after every optimizer step. The schedule follows the
    images to their device, is pickled with the object, and saved by its `state_dict`.

    Args:
        schedule: an `InfoNoise` or a `Density` with an `EDMWeight`; None makes an `InfoNoise` with the
            defaults, so that a trainer can build the object from its class name.
        sigma_data: standard deviation of the data, for None only.

    Raises:
        ValueError: a schedule whose weight is not EDM's.

    Source:
        EDM (arXiv 2206.00364) Eq. 2, Eq. 8 and Table 1, "loss weighting".
    """

    def __init__(self, schedule: Any = None, sigma_data: float = 0.5) -> None:
        """See the class."""
        self.schedule = InfoNoise(weight=EDMWeight(sigma_data)) if schedule is None else schedule
        if not isinstance(self.schedule.weight, EDMWeight):
            raise ValueError(f"schedule.weight must be an EDMWeight, EDM's loss weight, got {self.schedule.weight!r}")

    def __call__(
        self,
        net: Callable[..., Tensor],
        images: Tensor,
        labels: Tensor | None = None,
        augment_pipe: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Return the weighted squared error of every element.

        Args:
            net: the denoiser D(x, sigma, labels, augment_labels=...), preconditioned, with sigma [B, 1, ...].
            images: [B, ...] clean samples.
            labels: [B, ...] or None.
            augment_pipe: images to (augmented images, their labels).

        Returns:
            loss of images' shape, float32; its mean over a sample is w(sigma) times the error.
        """
        images, augment_labels = (images, None) if augment_pipe is None else augment_pipe(images)
        sigma, noisy = self._corrupt(images)
        squared = (net(noisy, _like(sigma, images), labels, augment_labels=augment_labels) - images).float().square()
        self.schedule.observe(sigma, squared.detach().flatten(1).mean(1))
        return _like(self.schedule.weight(sigma), images) * squared

    def _corrupt(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Sigma [B] and the noisy images."""
        if self.schedule.device != images.device:
            self.schedule.to(images.device)
        sigma = self.schedule.sample(len(images))
        return sigma, images + torch.randn_like(images) * _like(sigma, images)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's."""
        return self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the schedule's."""
        self.schedule.load_state_dict(state_dict)


class EDM2Loss(EDMLoss):
    """EDM2's training loss: EDM's, divided by a learned uncertainty e^u(sigma), plus u(sigma).

    What is recorded stays the raw error, and the density is divided by EDM's weight alone: u evens out the
    size of the gradients, and follows the loss.

    Args:
        schedule: see `EDMLoss`; EDM2's own density is `LogNormal(-0.4, 1.0)`.
        sigma_data: see `EDMLoss`.

    Source:
        EDM2 (arXiv 2312.02696), the loss with the uncertainty u(sigma).
    """

    def __call__(
        self,
        net: Callable[..., tuple[Tensor, Tensor]],
        images: Tensor,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Return w / e^u times the squared error, plus u, of every element.

        Args:
            net: (x, sigma, labels, return_logvar=True) to (denoised, u), u of shape [B, 1, ...].
            images: [B, ...] clean samples.
            labels: [B, ...] or None.

        Returns:
            loss of images' shape, float32.
        """
        sigma, noisy = self._corrupt(images)
        denoised, u = net(noisy, _like(sigma, images), labels, return_logvar=True)
        squared = (denoised - images).float().square()
        self.schedule.observe(sigma, squared.detach().flatten(1).mean(1))
        return _like(self.schedule.weight(sigma), images) / u.exp() * squared + u


def _like(per_sample: Tensor, images: Tensor) -> Tensor:
    """[B] shaped to broadcast over images."""
    return per_sample.view(-1, *(1,) * (images.ndim - 1))
