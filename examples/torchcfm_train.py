"""torchcfm: a conditional flow matcher whose times come from the schedule. Runs on a CPU in seconds."""

import math

import torch
from torchcfm import ConditionalFlowMatcher

import infonoise_ext as inx
from infonoise_ext.integrations.torchcfm import clean_error, time_grid, time_of

torch.manual_seed(0)
matcher = ConditionalFlowMatcher(sigma=0.0)
net = torch.nn.Sequential(torch.nn.Linear(3, 128), torch.nn.SiLU(), torch.nn.Linear(128, 2))
optimizer = torch.optim.Adam(net.parameters(), 2e-3)


def velocity(x, t):
    return net(torch.cat((x, t.reshape(-1, 1).expand(len(x), 1)), 1))


def data(n):
    """Eight Gaussians on a circle."""
    angle = torch.randint(0, 8, (n,)) * (math.pi / 4)
    return 2 * torch.stack((angle.cos(), angle.sin()), 1) + 0.1 * torch.randn(n, 2)


def velocity_weight(sigma):
    """A plain velocity loss weighs the error of the clean sample by ((1 + sigma) / sigma)^2."""
    return ((1 + sigma) / sigma).square()


schedule = inx.InfoNoise(
    0.01, 50.0, weight=velocity_weight, prior=inx.LogitNormal(0.0, 1.0), warmup=50, refresh_every=50
)
for _ in range(1000):
    sigma = schedule.sample(256)
    x1 = data(len(sigma))
    t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1, t=time_of(matcher, sigma))
    error = (velocity(xt, t) - ut).square().mean(1)
    error.mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.observe(sigma, clean_error(matcher, error, sigma))
    schedule.step()

x = torch.randn(512, 2)
grid = time_grid(schedule, matcher, 16)
with torch.no_grad():
    for t, step in zip(grid[:-1], grid.diff(), strict=True):  # Euler
        x = x + step * velocity(x, t)
print(schedule.status, "mean distance from the origin:", float(x.norm(dim=1).mean()), "of 2")
