"""One training run of one arm."""

import time

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel

from infonoise_ext.demo.bound import log_grid
from infonoise_ext.demo.train import EMA_DECAY

from .rules import SIGMA_MAX, SIGMA_MIN, schedule
from .tasks import task


def train(data: str, arm: str, steps: int, seed: int, stream: int, checkpoints: int) -> dict:
    """Learning curve of the averaged weights.

    Arms of one seed share the initial network, the data in their order, and the noise that is scaled by sigma; the
    random numbers of the schedule depend on the stream too.

    Args:
        data: see `tasks.task`.
        arm: see `rules.schedule`.
        steps: optimizer steps.
        seed: of network, data, noise and held-out set.
        stream: of the schedule.
        checkpoints: scores taken, at equal distances; the last is the result.

    Returns:
        `step` and `score` of each checkpoint, `mean` and `std` of log sigma under the last table, `seconds`; `extra`,
        further scores at the end, where the task has any.
    """
    torch.set_num_threads(1)
    job = task(data)
    score = job.score(seed)
    torch.manual_seed(seed)
    net = job.network()
    averaged = AveragedModel(net, multi_avg_fn=moving_averages)
    optimizer = torch.optim.Adam(net.parameters(), lr=job.rate, fused=True)
    decay = CosineAnnealingLR(optimizer, steps) if job.decays else None
    clean = torch.Generator().manual_seed(1000 + seed)
    noise = torch.Generator().manual_seed(2000 + seed)
    arranged = schedule(arm, job, 10_000 + 100 * stream + seed)
    scored = {round(steps * (i + 1) / checkpoints) for i in range(checkpoints)}
    curve: dict[str, list] = {"step": [], "score": []}
    start = time.perf_counter()
    for step in range(1, steps + 1):
        x = job.sample(job.batch, clean)
        job.step(net, optimizer, arranged, x, torch.randn(x.shape, generator=noise))
        averaged.update_parameters(net)
        if decay is not None:
            decay.step()
        if step in scored:
            curve["step"].append(step)
            curve["score"].append(score(averaged))
    found = curve | moments(arranged.table()) | {"seconds": round(time.perf_counter() - start, 1)}
    return found if job.extra is None else found | {"extra": job.extra(seed, averaged)}


def moving_averages(averages: list[Tensor], current: list[Tensor], count: int | Tensor) -> None:
    """The demo's `moving_average` of all tensors at once: decay 0.999, over the last ninth of a short run."""
    torch._foreach_lerp_(averages, current, max(1 - EMA_DECAY, 9 / (10 + int(count))))


def moments(density) -> dict[str, float]:
    """Mean and standard deviation of log sigma, within the range."""
    sigma, _ = log_grid(SIGMA_MIN, SIGMA_MAX, 400)
    share, log_sigma = density.density(sigma) * sigma, sigma.log()
    share = share / share.sum()
    mean = float(share @ log_sigma)
    return {"mean": mean, "std": float(share @ (log_sigma - mean).square()) ** 0.5}
