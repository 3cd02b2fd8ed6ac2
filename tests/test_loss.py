"""`denoising_loss` against the plain expression: value, gradient, masks, statistics, compile, autocast."""

import itertools
import math

import pytest
import torch
from support import FLOATS, assert_same_state, generator
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import forward_ad

import infonoise_ext as inx

BACKENDS = ("auto", "eager")
DENSITIES = (
    inx.LogNormal(-1.2, 1.2, weight=inx.EDMWeight(0.5)),
    inx.LogUniform(0.002, 80.0),
    inx.LogitNormal(0.0, 1.0),
)


def schedule_of(backend="auto", **options):
    return inx.InfoNoise(0.01, 50.0, seed=1, weight=inx.EDMWeight(0.5), backend=backend, **options)


def batch_of(size, denoised=torch.float32, target=torch.float32, shape=(3, 5, 7), seed=0):
    g = generator(seed)
    sigma = (torch.rand(size, generator=g) * 7 - 4).exp()
    pair = (torch.randn(size, *shape, generator=g) for _ in range(2))
    return *(x.to(dtype) for x, dtype in zip(pair, (denoised, target), strict=True)), sigma


def plain_loss(denoised, target, sigma, weight, mask=None):
    error = (denoised.double() - target.double()).square().flatten(1).mean(1)
    each = weight(sigma.double()) * error
    return each.mean() if mask is None else each[mask].mean()


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("denoised", "target"), list(itertools.product(FLOATS, FLOATS)))
def test_value_and_gradients_are_the_plain_expression(backend, denoised, target):
    a, b, sigma = batch_of(9, denoised, target)
    a.requires_grad_()
    b.requires_grad_()
    schedule = schedule_of(backend)
    loss, wanted = inx.denoising_loss(a, b, sigma, schedule), plain_loss(a, b, sigma, schedule.weight)
    assert loss.dtype == (torch.float64 if torch.float64 in (denoised, target) else torch.float32)
    torch.testing.assert_close(loss.double(), wanted, rtol=2e-6, atol=0)
    for x, y in zip(gradients(loss, a, b), gradients(wanted, a, b), strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("schedule", DENSITIES, ids=repr)
def test_a_fixed_density_gives_the_weight_and_records_nothing(schedule):
    a, b, sigma = batch_of(6)
    wanted = plain_loss(a, b, sigma, schedule.weight)
    torch.testing.assert_close(inx.denoising_loss(a, b, sigma, schedule).double(), wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", [1, 3])
def test_what_is_recorded_is_what_observe_records(backend, groups):
    """Unweighted means, in batch order, per group, without the masked."""
    schedule, by_hand = schedule_of(backend, groups=groups, bins=16), schedule_of(backend, groups=groups, bins=16)
    for seed in range(3):
        a, b, sigma = batch_of(200, seed=seed)
        mask = torch.rand(200, generator=generator(seed)) < 0.7
        group = torch.randint(0, groups, (200,), generator=generator(seed)) if groups > 1 else None
        inx.denoising_loss(a.requires_grad_(), b, sigma, schedule, mask=mask, group=group)
        error = torch.ops.infonoise.denoising_error(a.detach(), b)
        by_hand.observe(sigma, error if backend == "auto" else (a - b).square().sum((1, 2, 3)) / 105, mask, group)
    assert_same_state(schedule.state._asdict(), by_hand.state._asdict())
    assert int(schedule.state.count.sum()) + int(schedule.state.counters[:, 5:].sum()) == 600


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("nothing_kept", [False, True])
def test_a_masked_sample_counts_nowhere_whatever_it_holds(backend, nothing_kept):
    a, b, sigma = batch_of(8, torch.bfloat16)
    mask = torch.tensor([not nothing_kept and i not in (1, 2, 3) for i in range(8)])
    a[1], b[2], sigma[3] = math.nan, math.inf, 0.0  # the weight is infinite there
    kept = [x[mask].clone().requires_grad_() for x in (a, b)]
    a.requires_grad_()
    b.requires_grad_()
    schedule = schedule_of(backend)
    loss = inx.denoising_loss(a, b, sigma, schedule, mask=mask)
    found = gradients(loss, a, b)
    assert all((x[~mask] == 0).all() for x in found)
    assert int(schedule.state.count.sum()) == int(mask.sum())
    assert int(schedule.state.counters[0, 5]) == int((~mask).sum())
    if nothing_kept:
        assert loss == 0
        return
    wanted = plain_loss(*kept, sigma[mask], schedule.weight)
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-6, atol=0)
    for x, y in zip(found, gradients(wanted, *kept), strict=True):
        torch.testing.assert_close(x[mask], y)


@pytest.mark.parametrize("weight", [inx.EDMWeight(0.5), "eps", "v", "velocity", "x0"], ids=str)
def test_pure_noise_has_a_finite_loss_and_is_not_recorded(weight):
    """Flow time 1 and a terminal SNR of zero: sigma is infinite, and the weight its limit."""
    a, b, sigma = batch_of(5)
    sigma[2] = math.inf
    schedule = inx.InfoNoise(0.01, 50.0, seed=1, weight=weight)
    loss = inx.denoising_loss(a.requires_grad_(), b, sigma, schedule)
    limits = {"eps": 0.0, "v": 1.0, "velocity": 1.0, "x0": 1.0}
    each = (a - b).square().flatten(1).mean(1) * schedule.weight(sigma)
    each[2] = (a - b)[2].square().mean() * limits.get(weight, 0.5**-2)
    torch.testing.assert_close(loss, each.mean())
    assert bool(gradients(loss, a)[0].isfinite().all())
    assert schedule.summary()["recorded"] == 4
    assert schedule.summary()["skipped_nonfinite_sigma"] == 1


def test_an_empty_batch_has_loss_and_gradient_zero():
    a, b, sigma = batch_of(0)
    a.requires_grad_()
    for mask in (None, torch.zeros(0, dtype=torch.bool)):
        loss = inx.denoising_loss(a, b, sigma, schedule_of(), mask=mask)
        assert loss == 0
        assert gradients(loss, a)[0].shape == a.shape


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scaled_float16_loss_keeps_gradients_that_float16_itself_loses(backend):
    """The gradient by an element is about 1e-9; a float16 has nothing between 0 and 6e-8."""
    a, b, sigma = batch_of(64, torch.float16, shape=(4, 64, 64))
    a = (b + 1e-3 * a).half().requires_grad_()
    schedule = inx.InfoNoise(0.01, 50.0, seed=1, backend=backend)
    loss = inx.denoising_loss(a, b, sigma, schedule)
    assert (gradients(inx.denoising_loss(a, b, sigma, schedule), a)[0] == 0).all()
    scaled = gradients(loss * 65536.0, a)[0].double() / 65536.0
    exact = 2 * (a.detach().double() - b.double()) / b.numel()
    torch.testing.assert_close(scaled, exact, rtol=1e-3, atol=1e-12)
    assert exact.abs().max() < 6e-8
    assert (scaled != 0).double().mean() > 0.95


def test_autocast_leaves_the_arithmetic_alone():
    a, b, sigma = batch_of(5, torch.bfloat16)
    a.requires_grad_()
    outside = inx.denoising_loss(a, b, sigma, schedule_of())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = inx.denoising_loss(a, b, sigma, schedule_of())
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert torch.equal(gradients(inside, a)[0], gradients(outside, a)[0])


@pytest.mark.parametrize("change", [
    lambda a, b: (a.to(memory_format=torch.channels_last), b),
    lambda a, b: (a.to(memory_format=torch.channels_last), b.to(memory_format=torch.channels_last)),
    lambda a, b: (a[..., ::2], b[..., 1::2]),
    lambda a, b: (a, b[:1].expand_as(a)),
    lambda a, b: (a.transpose(1, 3), b.transpose(1, 3).contiguous()),
])  # fmt: skip
def test_every_layout_has_the_plain_value_and_a_gradient_in_its_own_format(change):
    a, b, sigma = batch_of(4, torch.bfloat16, shape=(6, 4, 2))
    a, b = (x.detach().requires_grad_() for x in change(a, b))
    schedule = schedule_of()
    loss, wanted = inx.denoising_loss(a, b, sigma, schedule), plain_loss(a, b, sigma, schedule.weight)
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-6, atol=0)
    found = gradients(loss, a, b)
    for x, y in zip(found, gradients(wanted, a, b), strict=True):
        torch.testing.assert_close(x, y)
    if a.is_contiguous(memory_format=torch.channels_last):
        assert found[0].stride() == a.stride()


def test_derivatives_of_every_order_asked_for():
    """Gradient and second gradient by both tensors, a mask in between; retain_graph gives the same again."""
    a, b, sigma = batch_of(3, torch.float64, torch.float64, shape=(2, 2))
    a.requires_grad_()
    b.requires_grad_()
    mask = torch.tensor([True, False, True])
    schedule = schedule_of()
    for kept in (None, mask):
        assert torch.autograd.gradgradcheck(
            lambda a, b, m=kept: inx.denoising_loss(a, b, sigma, schedule, mask=m), (a, b)
        )
    loss = inx.denoising_loss(a, b, sigma, schedule)
    first = torch.autograd.grad(loss, a, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(loss, a)[0], first)


def test_saved_tensors_may_come_back_in_another_layout():
    """`save_on_cpu` hands the backward contiguous copies."""
    a, b, sigma = batch_of(3, torch.bfloat16)
    a = a.to(memory_format=torch.channels_last).requires_grad_()
    b = b.to(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x.contiguous() if x.dtype == a.dtype else x):
        found = gradients(inx.denoising_loss(a, b, sigma, schedule_of()), a)[0]
    assert torch.equal(found, gradients(inx.denoising_loss(a, b, sigma, schedule_of()), a)[0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("masked", [False, True])
def test_two_compilations_over_changing_batches(backend, masked):
    torch._dynamo.reset()
    schedule, plain = schedule_of(backend), schedule_of(backend)
    scale = torch.nn.Parameter(torch.tensor(0.9))
    counter = CompileCounterWithBackend("aot_eager")

    def step(schedule, a, b, sigma, mask):
        return inx.denoising_loss(scale * a, b, sigma, schedule, mask=mask)

    fast = torch.compile(step, backend=counter, fullgraph=True)
    for size in (64, 32, 7, 64, 33, 2, 100):
        a, b, sigma = batch_of(size, seed=size)
        mask = torch.rand(size, generator=generator(size)) < 0.7 if masked else None
        losses = [f(s, a, b, sigma, mask) for f, s in ((fast, schedule), (step, plain))]
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(gradients(losses[0], scale), gradients(losses[1], scale))
    assert counter.frame_count <= 2
    assert_same_state(schedule.state._asdict(), plain.state._asdict())


@pytest.mark.slow
def test_inductor_keeps_a_channels_last_network_whole():
    torch._dynamo.reset()
    net = torch.nn.Conv2d(3, 3, 3, padding=1).to(memory_format=torch.channels_last)
    a, b, sigma = (x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in batch_of(4))
    schedule, plain = schedule_of(), schedule_of()
    loss = torch.compile(lambda: inx.denoising_loss(net(a), b, sigma, schedule), fullgraph=True)()
    wanted = plain_loss(net(a), b, sigma, plain.weight)
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients(loss, net.weight), gradients(wanted, net.weight))
    assert int(schedule.state.count.sum()) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": torch.ones(4, 2)}, r"target is float32 \[4, 2\], but must have the shape of denoised, \[4, 3\]"),
        ({"target": torch.ones(4, 3, device="meta")}, "target is on meta, but must be on cpu"),
        ({"denoised": torch.ones(4, 3, dtype=torch.int32)}, "denoised.*int32"),
        ({"denoised": torch.ones(4, 0), "target": torch.ones(4, 0)}, "elements in each sample"),
        ({"denoised": torch.ones(()), "target": torch.ones(())}, r"\[B, \.\.\.\]"),
        (
            {"sigma": torch.ones(4, 1)},
            r"the shape of sigma is \[4, 1\], but must be how that of denoised begins",
        ),
        ({"sigma": torch.ones(4, device="meta")}, "the device of sigma is 'meta', but must be cpu"),
        ({"mask": torch.ones(4)}, "the dtype of mask is torch.float32, but must be torch.bool"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, r"the shape of mask is \[3\], but must be how"),
        ({"group": torch.zeros(3, dtype=torch.int64)}, r"the shape of group is \[3\], but must be how"),
    ],
)
@pytest.mark.parametrize("adaptive", [True, False])
def test_bad_arguments_get_a_clear_error_and_record_nothing(change, message, adaptive):
    schedule = schedule_of() if adaptive else DENSITIES[0]
    arguments = {"denoised": torch.ones(4, 3), "target": torch.zeros(4, 3), "sigma": torch.ones(4)} | change
    with pytest.raises(ValueError, match=message):
        inx.denoising_loss(schedule=schedule, **arguments)
    if adaptive:
        assert int(schedule.state.count.sum()) == 0


@pytest.mark.parametrize("masked", [False, True])
def test_derivatives_in_forward_mode_and_of_functions_are_those_in_reverse(masked):
    denoised, target, direction, sigma = (*torch.randn(3, 4, 5), torch.rand(4))
    schedule, mask = schedule_of(), torch.tensor([True, False, True, True]) if masked else None

    def loss(x):
        return inx.denoising_loss(x, target, sigma, schedule, mask=mask)

    leaf = denoised.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    expected = (gradient * direction).sum()
    torch.testing.assert_close(torch.func.grad(loss)(denoised), gradient)
    torch.testing.assert_close(torch.func.jvp(loss, (denoised,), (direction,))[1], expected)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(loss(forward_ad.make_dual(denoised, direction))).tangent
    torch.testing.assert_close(tangent, expected)
    compiled = torch.compile(lambda x: torch.func.jvp(loss, (x,), (direction,))[1], backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(denoised), expected)
    levels = 4 if mask is None else 3
    assert int(schedule.state.count.sum()) == 5 * levels  # each of the five calls recorded once, no tangent


@pytest.mark.parametrize("masked", [False, True])
def test_derivatives_of_a_fixed_schedule_are_those_of_the_plain_loss(masked):
    """Nothing is recorded, so all transforms are allowed: against the formula, and a finite difference in float64."""
    g = generator(3)
    denoised, target, direction = torch.randn(3, 4, 5, generator=g, dtype=torch.float64)
    sigma, mask = torch.rand(4, generator=g) + 0.1, torch.tensor([True, False, True, True]) if masked else None
    schedule = DENSITIES[0]

    def loss(x):
        return inx.denoising_loss(x, target, sigma, schedule, mask=mask)

    def plain(x):
        return plain_loss(x, target, sigma, schedule.weight, mask)

    for transform in (torch.func.jacfwd, torch.func.jacrev, torch.func.hessian):
        torch.testing.assert_close(transform(loss)(denoised), transform(plain)(denoised), rtol=1e-6, atol=1e-9)
    tangent = torch.func.jvp(loss, (denoised,), (direction,))[1]
    difference = (plain(denoised + 1e-4 * direction) - plain(denoised - 1e-4 * direction)) / 2e-4
    torch.testing.assert_close(tangent, difference, rtol=1e-6, atol=0)
    lanes = torch.randn(3, 4, 5, generator=g, dtype=torch.float64)
    torch.testing.assert_close(torch.vmap(loss)(lanes), torch.stack([plain(x) for x in lanes]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("name", ["sample", "observe", "advance", "loss", "jacfwd", "table"])
def test_vmap_is_refused_where_one_call_would_stand_for_many(name, backend):
    schedule = inx.InfoNoise(seed=1, backend=backend)
    calls = {
        "sample": lambda x: schedule.sample(3) + x,
        "observe": lambda x: schedule.observe(x, x),
        "advance": lambda x: schedule.advance(x, x),
        "loss": lambda x: inx.denoising_loss(x, x, x, schedule),
        "jacfwd": lambda x: torch.func.jacfwd(lambda y: inx.denoising_loss(y, x, x, schedule))(x),
        "table": lambda x: inx.SigmaTable(torch.ones(3).cumsum(0)).sample(schedule, 3)[1] + x,
    }
    with pytest.raises(RuntimeError, match=r"was called under torch\.vmap, but must be called outside of it"):
        torch.vmap(calls[name], randomness="different")(torch.ones(2, 3))
    assert int(schedule.state.count.sum()) == int(schedule.state.rng[1]) == 0
