"""The rivals on the host: one deque a bin and NumPy.

`HostSampler` takes samples one by one, each with its own bin search and fill count, the way the
public samplers of this kind are built; `VectorisedHostSampler` finds all bins in one NumPy call.
"""

from collections import deque

import numpy as np
import torch


class HostSampler:
    """Keeps losses in Python deques; reads tensors back to the host and copies draws out again."""

    def __init__(self, sigma_min, sigma_max, bins, capacity, refresh_every=100, ema=0.9, pivot=0.002, power=3.0):
        self.edges = np.linspace(np.log(sigma_min), np.log(sigma_max), bins + 1)
        self.sigma = np.exp((self.edges[1:] + self.edges[:-1]) / 2)
        self.queues = [deque(maxlen=capacity) for _ in range(bins)]
        self.filled = np.zeros(bins, dtype=np.int32)
        self.capacity = capacity
        self.mmse = np.ones(bins)
        self.cdf = np.linspace(0, 1, bins + 1)
        self.refresh_every, self.ema, self.pivot, self.power = refresh_every, ema, pivot, power
        self.steps = 0

    def observe(self, sigma, error):
        levels = sigma.detach().cpu().float().numpy()
        losses = error.detach().cpu().float().numpy()
        logs, inner = np.log(levels), self.edges[1:-1]
        for i in range(len(logs)):
            k = int(np.searchsorted(inner, logs[i]))
            self.queues[k].append(float(losses[i]))
            self.filled[k] = min(self.filled[k] + 1, self.capacity)

    def refresh(self):
        for k, queue in enumerate(self.queues):
            if queue:
                self.mmse[k] = (1 - self.ema) * self.mmse[k] + self.ema * np.mean(queue)
        rate = self.mmse / self.sigma**2
        per_sigma = rate / self.sigma
        c = self.sigma[np.nonzero(per_sigma >= self.pivot * per_sigma.max())[0][-1]]
        density = rate * self.sigma**self.power / (self.sigma**self.power + c**self.power)
        self.cdf = np.concatenate(([0.0], np.cumsum(density / density.sum())))

    def sample(self, n):
        logs = np.interp(torch.rand(n).numpy(), self.cdf, self.edges)
        return torch.from_numpy(np.exp(logs).astype(np.float32))

    def advance(self, sigma, error):
        self.observe(sigma, error)
        drawn = self.sample(len(sigma))
        self.steps += 1
        if self.steps % self.refresh_every == 0:
            self.refresh()
        return drawn


class VectorisedHostSampler(HostSampler):
    """The same with one bin search a batch: as fast as deques get."""

    def observe(self, sigma, error):
        logs = np.log(sigma.detach().cpu().numpy())
        slots = np.searchsorted(self.edges[1:-1], logs).tolist()
        for slot, loss in zip(slots, error.detach().cpu().tolist(), strict=True):
            self.queues[slot].append(loss)
