"""What is measured on a GPU: the ops, their rivals and the machine's limits, at stated sizes."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from infonoise_ext import empirical_bayes
from infonoise_ext.ops import registry as ops
from infonoise_ext.ops.library import triton_is_installed
from infonoise_ext.ops.schemas import SCHEMAS

from ..cases import CAPACITY, HOSTS, filled_schedule, table_of
from . import rivals

NEVER = 2**40
FLOAT = 4


@dataclass(frozen=True)
class Sizes:
    """Batches and tables; a rehearsal takes small ones."""

    batches: tuple[int, ...] = (256, 4096, 2**16, 2**20, 2**24)
    ladder: tuple[int, ...] = (256, 512, 1024, 2048, 2049)  # up to one launch, and one beyond
    bins: int = 128
    tables: tuple[int, ...] = (64, 128, 512)
    observe: int = 2**24
    sample: int = 2**26
    images: tuple[int, int] = (256, 2**20)
    posterior: tuple[int, int, int] = (2048, 50_000, 3072)  # queries, points, elements
    matrix: int = 8192
    largest_on_host: int = 2**16


SMALL = Sizes((4, 16, 64, 256, 1024), (8, 16, 32, 64, 65), 16, (16, 32), 256, 512, (4, 64), (4, 100, 16), 32, 64)


@dataclass(frozen=True)
class Case:
    """One row: what it is, the bytes that any implementation must move, and how to make the function."""

    op: str
    backend: str
    build: Callable[[], Callable[[], object]]
    batch: int = 0
    bins: int = 0
    refresh: bool = False
    bytes: int = 0
    flops: int = 0
    limit: str = "empty kernel"
    method: str = "graph"

    def described(self) -> dict[str, object]:
        """The row without its times."""
        names = ("op", "backend", "batch", "bins", "refresh", "bytes", "flops", "limit")
        return {name: getattr(self, name) for name in names}


class Suite:
    """All cases for one device and sizes."""

    def __init__(self, device: str, sizes: Sizes) -> None:
        self.device, self.sizes, self.ours = device, sizes, {}
        if ops.serving(device) in ("CUDA C++", "C++"):
            self.ours["cuda"] = "auto"
        if triton_is_installed() and (device == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"):
            self.ours["triton"] = "triton"

    def cases(self) -> list[Case]:
        """In the order of measuring: what a target needs comes first, what compiles longest last."""
        ours = [*self.steps(), *self.parts(), *self.losses(), *self.posteriors()]
        others = [*self.rival_steps(False), *self.host_steps(), *self.rival_steps(True)]
        return [*self.limits([*ours, *others]), *ours, *others]

    def limits(self, cases: list[Case]) -> list[Case]:
        """An empty kernel; a copy or a fill for each number of bytes that a case is held against."""
        wanted = sorted({(c.limit, c.bytes) for c in cases if c.limit in ("copy", "fill")})
        n, matrix = self.sizes.sample, self.sizes.matrix
        return [
            Case("empty kernel", "triton", self.empty),
            *(Case(kind, "torch", self.moving(kind, size), bytes=size, limit=kind) for kind, size in wanted),
            Case("torch.rand", "torch", lambda: lambda: torch.rand(n, device=self.device), n, bytes=FLOAT * n,
                 limit="fill"),
            Case("bf16 matmul", "torch", self.matmul, matrix, flops=2 * matrix**3, limit="bf16 matmul"),
        ]  # fmt: skip

    def empty(self):
        if self.device == "cpu":
            return lambda: None
        from .empty import empty_kernel

        return lambda: empty_kernel[(1,)]()

    def moving(self, kind, size):
        """Moves `size` bytes: a copy reads half of them and writes half."""

        def build():
            target = torch.empty(size // (2 if kind == "copy" else 1), dtype=torch.uint8, device=self.device)
            if kind == "fill":
                return lambda: target.fill_(1)
            source = torch.randint(0, 255, target.shape, dtype=torch.uint8, device=self.device)
            return lambda: target.copy_(source)

        return build

    def matmul(self):
        n = self.sizes.matrix
        a, b = torch.randn(2, n, n, device=self.device).bfloat16()
        return lambda: a @ b

    def state(self, bins, refresh):
        """A learned state on the device, refreshed every step or never."""
        return filled_schedule(bins, refresh_every=1 if refresh else NEVER).state.to(torch.device(self.device))

    def batch(self, state, size):
        """Levels from the state's table, and losses such as training has."""
        sigma = ops.backend("auto").sample_(state.cdf, state.rng, state.grid, state.params, size, None)
        return sigma, 0.25 * sigma.square() / (0.25 + sigma.square()) * torch.rand_like(sigma)

    def step_case(self, backend, batch, refresh, build, method="graph", bins=None):
        bins = bins or self.sizes.bins
        moved = 3 * FLOAT * batch + (FLOAT * bins * CAPACITY if refresh else 0)
        limit = "copy" if batch >= self.sizes.batches[-2] else "empty kernel"

        def make():
            state = self.state(bins, refresh)
            return build(state, *self.batch(state, batch))

        return Case("advance_", backend, make, batch, bins, refresh, moved, limit=limit, method=method)

    def advance(self, namespace):
        backend = ops.backend(namespace)

        def build(s, sigma, error):
            return lambda: backend.advance_(*s, sigma, error, None, None, len(sigma), None)

        return build

    def steps(self):
        """advance_ over the batches with and without a refresh, across the limit of one launch, over K."""
        sizes, cases = self.sizes, []
        for name, namespace in self.ours.items():
            build = self.advance(namespace)
            cases += [self.step_case(name, b, r, build) for b in sizes.batches for r in (False, True)]
            cases += [self.step_case(name, b, False, build) for b in sizes.ladder if b not in sizes.batches]
            cases += [
                self.step_case(name, sizes.batches[0], r, build, bins=k)
                for k in sizes.tables if k != sizes.bins for r in (False, True)
            ]  # fmt: skip
        return cases

    def parts(self):
        """The other ops: a large draw and a large record, and the two parts of a refresh over K."""
        cases = []
        for name, namespace in self.ours.items():
            o = ops.backend(namespace)
            cases += [self.sample_case(name, o), self.observe_case(name, o)]
            for k in self.sizes.tables:
                cases += [self.bin_stats_case(name, o, k), self.refresh_case(name, o, k)]
        return cases

    def sample_case(self, name, o):
        n, bins = self.sizes.sample, self.sizes.bins

        def build():
            s = self.state(bins, False)
            return lambda: o.sample_(s.cdf, s.rng, s.grid, s.params, n, None)

        return Case("sample_", name, build, n, bins, bytes=FLOAT * n, limit="fill")

    def observe_case(self, name, o):
        n, bins = self.sizes.observe, self.sizes.bins

        def build():
            s = self.state(bins, False)
            sigma, error = self.batch(s, n)
            return lambda: o.observe_(s.ring, s.count, s.counters, s.grid, sigma, error, None, None)

        return Case("observe_", name, build, n, bins, bytes=2 * FLOAT * n, limit="copy")

    def bin_stats_case(self, name, o, bins):
        def build():
            s = self.state(bins, False)
            return lambda: o.bin_stats(s.ring, s.count)

        return Case("bin_stats", name, build, bins=bins, bytes=FLOAT * bins * CAPACITY)

    def refresh_case(self, name, o, bins):
        def build():
            s = self.state(bins, False)
            moments = ops.backend("eager").bin_stats(s.ring, s.count)
            return lambda: o.refresh_(moments, *table_of(s))

        return Case("refresh_", name, build, bins=bins, refresh=True, bytes=24 * bins)

    def losses(self):
        """Forward and backward of the training loss, and of the plain expression compiled."""
        if not {"denoising_error", "denoising_error_backward"} <= SCHEMAS.keys():
            return []
        samples, elements = self.sizes.images

        def inputs():
            denoised, target = torch.randn(2, samples, elements, device=self.device)
            return denoised, target, torch.rand(samples, device=self.device)

        def ours(namespace):
            o = ops.backend(namespace)

            def build():
                denoised, target, grad = inputs()
                return lambda: (
                    o.denoising_error(denoised, target), o.denoising_error_backward(grad, denoised, target)
                )  # fmt: skip

            return build

        row = Case("denoising_error", "", inputs, samples, bytes=5 * FLOAT * samples * elements, limit="copy")
        cases = [replace(row, backend=name, build=ours(namespace)) for name, namespace in self.ours.items()]
        plain = replace(row, backend="compiled", build=lambda: rivals.error_and_gradient(*inputs()), method="calls")
        return [*cases, plain]

    def posteriors(self):
        """The posterior of a data set, streamed and by its whole matrix of weights; the products alone count."""
        queries, points, elements = self.sizes.posterior

        def inputs():
            data = torch.randn(points, elements, device=self.device).bfloat16()
            return data[:queries] + 5 * torch.randn(queries, elements, device=self.device).bfloat16(), 5.0, data

        row = Case("empirical_bayes", "", inputs, queries, flops=4 * queries * points * elements,
                   limit="bf16 matmul", method="calls")  # fmt: skip
        return [
            replace(row, backend="cuda", build=lambda: functools.partial(empirical_bayes, *inputs())),
            replace(row, backend="library", build=lambda: functools.partial(rivals.whole_posterior, *inputs())),
        ]

    def rival_steps(self, refresh):
        """Library calls, eager torch and torch.compile; reduce-overhead without refresh alone, to save its time."""
        modes = {"eager": None, "compiled": "default"} | ({} if refresh else {"reduce-overhead": "reduce-overhead"})
        cases = []
        for b in self.sizes.batches:
            cases.append(self.step_case("library", b, refresh, self.rival(rivals.by_library_calls, refresh)))
            for name, mode in modes.items():
                method = "calls" if name == "reduce-overhead" else "graph"
                cases.append(self.step_case(name, b, refresh, self.rival(rivals.in_torch, refresh, mode), method))
        return cases

    def rival(self, build, *options):
        return lambda state, sigma, error: build(state, sigma, error, *options)

    def host_steps(self):
        """Samplers that live on the host."""
        return [
            self.step_case(name, b, False, self.rival(rivals.on_the_host, name), "host")
            for name in HOSTS
            for b in self.sizes.batches
            if b <= self.sizes.largest_on_host
        ]
