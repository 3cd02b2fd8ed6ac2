"""Lightning: a denoiser of two moons, with the callback and a checkpoint. Runs on a CPU in seconds."""

import math

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

import infonoise_ext as inx
from infonoise_ext.integrations.lightning import InfoNoiseCallback


def two_moons(n):
    angle, upper = math.pi * torch.rand(n), torch.rand(n) < 0.5
    x = torch.stack((torch.cos(angle), torch.sin(angle)), 1)
    return torch.where(upper[:, None], x, torch.tensor([1.0, 0.5]) - x) + 0.05 * torch.randn(n, 2)


class Denoiser(pl.LightningModule):
    """EDM's preconditioning around a small network; `self.schedule` comes from the callback."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.SiLU(), torch.nn.Linear(64, 2))

    def forward(self, y, sigma):
        sigma = sigma[:, None]
        scale = (1 + sigma**2).rsqrt()
        return scale**2 * y + sigma * scale * self.net(torch.cat((scale * y, sigma.log() / 4), 1))

    def training_step(self, batch, batch_idx):
        (x0,) = batch
        sigma = self.schedule.sample(len(x0))
        denoised = self(x0 + sigma[:, None] * torch.randn_like(x0), sigma)
        error = (denoised - x0).square().mean(1)
        self.schedule.observe(sigma, error)
        loss = (self.schedule.weight(sigma) * error).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)


pl.seed_everything(0)
schedule = inx.InfoNoise(0.01, 20.0, weight=inx.EDMWeight(1.0), warmup=50, refresh_every=50)
trainer = pl.Trainer(
    max_steps=200,
    accelerator="cpu",
    accumulate_grad_batches=2,  # a step of the schedule is a step of the optimizer all the same
    callbacks=[InfoNoiseCallback(schedule, log_every=50)],
    logger=False,
    enable_progress_bar=False,
    enable_checkpointing=False,
)
trainer.fit(Denoiser(), DataLoader(TensorDataset(two_moons(20_000)), batch_size=64, shuffle=True))
print(schedule.status, schedule.summary())
