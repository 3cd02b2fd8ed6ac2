"""One schedule for all ranks: `torchrun --nproc-per-node 2 examples/distributed.py`, on CPUs and on GPUs."""

import os
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP

import infonoise_ext as inx

STEPS, MICRO_BATCHES, BATCH = 300, 2, 128


class DenoisingLoss(torch.nn.Module):
    """The weighted loss of one micro-batch, whose unweighted errors the schedule records."""

    def __init__(self, schedule, width=64):
        super().__init__()
        self.schedule = schedule
        self.net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.SiLU(), torch.nn.Linear(width, 2))

    def forward(self, x0):
        """The loss [] of clean samples [B, 2]."""
        sigma = self.schedule.sample(len(x0))
        level = sigma.unsqueeze(1)
        noisy = x0 + level * torch.randn_like(x0)
        scale = (0.5 + level.square()).rsqrt()
        denoised = 0.5 * noisy * scale**2 + level * scale * self.net(torch.cat((noisy * scale, level.log() / 4), 1))
        error = (denoised - x0).square().mean(1)  # [B], unweighted
        self.schedule.observe(sigma, error)
        return (self.schedule.weight(sigma) * error).mean()


def train(gpu):
    """Train on this rank's device, then compare the ranks."""
    torch.manual_seed(dist.get_rank())
    schedule = inx.InfoNoise(weight=inx.EDMWeight(0.7), process_group=dist.group.WORLD, device=gpu)
    loss = DDP(torch.compile(DenoisingLoss(schedule).to(schedule.device), fullgraph=True))
    optimizer = torch.optim.Adam(loss.parameters(), 2e-3)
    for _ in range(STEPS):
        for micro in range(1, MICRO_BATCHES + 1):
            x0 = 1.4 * torch.randint(0, 2, (BATCH, 2), device=schedule.device) - 0.7  # a code of two bits
            with nullcontext() if micro == MICRO_BATCHES else loss.no_sync():
                (loss(x0) / MICRO_BATCHES).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()  # not in the compiled function: every 100 steps the ranks add up what they measured
    schedule.check_ranks()
    if schedule.rank == 0:
        print(f"{schedule.world} ranks: {schedule.status}, median sigma {schedule.summary()['sigma_q50']:.2f}")


if __name__ == "__main__":
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else None
    dist.init_process_group("nccl" if device else "gloo", device_id=device)
    train(device)
    dist.destroy_process_group()  # when DDP is gone: with gloo it may hang if it outlives its group
