"""Profiles of frozen denoisers: what is asked of network and data, and that nothing passes in silence."""

import builtins
import math

import pytest
import torch
from support import generator
from torch.utils.data import DataLoader, TensorDataset

import infonoise_ext as inx
from infonoise_ext.grids import principal_components

RANGE = {"sigma_min": 0.01, "sigma_max": 50.0}


def shrink(y, sigma):
    """The denoiser of standard normal data, for y of any shape."""
    return y / (1 + sigma.view(-1, *(1,) * (y.dim() - 1)).square())


def images(n=40, dtype=torch.float32):
    return torch.randn(n, 3, 2, 2, dtype=dtype)


def same(first, second):
    return torch.equal(first.mmse, second.mmse) and torch.equal(first.standard_error, second.standard_error)


@pytest.mark.parametrize("error", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_of_one_noise_for_all_levels(error, dtype):
    """Against a loop over levels, in float64, with the noise that the generator makes."""
    x0 = images(30, dtype)
    profile = inx.offline_profile(shrink, x0, 8, error=error, generator=generator(1), progress=False, **RANGE)
    eps = torch.randn(x0.shape, generator=generator(1), dtype=dtype).double()
    for k, sigma in enumerate(profile.sigma.tolist()):
        wrong = shrink(x0.double() + sigma * eps, torch.full((30,), sigma).double()) - x0.double()
        errors = wrong.square().flatten(1).sum(1) / (12 if error == "mean" else 1)
        torch.testing.assert_close(profile.mmse[k], errors.mean(), rtol=2e-6, atol=0)
        torch.testing.assert_close(profile.standard_error[k], errors.std() / math.sqrt(30), rtol=2e-5, atol=0)
    assert profile.count.tolist() == [30.0] * 8
    torch.testing.assert_close(profile.rate, profile.mmse / profile.sigma**2)


@pytest.mark.parametrize("kind", ["tensor", "list", "loader", "labelled loader", "generator"])
def test_every_kind_of_data_is_gone_through_once(kind):
    x0, seen = images(22), []

    def counting():
        for batch in x0.split(5):
            seen.append(len(batch))
            yield batch

    data = {
        "tensor": x0,
        "list": list(x0.split(5)),
        "loader": DataLoader(x0, batch_size=5),
        "labelled loader": DataLoader(TensorDataset(x0, torch.arange(22)), batch_size=5),
        "generator": counting(),
    }[kind]
    whole = inx.offline_profile(shrink, x0, 8, generator=generator(1), batch_size=5)
    assert same(inx.offline_profile(shrink, data, 8, generator=generator(1), batch_size=5), whole)
    assert whole.count.tolist() == [22.0] * 8
    assert seen == ([5, 5, 5, 5, 2] if kind == "generator" else [])


def test_network_gets_data_dtype_and_wide_sigma_without_gradients():
    calls = []

    def net(y, sigma):
        calls.append((y.dtype, sigma.dtype, sigma.shape, torch.is_grad_enabled(), float(sigma[0])))
        return y * scale

    scale = torch.ones((), requires_grad=True)
    for dtype, wide in ((torch.bfloat16, torch.float32), (torch.float32,) * 2, (torch.float64,) * 2):
        calls.clear()
        profile = inx.offline_profile(net, images(4, dtype), 6, **RANGE)
        assert {call[:4] for call in calls} == {(dtype, wide, (4,), False)}
        torch.testing.assert_close(torch.tensor([c[4] for c in calls]).double(), profile.sigma, rtol=1e-7, atol=0)
        assert profile.mmse.dtype == torch.float64


def test_no_more_than_a_batch_is_held_at_a_level():
    """Elements seen by the network at once, and alive beside its input, stay those of a batch."""
    sizes = []
    inx.offline_profile(lambda y, s: (sizes.append(y.shape), y)[1], images(64), 16, batch_size=10)
    assert set(sizes) == {(10, 3, 2, 2), (4, 3, 2, 2)}
    assert len(sizes) == 7 * 16


class Noisy(torch.nn.Module):
    """A network whose result depends on its mode, with a submodule kept in eval mode."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)
        self.frozen = torch.nn.Sequential(torch.nn.Dropout(0.5)).eval()

    def forward(self, y, sigma):
        if self.fails:
            raise RuntimeError("no")
        return self.frozen(self.drop(self.norm(y)))

    fails = False


@pytest.mark.parametrize("fails", [False, True])
def test_module_is_evaluated_in_eval_mode_and_gets_its_modes_back(fails):
    net, x0 = Noisy(), torch.randn(30, 4)
    net.fails = fails
    modes = {name: module.training for name, module in net.named_modules()}
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    if fails:
        with pytest.raises(RuntimeError, match="no"):
            inx.offline_profile(net, x0)
    else:
        profile = inx.offline_profile(net, x0, generator=generator(1))
        assert same(profile, inx.offline_profile(lambda y, s: net.norm.eval()(y), x0, generator=generator(1)))
        net.norm.train()
    assert {name: module.training for name, module in net.named_modules()} == modes == {
        "": True, "norm": True, "drop": True, "frozen": False, "frozen.0": False,
    }  # fmt: skip
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in net.named_buffers())


def test_levels_are_the_default_grid_a_number_of_bins_or_given():
    x0 = images(4)
    learned = inx.InfoNoise().profile()
    profile = inx.offline_profile(shrink, x0)
    assert torch.equal(profile.edges, learned.edges)
    assert torch.equal(profile.sigma, learned.sigma)
    assert torch.equal(inx.offline_profile(shrink, x0, 64).sigma, learned.sigma)
    ranged = inx.offline_profile(shrink, x0, **RANGE)
    assert (len(ranged.sigma), float(ranged.edges[0]), float(ranged.edges[-1])) == (64, float(torch.tensor(0.01)), 50)
    given = inx.offline_profile(shrink, x0, torch.logspace(-2, 1, 7))
    assert torch.equal(given.sigma, torch.logspace(-2, 1, 7).double())
    torch.testing.assert_close(given.edges, torch.logspace(-2.25, 1.25, 8).double(), rtol=1e-5, atol=0)
    assert torch.equal(inx.offline_profile(shrink, x0, [1.0, 2.0, 4.0]).sigma, torch.tensor([1.0, 2, 4]).double())
    assert float(inx.info_grid(given, 5)[0]) == pytest.approx(10**1.25, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigmas": 1}, "bins is 1"),
        ({"sigmas": [1.0]}, "sigmas is .*, but must be 2 or more"),
        ({"sigmas": [2.0, 1.0]}, "sigmas is .*, but must be 2 or more finite numbers that ascend"),
        ({"sigmas": [0.0, 1.0]}, "sigmas is .*, but must be 2 or more finite numbers that ascend"),
        ({"sigmas": [1.0, math.nan]}, "sigmas is .*, but must be 2 or more finite numbers that ascend"),
        ({"sigmas": [1.0, 2.0, 3.0]}, r"steps in log sigmas is \[0.4055, 0.6931\], but must be one number: uniform"),
        ({"sigmas": [1.0, 2.0], "sigma_max": 3.0}, "sigma_max is 3.0, but must be None"),
        ({"sigma_min": -1.0}, "sigma_min is -1.0"),
        ({"error": "max"}, "error is 'max'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"features": torch.eye(12)}, r"features is .*, but must be floating \[D, r\]"),
        ({"features": torch.ones(12, 2)}, "must be near 0: take torch.linalg.qr"),
        ({"features": torch.eye(11)[:, :2]}, "rows of features is 11, but must be 12"),
        ({"data": images(0)}, "samples in data is 0, but must be at least 1"),
        ({"data": []}, "samples in data is 0, but must be at least 1"),
        ({"data": images().int()}, "batch of data is .*, but must be floating samples"),
        ({"data": torch.tensor(1.0)}, r"is 'torch.float32 \[\]', but must be floating samples \[B, ...\] with"),
        ({"data": [{"image": images()}]}, "batch of data is 'dict', but must be a tensor"),
        ({"data": TensorDataset(images())}, "is 'TensorDataset', but must be batches: give a DataLoader"),
        ({"data": images().fill_(math.nan)}, "data is 'NaN or infinity somewhere', but must be finite"),
        ({"net": lambda y, s: y[:, 0]}, r"is \[40, 2, 2\], but must be a tensor of y's shape, \[40, 3, 2, 2\]"),
        ({"net": lambda y, s: (y,)}, r"net\(y, sigma\) is 'tuple', but must be a tensor of y's shape"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        inx.offline_profile(**({"net": shrink, "data": images()} | options))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_network_that_fails_names_the_level_and_how_often(value):
    levels = [1.0, 2.0, 4.0, 8.0]

    def net(y, sigma):
        out = shrink(y, sigma)
        out[1:3, 0] = torch.where(sigma[1:3].view(-1, 1, 1) > 3, value, out[1:3, 0])
        return out

    with pytest.raises(ValueError, match=r"net\(y, 4\) is 'NaN or infinity for 2 of 40 samples', but must be finite"):
        inx.offline_profile(net, images(), levels)


def test_without_tqdm_there_is_no_bar_and_no_failure(monkeypatch, capsys):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("tqdm"):
            raise ModuleNotFoundError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert inx.offline_profile(shrink, images(), 4, progress=True).count[0] == 40
    assert capsys.readouterr().err == ""


def test_bar_counts_batches_on_a_terminal_alone(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    inx.offline_profile(shrink, images(), 4, batch_size=10)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    inx.offline_profile(shrink, images(), 4, batch_size=10, progress=False)
    assert capsys.readouterr().err == ""
    inx.offline_profile(shrink, images(), 4, batch_size=10)
    assert "4/4" in capsys.readouterr().err


def test_parts_of_a_split_add_up_and_each_is_its_own_subspace():
    """The rest is the error in the orthogonal complement, from a basis of that."""
    x0 = images(50, torch.float64)
    q = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q
    whole, (span, rest), (other, _) = (
        inx.offline_profile(shrink, x0, 8, features=f, generator=generator(1)) for f in (None, q[:, :3], q[:, 3:])
    )
    torch.testing.assert_close(span.mmse + rest.mmse, whole.mmse, rtol=1e-12, atol=0)
    torch.testing.assert_close(rest.mmse, other.mmse, rtol=1e-12, atol=0)
    torch.testing.assert_close(rest.standard_error, other.standard_error, rtol=1e-9, atol=0)
    assert (span.mmse < rest.mmse).all()


def test_autocast_and_default_device_change_nothing_but_the_network():
    x0, basis = images(20), torch.linalg.qr(torch.randn(12, 12)).Q[:, :5]
    plain = inx.offline_profile(shrink, x0, 8, features=basis, generator=generator(1))
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        modes = inx.offline_profile(shrink, x0, 8, features=basis, generator=generator(1))
    for part, other in zip(plain, modes, strict=True):
        assert same(part, other)
    assert inx.info_grid(modes, 5).device.type == "cpu"


@pytest.mark.parametrize("n", [12, 400])
def test_principal_components_span_those_of_the_exact_covariance(n):
    """Three variances of 90,000 and 27 of 1: 3 directions by the gap (in each of 3000 draws), with
    fewer samples than dimensions too.
    """
    dim, deviation = 30, torch.cat((torch.full((3,), 300.0), torch.ones(27)))
    rotation = torch.linalg.qr(torch.randn(dim, dim)).Q
    data = 5 + (torch.randn(n, dim) * deviation) @ rotation.T
    basis = principal_components(data.view(n, 5, 6))
    assert basis.shape == (dim, 3)
    assert principal_components(data.double()).dtype == torch.float64
    torch.testing.assert_close(basis.T @ basis, torch.eye(3), rtol=0, atol=1e-5)
    assert torch.linalg.svdvals(rotation[:, :3].T @ basis).min() > 0.8
    centred = data - data.mean(0)
    best = torch.linalg.svdvals(centred)[:2].square().sum()
    assert float((centred @ principal_components(data, 2)).square().sum() / best) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("data", "r", "message"),
    [
        (torch.randn(1, 4), None, "2 or more"),
        (torch.ones(5, 4, dtype=torch.int64), None, "int64"),
        (torch.full((5, 4), math.nan), None, "finite"),
        (torch.ones(5, 4), None, "5 equal samples"),
        (torch.randn(5, 4), 0, "r is 0"),
        (torch.randn(5, 9), 5, r"r is 5, but must be an integer in \[1, 4\]"),
    ],
)
def test_bad_arguments_of_principal_components_are_named(data, r, message):
    with pytest.raises(ValueError, match=message):
        principal_components(data, r)
