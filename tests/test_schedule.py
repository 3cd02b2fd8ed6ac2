"""`InfoNoise` as its users meet it."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from support import assert_same_bits, generator, state_of
from support.runs import gaussian_mmse, train

import infonoise_ext as inx
from infonoise_ext.ops.schemas import SIGNALS, SKIP_CAUSES

BACKENDS = ("auto", "eager")


@pytest.mark.parametrize("backend", BACKENDS)
def test_observe_and_step_equal_advance(backend):
    """The two-call loop and the one-call loop see the same tables; draws come one table apart."""
    one, two = (inx.InfoNoise(seed=3, backend=backend, warmup=4, refresh_every=2, min_count=1) for _ in range(2))
    sigma = one.sample(512)
    assert torch.equal(sigma, two.sample(512))
    for step in range(12):
        error = gaussian_mmse(sigma) * (1 + 0.1 * math.sin(step))
        following = one.advance(sigma, error)
        for part in range(0, 512, 128):  # micro-batches: warm-up and cadence count steps only
            two.observe(sigma[part : part + 128], error[part : part + 128])
        assert torch.equal(following, two.sample(512))
        two.step()
        assert torch.equal(one.state.cdf, two.state.cdf)
        assert one.summary() == two.summary()
        sigma = following
    assert one.summary()["refreshes"] > 2


@pytest.mark.parametrize(
    "prior", [inx.LogNormal(-1.2, 1.2), inx.LogNormal(-0.4, 1.0), inx.LogitNormal(0.0, 1.0), inx.LogitNormal(0, 1, 3.0)]
)
def test_schedule_activates_under_the_priors_people_use(prior):
    """EDM's, EDM2's, SD3's: active within 25 steps of the warm-up's end at batch 128."""
    schedule = inx.InfoNoise(prior=prior, seed=1, refresh_every=5)
    assert schedule.status == "warm-up"
    train(schedule, 125)
    assert schedule.status == "active", schedule.summary()


def test_a_refresh_waits_for_min_count_losses_of_all_bins_together():
    schedule = inx.InfoNoise(seed=1, warmup=1, refresh_every=1)
    for batch, status in ((15, "waiting for losses"), (1, "active")):
        sigma = schedule.sample(batch)
        schedule.observe(sigma, gaussian_mmse(sigma))
        schedule.step()
        assert schedule.status == status


def test_flood_of_bad_samples_changes_nothing_but_counters():
    schedule = inx.InfoNoise(seed=2)
    sigma = train(schedule, 300)
    before = state_of(schedule, ("ring", "count", "mmse", "cdf"))
    good = torch.ones(128)
    floods = {
        "nonfinite_error": (sigma, torch.full((128,), math.nan)),
        "negative_error": (sigma, -good),
        "nonfinite_sigma": (torch.full((128,), math.nan), good),
        "out_of_range": (sigma * 1e6, good),
    }
    for flood in floods.values():
        for _ in range(100):
            schedule.observe(*flood)
    schedule.observe(sigma, torch.full((128,), math.inf))
    schedule.observe(sigma, good, mask=torch.zeros(128, dtype=torch.bool))
    schedule.observe(sigma, torch.full((128,), 1e300, dtype=torch.float64))  # overflows float32
    assert_same_bits(schedule, before)
    summary = schedule.summary()
    wanted = {"negative_error": 12800, "nonfinite_sigma": 12800, "out_of_range": 12800, "nonfinite_error": 13056}
    wanted |= {"masked": 128, "bad_group": 0, "recomputed": 0}
    assert {cause: summary[f"skipped_{cause}"] for cause in SKIP_CAUSES} == wanted
    assert torch.isfinite(schedule.sample(1000)).all()


def test_degenerate_profile_is_kept_out_and_recovered_from():
    schedule = inx.InfoNoise(seed=2, warmup=10, refresh_every=10)
    train(schedule, 100)
    table = schedule.state.cdf.clone()
    train(schedule, 400, mmse=lambda sigma: torch.zeros_like(sigma))
    assert schedule.status.startswith("degenerate profile kept out")
    assert schedule.summary()["degenerates"] > 0
    assert torch.isfinite(schedule.state.cdf).all()
    assert not torch.equal(schedule.state.cdf, table)  # partly zero profiles were still used
    train(schedule, 400)
    assert schedule.status == "active"


def test_groups_learn_apart_as_separate_schedules_do():
    options = {"seed": 7, "warmup": 20, "refresh_every": 10, "min_count": 64, "pivot": inx.Onset()}
    pair, alone = inx.InfoNoise(groups=2, **options), [inx.InfoNoise(**options) for _ in range(2)]
    g = generator(0)
    for _ in range(60):
        group = torch.randint(0, 2, (512,), generator=g)
        sigma = pair.sample(512, group)
        error = gaussian_mmse(sigma, 0.5) * (1 - group) + gaussian_mmse(sigma, 5.0) * group
        pair.observe(sigma, error, group=group)
        pair.step()
        for i, schedule in enumerate(alone):
            schedule.observe(sigma[group == i], error[group == i])
            schedule.step()
    for i, schedule in enumerate(alone):
        assert torch.equal(pair.state.cdf[i], schedule.state.cdf[0])
        assert torch.equal(pair.state.ring[i], schedule.state.ring[0])
    assert pair.status == ["active", "active"]
    for i, std in enumerate((0.5, 5.0)):  # Eq. 18: r = 1 / (sigma (1 + sigma^2 / std^2)), largest at the lowest level
        pivot, lowest = pair.profile(i).pivot, float(pair.profile(i).sigma[0])
        assert pivot * (1 + (pivot / std) ** 2) == pytest.approx(lowest / 0.002, rel=0.02)
    assert pair.summary()["group1/pivot"] == pair.profile(1).pivot


def test_cdf_pdf_and_icdf_belong_together():
    schedule = inx.InfoNoise(seed=1)
    train(schedule, 200)
    u = torch.linspace(0.001, 0.999, 101, dtype=torch.float64).view(101, 1)
    sigma = schedule.table().level(u)
    assert sigma.shape == u.shape
    torch.testing.assert_close(schedule.table().below(sigma), u, rtol=0, atol=1e-6)
    fine = torch.linspace(math.log(0.002), math.log(80.0), 200_001, dtype=torch.float64).exp()
    integral = torch.trapezoid(schedule.table().density(fine), fine)
    assert abs(float(integral) - 1) < 1e-3
    assert schedule.table().density(torch.tensor([1e-3, 100.0])).tolist() == [0, 0]
    assert schedule.table().below(torch.tensor([1e-3, 100.0])).tolist() == [0, 1]


def test_reset_forgets_all_but_the_stream():
    schedule = inx.InfoNoise(seed=1)
    fresh = state_of(schedule, ("ring", "count", "mmse", "cdf", "stats", "counters"))
    train(schedule, 200)
    schedule.reset()
    assert_same_bits(schedule, fresh)
    assert schedule.state.rng[1] == 201
    assert schedule.status == "warm-up"


def test_manual_seed_and_generator_rule_the_stream():
    torch.manual_seed(11)
    first = inx.InfoNoise().sample(100)
    torch.manual_seed(11)
    assert torch.equal(inx.InfoNoise().sample(100), first)
    assert not torch.equal(inx.InfoNoise().sample(100), first)
    a, b = (inx.InfoNoise(generator=generator(4)).sample(50) for _ in range(2))
    assert torch.equal(a, b)
    draws = [inx.InfoNoise(seed=2**64 - 1, rank=r, world=3).sample(400) for r in range(3)]
    assert len(torch.cat(draws).unique()) > 1190  # ranks share no numbers


def test_bound_caps_what_the_network_cannot_do():
    """A floor of 1e-2 in the losses is information nowhere below what the bound admits."""
    spoiled = inx.InfoNoise(seed=1, signal="entropy", prior=inx.LogUniform())
    bounded = inx.InfoNoise(seed=1, signal="entropy", prior=inx.LogUniform(), bound=inx.BinaryBound())
    truth = inx.BinaryBound()
    for schedule in (spoiled, bounded):
        train(schedule, 300, mmse=lambda sigma: (truth(sigma) + 1e-2).float())
    assert spoiled.table().below(torch.tensor(0.1)) > 0.9
    assert bounded.table().below(torch.tensor(0.1)) < 0.1


@pytest.mark.parametrize(("signal", "power"), [("entropy", 1.0), ("length", 1.0), ("learnable", 0.5)])
def test_weight_divides_the_density(signal, power):
    """pi * w is the allocation (Eq. 16): of one measured profile, or of one that holds the root of the weight."""
    plain = inx.InfoNoise(seed=1, floor=0.0, signal=signal)
    weighted = inx.InfoNoise(seed=1, floor=0.0, signal=signal, weight=inx.EDMWeight(0.3))
    sigma = plain.sample(20_000)
    for schedule in (plain, weighted):
        schedule.observe(sigma, gaussian_mmse(sigma))
        schedule.refresh()
    p, q = plain.profile(), weighted.profile()
    sampled = p.density > 1e-5  # below, the cdf has lost digits
    ratio = (q.density * weighted.weight(p.sigma) ** power / p.density)[sampled]
    assert len(ratio) > 50
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-9, atol=0)
    assert torch.equal(plain.weight(sigma), torch.ones_like(sigma))


def test_state_keeps_its_addresses_and_its_size():
    schedule = inx.InfoNoise(seed=1, warmup=5, refresh_every=5)
    addresses = {name: tensor.data_ptr() for name, tensor in schedule.state._asdict().items()}
    train(schedule, 50)
    schedule.load_state_dict(schedule.state_dict())
    schedule.reset()
    assert {name: tensor.data_ptr() for name, tensor in schedule.state._asdict().items()} == addresses


@pytest.mark.parametrize("signal", SIGNALS)
def test_no_signal_has_a_gate_unless_one_is_asked_for(signal):
    plain, gated = inx.InfoNoise(signal=signal, seed=1), inx.InfoNoise(signal=signal, seed=1, pivot=inx.Onset())
    for schedule in (plain, gated):
        train(schedule, 200)
    assert (plain.profile().gate == 1).all()
    assert plain.summary()["kept"] == pytest.approx(1, abs=1e-12)
    assert gated.profile().pivot > 0
    assert gated.summary()["kept"] < 0.9


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_min": math.nan}, "sigma_min"),
        ({"reach": -0.1}, "reach"),
        ({"floor": 1.0}, "floor"),
        ({"min_count": 64 * 256 + 1}, "min_count"),
        ({"gate_power": 0.0}, "gate_power"),
        ({"groups": 0}, "groups"),
        ({"backend": "fast"}, "backend"),
        ({"seed": 2**64}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "one"}, "seed"),
        ({"rank": 2, "world": 2}, "rank"),
        ({"weight": lambda sigma: -sigma}, "weight"),
        ({"weight": lambda sigma: sigma[:3]}, "weight"),
        ({"bound": lambda sigma: -sigma}, "bound"),
        ({"bound": lambda sigma: 1.0}, "bound"),
        ({"prior": inx.LogUniform(1e5, 1e6)}, "prior"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        inx.InfoNoise(**options)


def test_a_step_allocates_its_output_and_nothing_else():
    schedule = inx.InfoNoise(seed=1, warmup=1, refresh_every=1, min_count=1)
    sigma = schedule.sample(1000)
    error = gaussian_mmse(sigma)
    schedule.advance(sigma, error)
    with torch.profiler.profile(profile_memory=True) as profile:
        schedule.advance(sigma, error)
    allocated = [e.cpu_memory_usage for e in profile.events() if e.cpu_memory_usage > 0 and e.cpu_parent is None]
    assert sum(allocated) == 4000
    assert schedule.summary()["refreshes"] >= 1


@pytest.mark.parametrize("seed", [torch.tensor(7), np.int64(7), 7.0])
def test_a_seed_of_any_kind_of_integer_is_that_integer(seed):
    assert torch.equal(inx.InfoNoise(seed=seed).sample(9), inx.InfoNoise(seed=7).sample(9))
    assert torch.equal(inx.InfoNoise(seed=np.uint64(2**64 - 1)).sample(9), inx.InfoNoise(seed=-1).sample(9))


@pytest.mark.parametrize("name", ["sigma_min", "signal", "floor", "pivot", "warmup"])
def test_options_are_no_attributes_that_could_be_set_to_no_end(name):
    schedule = inx.InfoNoise(seed=1)
    with pytest.raises(AttributeError, match=f"{name} is built into the tables"):
        setattr(schedule, name, getattr(schedule.config, name))


@pytest.mark.parametrize("shape", [4.0, None, "4", (2, 1.5), [None]])
@pytest.mark.parametrize("schedule", [inx.InfoNoise(seed=1), inx.LogNormal(0.0, 1.0)], ids=str)
def test_what_is_no_shape_is_refused(schedule, shape):
    with pytest.raises(ValueError, match=r"shape is .*, but must be at least 0, in whole numbers"):
        schedule.sample(shape)


@pytest.mark.parametrize("move", [lambda: inx.InfoNoise(device="mps"), lambda: inx.InfoNoise().to("mps")])
def test_a_device_without_float64_is_refused(move):
    with pytest.raises(ValueError, match="device is 'mps', but must be one with float64; keep the schedule on the CPU"):
        move()


@pytest.mark.parametrize("name", ["weight", "bound", "prior", "config", "rank", "world", "groups", "process_group"])
def test_what_the_tables_were_built_with_cannot_be_changed_alone(name):
    schedule = inx.InfoNoise(seed=1)
    for other in (schedule, copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        with pytest.raises(AttributeError, match=f"{name} is built into the tables"):
            setattr(other, name, getattr(schedule, name))


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_a_rare_group_draws_what_all_have_learned_until_it_has_its_own(backend):
    """Of std 0.5 and 5, a thousandth of the samples: it leans at once, and after 16 losses draws by them alone."""
    schedule, g, stds = inx.InfoNoise(groups=2, seed=1, backend=backend, refresh_every=5), generator(4), [0.5, 5.0]
    for steps, rare in ((100, 0), (200, 8)):
        for step in range(steps):
            group = (torch.arange(256) < rare).long()
            group[0] |= int(step % 10 == 0 and step < 100)
            sigma = schedule.sample(256, group)
            noise = torch.randn(256, 8, generator=g).square().mean(1)
            error = torch.where(group == 0, gaussian_mmse(sigma, stds[0]), gaussian_mmse(sigma, stds[1]))
            schedule.observe(sigma, error * noise, group=group)
            schedule.step()
        cdf = schedule.state.cdf
        if rare == 0:
            assert schedule.status == ["active", "waiting for losses"]
            assert schedule.state.count[1].sum() == 10
            assert float((cdf[0] - cdf[1]).abs().max()) < 0.1
            assert schedule.troubles(1) == []
    assert schedule.status == ["active", "active"]
    assert float(schedule.table(1).level(0.5)) > 4 * float(schedule.table(0).level(0.5))
    assert schedule.summary()["group1/refreshes"] > 0


def test_groups_of_the_next_batch_must_be_given():
    schedule, x = inx.InfoNoise(groups=2, seed=1), torch.ones(4)
    group = torch.tensor([0, 1, 1, 0])
    with pytest.raises(ValueError, match="next_group is None, but must be the groups of the batch to draw"):
        schedule.advance(x, x, group=group)
    assert int(schedule.state.count.sum()) == 0
    assert schedule.advance(x, x, group=group, next_group=group[:3]).shape == (3,)
    assert inx.LogNormal(0.0, 1.0).advance(x, x, group=group).shape == (4,)
    for call in (
        lambda: schedule.sample(4),
        lambda: schedule.sample((2, 2)),
        lambda: schedule.observe(x, x),
        lambda: schedule.advance(x, x),
        lambda: schedule.advance(x, x, next_group=group),
    ):
        with pytest.raises(ValueError, match=r"group is None, but must be the group of each level, in \[0, 2\)"):
            call()
    assert int(schedule.state.count.sum()) == 4


def test_a_rank_is_a_word_of_the_counter():
    with pytest.raises(ValueError, match=r"world is 4294967297, but must be an integer in \[1, 4294967296\]"):
        inx.InfoNoise(rank=2**32, world=2**32 + 1)


class Learned(torch.nn.Module):
    """A loss weight sigma^power with a power that training changes."""

    def __init__(self):
        super().__init__()
        self.power = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, sigma):
        return sigma**self.power


def test_learned_weight_divides_the_density_after_it_is_refreshed():
    """As a schedule that is made with the weight as it is now: in place, and from the next refresh on."""
    weight = Learned()
    schedule = inx.InfoNoise(weight=weight, seed=3, warmup=1000)
    train(schedule, 120)
    with torch.no_grad():
        weight.power.fill_(-1.5)
    place, old = schedule.state.grid.data_ptr(), schedule.state.grid.clone()
    schedule.refresh_weight()
    assert schedule.state.grid.data_ptr() == place
    new = inx.InfoNoise(weight=lambda sigma: sigma**-1.5, seed=3, warmup=1000)
    torch.testing.assert_close(schedule.state.grid, new.state.grid, rtol=1e-6, atol=0)
    assert not torch.equal(old, schedule.state.grid)
    new.load_state_dict(schedule.state_dict())
    for each in (schedule, new):
        each.refresh()
        assert each.status == "active"
    torch.testing.assert_close(schedule.state.cdf, new.state.cdf, rtol=1e-6, atol=0)


def test_learned_weight_that_is_none_leaves_the_old_one():
    weight = Learned()
    schedule = inx.InfoNoise(weight=weight)
    before = schedule.state.grid.clone()
    with torch.no_grad():
        weight.power.fill_(math.nan)
    with pytest.raises(ValueError, match=r"weight\(.*\) is nan, but must be finite and above 0"):
        schedule.refresh_weight()
    assert torch.equal(schedule.state.grid, before)
