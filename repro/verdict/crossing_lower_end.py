"""Decide when a trial may have crossed its threshold: the lower end of the bracket.

The upper end is measured while the trial trains (`train/crossing.py`).

Full passes over the training set begin when the online error is near the threshold. Before that,
only the online error shows that the full error was above the threshold: it is higher by a gap,
which the trial's own full passes show, and has a standard error.
"""

import math
from collections.abc import Sequence

from repro.trial import Row

_WINDOWS = 3  # tenths of an epoch over which the online error is averaged, as in training
# Margin in standard errors: two for the online error, and two for full errors, which jump by about
# as much between tenths of an epoch.
_ERRORS = 4


def measured_lower(rows: Sequence[Row], threshold: float, upper: float) -> float:
    """The last tenth of an epoch up to which the full error is above the threshold.

    `rows`: the trial's curve. `upper`: the tenth at which the crossing was measured. Zero without
    measurements before it: no curve, or no full pass to determine the gap.
    """
    passes = {row.epoch: row.error for row in rows if row.source == "train"}
    online = _online(rows)
    gaps = [online[epoch][0] - error for epoch, error in passes.items() if epoch in online]
    gap = max(0.0, *gaps) if gaps else math.inf
    lower = 0.0
    for epoch, (error, standard_error) in online.items():
        least = passes.get(epoch, error - gap - _ERRORS * standard_error)
        if epoch > upper - 1e-9 or not least > threshold:
            break
        lower = epoch
    return lower


def last_above(rows: Sequence[Row], threshold: float, until: float) -> float:
    """The epoch of the last full pass above the threshold, up to `until`; zero without one.

    Of a crossing by the median, which no jump of a single pass makes: until half an epoch before.
    """
    passes = (row for row in rows if row.source == "train" and row.epoch < until + 1e-9)
    return max((row.epoch for row in passes if row.error > threshold), default=0.0)


def _online(rows: Sequence[Row]) -> dict[float, tuple[float, float]]:
    """The online error of the last windows, and its standard error, at each tenth of an epoch.

    Zero for windows without images.
    """
    windows = [row for row in rows if row.source == "online"]
    counts = [row.images for row in windows]
    wrong = [row.error * row.images for row in windows]
    errors = {}
    for end in range(_WINDOWS, len(windows) + 1):
        images = sum(counts[end - _WINDOWS : end])
        error = sum(wrong[end - _WINDOWS : end]) / images if images else 0.0
        spread = math.sqrt(max(error * (1 - error), 0.0) / images) if images else 0.0
        errors[windows[end - 1].epoch] = error, spread
    return errors
