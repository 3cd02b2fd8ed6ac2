"""Tables of noise levels: cells from their definition, and the drawn entries against the cells' mass."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from support.entries import ALPHA, cell_masses, p_value

import infonoise_ext as inx
from infonoise_ext.channel.sigma_table import SigmaTable

DRAWS = 200_000


def linear_betas():
    betas = np.linspace(1e-4, 0.02, 1000)
    return np.cumprod(1 - betas)


def cosine():
    def f(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - f((i + 1) / 1000) / f(i / 1000), 0.999) for i in range(1000)]
    return np.cumprod(1 - np.array(betas))


def flow(shift):
    t = np.arange(1000, 0, -1) / 1000
    return shift * t / (1 + (shift - 1) * t)


def sigma_of(alphas_cumprod):
    return np.sqrt((1 - alphas_cumprod) / alphas_cumprod)


def odds(t):
    with np.errstate(divide="ignore"):
        return t / (1 - t)


TABLES = {  # the table, and its sigma in the host's order by numpy
    "linear": (lambda: SigmaTable.from_alphas_cumprod(torch.tensor(linear_betas())), sigma_of(linear_betas())),
    "cosine": (lambda: SigmaTable.from_alphas_cumprod(torch.tensor(cosine())), sigma_of(cosine())),
    "flow, shift 1": (lambda: SigmaTable.from_flow("noise"), odds(flow(1.0))),
    "flow, shift 3": (lambda: SigmaTable.from_flow("noise", shift=3.0), odds(flow(3.0))),
    "flow, data first": (lambda: SigmaTable.from_flow("data", shift=3.0), odds(flow(3.0))[::-1]),
}
SCHEDULES = {  # and the law of ln sigma
    "edm": (lambda: inx.LogNormal(-1.2, 1.2), stats.norm(-1.2, 1.2)),
    "sd3": (lambda: inx.LogitNormal(0.5, 1.0), stats.norm(0.5, 1.0)),
    "wider than the table": (lambda: inx.LogUniform(1e-4, 1e4), stats.uniform(math.log(1e-4), math.log(1e8))),
}


@pytest.mark.parametrize("law", SCHEDULES)
@pytest.mark.parametrize("name", TABLES)
def test_entries_come_with_the_mass_of_their_cells(name, law):
    torch.manual_seed(len(name) + 7 * len(law))
    (make, sigma), (schedule, oracle) = TABLES[name], SCHEDULES[law]
    table = make()
    np.testing.assert_allclose(table.sigmas.numpy(), sigma, rtol=1e-6)
    mass = cell_masses(sigma, oracle)
    np.testing.assert_allclose(table.mass(schedule()).numpy(), mass, rtol=0, atol=3e-7)
    index, drawn = table.sample(schedule(), DRAWS)
    assert index.dtype == torch.int64
    assert torch.equal(drawn, table.sigmas[index])
    assert p_value(index.numpy(), mass) > ALPHA


@pytest.mark.parametrize("fault", ["off by one", "shift forgotten"])
def test_chi_square_notices(fault):
    torch.manual_seed(17)
    schedule, law = inx.LogNormal(-1.2, 1.2), stats.norm(-1.2, 1.2)
    index, _ = SigmaTable.from_flow("noise", shift=1.0 if fault == "shift forgotten" else 3.0).sample(schedule, DRAWS)
    index = index - 1 if fault == "off by one" else index
    assert p_value(index.numpy(), cell_masses(odds(flow(3.0)), law)) < ALPHA


@pytest.mark.parametrize("first", ["noise", "data"])
def test_learned_schedule_serves_a_table_and_learns_from_it(first):
    """Records at the entries of a flow table activate the schedule; draws then follow its learned cdf."""
    table = SigmaTable.from_flow(first, shift=3.0)
    schedule = inx.InfoNoise(table.sigma_min, table.sigma_max, prior=inx.LogitNormal(0.0, 1.0), seed=3)
    for _ in range(100):
        _, sigma = table.sample(schedule, 512)
        schedule.observe(sigma, sigma.square() / (1 + sigma.square()))
        schedule.step()
    assert schedule.status == "active"
    assert schedule.summary()["skipped_out_of_range"] == 0
    mass = table.mass(schedule)
    assert abs(float(mass.sum()) - 1) < 1e-12
    index, _ = table.sample(schedule, DRAWS)
    assert p_value(index.numpy(), mass.numpy()) > ALPHA


def test_bins_between_the_entries_of_a_table_do_not_keep_a_schedule_waiting():
    """The lowest entries are 0.003 k, k = 1, 2, ...: of 64 bins, those between them take their neighbours' losses."""
    table = SigmaTable.from_flow("noise", shift=3.0)
    schedule = inx.InfoNoise(table.sigma_min, table.sigma_max, prior=inx.LogUniform(), seed=2)
    for _ in range(100):
        _, sigma = table.sample(schedule, 1024)
        schedule.observe(sigma, sigma.square() / (1 + sigma.square()))
        schedule.step()
    profile = schedule.profile()
    assert schedule.status == "active"
    assert 0 < int((profile.count == 0).sum()) < 8
    exact = profile.sigma.square() / (1 + profile.sigma.square())
    assert (profile.mmse / exact - 1).abs().max() < schedule.config.width  # a loss is at most that far from its centre


def test_groups_draw_from_their_own_table():
    table = SigmaTable.from_flow("noise", steps=50)
    schedule = inx.InfoNoise(table.sigma_min, table.sigma_max, groups=2, seed=5)
    schedule.state.cdf[1] = torch.linspace(0, 1, 65, dtype=torch.float64)
    group = torch.arange(DRAWS) % 2
    index, _ = table.sample(schedule, DRAWS, group)
    for g in range(2):
        assert p_value(index[group == g].numpy(), table.mass(schedule, g).numpy()) > ALPHA
    assert (table.mass(schedule, 0) - table.mass(schedule, 1)).abs().sum() > 0.1


def test_levels_on_a_cell_border_and_far_outside():
    table = SigmaTable(torch.tensor([16.0, 4.0, 1.0]))
    index, sigma = table.snap(torch.tensor([[1e-9, 1.99, 2.01], [7.99, 8.01, 1e9]], dtype=torch.float64))
    assert index.tolist() == [[2, 2, 1], [1, 0, 0]]
    assert sigma.tolist() == [[1.0, 1.0, 4.0], [4.0, 16.0, 16.0]]


@pytest.mark.parametrize("sigmas", [[0.1, 1.0, 10.0], [10.0, 1.0, 0.1]])
def test_levels_that_are_none_have_no_entry(sigmas):
    """They index nothing that is not there, and cannot be recorded as if they were an entry."""
    index, sigma = inx.SigmaTable(torch.tensor(sigmas)).snap(torch.tensor([math.nan, -1.0, 1.0]))
    assert set(index.tolist()) <= {0, 1, 2}
    assert sigma.isnan().tolist() == [True, True, False]


def test_pure_noise_has_a_cell_of_its_own_and_its_errors_are_skipped():
    table = SigmaTable(torch.tensor([1.0, 2.0, 8.0, math.inf]))  # the infinite entry stands at 32
    assert (table.sigma_min, table.sigma_max) == (1.0, 8.0)
    index, sigma = table.snap(torch.tensor([15.9, 16.1]))
    assert index.tolist() == [2, 3]
    schedule = inx.InfoNoise(1.0, 8.0)
    schedule.observe(sigma, torch.ones(2))
    assert schedule.summary()["recorded"] == 1
    assert schedule.summary()["skipped_nonfinite_sigma"] == 1


def test_terminal_snr_of_zero_is_an_entry_at_infinity():
    table = SigmaTable.from_alphas_cumprod(torch.tensor([0.9, 0.5, 0.1, 0.0]))
    torch.testing.assert_close(table.sigmas[:3], torch.tensor([1 / 3, 1.0, 3.0]))
    assert table.sigmas[3] == math.inf


@pytest.mark.parametrize(
    ("sigmas", "words"),
    [
        ([80.0, 1.0, 0.0], r"sigmas\[2\] is 0.0, but must be above 0"),
        ([1.0, -2.0, 3.0], r"sigmas\[1\] is -2"),
        ([1.0, math.nan, 3.0], r"sigmas\[1\] is nan"),
        ([1.0, 3.0, 2.0], r"\[3.0, 2.0\], but must be ordered as the others"),
        ([1.0, 2.0, 2.0, 3.0], r"\[2.0, 2.0\]"),
        ([1.0, 1.0 + 1e-9, 3.0], "float32"),
        ([1.0, 2.0, math.inf, math.inf], "inf"),
        ([1.0, math.inf], "2 or more are finite"),
        ([[1.0, 2.0]], r"\[\[1.0, 2.0\]\], but must be \[N\] levels"),
    ],
)
def test_what_is_no_table_is_refused(sigmas, words):
    with pytest.raises(ValueError, match=words):
        SigmaTable(torch.tensor(sigmas, dtype=torch.float64))


@pytest.mark.parametrize("bad", [{"first": "t"}, {"first": "data", "steps": 2}, {"first": "data", "shift": 0.0}])
def test_bad_arguments_of_the_flow_table_are_named(bad):
    with pytest.raises(ValueError, match=list(bad)[-1]):
        SigmaTable.from_flow(**bad)


def test_drawing_compiles_without_a_graph_break():
    """A wait for the device would be one: `.item()`, a branch on a tensor, boolean indexing."""
    table = SigmaTable.from_flow("noise", shift=3.0)
    schedule = inx.InfoNoise(table.sigma_min, table.sigma_max, seed=9)
    twin = inx.InfoNoise(table.sigma_min, table.sigma_max, seed=9)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(n):
        index, sigma = table.sample(schedule, n)
        schedule.observe(sigma, sigma)
        return index

    assert torch.equal(step(100), table.sample(twin, 100)[0])


@pytest.mark.parametrize("name", TABLES)
def test_uniform_gives_every_entry_its_share(name):
    """Also the one at infinity and those at the ends, and as draws."""
    table = TABLES[name][0]()
    uniform = table.uniform()
    torch.testing.assert_close(table.mass(uniform), torch.full((1000,), 1e-3, dtype=torch.float64), rtol=1e-5, atol=0)
    torch.manual_seed(7)
    index, _ = table.sample(uniform, DRAWS)
    assert p_value(index.numpy(), np.full(1000, 1e-3)) > ALPHA


def test_density_has_the_masses_that_it_is_given_in_the_hosts_order():
    table = SigmaTable(torch.tensor([8.0, 2.0, 1.0]))
    mass = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    density = table.density(7 * mass)
    torch.testing.assert_close(table.mass(density), mass)
    assert density.edges.tolist() == pytest.approx([2**-0.5, 2**0.5, 4.0, 16.0], rel=1e-6)
    with pytest.raises(ValueError, match=r"shape of mass is \[2\], but must be \[3\]"):
        table.density(mass[:2])


def test_prior_of_uniform_timesteps_draws_them_as_often():
    """In a schedule with fewer bins than entries: below a timestep's level lies its share, less the floor."""
    table = SigmaTable.from_alphas_cumprod(torch.tensor(linear_betas()))
    schedule = inx.InfoNoise(table.sigma_min, table.sigma_max, prior=table.uniform())
    floor = schedule.config.floor
    levels = np.sort(sigma_of(linear_betas()))[[50, 250, 500, 750, 950]]
    even = np.log(levels / table.sigma_min) / np.log(table.sigma_max / table.sigma_min)
    expected = (1 - floor) * np.array([0.05, 0.25, 0.5, 0.75, 0.95]) + floor * even
    np.testing.assert_allclose(schedule.table().below(torch.tensor(levels)).numpy(), expected, atol=0.005)


def test_table_follows_the_schedule_to_its_device():
    table = SigmaTable.from_flow("noise")
    index, sigma = table.snap(torch.ones(3, device="meta"))
    assert index.device.type == sigma.device.type == table.sigmas.device.type == "meta"
