"""Tasks with one thing changed: the loss weight, the head, the width, the batch, the course of the learning rate."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

import infonoise_ext as inx
from experiments.grids.network import ResidualMLP

from .networks import TextConvolutions
from .tasks import Task


def edm_weighted(made: Task) -> Task:
    """EDM's loss weight, whatever the network."""
    return replace(made, weight=inx.EDMWeight(made.std))


def headless(made: Task) -> Task:
    """Codes without the head that knows their own evidence: EDM's preconditioning, of the data's deviation."""
    dim = made.sample(1, torch.Generator()).shape[1]
    return replace(made, network=lambda: ResidualMLP(torch.zeros(dim), made.std, hidden=192, embedding=128))


def wide(made: Task) -> Task:
    """A network of twice the width."""
    network = made.network

    def wider() -> nn.Module:
        small = network()
        if isinstance(small, ResidualMLP):
            return ResidualMLP(small.mean, small.std, hidden=2 * small.enter.out_features)
        if isinstance(small, TextConvolutions):
            return type(small)(small.size, width=2 * small.enter.out_features)
        return type(small)(small.enter.in_features, 2 * small.enter.out_features)

    return replace(made, network=wider)


VARIANTS: dict[str, Callable[[Task], Task]] = {
    "edm": edm_weighted,
    "epsilon": lambda made: replace(made, weight=lambda sigma: sigma**-2),
    "unit": lambda made: replace(made, weight=None),
    "headless": headless,
    "wide": wide,
    "decay": lambda made: replace(made, decays=True),
    "small-batch": lambda made: replace(made, batch=made.batch // 4),
}

CHANGES = {
    "edm": "under EDM's weight",
    "epsilon": "under weight sigma^-2",
    "unit": "under weight 1",
    "headless": "without the head",
    "wide": "of twice the width",
    "decay": "the learning rate decaying to 0",
    "small-batch": "a quarter of the batch",
}
"""What a table says of each."""
