"""Statistics as pure functions on arrays. Knows no claims and no files; imports `errors` alone.

SciPy is imported whole, by its name alone: its parts load when they are first used, which is after
a run has begun, and not before its first step.
"""

from repro.stats.estimate import (
    Array,
    Estimate,
    correlation,
    mean_level,
    paired_difference,
    scatter,
    welch_difference,
)
from repro.stats.images import image_scatter, over_images
from repro.stats.looks import ERROR, SHOWN, Spending, holm, look_levels, over_all_looks
from repro.stats.rates import near_best, widened
from repro.stats.times import Times, ratio_of_times
