"""The EDM and EDM2 loss classes in the loop of their trainers, on the CPU."""

import torch

import infonoise_ext as inx
from infonoise_ext.integrations.edm import EDM2Loss, EDMLoss

SIGMA_DATA = 0.5


class Net(torch.nn.Module):
    """A small network under EDM's preconditioning, with EDM2's learned uncertainty."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(17, 64), torch.nn.SiLU(), torch.nn.Linear(64, 16))
        self.uncertainty = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.SiLU(), torch.nn.Linear(16, 1))

    def forward(self, x, sigma, labels=None, augment_labels=None, return_logvar=False):
        """D(x, sigma), and u(sigma) when asked."""
        c_skip, total = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2), (sigma**2 + SIGMA_DATA**2).sqrt()
        c_noise = sigma.log().flatten(1) / 4
        f = self.body(torch.cat(((x / total).flatten(1), c_noise), 1)).view_as(x)
        denoised = c_skip * x + sigma * SIGMA_DATA / total * f
        return (denoised, self.uncertainty(c_noise).view_as(sigma)) if return_logvar else denoised


def train(loss_fn, steps=250, batch=128):
    """The trainers' loop, less data loading and EMA."""
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        images = SIGMA_DATA * torch.randn(batch, 1, 1, 1).sign() * torch.ones(1, 1, 4, 4)
        loss = loss_fn(net=net, images=images, labels=None)
        optimizer.zero_grad()
        loss.sum().mul(1 / batch).backward()
        optimizer.step()
        loss_fn.schedule.step()  # the one line to add
    return loss_fn.schedule


for loss_class in (EDMLoss, EDM2Loss):
    schedule = train(loss_class(inx.InfoNoise(weight=inx.EDMWeight(SIGMA_DATA), seed=0)))
    median = float(schedule.table().level(0.5))
    print(f"{loss_class.__name__}: {schedule.status}, median sigma {median:.2f}")
