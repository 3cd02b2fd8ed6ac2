"""PhysicsNeMo: its EDM noise scheduler and loss with noise levels from the schedule. Runs on a CPU in seconds."""

import torch
from physicsnemo.diffusion.metrics.losses import MSEDSMLoss
from physicsnemo.diffusion.noise_schedulers import EDMNoiseScheduler

import infonoise_ext as inx
from infonoise_ext.integrations.physicsnemo import InfoNoiseScheduler, weight_of

STEPS, BATCH = 600, 64

torch.manual_seed(0)
base = EDMNoiseScheduler(sigma_min=0.01, sigma_max=20.0, sigma_data=0.5)
schedule = inx.InfoNoise(0.01, 20.0, weight=weight_of(base), warmup=100, refresh_every=100)
scheduler = InfoNoiseScheduler(base, schedule)
patterns = torch.randint(0, 2, (4, 1, 4, 4)) - 0.5  # the data: four fields of 4 x 4


class Denoiser(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(17, 64), torch.nn.SiLU(), torch.nn.Linear(64, 16))

    def forward(self, x, t, condition=None, **options):
        """The clean field estimated from x [B, 1, 4, 4] at times t [B], in EDM's preconditioning."""
        sigma, total = t.reshape(-1, 1), t.reshape(-1, 1).square() + 0.25
        y = x.flatten(1)
        inputs = torch.cat((y * total.rsqrt(), sigma.log() / 4), 1)
        return (0.25 / total * y + 0.5 * sigma * total.rsqrt() * self.net(inputs)).view_as(x)


model = Denoiser()
loss_fn = MSEDSMLoss(model, scheduler, reduction="none")
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
for _ in range(STEPS):
    x0 = patterns[torch.randint(0, 4, (BATCH,))] + 0.02 * torch.randn(BATCH, 1, 4, 4)
    t = scheduler.sample_time(BATCH, device=x0.device, dtype=x0.dtype)
    loss = loss_fn(x0, t=t)  # [B, C, H, W], weighted
    scheduler.observe(t, loss)
    loss.mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()

print(schedule.status, schedule.summary())
