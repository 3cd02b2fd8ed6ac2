"""denoising-diffusion-pytorch: an EDM under a schedule, sampled on its info grid. Runs on a CPU in seconds."""

import torch
from denoising_diffusion_pytorch import ElucidatedDiffusion, Unet

from infonoise_ext.integrations import lucidrains

torch.manual_seed(0)


def images(n, size=8):
    """Bright squares at random places, in [0, 1]."""
    corner = torch.randint(0, size - 3, (n, 2))
    place = torch.arange(size)
    inside = (place >= corner[:, :, None]) & (place < corner[:, :, None] + 3)  # [n, 2, size]
    return (inside[:, 0, :, None] & inside[:, 1, None, :]).float()[:, None]


unet = Unet(dim=8, dim_mults=(1,), channels=1, attn_heads=1, attn_dim_head=8, learned_sinusoidal_cond=True)
diffusion = ElucidatedDiffusion(unet, image_size=8, channels=1, num_sample_steps=6)
schedule = lucidrains.make_schedule(diffusion, warmup=20, refresh_every=20)
optimizer = torch.optim.Adam(diffusion.parameters(), 1e-3)
for _ in range(80):
    lucidrains.loss(diffusion, images(32), schedule).backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()
print(schedule.status, schedule.summary())

lucidrains.use_info_grid(diffusion, schedule)
print(diffusion.sample(batch_size=4).shape, "sampled on", diffusion.sample_schedule())
