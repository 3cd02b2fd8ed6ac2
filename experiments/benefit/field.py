"""Snapshots of a chaotic field: the Kuramoto-Sivashinsky equation u_t + u u_x + u_xx + u_xxxx = 0 on a ring.

Nothing is downloaded. The solver is the exponential Runge-Kutta scheme of order four of Cox and Matthews (2002), with
the coefficients of Kassam and Trefethen (2005), which average over a circle in the complex plane.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

POINTS = 64
LENGTH = 22.0  # of the ring: the shortest that is often studied, with a chaotic attractor
STEP = 0.25
APART = 20  # steps between snapshots: a quarter of the time in which errors grow e times
WARMUP = 800  # steps to the attractor
TRAJECTORIES, SNAPSHOTS = 256, 120
MODES = range(1, 12)  # that hold all but a millionth of the energy
CACHE = Path("build/benefit/field.pt")


def wave_numbers(points: int = POINTS, length: float = LENGTH) -> np.ndarray:
    """[points / 2 + 1] of a real field's Fourier modes."""
    return 2 * math.pi / length * np.arange(points // 2 + 1)


class Solver:
    """Steps of one size for Fourier modes [n, points / 2 + 1]."""

    def __init__(self, step: float = STEP, points: int = POINTS, length: float = LENGTH) -> None:
        k = wave_numbers(points, length)
        linear = step * (k**2 - k**4)
        self.points = points
        self.slope = -0.5j * k * (np.arange(len(k)) <= points / 3)  # of u^2 / 2, without aliases
        self.whole, self.half = np.exp(linear), np.exp(linear / 2)
        z = linear[:, None] + np.exp(1j * np.pi * (np.arange(32) + 0.5) / 32)
        e = np.exp(z)
        coefficients = (
            (np.exp(z / 2) - 1) / z,
            (-4 - z + e * (4 - 3 * z + z**2)) / z**3,
            (2 + z + e * (z - 2)) / z**3,
            (-4 - 3 * z - z**2 + e * (4 - z)) / z**3,
        )
        self.inner, self.first, self.middle, self.last = (step * part.mean(1).real for part in coefficients)

    def nonlinear(self, modes: np.ndarray) -> np.ndarray:
        return self.slope * np.fft.rfft(np.fft.irfft(modes, self.points) ** 2)

    def __call__(self, modes: np.ndarray) -> np.ndarray:
        """The modes one step later."""
        now = self.nonlinear(modes)
        a = self.half * modes + self.inner * now
        at_a = self.nonlinear(a)
        at_b = self.nonlinear(self.half * modes + self.inner * at_a)
        at_c = self.nonlinear(self.half * a + self.inner * (2 * at_b - now))
        return self.whole * modes + self.first * now + 2 * self.middle * (at_a + at_b) + self.last * at_c


def snapshots(trajectories: int = TRAJECTORIES, each: int = SNAPSHOTS, seed: int = 0) -> Tensor:
    """[trajectories, each, 64] float64 fields of mean 0, each turned by a random angle: all angles are alike."""
    random, solver = np.random.default_rng(seed), Solver()
    modes = np.fft.rfft(0.5 * random.standard_normal((trajectories, POINTS)))
    modes[:, 0], modes[:, 12:] = 0, 0
    fields = []
    for step in range(1, WARMUP + each * APART + 1):
        modes = solver(modes)
        if step > WARMUP and step % APART == 0:
            turn = np.exp(1j * np.outer(random.uniform(0, LENGTH, trajectories), wave_numbers()))
            fields.append(np.fft.irfft(modes * turn, POINTS))
    return torch.from_numpy(np.stack(fields, axis=1))


def field() -> Tensor:
    """`snapshots()`: made once, in half a minute, then read from the cache."""
    if CACHE.exists():
        return torch.load(CACHE, weights_only=True)
    made = snapshots()
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    torch.save(made, CACHE)
    return made


def power(x: Tensor) -> Tensor:
    """Mean energy of `MODES` of fields [n, points], float64."""
    modes = torch.fft.rfft(x.double())[:, MODES.start : MODES.stop]
    return modes.abs().square().mean(0)


def spectrum_error(x: Tensor, real: Tensor) -> float:
    """Mean absolute log ratio of two sets' energies, over `MODES`."""
    return float((power(x) / power(real)).log().abs().mean())
