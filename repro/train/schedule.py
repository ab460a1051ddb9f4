"""The learning rate over the epochs: the paper's drops by ten, or a schedule by its name."""

import math
from collections.abc import Sequence

from repro.registry import SCHEDULES
from repro.trial import Trial

MOST_DROPS = 3  # sec. 5: the rate "was reduced three times prior to termination"
_LEAST = 1e-12  # of the first rate, and never zero: PaperSGD's velocity is in units of the rate


def scheduled_rate(trial: Trial, epoch: float) -> float:
    """The rate of a trial whose recipe has a schedule, by torch.optim.lr_scheduler's formulas."""
    keys, rate = trial.recipe.schedule, trial.rate
    assert keys is not None, "other recipes have `rate_at`"
    warmup_factor = min(1.0, epoch / keys.warmup) if keys.warmup else 1.0
    # The share that has passed of what comes after the warm-up.
    last = keys.epochs or math.inf
    fraction = min(1.0, max(0.0, epoch - keys.warmup) / (last - keys.warmup))
    match keys.name:
        case "constant":
            scheduled = rate
        case "cosine":
            scheduled = (
                keys.eta_min + (rate - keys.eta_min) * (1 + math.cos(math.pi * fraction)) / 2
            )
        case "polynomial":
            scheduled = rate * (1 - fraction) ** keys.power
        case "multi_step":
            scheduled = rate * keys.gamma ** sum(epoch >= each for each in keys.milestones)
        case "step":
            scheduled = rate * keys.gamma ** (epoch // (keys.step_size or math.inf))
        case package:
            factor = SCHEDULES[package].factor
            scheduled = rate * factor(epoch, epochs=keys.epochs, **keys.arguments)
    return max(warmup_factor * scheduled, _LEAST * rate)


def rate_at(
    epoch: float,
    *,
    rate: float,
    drops: tuple[float, ...] = (),
    plateaus: int = 0,
) -> float:
    """The rate at `epoch`: a tenth of the last at each of `drops` (epochs) and for each stall."""
    divisions = sum(epoch >= drop for drop in drops) + min(plateaus, MOST_DROPS)
    return float(rate / 10**divisions)


def stalls(errors: Sequence[float], *, patience: int) -> int:
    """How often the error of each epoch has not improved for `patience` epochs on end.

    The authors divided by ten by hand "when the validation error rate stopped improving" (sec. 5);
    this is that rule with the hand left out. After MOST_DROPS of them one more ends training.
    """
    best, epochs_without, count = float("inf"), 0, 0
    for error in errors:
        epochs_without = 0 if error < best else epochs_without + 1
        best = min(best, error)
        if epochs_without == patience:
            count, epochs_without = count + 1, 0
    return count
