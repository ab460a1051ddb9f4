"""Statistics as pure functions on arrays. Knows no claims and no files; imports `errors` alone.

SciPy is imported whole, by its name alone: its parts load when they are first used, which is after
a run has begun, and not before its first step.
"""

from repro.stats.estimate import (
    Estimate,
    correlation,
    mean_level,
    paired_difference,
    scatter,
    welch_difference,
)
from repro.stats.images import over_images
from repro.stats.looks import ERROR, SHOWN, Spending, holm, look_levels, over_all_looks
from repro.stats.power import half_width, smallest_effect
from repro.stats.times import Times, ratio_of_times

__all__ = [
    "ERROR",
    "SHOWN",
    "Estimate",
    "Spending",
    "Times",
    "correlation",
    "half_width",
    "holm",
    "look_levels",
    "mean_level",
    "over_all_looks",
    "over_images",
    "paired_difference",
    "ratio_of_times",
    "scatter",
    "smallest_effect",
    "welch_difference",
]
