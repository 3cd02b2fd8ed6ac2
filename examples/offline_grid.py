"""Where should a sampler of a network that is already trained step? Measure, space, sample. Seconds on a CPU."""

import math

import torch

import infonoise_ext as inx
from infonoise_ext.grids import edm_grid
from infonoise_ext.interpolant import sample_ode

torch.manual_seed(0)
SIGMA_DATA = 1.5
hidden = [torch.nn.Linear(3, 128), torch.nn.SiLU(), torch.nn.Linear(128, 128), torch.nn.SiLU()]
net = torch.nn.Sequential(*hidden, torch.nn.Linear(128, 2))


def denoise(y, sigma):
    """EDM's preconditioning of a small network: what a checkpoint would bring."""
    total = (sigma.square() + SIGMA_DATA**2).sqrt().unsqueeze(1)
    out = net(torch.cat((y / total, sigma.log().unsqueeze(1) / 4), 1))
    return (SIGMA_DATA / total) ** 2 * y + sigma.unsqueeze(1) * SIGMA_DATA / total * out


def data(n):
    """Eight Gaussians on a circle of radius 2."""
    angle = torch.randint(0, 8, (n,)) * (math.pi / 4)
    return 2 * torch.stack((angle.cos(), angle.sin()), 1) + 0.1 * torch.randn(n, 2)


optimizer, weight = torch.optim.Adam(net.parameters(), 2e-3), inx.EDMWeight(SIGMA_DATA)
for _ in range(800):
    x0, sigma = data(256), inx.LogNormal(-0.6, 1.4).sample(256)
    error = (denoise(x0 + sigma.unsqueeze(1) * torch.randn_like(x0), sigma) - x0).square().sum(1)
    (weight(sigma) * error).mean().backward()
    optimizer.step()
    optimizer.zero_grad()

profile = inx.offline_profile(denoise, data(2000), 48, sigma_min=0.02, sigma_max=40.0, error="sum")
profile.save("profile.json")
print(f"mmse from {float(profile.mmse[0]):.2g} to {float(profile.mmse[-1]):.2g}, of a data variance of 4")

noise = torch.randn(500, 2)


@torch.no_grad()
def sample(grid):
    return sample_ode(denoise, noise, grid, "heun", mean=torch.zeros(2))


fine = sample(edm_grid(150, 0.02, 40.0, math.inf))  # what this network says, whatever it has learned
grids = {"EDM's": edm_grid(10, 0.02, 40.0), "log-uniform": edm_grid(10, 0.02, 40.0, math.inf)}
grids |= {signal: inx.info_grid("profile.json", 10, signal) for signal in ("entropy", "rescaled", "mmse", "length")}
for name, grid in grids.items():
    off = float((sample(grid) - fine).square().sum(1).mean().sqrt())
    print(f"{name:12}", " ".join(f"{s:6.3f}" for s in grid[:-1].tolist()), f" rms error of 10 steps {off:.3f}")
