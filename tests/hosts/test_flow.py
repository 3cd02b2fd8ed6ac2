"""flow_matching and torchcfm: times and errors against the libraries' own paths."""

import math

import pytest
import torch
from support import generator
from support.runs import fed, gaussian_mmse

from infonoise_ext.integrations import flow_matching as fm
from infonoise_ext.integrations import torchcfm as cfm

LEVELS = torch.logspace(math.log10(0.002), math.log10(80.0), 200, dtype=torch.float64)


def data(seed, n=200, d=3):
    """Clean samples, noise and a wrong guess of the clean samples, float64 [n, d]."""
    return torch.randn(3, n, d, generator=generator(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def learned():
    return fed(lambda s: gaussian_mmse(s, 1.0))


class TestFlowMatching:
    @pytest.fixture(
        params=["CondOTScheduler", "CosineScheduler", "LinearVPScheduler", "VPScheduler", "PolynomialConvexScheduler"]
    )
    def scheduler(self, request):
        library = pytest.importorskip("flow_matching.path.scheduler")
        kind = getattr(library, request.param)
        return kind(3) if "Polynomial" in request.param else kind()

    def test_times_have_the_noise_levels(self, scheduler):
        t = fm.time_of(scheduler, LEVELS.float())
        assert t.dtype == torch.float32
        assert (t.diff() < 0).all()
        path = scheduler(t.double())
        # A float32 time resolves 1 - t to 6e-8: 1 - t is sigma for CondOT, but sigma^2 / 2 for LinearVP.
        rtol = 0.01 if "VP" in type(scheduler).__name__ else 1e-4
        torch.testing.assert_close(path.sigma_t / path.alpha_t, LEVELS, rtol=rtol, atol=0)

    def test_no_time_is_1_where_velocities_are_infinite(self, scheduler):
        t = fm.time_of(scheduler, torch.tensor([1e-8, 1e8]))
        assert t.tolist()[0] == 1 - 2**-24
        assert 0 <= t[1] < 0.01

    def test_velocity_error_becomes_clean_error(self, scheduler):
        from flow_matching.path import AffineProbPath

        path, (x1, x0, guess) = AffineProbPath(scheduler), data(1)
        t = scheduler.snr_inverse(1 / LEVELS)
        sample = path.sample(x_0=x0, x_1=x1, t=t)
        velocity = path.target_to_velocity(guess, sample.x_t, t[:, None])
        error = fm.clean_error(scheduler, (velocity - sample.dx_t).square().sum(1), LEVELS)
        torch.testing.assert_close(error, (guess - x1).square().sum(1), rtol=1e-6, atol=0)

    def test_schedule_starts_from_uniform_times_and_weighs_as_the_loss(self, scheduler):
        schedule = fm.make_schedule(scheduler)
        t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
        path = scheduler(t)
        levels = path.sigma_t / path.alpha_t
        torch.testing.assert_close(schedule.prior.below(levels), 1 - t, rtol=0, atol=0.01)
        sigma = schedule.state.row("sigma")
        recorded = fm.clean_error(scheduler, torch.ones_like(sigma), sigma)
        torch.testing.assert_close(schedule.state.row("weight") * recorded, torch.ones_like(sigma))
        assert schedule.weight(sigma.float()).dtype == torch.float32

    def test_solver_on_the_grid_maps_noise_to_data(self, scheduler, learned):
        """Data N(0, 1/4): the exact flow multiplies x_0 by sqrt(alpha^2 / 4 + sigma^2), start to end."""
        from flow_matching.solver import ODESolver

        def velocity(x, t):
            p = scheduler(t)
            return x * (p.alpha_t * p.d_alpha_t / 4 + p.sigma_t * p.d_sigma_t) / (p.alpha_t**2 / 4 + p.sigma_t**2)

        grid = fm.time_grid(learned, scheduler, 60)
        assert grid.shape == (61,)
        assert grid[0] == 0
        assert grid[-1] == 1
        assert (grid.diff() > 0).all()
        x = torch.linspace(-2, 2, 9)
        first = scheduler(torch.zeros(()))
        start = (first.alpha_t**2 / 4 + first.sigma_t**2) ** 0.5
        end = ODESolver(velocity).sample(x_init=x, step_size=None, method="midpoint", time_grid=grid)
        torch.testing.assert_close(end, x / 2 / start, rtol=0.02, atol=1e-6)


KINDS = ("ConditionalFlowMatcher", "ExactOptimalTransportConditionalFlowMatcher", "TargetConditionalFlowMatcher",
         "VariancePreservingConditionalFlowMatcher")  # fmt: skip


class TestTorchCFM:
    @pytest.fixture(params=KINDS)
    def matcher(self, request):
        library = pytest.importorskip("torchcfm")
        return getattr(library, request.param)(0.001 if "Target" in request.param else 0.0)

    def test_times_have_the_noise_levels(self, matcher):
        one, zero = torch.ones(len(LEVELS), dtype=torch.float64), torch.zeros(len(LEVELS), dtype=torch.float64)
        t = cfm.time_of(matcher, LEVELS)
        a = matcher.compute_mu_t(zero, one, t)
        b = matcher.compute_mu_t(one, zero, t)
        b = matcher.compute_sigma_t(t) if "Target" in type(matcher).__name__ else b
        torch.testing.assert_close(b / a, LEVELS, rtol=1e-9, atol=0)
        assert cfm.time_of(matcher, LEVELS.float()).dtype == torch.float32
        assert cfm.time_of(matcher, torch.tensor(1e-5)) <= 1

    def test_flow_error_becomes_clean_error(self, matcher):
        x1, x0, guess = data(2)
        t = cfm.time_of(matcher, LEVELS)
        _, xt, ut, eps = matcher.sample_location_and_conditional_flow(x0, x1, t, return_noise=True)
        if "Target" in type(matcher).__name__:
            x0 = eps
        a = (matcher.compute_mu_t(torch.zeros(1, 1), torch.ones(1, 1), t)).view(-1, 1)
        b = LEVELS[:, None] * a
        plan = (xt - b * x0) / a if "ExactOptimal" in type(matcher).__name__ else x1
        if "ExactOptimal" in type(matcher).__name__:  # the library pairs them anew: x1 and x0 from xt and ut
            plan = xt + b * ut
            x0 = xt - a * ut
        other = (xt - a * guess) / b  # the noise that goes with the guess at this xt
        wrong = matcher.compute_conditional_flow(other, guess, t, xt)
        torch.testing.assert_close(matcher.compute_conditional_flow(x0, plan, t, xt), ut, rtol=1e-9, atol=1e-9)
        error = cfm.clean_error(matcher, (wrong - ut).square().sum(1), LEVELS)
        torch.testing.assert_close(error, (guess - plan).square().sum(1), rtol=1e-6, atol=0)

    def test_grid_ascends_from_noise_to_data(self, matcher, learned):
        grid = cfm.time_grid(learned, matcher, 9)
        assert grid[0] == 0
        assert grid[-1] == 1
        assert (grid.diff() > 0).all()

    @pytest.mark.parametrize("kind", ["ConditionalFlowMatcher", "SchrodingerBridgeConditionalFlowMatcher"])
    def test_paths_with_noise_of_their_own_are_refused(self, kind):
        library = pytest.importorskip("torchcfm")
        matcher = getattr(library, kind)(0.1)
        with pytest.raises(ValueError, match=r"sigma = 0\.1"):
            cfm.time_of(matcher, LEVELS)
        with pytest.raises(ValueError, match=kind):
            cfm.clean_error(matcher, LEVELS, LEVELS)

    def test_schedule_starts_from_uniform_times_and_weighs_as_the_loss(self, matcher):
        schedule = cfm.make_schedule(matcher)
        t = cfm.time_of(matcher, schedule.prior.level(torch.tensor([0.1, 0.5, 0.8])))
        torch.testing.assert_close(t.double(), torch.tensor([0.9, 0.5, 0.2]).double(), rtol=0, atol=0.02)
        sigma = schedule.state.row("sigma")
        recorded = cfm.clean_error(matcher, torch.ones_like(sigma), sigma)
        torch.testing.assert_close(schedule.state.row("weight") * recorded, torch.ones_like(sigma))
