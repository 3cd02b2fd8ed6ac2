"""`csrc/core` itself, against published vectors, closed forms and the Python layouts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import OPS, call, make_state

from infonoise_ext.ops import eager, reference, schemas
from infonoise_ext.state import config

pytestmark = pytest.mark.slow  # builds a module

# Random123 known answers for philox4x32, 10 rounds.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(native, counter, key, words):
    assert tuple(native.philox(counter, *key)) == words
    assert reference.draw.philox(counter, key) == words
    seed = key[0] | key[1] << 32
    column = torch.tensor(counter, dtype=torch.int64).unsqueeze(-1)
    signed = torch.tensor(seed - 2**64 if seed >= 2**63 else seed)
    assert tuple(eager.draw.philox(column, signed).squeeze(-1).tolist()) == words


@given(
    n=st.one_of(st.integers(1, 40), st.integers(1, 2**32), st.sampled_from([2**31, 2**32 - 1, 2**32])),
    x=st.integers(0, 2**32 - 1),
    seed=st.integers(0, 2**63),
)
def test_shuffle_of_any_size_is_that_of_the_reference(native, n, x, seed):
    keys, x = reference.draw.shuffle_keys(seed, 3, seed // 5, 7), x % n
    wanted = reference.draw.shuffle(x, n, keys)
    assert 0 <= wanted < n
    assert native.shuffle(x, n, keys) == wanted
    column = torch.tensor(keys).view(1, -1, 2)
    assert eager.draw.shuffle(torch.tensor([x]), torch.tensor(n), column).item() == wanted


def test_layouts_are_those_of_the_schemas(native):
    assert native.params_layout() == {name: i for i, name in enumerate(schemas.PARAMS)}
    for name, order in native.enum_layout().items():
        assert order == list(range(len(getattr(schemas, name)))), name
    assert native.max_bins == config.MAX_BINS
    for name in ("EDGE_TOLERANCE", "SAME_RATE", "INFLUENCE", "CERTAIN", "NARROWEST", "TINY"):
        assert getattr(native, name.lower()) == getattr(schemas, name), name


def test_exp_is_good_to_1e_11(native):
    x = np.random.default_rng(0).uniform(-690, 690, 100_000)
    np.testing.assert_allclose(native.exp_plain(x), np.exp(x), rtol=1e-11)


def test_exp_in_float32_is_good_to_3e_7(native):
    x = np.random.default_rng(0).uniform(-80, 80, 100_000).astype(np.float32)
    np.testing.assert_allclose(native.exp_float(x), np.exp(x.astype(np.float64)), rtol=3e-7)
    assert (native.exp_float(np.linspace(0, 2, 10_000, dtype=np.float32)) >= 1).all()


@given(
    masses=st.lists(st.sampled_from([0, 1e-300, 1e-11, 2e-10, 3e-10, 1e-4, 0.1, 1]), min_size=1, max_size=300),
    words=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30),
    width=st.floats(0.01, 2) | st.floats(0.01, 0.17),
)
def test_words_meet_the_bin_and_sigma_of_the_reference(native, masses, words, width):
    """Tables with empty bins, bins of no word or one, and edges exactly on a word or beside it."""
    total = math.fsum(masses)
    if total <= 0:
        return
    cdf = [0.0]
    for mass in masses[:-1]:
        cdf.append(min(cdf[-1] + mass / total, 1.0))
    for i, word in enumerate(words[: len(cdf) - 1]):
        u = (word + 0.5) * 2.0**-32
        cdf[1 + i] = [u, math.nextafter(u, 0), math.nextafter(u, 1)][i % 3]
    cdf = [*sorted(cdf), 1.0]
    low = -3.0
    edges = [float(np.float32(math.exp(low + width * k))) for k in range(len(cdf))]
    if edges[-1] > 1e38:
        return
    params = schemas.Params._make(len(schemas.PARAMS) * [0.0])._replace(log_min=low, width=width)
    words = [0, 2**32 - 1, *words, *(min(word + 1, 2**32 - 1) for word in words)]
    for word, (k, sigma) in zip(words, native.draw_by_words(words, cdf, edges, width), strict=True):
        u = (word + 0.5) * 2.0**-32
        assert k >= 0
        assert cdf[k] <= u < cdf[k + 1]
        assert math.isclose(sigma, reference.draw.invert(params, cdf, u), rel_tol=1e-6)
        assert np.float32(edges[k]) <= sigma


def test_rough_log2_guesses_to_a_thousandth(native):
    x = np.exp(np.random.default_rng(1).uniform(-80, 80, 100_000)).astype(np.float32)
    assert np.abs(native.rough_log2(x) - np.log2(x.astype(np.float64))).max() < 1e-3


@given(
    bins=st.integers(2, 600),
    low=st.floats(-60, 55),
    span=st.floats(0.05, 12),
    u=st.lists(st.floats(-0.1, 1.1), min_size=1, max_size=50),
)
def test_bins_are_those_of_exact_comparison(native, bins, low, span, u):
    edges = torch.linspace(low, low + span, bins + 1, dtype=torch.float64).exp().float().double()
    sigma = torch.tensor([low + span * x for x in u], dtype=torch.float64).exp().float()
    sigma = torch.cat((sigma, edges.float()))
    wanted = torch.bucketize(sigma.double(), edges[1:-1].contiguous(), right=True)
    assert [native.bin_of(s, edges.tolist()) for s in sigma.tolist()] == wanted.tolist()


def test_gate_is_its_formula(native):
    sigma = np.geomspace(1e-3, 1e2, 50)
    np.testing.assert_allclose(native.gate(sigma, 0.3, 3.0), sigma**3 / (sigma**3 + 0.3**3), rtol=1e-14)
    assert (native.gate(sigma, 0.0, 3.0) == 1).all()


@given(u=st.floats(0, 1, exclude_max=True), masses=st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_quantile_inverts_the_table(native, u, masses):
    total = math.fsum(masses)
    if total <= 1e-9:
        return
    cdf = [0.0]
    for mass in masses:
        cdf.append(min(cdf[-1] + mass / total, 1.0))
    cdf[-1] = 1.0
    width = 0.2
    x = native.log_quantile(u, cdf, -3.0, width)
    position = (x + 3) / width
    k = native.cdf_bin(u, cdf)
    assert cdf[k] <= u < cdf[k + 1]
    assert k <= position + 1e-9
    assert position - 1e-9 <= k + 1
    back = cdf[k] + (position - k) * (cdf[k + 1] - cdf[k])
    assert math.isclose(back, u, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"error": torch.ones(7)}, "error is of shape [7], but must be of shape [8], as sigma"),
        ({"sigma": torch.ones(8, 1)}, "sigma is of shape [8, 1], but must be of shape [B]"),
        ({"error": torch.ones(8).bool()}, "error is bool, but must be float16, bfloat16, float32 or float64"),
        ({"mask": torch.ones(8)}, "mask is float32, but must be bool"),
        ({"group": torch.ones(8)}, "group is float32, but must be int64 or int32"),
        ({"next_group": torch.tensor([0, 1, 0, 5])}, "next_group[3] is 5, but must be in [0, 2)"),
        ({"n": -1}, "n is -1, but must be in [0, 4294967296]"),
        ({"count": torch.ones(2, 32)}, "count is float32, but must be int64"),
        ({"ring": torch.ones(2, 3, 4)}, "ring is of shape [2, 3, 4], but must have 32 bins, as the grid"),
        ({"cdf": torch.ones(33, 2).double().t()}, "cdf is of strides [1, 2], but must be contiguous"),
        ({"grid": torch.ones(3)}, "grid is of shape [3], but must be of shape [4, K + 1] with K at most 4096"),
    ],
)
def test_errors_say_what_is_and_what_must_be_and_no_path(change, said):
    state = make_state(2)
    batch = {"sigma": torch.ones(8), "error": torch.ones(8), "mask": None, "group": None, "n": 4, "next_group": None}
    for named in (state, batch):
        named |= {name: x for name, x in change.items() if name in named}
    with pytest.raises(RuntimeError) as error:
        call(OPS["compiled"], "advance_", state, *batch.values())
    assert str(error.value) == said
