"""A trial's curve: its rows, how often it is measured, and where it comes down to a threshold."""

import math
from collections.abc import Iterable
from typing import NamedTuple

# Error is measured in windows of a tenth of an epoch: measuring once an epoch would bias a
# ratio of 6 to 5.65, a tenth to 6.03.
WINDOWS = 10

# Full passes of which `crossing: median` takes the median: those of an epoch with both its ends. It
# is of the middle one, so that a crossing is known half an epoch after it.
PASSES = WINDOWS + 1
LAG = 0.5


class Row(NamedTuple):
    """One measurement of a trial's curve.

    `epoch`: images seen over images in the set; `source`: `online` (training batches of one
    window), `train` or `test` (full passes); `error`: a fraction; `loss`: nats; `images`: how many
    the row averages; `train_seconds`: the training clock at that moment.
    """

    epoch: float
    source: str
    error: float
    loss: float
    images: int
    train_seconds: float


CURVE_COLUMNS = Row._fields


def first_below(
    errors: Iterable[tuple[float, float]], threshold: float
) -> tuple[float, float] | None:
    """Between which two measurements, (epoch, error), it came down to the threshold; or None.

    NaN is no measurement.
    """
    previous = 0.0
    for epoch, error in errors:
        if error <= threshold:
            return previous, epoch
        previous = previous if math.isnan(error) else epoch
    return None
