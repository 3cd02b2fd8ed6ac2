"""flow_matching: a velocity model of 2-D Gaussians, then its ODE solver on an info grid. CPU, seconds."""

import math

import torch
from flow_matching.path import AffineProbPath
from flow_matching.path.scheduler import CondOTScheduler
from flow_matching.solver import ODESolver

import infonoise_ext as inx
from infonoise_ext.integrations.flow_matching import clean_error, time_grid, time_of

torch.manual_seed(0)
path = AffineProbPath(CondOTScheduler())


class Velocity(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 128), torch.nn.SiLU(), torch.nn.Linear(128, 2))

    def forward(self, x, t):
        return self.net(torch.cat((x, t.reshape(-1, 1).expand(len(x), 1)), 1))


def data(n):
    """Eight Gaussians on a circle."""
    angle = torch.randint(0, 8, (n,)) * (math.pi / 4)
    return 2 * torch.stack((angle.cos(), angle.sin()), 1) + 0.1 * torch.randn(n, 2)


def velocity_weight(sigma):
    """A plain velocity loss weighs the error of the clean sample by ((1 + sigma) / sigma)^2."""
    return ((1 + sigma) / sigma).square()


model = Velocity()
optimizer = torch.optim.Adam(model.parameters(), 2e-3)
schedule = inx.InfoNoise(
    0.01, 50.0, weight=velocity_weight, prior=inx.LogitNormal(0.0, 1.0), warmup=50, refresh_every=50
)
for _ in range(1000):
    sigma = schedule.sample(256)
    x_1 = data(len(sigma))
    sample = path.sample(x_0=torch.randn_like(x_1), x_1=x_1, t=time_of(path.scheduler, sigma))
    error = (model(sample.x_t, sample.t) - sample.dx_t).square().mean(1)
    error.mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.observe(sigma, clean_error(path.scheduler, error, sigma))
    schedule.step()

grid = time_grid(schedule, path.scheduler, 16)
samples = ODESolver(model).sample(x_init=torch.randn(512, 2), step_size=None, method="midpoint", time_grid=grid)
print(schedule.status, "mean distance from the origin:", float(samples.norm(dim=1).mean()), "of 2")
