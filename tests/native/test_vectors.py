"""The CPU's loops in vectors of every width that this processor has: the bits of plain loops, and the reference's."""

import math

import numpy as np
import pytest
import torch
from support import OPS, call, generator, make_state, random_batch

from infonoise_ext.ops import reference, schemas

pytestmark = pytest.mark.slow  # builds a module
SIZES = (1, 4, 15, 17, 255, 256, 257, 1000)
"""Below and beyond a Philox block, a vector and a chunk."""


@pytest.fixture
def each_width(native):
    """`each_width(f, ...)`: what f gives, the same in plain loops and in vectors of every width."""

    def each(f, *arguments):
        found = []
        for width in range(native.widest_vectors + 1):
            native.use_vectors(width)
            found.append(f(*arguments))
        for wider in found[1:]:
            np.testing.assert_equal(wider, found[0])
        return found[0]

    yield each
    native.use_vectors(native.widest_vectors)


def params(**named):
    return schemas.Params._make(len(schemas.PARAMS) * [0.0])._replace(**named)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(
    ("seed", "offset", "rank", "world"), [(0, 0, 0, 1), (2**63 + 12345, 2**40 + 3, 2, 5), (7, 2**32 - 1, 2**32 - 1, 1)]
)
def test_uniforms_are_those_of_the_reference(native, each_width, n, stratified, seed, offset, rank, world):
    u = each_width(native.uniforms, seed, offset, rank, world, stratified, n)
    p = params(stratified=float(stratified), rank=float(rank), world=float(world))
    assert u == reference.draw.uniforms(p, seed, offset, [0] * n)


@pytest.mark.parametrize("bins", [1, 2, 3, 64, 512, 4096])
def test_sigmas_of_words_are_those_of_the_reference(native, each_width, bins):
    """Of tables in which every third bin is empty; words at the edges of the bins among them."""
    g = torch.Generator().manual_seed(bins)
    mass = torch.rand(bins, generator=g, dtype=torch.float64)
    mass[1::3] = 0
    cdf = [0.0, *(mass.cumsum(0) / mass.sum()).clamp(max=1).tolist()]
    cdf[-1] = 1.0
    width, low = math.log(5000) / max(bins, 8), math.log(0.01)
    edges = [float(np.float32(math.exp(low + width * k))) for k in range(bins + 1)]
    words = torch.randint(2**32, (700,), generator=g).tolist()
    at = [min(max(int(c * 2**32) + i, 0), 2**32 - 1) for c in cdf[:: 1 + bins // 64] for i in (-1, 0, 1)]
    words += [0, 1, 2**21 - 1, 2**21, 2**32 - 1, *at]
    p = params(log_min=low, width=width)
    for word, (k, sigma) in zip(words, each_width(native.draw_by_words, words, cdf, edges, width), strict=True):
        u = (word + 0.5) * 2.0**-32
        assert cdf[k] <= u < cdf[k + 1]
        assert math.isclose(sigma, reference.draw.invert(p, cdf, u), rel_tol=1e-6)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("spoiled", [False, True])
@pytest.mark.parametrize(("bins", "capacity"), [(1, 3), (32, 8), (600, 5)])
def test_recorded_losses_are_those_of_the_reference(native, each_width, n, spoiled, bins, capacity):
    state, g = make_state(bins=bins, capacity=capacity, device="cpu"), generator(n)
    edges = state["grid"][0]
    sigma, error = random_batch(state, n, g, spoiled=spoiled)
    if not spoiled:  # all within the range, its edges and those of the bins included: the usual chunk
        sigma = sigma.clamp(float(edges[0]), float(edges[-1]))
        sigma[::7] = edges[torch.randint(0, bins + 1, sigma[::7].shape, generator=g)].float()
    ring, count, counters = each_width(native.record, sigma.tolist(), error.tolist(), edges.tolist(), capacity)
    call(OPS["reference"], "observe_", state, sigma, error, None, None)
    for name, found in (("ring", ring), ("count", count), ("counters", counters)):
        assert found == state[name].flatten().tolist(), name
    assert spoiled or sum(count) == n
