"""A few thousand steps of the soak; `python -m tests.faults.soak --minutes 60` runs it for an hour."""

from faults.soak import soak


def test_thousands_of_steps_leak_nothing():
    """The largest batch needs 3 MiB: four times that is not a leak. Python may keep caches of its own."""
    report = soak(steps=3000, seed=1, trace=True)
    assert report["resident_growth_mib"] < 12
    assert report["python_growth_kib"] < 64
