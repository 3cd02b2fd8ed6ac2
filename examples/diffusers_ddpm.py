"""A DDPM with diffusers (the loop of its unconditional training script) under InfoNoise, on the CPU."""

from types import SimpleNamespace

import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, UNet2DModel

import infonoise_ext as inx
from infonoise_ext.integrations import diffusers as inx_diffusers

args = SimpleNamespace(max_train_steps=100, train_batch_size=32)  # of a script

torch.manual_seed(0)
blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
model = UNet2DModel(8, 1, 1, layers_per_block=1, norm_num_groups=4, add_attention=False, **blocks)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
noise_scheduler = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear", prediction_type="epsilon")


def stripes(n):
    """Images of stripes of two widths, at a random place."""
    place = torch.arange(8) + torch.randint(8, (n, 1))
    width = torch.where(torch.rand(n, 1) < 0.5, 2, 4)
    return (place // width % 2 * 2.0 - 1).view(n, 1, 1, 8).expand(n, 1, 8, 8)


schedule = inx_diffusers.make_schedule(noise_scheduler, args)

for _ in range(args.max_train_steps):
    clean_images = stripes(32)
    noise = torch.randn_like(clean_images)
    timesteps = schedule.timesteps(32)  # was torch.randint(...)
    noisy_images = noise_scheduler.add_noise(clean_images, noise, timesteps)
    model_output = model(noisy_images, timesteps).sample
    schedule.record(timesteps, model_output, noise)
    (model_output - noise).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()

sampler = EulerDiscreteScheduler.from_config(noise_scheduler.config)
inx_diffusers.set_sigmas(sampler, inx.info_grid(schedule, 12))
x = torch.randn(16, 1, 8, 8) * sampler.init_noise_sigma
with torch.no_grad():
    for timestep in sampler.timesteps:
        noise_pred = model(sampler.scale_model_input(x, timestep), timestep.expand(16)).sample
        x = sampler.step(noise_pred, timestep, x).prev_sample
median = float(schedule.table().level(0.5))
print(f"{schedule.status}; median sigma {median:.2f}; std after 100 steps: {float(x.std()):.2f}, of the data: 1")
