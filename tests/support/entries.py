"""Entries of a table of noise levels: the mass of each, and whether drawn ones come with it."""

import numpy as np
from scipy import stats

ALPHA = 1e-6  # false-alarm rate of each chi-square test


def cell_masses(sigma, law):
    """Mass between midpoints in log sigma, in the order of sigma; an infinite entry stands one spacing up."""
    order = np.argsort(sigma)
    logs = np.log(sigma[order])
    if np.isinf(logs[-1]):
        logs[-1] = 2 * logs[-2] - logs[-3]
    middle = (logs[1:] + logs[:-1]) / 2
    mass = np.empty(len(sigma))
    mass[order] = np.diff(law.cdf(np.concatenate(([-np.inf], middle, [np.inf]))))
    return mass


def p_value(index, mass):
    """Chi-square of drawn indices against their masses, rare entries pooled in order."""
    expected = mass * len(index)
    counts = np.bincount(index, minlength=len(mass))
    pool = np.floor(np.cumsum(expected) / 20).astype(int)  # about 20 expected draws or one entry each
    pool[pool == pool[-1]] = pool[-1] - 1 if pool[-1] > 0 else 0
    counts, expected = (np.bincount(pool, weights=x) for x in (counts, expected))
    kept = expected > 0
    assert counts[~kept].sum() == 0
    assert kept.sum() > 20
    return stats.chisquare(counts[kept], expected[kept] * counts.sum() / expected.sum()).pvalue
