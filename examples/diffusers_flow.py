"""Flow matching with diffusers (the loop of its SD3 and Flux training scripts) under InfoNoise, on the CPU."""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel

import infonoise_ext as inx
from infonoise_ext.integrations import diffusers as inx_diffusers

torch.manual_seed(0)
blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
net = UNet2DModel(8, 1, 1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, add_attention=False, **blocks)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
noise_scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)


def stripes(n):
    """Images of stripes of two widths, at a random place."""
    place = torch.arange(8) + torch.randint(8, (n, 1))
    width = torch.where(torch.rand(n, 1) < 0.5, 2, 4)
    return (place // width % 2 * 2.0 - 1).view(n, 1, 1, 8).expand(n, 1, 8, 8)


def velocity_weight(sigma):
    """What the plain error of the velocity weighs that of the clean image with."""
    return ((1 + sigma) / sigma).square()


table = inx_diffusers.sigma_table(noise_scheduler)
short = {"bins": 32, "min_count": 4, "warmup": 50, "refresh_every": 25}  # for a run of 120 steps; else the defaults
prior = inx.LogitNormal(0.0, 1.0)
schedule = inx.InfoNoise(table.sigma_min, table.sigma_max, weight=velocity_weight, prior=prior, **short)
compute_density_for_timestep_sampling = inx_diffusers.density(schedule, table)  # in place of diffusers' own

for _ in range(120):
    images = stripes(32)
    noise = torch.randn_like(images)
    u = compute_density_for_timestep_sampling("none", batch_size=32)
    indices = (u * noise_scheduler.config.num_train_timesteps).long()
    timesteps, t = noise_scheduler.timesteps[indices], noise_scheduler.sigmas[indices].view(-1, 1, 1, 1)
    model_pred = net((1 - t) * images + t * noise, timesteps).sample
    target = noise - images
    inx_diffusers.observe(schedule, table.sigmas[indices], model_pred, target, "flow_prediction")
    (model_pred - target).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()

sampler = FlowMatchEulerDiscreteScheduler(shift=3.0)
inx_diffusers.set_sigmas(sampler, inx.info_grid(schedule, 12))
x = torch.randn(16, 1, 8, 8)
with torch.no_grad():
    for timestep in sampler.timesteps:
        x = sampler.step(net(x, timestep.expand(16)).sample, timestep, x).prev_sample
print(f"{schedule.status}; median sigma {float(schedule.icdf(torch.tensor(0.5))):.2f}; samples of std {float(x.std()):.2f}")
