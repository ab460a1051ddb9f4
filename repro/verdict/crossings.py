"""Since when a trial can have been below its threshold: what was measured, and never an assumption.

Full passes over the training set begin where the online error comes near the threshold. Before
that only the online error says that the full one was above: it lags behind it by a gap that the
trial's own full passes show, and has a standard error.
"""

import math
from collections.abc import Sequence

from repro.trial import Row

__all__ = ["measured_lower"]

_WINDOWS = 3  # tenths of an epoch of which the online error is averaged, as in training
# Standard errors of it that it is given: two for itself, and two for full errors, which jump
# between tenths of an epoch by about as much.
_ERRORS = 4


def measured_lower(rows: Sequence[Row], threshold: float, upper: float) -> float:
    """The last tenth of an epoch up to which the full error is known to be above the threshold.

    `rows`: the trial's curve. `upper`: the tenth at which it was seen to have crossed. Zero where
    nothing was measured before that: of a curve that was not kept, or without a full pass beside
    an online error, whose gap is then not known.
    """
    passes = {row.epoch: row.error for row in rows if row.source == "train"}
    online = _online(rows)
    gaps = [online[epoch][0] - error for epoch, error in passes.items() if epoch in online]
    gap = max(0.0, *gaps) if gaps else math.inf
    known = 0.0
    for epoch, (error, standard_error) in online.items():
        least = passes.get(epoch, error - gap - _ERRORS * standard_error)
        if epoch > upper - 1e-9 or not least > threshold:
            break
        known = epoch
    return known


def _online(rows: Sequence[Row]) -> dict[float, tuple[float, float]]:
    """At each tenth of an epoch the online error of the last windows, and its standard error.

    Of windows without an image as low as an error can be: they say nothing.
    """
    windows = [row for row in rows if row.source == "online"]
    found = {}
    for end in range(_WINDOWS, len(windows) + 1):
        last = windows[end - _WINDOWS : end]
        images = sum(row.images for row in last)
        error = sum(row.error * row.images for row in last) / images if images else 0.0
        spread = math.sqrt(max(error * (1 - error), 0.0) / images) if images else 0.0
        found[last[-1].epoch] = error, spread
    return found
