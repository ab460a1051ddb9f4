"""When a trial has crossed its threshold, decided while it trains.

The lower end of the bracket is read off its curve afterwards (`repro.verdict.crossing_lower_end`).
"""

import math
from statistics import median

from repro.train.progress import Progress
from repro.trial import LAG, PASSES, WINDOWS, Trial

# Online error over the last windows that is held against `near`: 3 windows of CIFAR-10 are
# 15,000 images, whose standard error of 0.35 points is well inside a `near` of 1 point.
_NEAR_WINDOWS = 3


def needs_full_pass(trial: Trial, progress: Progress, *, images: int) -> bool:
    """Whether the error on all training `images` is to be measured after this window.

    Where the online error is more than `near` above the threshold, the full error counts as above
    it: the claim file says so, and full passes far from the threshold buy nothing. By the median
    they begin one an epoch, and come each tenth once the online or a full error would be within
    a quarter of `near` an epoch later, if it fell as in the last one: it takes the passes of an
    epoch to tell a crossing.
    """
    if trial.threshold is None or progress.crossing_full is not None:
        return False
    error, _ = progress.online(_NEAR_WINDOWS)
    if trial.crossing == "first":
        return error <= trial.threshold + trial.near
    least, passes = error - 2 * _online_se(error, images), progress.full()
    if not passes:
        return least <= trial.threshold + trial.near
    before, now = progress.online(WINDOWS, ago=WINDOWS)[0], progress.online(WINDOWS)[0]
    pace = math.inf if math.isnan(before) else max(before - now, 0.0)
    lowest = min(least, *(row.error for row in passes))
    if lowest - pace <= trial.threshold + trial.near / 4:
        return True
    return round((progress.epoch - passes[-1].epoch) * WINDOWS) >= WINDOWS


def _online_se(error: float, images: int) -> float:
    """Standard error of the online error of the windows that `needs_full_pass` looks at."""
    seen = images * _NEAR_WINDOWS / WINDOWS
    return math.sqrt(max(error * (1 - error), 0.0) / seen)


def decide_crossing(trial: Trial, progress: Progress, threshold: float) -> None:
    """Note crossings of the online and of the full error; the one that decides ends the trial."""
    epoch, previous = progress.epoch, (progress.windows - 1) / WINDOWS
    epoch_error, windows = progress.online(WINDOWS)
    if progress.crossing_online is None and windows == WINDOWS and epoch_error <= threshold:
        progress.crossing_online = (previous, epoch)
    if progress.crossing_full is None and trial.crossing == "median":
        _decide_median(progress, threshold)
    elif progress.crossing_full is None:
        last = progress.rows[-1]
        if last.source == "train" and last.epoch == epoch and last.error <= threshold:
            progress.crossing_full = (progress.above, epoch)
        else:
            progress.above = epoch
    crossings = {"full": progress.crossing_full, "online": progress.crossing_online}
    if crossings[trial.decided_by] is not None:
        progress.status = "crossed"


def _decide_median(progress: Progress, threshold: float) -> None:
    """By the passes of an epoch, each tenth, of which the middle one is half an epoch ago."""
    begin = progress.epoch - 1 - 0.5 / WINDOWS
    errors = [row.error for row in progress.full()[-PASSES:] if row.epoch > begin]
    if len(errors) < PASSES:
        return
    middle = round(progress.epoch - LAG, 1)
    if median(errors) <= threshold:
        progress.crossing_full = (progress.above, middle)
    else:
        progress.above = middle
