"""Since when a trial can have been below its threshold, by its curve."""

import pytest

from repro.trial import Row
from repro.verdict.crossing_lower_end import last_above, measured_lower

IMAGES = 50_000  # of a tenth of an epoch, so that standard errors are a tenth of a point


def online(*errors: float, images: int = IMAGES) -> list[Row]:
    """The online error of each tenth of an epoch."""
    return [
        row(tenth / 10, "online", error, images=images) for tenth, error in enumerate(errors, 1)
    ]


def row(epoch: float, source: str, error: float, *, images: int = IMAGES) -> Row:
    return Row(epoch, source, error, 1.0, images, 0.0)


FALLING = online(0.50, 0.45, 0.40, 0.35, 0.30, 0.27, 0.26, 0.25)


def test_what_full_passes_have_measured_stands() -> None:
    """Above at each tenth before it was below: the bracket is a tenth wide."""
    passes = [row(k / 10, "train", error) for k, error in enumerate((0.4, 0.3, 0.29, 0.26), 4)]
    curve = [*FALLING, *passes, row(0.8, "train", 0.249)]

    assert measured_lower(curve, 0.25, 0.8) == 0.7


def test_a_tenth_that_nobody_measured_is_not_taken_for_above() -> None:
    """The first pass was below: the online error, less its gap to that pass, says since when."""
    curve = [
        *FALLING,
        row(0.8, "train", 0.24),
    ]  # over three tenths 26.0 % online: a gap of 2 points

    # At 0.6 the mean of three is 30.7 %, at 0.7 27.7 %: 25.7 % less the gap, and four standard
    # errors of 0.12 points leave it above; less a larger gap they would not.
    assert measured_lower(curve, 0.25, 0.8) == 0.7
    assert measured_lower([*FALLING, row(0.8, "train", 0.22)], 0.25, 0.8) == 0.6


def test_a_standard_error_makes_the_bracket_wider() -> None:
    """Of few images a tenth, four of them reach further back."""
    few = online(0.50, 0.45, 0.40, 0.35, 0.30, 0.27, 0.26, 0.25, images=500)

    assert measured_lower([*few, row(0.8, "train", 0.24, images=500)], 0.25, 0.8) < 0.6


def test_a_pass_above_does_not_say_what_was_before_it() -> None:
    """Full errors jump: the known part ends at the first tenth that may have been below."""
    jumps = [row(0.7, "train", 0.255), row(0.8, "train", 0.2)]  # a gap of 6 points at the end

    assert measured_lower([*FALLING, *jumps], 0.25, 0.8) == pytest.approx(0.5)


def test_by_the_median_the_last_pass_above_is_the_lower_end() -> None:
    """Until half an epoch before the crossing, about which single passes jump."""
    curve = [row(9.0, "train", 0.27), row(10.0, "train", 0.26), row(10.4, "train", 0.255)]

    assert last_above(curve, 0.25, 10.1) == 10.0
    assert last_above(curve, 0.25, 8.9) == 0
    assert last_above([row(9.0, "train", 0.25)], 0.25, 10.1) == 0


def test_a_lower_end_is_never_assumed() -> None:
    """Zero of a curve that was not kept, without full passes, and of windows without an image."""
    below = row(0.8, "train", 0.24)

    assert measured_lower([], 0.25, 0.8) == 0
    assert measured_lower(FALLING, 0.25, 0.8) == 0
    assert measured_lower([below], 0.25, 0.8) == 0
    assert measured_lower([*online(0.5, 0.4, 0.3, images=0), below], 0.25, 0.8) == 0
