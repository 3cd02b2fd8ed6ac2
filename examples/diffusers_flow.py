"""Flow matching with diffusers (the loop of its SD3 and Flux training scripts) under InfoNoise, on the CPU."""

from types import SimpleNamespace

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import infonoise_ext as inx
from infonoise_ext.integrations import diffusers as inx_diffusers

args = SimpleNamespace(weighting_scheme="logit_normal", max_train_steps=250, train_batch_size=64)  # of a script

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(65, 256), torch.nn.SiLU(), torch.nn.Linear(256, 64))
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
noise_scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)


def predict(x, timesteps):
    """The network's velocity; a timestep is 1000 times the flow time."""
    return net(torch.cat((x.flatten(1), timesteps.view(-1, 1) / 1000), 1)).view_as(x)


def stripes(n):
    """Images of stripes of two widths, at a random place."""
    place = torch.arange(8) + torch.randint(8, (n, 1))
    width = torch.where(torch.rand(n, 1) < 0.5, 2, 4)
    return (place // width % 2 * 2.0 - 1).view(n, 1, 1, 8).expand(n, 1, 8, 8)


schedule = inx_diffusers.make_schedule(noise_scheduler, args)

for _ in range(args.max_train_steps):
    images = stripes(64)
    noise = torch.randn_like(images)
    u = schedule.density(args.weighting_scheme, 64)  # was compute_density_for_timestep_sampling(...)
    indices = (u * noise_scheduler.config.num_train_timesteps).long()
    timesteps, t = noise_scheduler.timesteps[indices], noise_scheduler.sigmas[indices].view(-1, 1, 1, 1)
    model_pred = predict((1 - t) * images + t * noise, timesteps)
    target = noise - images
    schedule.record(timesteps, model_pred, target)
    (model_pred - target).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()

sampler = FlowMatchEulerDiscreteScheduler(shift=3.0)
inx_diffusers.set_sigmas(sampler, inx.info_grid(schedule, 12))
x = torch.randn(16, 1, 8, 8)
with torch.no_grad():
    for timestep in sampler.timesteps:
        x = sampler.step(predict(x, timestep.expand(16)), timestep, x).prev_sample
median = float(schedule.table().level(0.5))
print(f"{schedule.status}; median sigma {median:.2f}; the data have std 1, the samples {float(x.std()):.2f}")
