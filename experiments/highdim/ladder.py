"""The least number of steps on a ladder of four rungs to the octave, and what power laws fit such numbers."""

from collections.abc import Callable, Sequence

import torch

QUIET_OCTAVES = 2  # in a row with all errors below their bounds end the search
FITTED = 4  # dimensions, the highest


def between(octave: int) -> list[int]:
    """The three even numbers that divide the octave from this power of two most evenly, descending."""
    rungs = (round(octave * 2 ** (k / 4)) for k in (3, 2, 1))
    return sorted({n + n % 2 for n in rungs} - {octave, 2 * octave}, reverse=True)


def below(n: int) -> int:
    """The rung below n, where the search saw an error above its bound; half of the lowest."""
    octave = 2 ** ((n - 1).bit_length() - 1)
    return max(rung for rung in (octave, *between(octave)) if rung < n)


def least_steps(passed: Callable[[int], Sequence[bool]], most: int) -> list[int | None]:
    """Least N with each error below its bound: there, at every octave above that was tried, and in between.

    Octaves are tried up to about twice the larger answer, or to `most`: None if not found by then.
    """
    octaves = [4]
    while 2 * octaves[-1] <= most:
        if len(octaves) >= QUIET_OCTAVES and all(all(passed(n)) for n in octaves[-QUIET_OCTAVES:]):
            break
        octaves.append(2 * octaves[-1])
    return [_first(octaves, lambda n, which=which: passed(n)[which]) for which in range(len(passed(octaves[0])))]


def _first(octaves: list[int], good: Callable[[int], bool]) -> int | None:
    failed = [n for n in octaves if not good(n)]
    if not failed:
        return octaves[0]
    if failed[-1] == octaves[-1]:
        return None
    best = 2 * failed[-1]
    for n in between(failed[-1]):
        if not good(n):
            break
        best = n
    return best


def exponent(dimensions: Sequence[int], steps: Sequence[int | None]) -> tuple[float, float, float] | None:
    """Least-squares slope of log N against log d, and the range that the ladder leaves it.

    An answer n says that the bound is met between the rung below and n, so a line is fitted to the middles of
    these intervals in log N. The range holds the slope for every choice of a point in each interval: it is a
    bound, not a probability.

    Returns:
        (slope, lowest, highest) over the `FITTED` highest dimensions that have an answer; None below three.
    """
    pairs = [(d, n) for d, n in zip(dimensions, steps, strict=True) if n][-FITTED:]
    if len(pairs) < 3:
        return None
    x, low, high = torch.tensor([(d, below(n), n) for d, n in pairs], dtype=torch.float64).log().T
    weight = (x - x.mean()) / (x - x.mean()).square().sum()
    slope, reach = weight @ (low + high) / 2, weight.abs() @ (high - low) / 2
    return tuple(round(float(value), 3) for value in (slope, slope - reach, slope + reach))
