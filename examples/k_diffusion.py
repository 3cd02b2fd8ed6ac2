"""k-diffusion's training loop and sampler under InfoNoise, on the CPU.

`Denoiser` and `sample_euler` stand in for `K.layers.Denoiser` and `K.sampling.sample_euler`, whose interface they
have, so that this file is complete without k-diffusion.
"""

import itertools

import torch

import infonoise_ext as inx
from infonoise_ext.integrations import k_diffusion as inx_k


class Denoiser(torch.nn.Module):
    """EDM's preconditioning around a network F, and the squared error of F as its loss."""

    def __init__(self, inner_model, sigma_data=1.0):
        super().__init__()
        self.inner_model, self.sigma_data, self.scales, self.weighting = inner_model, sigma_data, 1, torch.ones_like

    def forward(self, x, sigma):
        """D(x, sigma)."""
        variance, sigma = self.sigma_data**2, sigma.view(-1, 1)
        total = sigma**2 + variance
        f = self.inner_model(torch.cat((x / total**0.5, sigma.log() / 4), 1))
        return variance / total * x + sigma * (variance / total) ** 0.5 * f

    def loss(self, x0, noise, sigma):
        """Mean squared error of F, [B]."""
        c_out = sigma * self.sigma_data / (sigma**2 + self.sigma_data**2) ** 0.5
        return (self(x0 + noise * sigma.view(-1, 1), sigma) - x0).square().mean(1) / c_out**2 * self.weighting(sigma)


def sample_euler(model, x, sigmas):
    """Euler steps of the probability flow."""
    for sigma, following in itertools.pairwise(sigmas):
        x = x + (x - model(x, sigma.expand(len(x)))) / sigma * (following - sigma)
    return x


torch.manual_seed(0)
model = Denoiser(torch.nn.Sequential(torch.nn.Linear(5, 64), torch.nn.SiLU(), torch.nn.Linear(64, 4)))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
schedule = inx.InfoNoise(weight=inx_k.loss_weight(model))
sample_density = inx_k.density(schedule)  # in place of K.config.make_sample_density(...)
for _ in range(250):
    reals = torch.randn(128, 1).sign().expand(128, 4)
    sigma = sample_density([len(reals)])
    losses = model.loss(reals, torch.randn_like(reals), sigma)
    inx_k.observe_losses(schedule, model, losses, sigma)
    losses.mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()

with torch.no_grad():
    x = sample_euler(model, 80 * torch.randn(64, 4), inx_k.get_sigmas_info(schedule, 12))
print(f"{schedule.status}; the data are -1 and 1, the samples {float(x.abs().mean()):.2f} in size")
