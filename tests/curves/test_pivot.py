"""Rules for the pivot: what they refuse. What they find is in test_closed_forms.py."""

import math

import numpy as np
import pytest

import infonoise_ext as inx


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: inx.Onset(0.0), r"p is 0\.0, but must be a finite number in \(0, 1\)"),
        (lambda: inx.Onset(1.0), r"p is 1\.0, but must be a finite number in \(0, 1\)"),
        (lambda: inx.Onset(math.nan), r"p is nan, but must be"),
        (lambda: inx.PowerLaw(span=math.inf), "span is inf, but must be a finite number above 0"),
        (lambda: inx.PowerLaw(tolerance=math.inf), "tolerance is inf, but must be a finite number above 0"),
        (lambda: inx.PowerLaw(tolerance=-1), "tolerance is -1, but must be"),
        (
            lambda: inx.InfoNoise(pivot=math.inf),
            r"pivot is inf, but must be Onset\(\), PowerLaw\(\), or a finite number",
        ),
    ],
)
def test_constants_on_which_backends_would_differ_are_refused(make, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        make()


@pytest.mark.parametrize("pivot", [inx.Onset(np.float32(0.25)), inx.PowerLaw(np.float64(0.5), np.float32(2))])
def test_constants_are_plain_numbers(pivot):
    assert all(type(value) is float for value in vars(pivot).values())
