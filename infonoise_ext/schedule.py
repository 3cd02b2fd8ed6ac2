"""`InfoNoise`: the adaptive training noise schedule (arXiv 2602.18647) as one object beside the loop."""

from __future__ import annotations

import copy
import math
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .curves.arguments import refuse, whole
from .curves.levels import Shape, Shift, as_vectors, factor_of, groups_of, moved, shifted, sizes
from .curves.weights import Weight, as_weight, evaluate, is_trained
from .distributed import compare_ranks, initialized, late_placement, over_ranks, placement
from .ops import registry
from .ops.graphs import never_compiled
from .ops.schemas import COUNTERS, PARAMS, STATUSES
from .state import checkpoint, files
from .state.config import InfoNoiseConfig, Options
from .state.measured import Prior, edm_density, prior_density
from .state.profile import Profile, profile_of
from .state.table import Table
from .state.tensors import State, fresh_state, make_grid, make_params, prior_table
from .watch.history import History, snapshot, summarize
from .watch.troubles import troubles

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from typing_extensions import Unpack

_BUILT_IN = ("config", "groups", "weight", "bound", "prior", "process_group", "rank", "world")
_OPTIONS = {field.name for field in fields(InfoNoiseConfig)}
_OUTSIDE = "with process_group or history, call schedule.step() outside the compiled function"


class InfoNoise:
    """Draws training noise levels where the data's uncertainty falls fastest, measured online.

    A plain object, not an `nn.Module`: its statistics are neither cast, averaged nor broadcast with
    the model. Keep it beside the model and save it with `state_dict`.

    Args:
        sigma_min: see `InfoNoiseConfig`, as for every other option.
        sigma_max: see `InfoNoiseConfig`.
        weight: the loss weight w(sigma) of the training objective: what multiplies the squared error of the clean
            sample, since the density is divided by it (Eq. 16). A callable on tensors, a module too; the name of a
            prediction whose plain error is the loss, "eps", "v" or "velocity"; a `channel.LossWeight`, which knows
            more names; None is 1.
        prior: density of the warm-up; None is EDM's, `LogNormal(-1.2 + log(2 sigma_data), 1.2)`, with 0.5 for
            sigma_data if the weight is no `EDMWeight`. Of what is measured, a `Profile` in the units of the recorded
            error, another `InfoNoise` or the path of either as saved (of its group 0), it is the density that this
            schedule would learn from it, on its own range and for its own weight and bound.
        bound: callable sigma -> largest possible mmse, in the units of the recorded error.
        groups: G, schedules in one object, chosen per sample by `group`. A group draws what all groups' losses teach
            until it has `min_count` of its own.
        device: where the state lives; not MPS, which has no float64.
        seed: 64-bit key of the random stream; None draws one from torch's generator.
        generator: the generator that None draws from.
        backend: "auto", "eager", "triton", or None for what INFONOISE_BACKEND says.
        process_group: ranks that learn one table together (docs/distributed.md). Each of them must make
            the schedule with the same options, and call `step`, `refresh`, `reset` and the loading of a
            state alike; the group gives `rank` and `world`. None is a table for this process alone.
        rank: this process among `world`; None asks torch.distributed, at the first draw after it is initialised. It
            is a word of the random stream's counter: ranks draw different numbers, whether or not seeds are equal.
        world: number of processes that draw together.
        history: a `History` that `step()` records refreshes into; with a process group `advance` does too.
        config: options to start from.
        **options: fields of `InfoNoiseConfig`.

    Attributes:
        held_out: a `Profile` of samples that are not trained on, or an InfoNoise, with as many groups, that records
            their errors; None to begin with, and not saved. `troubles` compares the training errors with it.

    Raises:
        ValueError: an argument out of range, named with what is allowed; a prior of nothing measured.
        OSError: a prior's path that cannot be opened.
        TypeError: an unknown option.
    """

    def __init__(
        self,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        *,
        weight: Weight | str | None = None,
        prior: Prior | None = None,
        bound: Weight | None = None,
        groups: int = 1,
        device: torch.device | str | None = None,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        backend: str | None = None,
        process_group: ProcessGroup | None = None,
        rank: int | None = None,
        world: int | None = None,
        history: History | None = None,
        config: InfoNoiseConfig | None = None,
        **options: Unpack[Options],
    ) -> None:
        ends = {"sigma_min": sigma_min, "sigma_max": sigma_max}
        given = {name: value for name, value in ends.items() if value is not None}
        self.config = (config or InfoNoiseConfig()).with_options({**options, **given})
        self.groups = whole("groups", groups, least=1)
        self.weight = as_weight(weight)
        self.bound = bound
        self.history = history
        self.held_out: Profile | InfoNoise | None = None
        self.process_group = process_group
        self.rank, self.world = placement(process_group, rank, world)
        self._rank_given = (rank, world) != (None, None)
        self._asks_rank = process_group is None and not self._rank_given and not initialized()
        self._ops = registry.backend(backend)
        with torch.device("cpu"):  # whatever torch.set_default_device says
            grid = make_grid(self.config, self.weight, bound)
            self.prior = edm_density(self.weight) if prior is None else prior_density(prior, self.config, grid)
            self._prior_table = prior_table(self.config, self.prior, grid[0])
            state = fresh_state(
                self.config,
                grid,
                make_params(self.config, self.rank, self.world, refreshes=process_group is None),
                self._prior_table,
                self.groups,
                _seed(seed, generator),
            )
            self._weighed = 0 if is_trained(self.weight, grid[1, :-1]) else None  # steps when it was evaluated last
        self._steps_seen = 0
        self._ranks_agree = process_group is None
        self._place(state, torch.device("cpu" if device is None else device))

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what the tables were built with: changed alone, it would train at noise levels that nobody chose."""
        if name in _OPTIONS or (name in _BUILT_IN and name in self.__dict__):
            raise AttributeError(
                f"{name} is built into the tables and cannot be set: make an InfoNoise with the new one, and give it "
                "what this one learned by load_state_dict(old.state_dict())"
            )
        super().__setattr__(name, value)

    def _place(self, state: State, device: torch.device) -> None:
        if device.type == "mps":
            refuse("device", str(device), "one with float64; keep the schedule on the CPU, and move what it draws")
        self.state = state.to(device)
        self._nothing = torch.empty(0, dtype=torch.float32, device=device)

    def _ask_rank(self) -> None:
        """Take the place among processes that were formed after the schedule, as if it had been made then; no sync."""
        if not (self._asks_rank and initialized()):
            return
        rank, world = late_placement()
        for name, value in (("rank", rank), ("world", world), ("_asks_rank", False)):
            object.__setattr__(self, name, value)
        self.state.params[PARAMS.index("rank")] = rank
        self.state.params[PARAMS.index("world")] = world

    @property
    def device(self) -> torch.device:
        """Where the state lives."""
        return self.state.ring.device

    def sample(self, shape: Shape, group: Tensor | None = None, *, shift: Shift = None) -> Tensor:
        """Draw noise levels from the current table.

        Args:
            shape: how many, or the sizes of a tensor of levels, such as (B, T) for one a frame.
            group: int64 or int32 in [0, G), of the levels' shape or of its first sizes; None where G is 1.
            shift: in log sigma, of data whose profile lies so much higher (docs/train.md): a number, or floating of
                the levels' shape or of its first sizes. What is drawn moves by it.

        Returns:
            sigma float32 in [sigma_min, sigma_max], but for the shift.

        Raises:
            ValueError: a negative size, or a group or a shift that does not fit, or no group of several.
            RuntimeError: backward is running: a region that is computed again would get other numbers.
        """
        self._ask_rank()
        self._check_given(group=group)
        s = self.state
        wanted = sizes(shape)
        factor = factor_of(shift, wanted)
        if len(wanted) == 1:
            return moved(self._ops.sample_(s.cdf, s.rng, s.grid, s.params, wanted[0], group), factor)
        flat = groups_of("group", group, wanted)
        return moved(self._ops.sample_(s.cdf, s.rng, s.grid, s.params, math.prod(wanted), flat).view(wanted), factor)

    def _check_given(self, **groups: Tensor | None) -> None:
        for name, group in groups.items():
            if group is None and self.groups > 1:
                refuse(name, None, f"the group of each level, in [0, {self.groups})")

    def observe(
        self,
        sigma: Tensor,
        error: Tensor,
        mask: Tensor | None = None,
        group: Tensor | None = None,
        *,
        shift: Shift = None,
    ) -> None:
        """Record a batch or micro-batch; no host sync, gradients are ignored.

        Called while backward runs, as activation checkpointing does to compute a region again, it records
        nothing and counts the samples as recomputed: they were recorded the first time.

        Args:
            sigma: noise levels that were used, any floating dtype: [B], or [B, T, ...] for one a frame or token.
            error: UNWEIGHTED squared error of what each level corrupted, of sigma's shape, averaged over its
                elements (`channel.clean_error` converts other predictions). To the signal "learnable" and to
                `troubles` a sum over d elements looks like data of d times the variance.
            mask: bool of sigma's shape, False leaves a level out.
            group: int64 or int32 in [0, G), of sigma's shape or of its first sizes; None where G is 1.
            shift: what `sample` was given for these levels: they count as sigma exp(-shift).

        Raises:
            ValueError: shapes, dtypes or devices that do not fit, or no group of several.
        """
        s = self.state
        self._check_given(group=group)
        sigma = shifted(sigma, shift, -1)
        if sigma.dim() != 1:
            sigma, error, mask, group = as_vectors(sigma, error, mask, group)
        self._ops.observe_(s.ring, s.count, s.counters, s.grid, sigma, error, mask, group)

    def step(self) -> None:
        """Count an optimizer step and refresh the table if one is due. Call it once per step.

        With a process group a refresh is collective, so all ranks step together.
        """
        self._ask_rank()  # also here: a draw that was compiled before the ranks were known does not ask
        self._ops.advance_(*self.state, self._nothing, self._nothing, None, None, 0, None)
        if self.process_group is not None or self.history is not None:
            self._step_on_host()

    @never_compiled(_OUTSIDE)
    def _step_on_host(self) -> None:
        """What a step does beside the device: collectives and records, at a cadence known without it."""
        if not self._ranks_agree:
            self.check_ranks()
            self._ranks_agree = True
        self._steps_seen += 1
        past = self._steps_seen - self.config.warmup
        if past < 0 or past % self.config.refresh_every:
            return
        if self.process_group is not None:
            self.refresh()
        if self.history is not None:
            self.history.record(self.snapshot())

    def advance(
        self,
        sigma: Tensor,
        error: Tensor,
        mask: Tensor | None = None,
        group: Tensor | None = None,
        next_group: Tensor | None = None,
        *,
        shift: Shift = None,
        next_shift: Shift = None,
    ) -> Tensor:
        """`observe`, `sample` and `step` in one launch, three of several groups, for a loop without accumulation.

        A table that is due serves from the next call. Takes what `observe` takes. With a process group
        the refresh is collective and breaks a compiled graph: under `fullgraph=True` call `observe` and
        `sample` there, and `step` outside.

        Args:
            next_group: groups of the batch to draw, which must be given where `group` is. Sizes that it lacks
                are those of sigma.
            shift: of the levels that were used, as `observe` takes it.
            next_shift: of the levels to draw, as `sample` takes it; it must be given where `shift` is.

        Returns:
            sigma float32 of the next batch, of sigma's shape.

        Raises:
            ValueError: `group` without `next_group`, `shift` without `next_shift`, or no group of several.
            RuntimeError: backward is running, as for `sample`.
        """
        self._ask_rank()
        if group is not None and next_group is None:
            refuse("next_group", None, "the groups of the batch to draw, where groups are used")
        if shift is not None and next_shift is None:
            refuse("next_shift", None, "the shift of the batch to draw, where shifts are used")
        self._check_given(group=group)
        sigma = shifted(sigma, shift, -1)
        wanted = sigma.shape if next_group is None else next_group.shape + sigma.shape[next_group.dim() :]
        factor = factor_of(next_shift, wanted, name="next_shift")
        if sigma.dim() == len(wanted) == 1:
            following = self._ops.advance_(*self.state, sigma, error, mask, group, wanted[0], next_group)
        else:
            upcoming, flat = groups_of("next_group", next_group, wanted), as_vectors(sigma, error, mask, group)
            following = self._ops.advance_(*self.state, *flat, wanted.numel(), upcoming).view(wanted)
        if self.process_group is not None:
            self._step_on_host()
        return moved(following, factor)

    def refresh(self) -> None:
        """Rebuild the table now from what is recorded, by all ranks of a process group, if that is enough."""
        s = self.state
        moments = over_ranks(self._ops.bin_stats(s.ring, s.count), self.process_group)
        self._ops.refresh_(
            moments, s.count, s.previous_count, s.previous_cdf, s.mmse, s.cdf, s.stats, s.counters, s.grid, s.params
        )

    def refresh_weight(self) -> None:
        """Evaluate the weight anew, which has been learned on: the next refresh divides by what it is now.

        In place, so that compiled code and CUDA graphs see it. Waits for the device. With a process group all ranks
        call it alike, and their weights are equal, as those of a DDP module are.

        Raises:
            ValueError: the weight is not finite and above 0; the old values stay.
        """
        row = self.state.row("weight")
        row.copy_(evaluate("weight", self.weight, self.state.row("sigma").cpu(), positive=True))
        self._mark_weighed()

    def _mark_weighed(self) -> None:
        if self._weighed is not None:
            self._weighed = int(self.state.counters[0, COUNTERS.index("steps")])

    def check_ranks(self) -> None:
        """Compare options, step count and table over the process group.

        Collective: every rank must call it. Waits for the device. `step` does it once, at the first step after
        construction or loading, since ranks that differ here would wait for one another for ever or learn
        different tables.

        Raises:
            ValueError: on every rank, naming the first rank that differs from rank 0 and in what; or the schedule
                has no process group.
        """
        if self.process_group is None:
            refuse("process_group", None, "a group, so that there are ranks to compare")
        compare_ranks(self.state, self.config, self.process_group)

    def reset(self) -> None:
        """Forget everything learned and start the warm-up again; the random stream goes on."""
        s = self.state
        for tensor in (s.count, s.previous_count, s.stats, s.counters):  # count first: no ring is read beyond it
            tensor.zero_()
        for tensor in (s.ring, s.mmse):
            tensor.fill_(-1)
        for tensor in (s.cdf, s.previous_cdf):
            tensor.copy_(self._prior_table.cdf.expand_as(tensor))
        self._steps_seen = 0
        self._mark_weighed()

    def to(self, device: torch.device | str) -> InfoNoise:
        """Move the state; returns self. Compiled code follows, by compiling again.

        Raises:
            ValueError: the device is MPS, which has no float64.
        """
        self._ask_rank()
        if torch.device(device) != self.device:
            self._place(self.state, torch.device(device))
        return self

    def table(self, group: int = 0) -> Table:
        """The distribution that is sampled from now, as it stands: later refreshes do not change it.

        Raises:
            ValueError: group is not in [0, G).
        """
        index = whole("group", group, least=0, most=self.groups - 1)
        return Table.trusted(self.state.edges, self.state.cdf[index].clone(), self.weight)

    def profile(self, group: int = 0) -> Profile:
        """What has been learned, as float64 tensors on the CPU. Waits for the device."""
        return profile_of(self.state, group)

    def summary(self) -> dict[str, float]:
        """Flat numbers for any logger; keys in docs/monitoring.md. Waits for the device."""
        return summarize(self.state, self.config, self._held_out(), self._weighed)

    def snapshot(self) -> dict[str, Any]:
        """Plain values of this moment, for `History.record`: options, summary and curves. Waits for the device."""
        return snapshot(self.state, self.config, self.rank, self.world, self._held_out(), self._weighed)

    @property
    def status(self) -> str | list[str]:
        """In words, for each group: one of `STATUSES`, and its first trouble if it has one. Waits for the device."""
        codes = self.state.counters[:, COUNTERS.index("status")].tolist()
        held_out = self._held_out()
        found = [troubles(self.state, self.config, g, held_out[g], self._weighed) for g in range(self.groups)]
        words = [
            f"{STATUSES[code]}, but {some[0]}" if some else STATUSES[code]
            for code, some in zip(codes, found, strict=True)
        ]
        return words[0] if self.groups == 1 else words

    def troubles(self, group: int = 0) -> list[str]:
        """What shows that a group trains at the wrong noise levels, a sentence each. Waits for the device.

        Raises:
            ValueError: group is not in [0, G).
        """
        index = whole("group", group, least=0, most=self.groups - 1)
        found = troubles(self.state, self.config, index, self._held_out()[index], self._weighed)
        return [str(trouble) for trouble in found]

    def _held_out(self) -> list[Profile | None]:
        """Of every group, where something is recorded."""
        if self.held_out is None or isinstance(self.held_out, Profile):
            return [self.held_out] * self.groups
        profiles = [self.held_out.profile(g) for g in range(self.groups)]
        return [profile if bool((profile.count > 0).any()) else None for profile in profiles]

    def state_dict(self) -> dict[str, Any]:
        """Live state tensors and plain values; no collective, the same on every rank but the rings."""
        return checkpoint.state_dict(self.state, self.config)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy a state in place; another grid, capacity or number of groups is re-binned, with a warning.

        Raises:
            ValueError: not a state of this class, or of a version that is not known.
        """
        checkpoint.load_state_dict(self.state, self.config, state_dict)
        self._steps_seen = int(self.state.counters[0, COUNTERS.index("steps")])
        self._ranks_agree = self.process_group is None
        self._mark_weighed()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `state_dict()` to a file that is complete or absent, readable with weights_only.

        A path that ends in ".safetensors" gets that format (needs the safetensors package).
        """
        files.write(self.state_dict(), path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """`load_state_dict` of what `save` wrote.

        Raises:
            OSError: the file cannot be opened.
            ValueError: the file is damaged, of another kind or of another version; nothing is changed.
        """
        saved = files.read(path)
        try:
            self.load_state_dict(saved)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def __deepcopy__(self, memo: dict[int, Any]) -> InfoNoise:
        """Tensors of its own in the same process group, which is a connection and has no copy."""
        memo[id(self.process_group)] = self.process_group
        twin = type(self).__new__(type(self))
        twin._restore(copy.deepcopy(self.__dict__, memo))
        return twin

    def __copy__(self) -> InfoNoise:
        """A deep copy: the tensors of one schedule change in place."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """All but the process group and what it gave: connections end with their process.

        Where it is loaded, the schedule is this process's alone, and asks for its rank at the first draw. To share the
        table again, make an InfoNoise with `process_group` and load this one's `state_dict`.
        """
        return self.__dict__ | {"process_group": None}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self._restore(attributes)
        if not self._rank_given:
            self.__dict__.update(rank=0, world=1, _asks_rank=True, _ranks_agree=True)
            self.state.params.copy_(make_params(self.config, 0, 1))
            self._ask_rank()

    def _restore(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self._place(self.state, self.device)

    def __repr__(self) -> str:
        """Range, device and status."""
        c = self.config
        return f"InfoNoise([{c.sigma_min}, {c.sigma_max}], bins={c.bins}, groups={self.groups}, device={self.device})"


def _seed(seed: int | None, generator: torch.Generator | None) -> int:
    if seed is None:
        device = "cpu" if generator is None else generator.device
        return int(torch.empty((), dtype=torch.int64, device=device).random_(generator=generator))
    seed = whole("seed", seed)
    if not -(2**63) <= seed < 2**64:
        refuse("seed", seed, "an integer of 64 bits")
    return seed - 2**64 if seed >= 2**63 else seed
