"""From the moments of the rings to the mmse of every bin: pooled until known, bounded in the influence of one loss."""

from __future__ import annotations

from dataclasses import dataclass

from ..schemas import CERTAIN, INFLUENCE, TINY, Params


@dataclass(frozen=True)
class Pool:
    """Losses of one or more bins: their number, the sum of all but the largest, the largest."""

    count: float
    rest: float
    largest: float

    def merged(self, other: Pool) -> Pool:
        """The pool of both."""
        rest = self.rest + other.rest + min(self.largest, other.largest)
        return Pool(self.count + other.count, rest, max(self.largest, other.largest))

    def scaled(self, unit: float) -> Pool:
        """With its losses in another unit."""
        return Pool(self.count, self.rest / unit, self.largest / unit)

    def mean(self) -> float:
        """The mean, to which the largest loss adds no more than about a sixteenth."""
        if self.count < 2:
            return self.rest + self.largest
        others = self.rest / (self.count - 1)
        return (self.rest + min(self.largest, others * (1 + INFLUENCE * self.count))) / self.count


def gaussian_mmse(variance: float, sigma: float) -> float:
    """Of a Gaussian of that variance: no data of the variance have more."""
    return variance / (1 + variance / sigma**2)


def variance(p: Params, pools: list[Pool], sigma: list[float], bound: list[float]) -> float:
    """Of an element of the data: that of Gaussian data with the mean error of the highest `min_count` losses."""
    pool, inverse = Pool(0, 0, 0), 0.0
    for own, s in zip(reversed(pools), reversed(sigma), strict=True):
        pool, inverse = pool.merged(own), inverse + own.count / s**2
        if pool.count >= p.min_count:
            break
    error = min(pool.mean(), bound[-1])
    return error / (1 - min(error * inverse / pool.count, CERTAIN))


def pooled(p: Params, pools: list[Pool], k: int) -> Pool:
    """The losses of bin k and of as many neighbours, the same to both sides, as `min_count` losses take."""
    window, reach = pools[k], 0
    while window.count < p.min_count and reach < len(pools):
        reach += 1
        for j in (k - reach, k + reach):
            if 0 <= j < len(pools):
                window = window.merged(pools[j])
    return window


def estimate(p: Params, pools: list[Pool], sigma: list[float], bound: list[float]) -> tuple[list[float], float]:
    """The mmse of every bin, and the variance of the data.

    Bins are pooled by their error relative to Gaussian data, which hardly changes from one bin to the next. The mmse
    does not fall as sigma rises, so that a bin has no more than any above it.
    """
    s2 = variance(p, pools, sigma, bound)
    gaussian = [gaussian_mmse(s2, s) for s in sigma]
    relative = [pool.scaled(g) if g > TINY else pool for pool, g in zip(pools, gaussian, strict=True)]
    mmse = [pooled(p, relative, k).mean() * g for k, g in enumerate(gaussian)]
    mmse = [min(m, b) for m, b in zip(mmse, bound, strict=True)]
    return [min(mmse[k:]) for k in range(len(mmse))], s2
