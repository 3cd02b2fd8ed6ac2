"""The chaotic field: its solver against another, its attractor against an identity of the equation."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from experiments.benefit import field


def derivative(points, length):
    """Of the trigonometric interpolant, as a matrix."""
    apart = np.arange(points)[:, None] - np.arange(points)
    tangent = np.where(apart == 0, 1.0, np.tan(np.pi * apart / points))
    return np.where(apart == 0, 0.0, (-1.0) ** apart / tangent) * np.pi / length


def errors(length, time, *steps):
    """Largest differences from Radau's method in real space, u_t = -u u_x - u_xx - u_xxxx."""
    points = field.POINTS
    place, once = np.arange(points) * 2 * np.pi / points, derivative(points, length)
    twice = once @ once
    start = np.cos(place) + 0.5 * np.sin(2 * place + 1) - 0.3 * np.cos(3 * place)

    def slope(_, u):
        return -once @ (u**2) / 2 - twice @ (u + twice @ u)

    exact = solve_ivp(slope, (0, time), start, "Radau", rtol=1e-11, atol=1e-12).y[:, -1]
    found = []
    for step in steps:
        solver, modes = field.Solver(step, points, length), np.fft.rfft(start)
        for _ in range(round(time / step)):
            modes = solver(modes)
        found.append(np.abs(np.fft.irfft(modes, points) - exact).max())
    return found


def test_solver_against_an_implicit_one_in_real_space():
    assert errors(field.LENGTH, 4, field.STEP)[0] < 2e-4
    coarse, fine = errors(100.0, 1, 0.5, 0.25)  # a longer ring is not stiff: there the order is four
    assert 12 < coarse / fine < 22


def test_what_grows_long_waves_is_lost_by_short_ones():
    """On the attractor the energy is stationary: sum k^2 E = sum k^4 E, and both halves have one spectrum."""
    x = field.snapshots(32, 40, seed=1)
    k = torch.from_numpy(field.wave_numbers())[field.MODES.start : field.MODES.stop]
    energy = field.power(x.flatten(0, 1))
    assert float((k**2 * energy).sum() / (k**4 * energy).sum()) == pytest.approx(1, abs=0.01)
    early, late = field.power(x[:, :20].flatten(0, 1)), field.power(x[:, 20:].flatten(0, 1))
    torch.testing.assert_close(early[1:4], late[1:4], rtol=0.1, atol=0)
    by_place = x.flatten(0, 1).square().mean(0)  # turned at random: all places are alike
    assert float(by_place.std() / by_place.mean()) < 0.1


def test_spectrum_error_of_a_louder_field():
    x = field.snapshots(2, 5)[0]
    assert field.spectrum_error(np.e * x, x) == pytest.approx(2)
    assert field.spectrum_error(x.flip(1), x) == pytest.approx(0, abs=1e-9)
