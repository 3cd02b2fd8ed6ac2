"""What the kernels were meant to reach, beside what a run measured. Nothing is asserted here."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Results:
    """Rows of a run, looked up by what they measured."""

    rows: list[dict]
    sizes: dict

    def find(self, op, backend, **wanted):
        """The row, or None where it was not measured."""
        wanted |= {"op": op, "backend": backend}
        found = (r for r in self.rows if "median" in r and all(r[k] == v for k, v in wanted.items()))
        return next(found, None)

    def ratio(self, above, below):
        """Median of one row over that of another; None where one is missing."""
        return None if above is None or below is None else above["median"] / below["median"]

    def step(self, backend, batch, refresh=False):
        """The row of a whole step at the suite's K."""
        return self.find("advance_", backend, batch=batch, refresh=refresh, bins=self.sizes["bins"])

    def limit_of(self, row):
        """The row of the limit that this one is held against."""
        if row is None:
            return None
        if row["limit"] == "empty kernel":
            return self.find("empty kernel", "triton")
        return self.find(row["limit"], "torch", bytes=row["bytes"])

    def share(self, row):
        """The limit's time over the row's: 1 is the best there is."""
        return self.ratio(self.limit_of(row), row)


@dataclass(frozen=True)
class Target:
    """A ratio and the bound it was meant to keep."""

    name: str
    bound: float
    at_most: bool
    ratio: Callable[[Results], float | None]

    def judged(self, results):
        """As a row of the report; `met` is None where nothing was measured."""
        value = self.ratio(results)
        met = None if value is None else value <= self.bound if self.at_most else value >= self.bound
        wanted = f"{'at most' if self.at_most else 'at least'} {self.bound:g}"
        return {"target": self.name, "wanted": wanted, "measured": value and round(value, 3), "met": met}


def told(judged):
    """A judged target in one line."""
    met = {True: "met", False: "MISSED", None: "not measured"}[judged["met"]]
    return f"{met:>12}  {judged['target']}: {judged['measured']} (wanted {judged['wanted']})"


def targets(sizes):
    """All of them, for the sizes of a run."""
    small, medium, _, large, huge = sizes["batches"]
    return [
        *(_over_empty(batch, refresh, bound)
          for batch, bound in ((small, 1.6), (medium, 2.2)) for refresh, bound in ((False, bound), (True, 6.0))),
        *(_times_faster(batch, rival, bound)
          for batch in (small, medium) for rival, bound in (("compiled", 4.0), ("eager", 20.0))),
        Target(f"advance_ of {huge}: share of a copy's bandwidth", 0.6, False,
               lambda r: r.share(r.step("cuda", huge))),
        Target("sample_: time over torch.rand's", 1.0, True,
               lambda r: r.ratio(r.find("sample_", "cuda"), r.find("torch.rand", "torch"))),
        Target("sample_: share of a fill's bandwidth", 0.78, False, lambda r: r.share(r.find("sample_", "cuda"))),
        Target("denoising_error and backward: share of a copy's bandwidth", 0.93, False,
               lambda r: r.share(r.find("denoising_error", "cuda"))),
        Target("denoising_error and backward: time over torch.compile's", 1.0, True,
               lambda r: r.ratio(r.find("denoising_error", "cuda"), r.find("denoising_error", "compiled"))),
        *(_triton_near(batch) for batch in (small, medium, large, huge)),
        Target("empirical_bayes: share of a bf16 matmul's rate", 0.65, False, _bayes_rate),
    ]  # fmt: skip


def _over_empty(batch, refresh, bound):
    name = f"advance_ of {batch}{' with its refresh' if refresh else ''}: time over an empty kernel's"
    return Target(
        name, bound, True, lambda r: r.ratio(r.step("cuda", batch, refresh), r.find("empty kernel", "triton"))
    )


def _times_faster(batch, rival, bound):
    return Target(f"advance_ of {batch}: times faster than {rival}", bound, False,
                  lambda r: r.ratio(r.step(rival, batch), r.step("cuda", batch)))  # fmt: skip


def _triton_near(batch):
    return Target(f"advance_ of {batch}: Triton's time over CUDA C++'s", 1.5, True,
                  lambda r: r.ratio(r.step("triton", batch), r.step("cuda", batch)))  # fmt: skip


def _bayes_rate(results):
    ours, best = results.find("empirical_bayes", "cuda"), results.find("bf16 matmul", "torch")
    return None if ours is None or best is None else ours["tflops"] / best["tflops"]


def findings(results):
    """What the rows say together: the share of a refresh, and where one launch stops paying."""
    return {"refresh_us": _refresh_split(results), "one_launch": _crossover(results)}


def _refresh_split(results):
    small = results.sizes["batches"][0]
    found = {}
    for bins in results.sizes["tables"]:
        with_it, without = (
            results.find("advance_", "cuda", batch=small, refresh=r, bins=bins) for r in (True, False)
        )  # fmt: skip
        parts = {name: results.find(name, "cuda", bins=bins) for name in ("bin_stats", "refresh_")}
        found[bins] = {name: row and row["median"] for name, row in parts.items()}
        if with_it and without:
            found[bins]["inside advance_"] = round(with_it["median"] - without["median"], 3)
    return found


def _crossover(results):
    """The time beyond one launch bounds that of several launches for any smaller batch."""
    *below, beyond = results.sizes["ladder"]
    several = results.step("cuda", beyond)
    rows = [results.step("cuda", batch) for batch in below]
    if several is None or None in rows:
        return None
    times = {row["batch"]: row["median"] for row in rows}
    pays = [batch for batch, time in times.items() if time <= several["median"]]
    return {"several_launches": several["median"], "one_launch": times, "largest_that_pays": max(pays, default=None)}
