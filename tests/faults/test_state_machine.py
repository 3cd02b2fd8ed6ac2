"""Random sequences of every call, good and bad, against the float64 reference driven in parallel.

Longer: `python -m pytest tests/faults/test_state_machine.py --hypothesis-profile=long`.
"""

import copy
import math
import pickle
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import MUTABLE, assert_same_sigma, assert_same_state, generator, random_batch

import infonoise_ext as inx
from infonoise_ext.ops import reference
from infonoise_ext.ops.schemas import SIGNALS

REFRESHED = ("count", "previous_count", "previous_cdf", "mmse", "cdf", "stats", "counters", "grid", "params")
SEEDS = st.integers(0, 2**32)
SIZES = st.sampled_from([0, 1, 2, 7, 30, 64])
CONFIGS = st.fixed_dictionaries(
    {
        "bins": st.integers(2, 12),
        "capacity": st.integers(3, 9),
        "sigma_min": st.sampled_from([0.002, 0.01, 0.3]),
        "sigma_max": st.sampled_from([3.0, 80.0, 1e4]),
        "warmup": st.integers(1, 4),
        "refresh_every": st.integers(1, 4),
        "min_count": st.integers(1, 6),
        "floor": st.sampled_from([0.0, 0.05]),
        "reach": st.sampled_from([0.0, 0.6, 3.0]),
        "pivot": st.sampled_from([inx.Onset(), inx.PowerLaw(), 0, 0.5]),
        "sampling": st.sampled_from(["iid", "stratified"]),
        "signal": st.sampled_from(SIGNALS),
    }
)
BAD_CALLS = {
    "no such group": lambda s, x: s.sample(3, torch.tensor([0, s.groups, 0])),
    "no such next group": lambda s, x: s.advance(x, x, next_group=torch.tensor([s.groups])),
    "negative n": lambda s, x: s.sample(-1),
    "a column": lambda s, x: s.observe(x.view(-1, 1), x),
    "too few errors": lambda s, x: s.advance(x, x[1:]),
    "too few masks": lambda s, x: s.observe(x, x, mask=x[1:] > 0),
    "mask of floats": lambda s, x: s.advance(x, x, mask=x),
    "group of floats": lambda s, x: s.observe(x, x, group=x),
    "whole sigmas": lambda s, x: s.observe(x.long(), x),
    "another device": lambda s, x: s.observe(x.to("meta"), x),
    "not a state": lambda s, x: s.load_state_dict({"format": "other"}),
    "a ring of NaN": lambda s, x: s.load_state_dict(s.state_dict() | {"ring": s.state.ring * math.nan}),
    "a negative count": lambda s, x: s.load_state_dict(s.state_dict() | {"count": s.state.count - 10**6}),
    "no such file": lambda s, x: s.load("/nowhere/schedule.pt"),
}


class Machine(RuleBasedStateMachine):
    backend = "auto"

    @initialize(config=CONFIGS, groups=st.integers(1, 3), seed=SEEDS)
    def start(self, config, groups, seed):
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "schedule.pt"
        self.saved = None
        self.schedule = self.make(config, groups, seed)
        self.shadow_now()

    def make(self, config, groups, seed):
        weight = inx.EDMWeight(0.5) if seed % 2 else None
        bound = inx.BinaryBound() if seed % 3 == 0 else None
        return inx.InfoNoise(groups=groups, seed=seed, backend=self.backend, weight=weight, bound=bound, **config)

    def shadow_now(self):
        self.shadow = {name: tensor.clone() for name, tensor in self.schedule.state._asdict().items()}

    def batch(self, size, seed, spoiled):
        g = generator(seed)
        dtype = (torch.float32, torch.float64, torch.bfloat16, torch.float16)[seed % 4]
        sigma, error = random_batch(self.shadow, size, g, dtype, spoiled)
        mask = torch.rand(size, generator=g) > 0.2 if seed % 3 == 0 else None
        groups = self.schedule.groups
        group = torch.randint(-spoiled, groups + spoiled, (size,), generator=g) if groups > 1 or seed % 5 == 0 else None
        return sigma, error, mask, group

    def reference(self, name, *rest):
        s = self.shadow
        if name == "observe_":
            return reference.observe_(s["ring"], s["count"], s["counters"], s["grid"], *rest)
        if name == "sample_":
            return reference.sample_(s["cdf"], s["rng"], s["grid"], s["params"], *rest)
        return reference.advance_(*(s[n] for n in (*MUTABLE, "grid", "params")), *rest)

    def check_sigma(self, sigma, expected):
        c = self.schedule.config
        assert_same_sigma(sigma, expected)
        assert sigma.isfinite().all()
        low, high = (torch.tensor(x, dtype=torch.float32) for x in (c.sigma_min, c.sigma_max))
        assert ((sigma >= low * (1 - 1e-6)) & (sigma <= high * (1 + 1e-6))).all()

    def next_group(self, n, seed):
        if self.schedule.groups == 1 and seed % 2:
            return None
        return torch.randint(0, self.schedule.groups, (n,), generator=generator(seed), dtype=torch.int32)

    @rule(size=SIZES, seed=SEEDS, spoiled=st.booleans())
    def observe(self, size, seed, spoiled):
        batch = self.batch(size, seed, spoiled)
        self.schedule.observe(*batch)
        self.reference("observe_", *batch)

    @rule(n=SIZES, seed=SEEDS)
    def sample(self, n, seed):
        group = self.next_group(n, seed)
        self.check_sigma(self.schedule.sample(n, group), self.reference("sample_", n, group))

    @rule(size=SIZES, n=SIZES, seed=SEEDS, spoiled=st.booleans())
    def advance(self, size, n, seed, spoiled):
        sigma, error, mask, group = self.batch(size, seed, spoiled)
        following = self.next_group(n, seed)
        if following is None:
            group, n = None, size
        drawn = self.schedule.advance(sigma, error, mask, group, following)
        self.check_sigma(drawn, self.reference("advance_", sigma, error, mask, group, n, following))

    @rule()
    def step(self):
        self.schedule.step()
        nothing = torch.empty(0)
        self.reference("advance_", nothing, nothing, None, None, 0, None)

    @rule()
    def refresh(self):
        self.schedule.refresh()
        s = self.shadow
        reference.refresh_(reference.bin_stats(s["ring"], s["count"]), *(s[n] for n in REFRESHED))

    @rule()
    def reset(self):
        self.schedule.reset()
        fresh = inx.InfoNoise(config=self.schedule.config, groups=self.schedule.groups).state._asdict()
        self.shadow |= {name: fresh[name].clone() for name in MUTABLE if name != "rng"}

    @rule()
    def save(self):
        self.schedule.save(self.file)
        self.saved = {name: self.shadow[name].clone() for name in MUTABLE}

    @precondition(lambda self: self.saved is not None)
    @rule()
    def load(self):
        self.schedule.load(self.file)
        self.shadow |= {name: tensor.clone() for name, tensor in self.saved.items()}

    @rule(seed=SEEDS)
    def resume_in_a_new_object(self, seed):
        old = self.schedule
        self.schedule = inx.InfoNoise(
            config=old.config, groups=old.groups, seed=seed, backend=self.backend, weight=old.weight, bound=old.bound
        )
        self.schedule.load_state_dict(old.state_dict())

    @rule(
        how=st.sampled_from([copy.deepcopy, copy.copy, lambda s: pickle.loads(pickle.dumps(s)), lambda s: s.to("cpu")])
    )
    def duplicate(self, how):
        self.schedule = how(self.schedule)

    @rule(config=CONFIGS, seed=SEEDS, groups=st.integers(1, 3))
    def load_into_another_configuration(self, config, seed, groups):
        """The reference knows no re-binning: what must survive is compared, and the shadow starts anew."""
        old = self.schedule
        self.schedule = self.make(config, groups if old.groups == 1 else old.groups, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.schedule.load_state_dict(old.state_dict())
        self.saved = None
        assert torch.equal(self.schedule.state.rng, old.state.rng)
        assert self.schedule.summary()["steps"] == old.summary()["steps"]
        assert (self.schedule.state.cdf.diff() >= 0).all()
        self.shadow_now()

    @rule(name=st.sampled_from(sorted(BAD_CALLS)))
    def bad_call_is_refused(self, name):
        sigma = self.shadow["grid"][1, :2].float()
        with pytest.raises((ValueError, RuntimeError, OSError)):
            BAD_CALLS[name](self.schedule, sigma)

    @rule()
    def look(self):
        """Reading changes nothing (the invariant says so)."""
        self.schedule.summary()
        assert 0 < self.schedule.profile(self.schedule.groups - 1).density.max() < math.inf

    @invariant()
    def states_are_equal(self):
        assert_same_state(self.schedule.state._asdict(), self.shadow)
        assert all(tensor._dynamo_static_input_type == "unguarded" for tensor in self.schedule.state._asdict().values())

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_any_sequence_of_calls_keeps_the_state_of_the_reference(backend):
    machine = type("Machine", (Machine,), {"backend": backend})
    examples = settings.default.max_examples // 10  # an example is up to 50 calls
    run_state_machine_as_test(
        machine,
        settings=settings(
            settings.default,
            max_examples=examples,
            stateful_step_count=50,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
