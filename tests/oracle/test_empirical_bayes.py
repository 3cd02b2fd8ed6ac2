"""`empirical_bayes` against direct differences in float64, closed forms, autograd and its bounds on memory."""

import importlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from infonoise_ext import empirical_bayes

module = importlib.import_module("infonoise_ext.oracle.posterior")
UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
HALVES = (torch.float16, torch.bfloat16)


def log_density(y, sigma, data):
    """Log of the mixture's density up to a constant, from direct differences."""
    square = (data - y.unsqueeze(1)).square().sum(2)
    return torch.logsumexp(-square / (2 * sigma.unsqueeze(1) ** 2), 1)


def brute(y, sigma, data):
    """Mean, variance and largest weight in float64, nothing expanded, nothing streamed."""
    x = data.double().reshape(len(data), -1)
    y = y.double().reshape(len(y), x.shape[1])
    sigma = torch.as_tensor(sigma, dtype=torch.float64).expand(len(y))
    weight = torch.softmax(-(x - y.unsqueeze(1)).square().sum(2) / (2 * sigma.unsqueeze(1) ** 2), 1)
    mean = weight @ x
    return mean, (weight * (x - mean.unsqueeze(1)).square().sum(2)).sum(1)


def channel(data, sigma, batch, dtype=None):
    """y = x0 + sigma eps for the first points, sigma [B] float64."""
    dtype = data.dtype if dtype is None else dtype
    sigma = torch.as_tensor(sigma, dtype=torch.float64).expand(batch)
    x0 = data[torch.arange(batch) % len(data)].double()
    noise = torch.randn(x0.shape, dtype=torch.float64)
    return (x0 + sigma.view(-1, *[1] * (data.dim() - 1)) * noise).to(dtype), sigma


def assert_exact(y, sigma, data, work):
    """Within what an error of 4 sqrt(D) units in squared distances does, and the rounding of the results.

    A logit off by d multiplies a weight by 1 + O(d): the mean moves by at most d times the posterior's
    standard deviation, and the variance by at most d times the fourth-moment spread, below the diameter squared.
    """
    mean, variance = empirical_bayes(y, sigma, data)
    expected, expected_variance = brute(y, sigma, data)
    assert (mean.shape, mean.dtype) == (y.shape, y.dtype)
    assert (variance.shape, variance.dtype) == (y.shape[:1], torch.promote_types(work, torch.float32))
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    points = data.double().reshape(len(data), -1)
    flat = y.double().reshape(len(y), points.shape[1])
    points_norm = (points - points.median(0).values).norm(dim=1).max()
    y_norm = (flat - points.median(0).values).norm(dim=1)
    unit = UNIT[work]
    square_error = 8 * unit * points_norm * (points_norm + y_norm)
    logit_error = square_error / (2 * sigma**2) + 4 * points.shape[1] * UNIT[torch.float64]  # of brute's squares
    useful = logit_error < 0.1
    spread = expected_variance.sqrt()
    bound = 2 * logit_error * spread + 8 * unit * points_norm + UNIT[y.dtype] * expected.norm(dim=1)
    error = (mean.double().reshape(flat.shape) - expected).norm(dim=1)
    assert (error <= bound)[useful].all(), (error / bound)[useful].max()
    diameter = (2 * points_norm) ** 2
    bound = 2 * logit_error * torch.minimum(expected_variance.sqrt() * diameter.sqrt(), diameter) + square_error
    error = (variance - expected_variance).abs()
    assert (error <= bound)[useful].all(), (error / bound)[useful].max()
    assert (variance >= 0).all()
    return useful


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(300, 2), (70, 32), (150, 3, 8, 8), (100, 768), (40, 3072), (200,)], ids=str)
def test_against_direct_differences(shape, dtype, monkeypatch):
    monkeypatch.setitem(module._CHUNK, "cpu", 2**10)
    data = (0.5 * torch.randn(shape) + 0.3).to(dtype)
    levels = torch.linspace(math.log(1e-2), math.log(1e3), 40).exp() * data[0].numel() ** 0.25
    y, sigma = channel(data, levels, 40)
    useful = assert_exact(y, sigma, data, torch.promote_types(dtype, torch.float32) if dtype in HALVES else dtype)
    assert useful.sum() >= 30


@pytest.mark.parametrize("y_dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("data_dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_computes_in_the_wider_dtype(y_dtype, data_dtype):
    data = torch.randn(100, 20).to(data_dtype)
    y, sigma = channel(data, torch.linspace(0.5, 5.0, 9), 9, y_dtype)
    assert_exact(y, sigma, data, torch.promote_types(torch.promote_types(y_dtype, data_dtype), torch.float32))


@given(
    points=st.integers(1, 200), dim=st.integers(1, 40), batch=st.integers(0, 9),
    log_sigma=st.floats(-2, 4), offset=st.sampled_from([0.0, -7.0, 1000.0]), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_any_shape_and_offset(points, dim, batch, log_sigma, offset, seed):
    torch.manual_seed(seed)
    data = (torch.randn(points, dim, dtype=torch.float64) + offset).float()
    y, sigma = channel(data, math.exp(log_sigma), batch)
    assert_exact(y, sigma, data, torch.float32)


def test_equal_distances_weigh_alike():
    """From their centre, the corners of a simplex have the mean 0 and the variance of one corner's norm."""
    data = torch.cat((torch.eye(8), -torch.eye(8))) * 3
    for sigma in (1e-6, 0.1, 1.0, 1e6, math.inf):
        mean, variance = empirical_bayes(torch.zeros(1, 8), sigma, data)
        torch.testing.assert_close(mean, torch.zeros(1, 8), rtol=0, atol=1e-6)
        torch.testing.assert_close(variance, torch.tensor([9.0]), rtol=1e-6, atol=0)


def test_one_point_and_its_copies():
    x = torch.randn(1, 5) * 100
    for data in (x, x.repeat(301, 1)):
        for sigma in (1e-30, 1e-4, 1.0, 1e30, math.inf):
            mean, variance = empirical_bayes(torch.randn(4, 5), sigma, data)
            torch.testing.assert_close(mean, x.expand(4, 5), rtol=1e-6, atol=0)
            assert (variance <= 1e-6 * x.square().sum()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 32, 768, 3072])
@pytest.mark.parametrize("sigma", [1e-30, 1e-4])
def test_small_sigma_gives_the_nearest_point(dim, sigma, dtype):
    """To the rounding of a shift to the centre and back, and with variance 0."""
    data = torch.randn(150, dim, dtype=dtype)
    y, _ = channel(data, 1e-4, 100)
    nearest = (data.double() - y.double().unsqueeze(1)).norm(dim=2).argmin(1)
    mean, variance = empirical_bayes(y, sigma, data)
    torch.testing.assert_close(mean, data[nearest], rtol=0, atol=8 * UNIT[dtype])
    if sigma < 1e-4 or dim > 2:  # two dimensions are crowded: a neighbour may lie within reach
        assert (variance == 0).all()


@pytest.mark.parametrize("sigma", [1e4, math.inf])
@pytest.mark.parametrize("dim", [2, 3072])
def test_large_sigma_gives_the_mean_and_the_total_variance(dim, sigma):
    data = torch.randn(200, dim) + 5
    y, _ = channel(data, 1e4, 20)
    mean, variance = empirical_bayes(y, sigma, data)
    middle = data.mean(0)
    first_order = (y - middle) @ torch.cov(data.T, correction=0) / sigma**2
    torch.testing.assert_close(mean, middle + first_order, rtol=1e-6, atol=1 / sigma + 1e-6)
    torch.testing.assert_close(variance, data.var(0, correction=0).sum().expand(20), rtol=6 / sigma + 1e-6, atol=0)


def test_a_far_outlier_costs_the_others_nothing():
    data = torch.randn(101, 16)
    data[7] = 1e6
    y, sigma = channel(data[8:], torch.linspace(0.5, 3.0, 20), 20)
    mean, variance = empirical_bayes(y, sigma, data)
    expected, expected_variance = brute(y, sigma, data)
    torch.testing.assert_close(mean.double(), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(variance.double(), expected_variance, rtol=1e-4, atol=1e-4)


def test_variance_is_exact_where_a_neighbour_hardly_weighs():
    """D = 3072, weights of 1e-3 to 1e-12 on points far and near: errors stay below 1e-4 (0.05 / sigma) of D sigma^2."""
    data = 0.5 * torch.randn(60, 3072)
    data[30:] = data[:30] + 0.02 * torch.randn(30, 3072)  # neighbours about 1.1 away
    for sigma in (0.05, 0.1, 0.15, 0.3):
        y, _ = channel(data, sigma, 30)
        variance = empirical_bayes(y, sigma, data)[1].double()
        error = (variance - brute(y, sigma, data)[1]).abs() / (3072 * sigma**2)
        assert error.max() < 1e-4 * 0.05 / sigma
        double = empirical_bayes(y.double(), sigma, data)[1]
        torch.testing.assert_close(double, brute(y, sigma, data)[1], rtol=1e-7, atol=1e-10)


def test_order_and_chunks_do_not_matter(monkeypatch):
    """Points from far to near and back move the peak at every chunk or never."""
    data = torch.randn(1000, 6, dtype=torch.float64)
    y, sigma = channel(data, torch.logspace(-2, 1, 50), 50)
    expected = empirical_bayes(y, sigma, data)
    for numbers in (1, 2**9, 2**13):
        monkeypatch.setitem(module._CHUNK, "cpu", numbers)
        ascending = data.norm(dim=1).argsort()
        for order in (torch.arange(1000), torch.randperm(1000), ascending, ascending.flip(0)):
            torch.testing.assert_close(empirical_bayes(y, sigma, data[order]), expected, rtol=1e-9, atol=1e-12)


def test_tweedie_and_its_derivative():
    """mean = y + sigma^2 grad log p and variance = sigma^2 tr(d mean / dy), by autograd of log p."""
    data = torch.randn(80, 5, dtype=torch.float64)
    y, sigma = channel(data, torch.logspace(-1, 1, 12), 12)
    mean, variance = empirical_bayes(y, sigma, data)
    y.requires_grad_()
    score = torch.autograd.grad(log_density(y, sigma, data).sum(), y, create_graph=True)[0]
    posterior = y + sigma.unsqueeze(1) ** 2 * score
    torch.testing.assert_close(mean, posterior.detach(), rtol=1e-9, atol=1e-11)
    trace = sum(torch.autograd.grad(posterior[:, d].sum(), y, retain_graph=True)[0][:, d] for d in range(5))
    torch.testing.assert_close(variance, sigma**2 * trace, rtol=1e-7, atol=1e-11)


def test_a_bad_row_stays_alone():
    data = torch.randn(50, 3)
    y = torch.randn(4, 3)
    clean = empirical_bayes(y, 1.0, data)
    y[2, 1] = math.nan
    mean, variance = empirical_bayes(y, 1.0, data)
    assert mean[2].isnan().all()
    assert variance[2].isnan()
    for got, expected in zip((mean, variance), clean, strict=True):
        assert torch.equal(got[[0, 1, 3]], expected[[0, 1, 3]])


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that an op gives back, views of the inputs left out."""

    def __init__(self, *inputs):
        super().__init__()
        self.inputs = {x.untyped_storage().data_ptr() for x in inputs}
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in self.inputs:
                self.elements = max(self.elements, x.untyped_storage().nbytes() // x.element_size())
        return out


@pytest.mark.parametrize(("batch", "points", "dim"), [(1500, 4000, 4), (700, 3000, 100)])
def test_never_holds_a_matrix_of_all_weights(batch, points, dim, monkeypatch):
    monkeypatch.setitem(module._CHUNK, "cpu", 2**14)
    data = torch.randn(points, dim, dtype=torch.float64)
    y = torch.randn(batch, dim)
    with Largest(y, data) as seen:
        empirical_bayes(y, 1.0, data)
    assert seen.elements <= max(2**14, batch * dim, module._CHUNK_MIN_POINTS * dim)
    assert seen.elements < batch * points / 20


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_sixteen_bits_on_matrix_units(dtype, fused, monkeypatch):
    """What CUDA runs: uncentred, 16-bit factors, float32 sums, weights off by a unit each."""
    plain, outs = torch.mm, []

    def mm(a, b, out_dtype):
        assert a.dtype == b.dtype == dtype
        outs.append(out_dtype)
        return plain(a.float(), b.float())

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(module, "_multiplies_halves", lambda device: True)
    monkeypatch.setattr(module.library, "triton_is_installed", lambda: fused)
    monkeypatch.setattr(module, "_fused_weigh", lambda: torch.compile(module._weigh, backend="eager", fullgraph=True))
    monkeypatch.setitem(module._CHUNK, "cpu", 2**12)
    data = (torch.randn(500, 24) + 0.5).to(dtype)
    y, sigma = channel(data, torch.logspace(-1, 2, 30), 30)
    mean, variance = empirical_bayes(y, sigma, data)
    expected, expected_variance = brute(y, sigma, data)
    assert outs
    assert set(outs) == {torch.float32}
    bound = 2 * UNIT[dtype] * (expected_variance.sqrt() + expected.norm(dim=1)) + 1e-5
    assert ((mean.double() - expected).norm(dim=1) <= bound).all()
    torch.testing.assert_close(variance.double(), expected_variance, rtol=4 * UNIT[dtype], atol=1e-4)


def test_float32_is_full_float32_whatever_the_caller_allows(monkeypatch):
    matmul, seen = torch.backends.cuda.matmul, []
    plain = module._product
    monkeypatch.setattr(module, "_product", lambda a, b: seen.append(matmul.fp32_precision) or plain(a, b))
    y, data = torch.randn(3, 4), torch.randn(9, 4)
    expected = empirical_bayes(y, 1.0, data)
    assert set(seen) <= {"none", "ieee"}
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        seen.clear()
        with torch.autocast("cpu", torch.bfloat16):
            got = empirical_bayes(y, 1.0, data)
        assert set(seen) == {"ieee"}
        assert matmul.fp32_precision == "tf32"
        assert torch.get_float32_matmul_precision() == "high"
        monkeypatch.setattr(module, "_product", None)
        with pytest.raises(TypeError):
            empirical_bayes(y, 1.0, data)
        assert matmul.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_no_gradient_and_a_graph_break_only():
    y, data = torch.randn(3, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    expected = empirical_bayes(y, 1.0, data)
    assert not any(x.requires_grad for x in expected)
    compiled = torch.compile(lambda y: empirical_bayes(2 * y, 1.0, data)[0] + 1, backend="eager")
    torch.testing.assert_close(compiled(y), empirical_bayes(2 * y, 1.0, data)[0] + 1)


def test_views_and_scalar_sigma():
    data, y = torch.randn(4, 30, 3).transpose(0, 1), torch.randn(3, 4, 7).permute(2, 1, 0)
    expected = empirical_bayes(y.contiguous(), torch.full((7,), 0.7), data.contiguous())
    for sigma in (0.7, torch.tensor(0.7), torch.tensor([0.7]).expand(7)):
        torch.testing.assert_close(empirical_bayes(y, sigma, data), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"y": torch.ones(2, 3).long()}, "dtype of y is torch.int64, but must be one of"),
        ({"data": torch.ones(4, 3).cfloat()}, "dtype of data is torch.complex64, but must be one of"),
        ({"y": torch.tensor(1.0)}, r"shape of y is \[\], but"),
        ({"data": torch.ones(0, 3)}, r"shape of data is \[0, 3\], but must be that of one sample or more"),
        ({"data": torch.ones(4, 0)}, r"shape of data is \[4, 0\], but must be .* of one number or more"),
        ({"data": torch.ones(4, 3, 1)}, r"in y is \[3\], but must be that of one in data, \[3, 1\]"),
        ({"data": torch.ones(4, 3, device="meta")}, "device of y is 'cpu', but must be .* meta"),
        ({"sigma": torch.ones(2, device="meta")}, "device of sigma is 'meta', but"),
        ({"sigma": torch.ones(3)}, r"shape of sigma is \[3\], but must be \[2\] or"),
        ({"sigma": 0.0}, "sigma is 0.0, but must be above 0"),
        ({"sigma": torch.tensor([1.0, -2.0])}, "sigma is -2.0, but must be above 0"),
        ({"sigma": math.nan}, "sigma is nan, but must be above 0"),
    ],
)
def test_bad_input_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        empirical_bayes(**({"y": torch.ones(2, 3), "sigma": 1.0, "data": torch.ones(4, 3)} | bad))
