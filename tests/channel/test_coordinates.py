"""Coordinates and loss conversions against random linear algebra, inverses and gradcheck."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch

from infonoise_ext import channel as ch

PATHS = [ch.VE(), ch.VP(), ch.Flow("noise"), ch.Flow("data")]
BATCH, SHAPE = 6, (3, 4, 5)


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def _sigma(generator: torch.Generator, n: int = BATCH) -> torch.Tensor:
    return torch.exp(2.0 * _normal(generator, n))


def _error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).square().flatten(1).mean(1)


def _column(x: torch.Tensor) -> torch.Tensor:
    return x.view(-1, 1, 1, 1)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_scales_time_and_logsnr_agree(path: ch.Channel, generator) -> None:
    """sigma = b / a, logSNR = ln(a^2 / b^2), and both inverses return to sigma."""
    sigma = _sigma(generator, 200)
    a, b = path.scales(sigma)
    torch.testing.assert_close(b / a, sigma, rtol=1e-14, atol=0.0)
    torch.testing.assert_close(path.logsnr(sigma), (a.square() / b.square()).log())
    torch.testing.assert_close(path.sigma_of_logsnr(path.logsnr(sigma)), sigma, rtol=1e-13, atol=0)
    torch.testing.assert_close(path.sigma(path.time_of(sigma)), sigma, rtol=1e-11, atol=0.0)


@pytest.mark.parametrize(
    ("path", "a", "b"),
    [
        (ch.VE(), lambda t: np.ones_like(t), lambda t: t),
        (ch.VP(), lambda t: np.cos(np.pi * t / 2), lambda t: np.sin(np.pi * t / 2)),
        (ch.Flow("noise"), lambda t: 1 - t, lambda t: t),
        (ch.Flow("data"), lambda t: t, lambda t: 1 - t),
    ],
)
def test_scales_at_a_host_time(path: ch.Channel, a, b, generator) -> None:
    """The scales at sigma(t) are those of the host's own formula in t."""
    t = 0.001 + 0.998 * torch.rand(100, dtype=torch.float64, generator=generator)
    got_a, got_b = path.scales(path.sigma(t))
    np.testing.assert_allclose(got_a.numpy(), a(t.numpy()), rtol=1e-12)
    np.testing.assert_allclose(got_b.numpy(), b(t.numpy()), rtol=1e-12)


def test_flow_conventions_are_mirror_images_and_must_be_named() -> None:
    """t of one convention is 1 - t of the other; there is no default."""
    t = torch.tensor([0.1, 0.25, 0.9], dtype=torch.float64)
    torch.testing.assert_close(ch.Flow("noise").sigma(t), ch.Flow("data").sigma(1.0 - t))
    assert ch.Flow("noise").sigma(t)[1].item() == pytest.approx(1.0 / 3.0)
    with pytest.raises(TypeError):
        ch.Flow()
    with pytest.raises(ValueError, match=r"time is 'diffusers', but must be one of 'noise', 'data'"):
        ch.Flow("diffusers")


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_corrupt_is_the_reference_path_rescaled(path: ch.Channel, generator) -> None:
    """X / a = x0 + sigma eps, sample by sample; a scalar sigma serves the whole batch."""
    x0, noise = _normal(generator, BATCH, *SHAPE), _normal(generator, BATCH, *SHAPE)
    sigma = _sigma(generator)
    x = path.corrupt(x0, noise, sigma)
    a, _ = path.scales(sigma)
    for i in range(BATCH):
        torch.testing.assert_close(x[i] / a[i], x0[i] + sigma[i] * noise[i])
        torch.testing.assert_close(path.corrupt(x0, noise, sigma[i])[i], x[i])
    flat = path.corrupt(x0.flatten(), noise.flatten(), sigma[0])
    torch.testing.assert_close(flat[: x[0].numel()], x[0].flatten())


def test_alpha_bar_tables(generator) -> None:
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = (1.0 - beta).cumprod(0)
    sigma = ch.sigma_from_alpha_bar(alpha_bar)
    torch.testing.assert_close(sigma, (1.0 - alpha_bar).sqrt() / alpha_bar.sqrt())
    torch.testing.assert_close(ch.alpha_bar_from_sigma(sigma), alpha_bar, rtol=1e-13, atol=0.0)
    torch.testing.assert_close(ch.VP().scales(sigma)[0].square(), alpha_bar)


@pytest.mark.parametrize(
    ("prediction", "path"),
    [*product(("x0", "eps"), PATHS), ("v", ch.VP()), *product(["velocity"], PATHS[2:]), ("edm_f", ch.VE())],
    ids=repr,
)
def test_clean_error_is_that_of_the_sample_which_a_wrong_guess_implies(prediction: str, path, generator) -> None:
    """A network's output F implies x0 = skip x + out F: exactly at its target, wrongly at a guess."""
    x0, noise, guess = (_normal(generator, BATCH, *SHAPE) for _ in range(3))
    sigma, sd = _sigma(generator), 0.37
    x, (a, b), t = path.corrupt(x0, noise, sigma), map(_column, path.scales(sigma)), _column(path.time_of(sigma))
    angle, s = _column(sigma.atan()), _column(sigma)
    spread = torch.hypot(s, torch.full_like(s, sd))
    c_skip, c_out = sd**2 / (s**2 + sd**2), s * sd / spread  # EDM, Table 1
    target, skip, out = {
        "x0": (x0, 0.0, 1.0),
        "eps": (noise, 1.0 / a, -b / a),
        "v": (angle.cos() * noise - angle.sin() * x0, angle.cos(), -angle.sin()),
        "velocity": (noise - x0, 1.0, -t) if path == ch.Flow("noise") else (x0 - noise, 1.0, 1.0 - t),
        "edm_f": ((x0 - c_skip * x) / c_out, c_skip, c_out),
    }[prediction]
    torch.testing.assert_close(skip * x + out * target, x0)
    got = ch.clean_error(_error(guess, target), sigma, prediction, sigma_data=sd)
    rtol = 0.0 if prediction == "x0" else 1e-10
    torch.testing.assert_close(got, _error(skip * x + out * guess, x0), rtol=rtol, atol=0.0)


@pytest.mark.parametrize("prediction", ch.PREDICTIONS)
def test_clean_error_is_differentiable_and_traces_whole(prediction: str, generator) -> None:
    """Gradcheck in both tensors; one graph; the same numbers compiled."""
    error = _normal(generator, BATCH).square().requires_grad_()
    sigma = _sigma(generator).requires_grad_()

    def convert(error: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return ch.clean_error(error, sigma, prediction, sigma_data=0.5)

    assert torch.autograd.gradcheck(convert, (error, sigma))
    torch._dynamo.reset()
    compiled = torch.compile(convert, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(error, sigma), convert(error, sigma), rtol=0, atol=0)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_corrupt_traces_whole_and_is_differentiable(path: ch.Channel, generator) -> None:
    """Gradcheck of time -> sample, and the same sample from one graph."""
    x0, noise = _normal(generator, 2, 3), _normal(generator, 2, 3)
    t = (0.1 + 0.8 * torch.rand(2, dtype=torch.float64, generator=generator)).requires_grad_()

    def sample(t: torch.Tensor) -> torch.Tensor:
        return path.corrupt(x0, noise, path.sigma(t))

    assert torch.autograd.gradcheck(sample, (t,))
    torch._dynamo.reset()
    compiled = torch.compile(sample, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(t), sample(t), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_float32(dtype: torch.dtype, generator) -> None:
    """Half in, float32 out, to float32 accuracy; samples alone keep the model's dtype."""
    t = (0.05 + 0.9 * torch.rand(50, dtype=torch.float64, generator=generator)).to(dtype)
    for path in PATHS:
        sigma = path.sigma(t)
        assert sigma.dtype == torch.float32
        torch.testing.assert_close(sigma.double(), path.sigma(t.double()), rtol=5e-6, atol=0.0)
        half = sigma.to(dtype)
        for name in ("time_of", "logsnr", "sigma_of_logsnr"):
            got, expected = getattr(path, name)(half), getattr(path, name)(half.double())
            assert got.dtype == torch.float32
            torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
        x0 = _normal(generator, 50, 3).to(dtype)
        noise = _normal(generator, 50, 3).to(dtype)
        x = path.corrupt(x0, noise, sigma)
        assert x.dtype == dtype
        exact = path.corrupt(x0.double(), noise.double(), sigma.double())
        torch.testing.assert_close(x.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-3)
    # 300^2 overflows float16.
    big = torch.full((1,), 300.0, dtype=dtype)
    for sigma in (big, big[0]):
        clean = ch.clean_error(torch.ones(1, dtype=dtype), sigma, "eps")
        assert clean.dtype == torch.float32
        assert clean.item() == pytest.approx(big.item() ** 2, rel=1e-6)


def test_bad_arguments_are_named() -> None:
    """Every refusal names its argument; a silent [B, B] broadcast is one of them."""
    one, x0 = torch.ones(2), torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"prediction is 'flow', but must be one of 'x0'"):
        ch.clean_error(one, one, "flow")
    for sigma_data in (None, 0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"sigma_data is .*, but must be a finite number above 0"):
            ch.clean_error(one, one, "edm_f", sigma_data)
    with pytest.raises(ValueError, match=r"shape of sigma is .*, but must be"):
        ch.clean_error(torch.ones(2, 1), one, "eps")
    with pytest.raises(ValueError, match=r"shape of noise is .*, but must be that of x0"):
        ch.VE().corrupt(x0, torch.ones(2, 1), one)
    with pytest.raises(ValueError, match=r"shape of sigma is .*, but must be"):
        ch.VE().corrupt(x0, x0, torch.ones(3))


@pytest.mark.parametrize("path", [ch.VP(), ch.Flow("noise"), ch.Flow("data")], ids=str)
def test_pure_noise_and_pure_data_are_limits(path: ch.Channel) -> None:
    """Flow time 1 and a terminal SNR of zero are sigma = inf."""
    ends = torch.tensor([0.0, math.inf, 1e30])
    a, b = path.scales(ends)
    assert a.tolist() == pytest.approx([1, 0, 0], abs=1e-25)
    assert b.tolist() == [0, 1, 1]
    back = path.sigma(path.time_of(ends.double()))
    assert back[0] == 0
    assert back[1] == math.inf
    assert path.sigma(path.time_of(ends[:2])).tolist() == [0, math.inf]
    x0, eps = torch.ones(2, 3), torch.full((2, 3), 5.0)
    assert path.corrupt(x0, eps, ends[:2]).tolist() == [[1.0] * 3, [5.0] * 3]


@pytest.mark.parametrize(
    ("prediction", "limit"), [("x0", 3.0), ("v", 3.0), ("velocity", 3.0), ("edm_f", 0.75), ("eps", math.inf)]
)
def test_errors_at_pure_noise_are_limits(prediction: str, limit: float) -> None:
    for sigma in (math.inf, 1e25):
        assert float(ch.clean_error(torch.tensor([3.0]), torch.tensor([sigma]), prediction, 0.5)) == limit
    assert float(ch.clean_error(torch.tensor([3.0]), torch.tensor([0.0]), prediction, 0.5)) == (
        3.0 * (prediction == "x0")
    )
