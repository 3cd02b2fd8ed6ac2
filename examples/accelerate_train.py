"""accelerate: gradient accumulation, save_state and load_state. Runs on a CPU in seconds."""

import tempfile

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

import infonoise_ext as inx
from infonoise_ext.integrations.accelerate import attach

torch.manual_seed(0)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
schedule = attach(accelerator, inx.InfoNoise(0.01, 20.0, weight=inx.EDMWeight(0.5), warmup=50, refresh_every=50))

net = torch.nn.Sequential(torch.nn.Linear(17, 64), torch.nn.SiLU(), torch.nn.Linear(64, 16))
codes = torch.randint(0, 2, (4, 16)) - 0.5  # the data: four patterns of 16 numbers
data = codes[torch.randint(0, 4, (25_600,))] + 0.02 * torch.randn(25_600, 16)
loader = DataLoader(data, batch_size=64, shuffle=True, drop_last=True)
net, optimizer, loader = accelerator.prepare(net, torch.optim.Adam(net.parameters(), 1e-3), loader)


def denoise(y, sigma):
    sigma, total = sigma[:, None], sigma[:, None] ** 2 + 0.25
    inputs = torch.cat((y * total.rsqrt(), sigma.log() / 4), 1)
    return 0.25 / total * y + 0.5 * sigma * total.rsqrt() * net(inputs)


for x0 in loader:
    with accelerator.accumulate(net):
        sigma = schedule.sample(len(x0))
        error = (denoise(x0 + sigma[:, None] * torch.randn_like(x0), sigma) - x0).square().mean(1)
        schedule.observe(sigma, error)
        accelerator.backward((schedule.weight(sigma) * error).mean())
        optimizer.step()
        optimizer.zero_grad()
        if accelerator.sync_gradients:
            schedule.step()

with tempfile.TemporaryDirectory() as folder:
    accelerator.save_state(folder)
    ahead = schedule.sample(5)
    accelerator.load_state(folder)  # net, optimizer and schedule, random stream included
    print("continues bit for bit:", torch.equal(schedule.sample(5), ahead))
print(schedule.status, schedule.summary())
