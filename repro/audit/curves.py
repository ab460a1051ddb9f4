"""A trial's result, derived once more from the rows of its curve and from its arrays.

Written apart from the training loop, which counts while it trains: where the two agree, what is
stored is what was measured.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import median

import numpy as np
import numpy.typing as npt

from repro.trial import LAG, PASSES, WINDOWS, Result, Row, Status, Trial
from repro.trial.metric_lines import Training, from_rows, result_of

Arrays = Mapping[str, npt.NDArray[np.generic]]

# As in the training loop, whose numbers these are held against.
_NEAR_WINDOWS = 3
_EPOCH = 1 + 0.5 / WINDOWS  # with both its ends
_MOST_DROPS = 3
_PLATEAU = 0.005
_PAPER_IMAGES = 90 * 1.2e6

# Metrics that a curve decides. `gap` hangs on the final training error as well, which it does not.
FROM_CURVE = frozenset(
    {
        "test_error",
        "test_loss_rise",  # which verdicts read of the curve alone
        "first_epoch_error",
        "epochs_to_plateau",
        "days_for_90_epochs",
    }
)
_BITS = {"test_error": "right_centre", "test_error_ten_crop": "right_ten_crop"}


def rederived(trial: Trial, rows: Sequence[Row], result: Result) -> Result:
    """`result` with all that follows from the curve taken from there. ValueError says what lacks.

    What does not follow stays: metrics of the finished net, clocks of evaluation, provenance.
    """
    if not result.ended:  # one that is being trained further has a longer curve already
        rows = [row for row in rows if row.epoch <= result.epochs + 1e-9]
    if trial.trainer is not None:
        return _by_command(trial, rows, result)
    online = [row for row in rows if row.source == "online"]
    if not online:
        raise ValueError("the curve has no training error at all")
    if [row.epoch for row in online] != [k / WINDOWS for k in range(1, len(online) + 1)]:
        raise ValueError("the tenths of epochs of the curve have gaps, or stand in another order")
    tests = (
        [] if trial.threshold is not None else [row.error for row in rows if row.source == "test"]
    )
    errors = _Errors(online)
    if trial.threshold is None:
        full = crossing = None
    else:
        full, crossing = _crossings(trial, trial.threshold, rows, online, errors)
    anew = replace(
        result,
        status=_status(trial, online, full, crossing, tests),
        epochs=len(online) / WINDOWS,
        crossing_full=full,
        crossing_online=crossing,
        train_error=errors.mean(len(online), WINDOWS),
        epoch_errors=tuple(
            errors.mean(end, WINDOWS) for end in range(WINDOWS, len(online) + 1, WINDOWS)
        ),
        test_errors=tuple(tests),
        loss=online[-1].loss,
        seconds=replace(result.seconds, train=online[-1].train_seconds),
    )
    return replace(anew, metrics={**result.metrics, **_metrics(trial, anew, rows, online)})


def _by_command(trial: Trial, rows: Sequence[Row], result: Result) -> Result:
    """What a command has said of errors and losses; its other metrics are in no curve."""
    if result.status == "diverged":  # what is not a number stands in no row
        return result
    training = Training(trial=trial, until=result.epochs, lines=from_rows(rows))
    training.status = result.status
    anew = result_of(training, result.seconds, {})
    crossed = anew.crossing(trial.decided_by) is not None
    if trial.threshold is not None and crossed != (result.status == "crossed"):
        raise ValueError(f"its status is {result.status}, and by the curve it is not")
    return replace(
        anew,
        epochs=result.epochs,
        metrics={**result.metrics, **anew.metrics},
        provenance=result.provenance,
    )


class _Errors:
    """The errors of rows over any of them in a row; a store has millions of rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._images = [row.images for row in rows]
        self._wrong = [row.error * row.images for row in rows]

    def mean(self, end: int, most: int) -> float:
        """Over the last rows before `end`, at most so many. ValueError when they have no images."""
        rows = slice(max(0, end - most), end)
        images = sum(self._images[rows])
        if images < 1:
            raise ValueError(f"the curve has {images} images in {len(self._images[rows])} rows")
        return sum(self._wrong[rows]) / images


Crossing = tuple[float, float] | None


def _crossings(
    trial: Trial,
    threshold: float,
    rows: Sequence[Row],
    online: Sequence[Row],
    errors: _Errors,
) -> tuple[Crossing, Crossing]:
    """When full passes, and the online error of a whole epoch, first were at or below it."""
    passes = {row.epoch: row.error for row in rows if row.source == "train"}
    pass_epochs, pass_errors = [*passes], [*passes.values()]
    full: Crossing = None
    by_online: Crossing = None
    above = 0.0
    for count, row in enumerate(online, start=1):
        now, before = count / WINDOWS, (count - 1) / WINDOWS
        if not math.isfinite(row.loss):
            break
        if by_online is None and count >= WINDOWS and errors.mean(count, WINDOWS) <= threshold:
            by_online = (before, now)
        if full is not None:
            continue
        if trial.crossing == "median":
            of_epoch = slice(
                bisect_right(pass_epochs, now - _EPOCH), bisect_right(pass_epochs, now)
            )
            latest = pass_errors[of_epoch]
            above, full = _by_median(latest, threshold, now, above)
            continue
        near = errors.mean(count, _NEAR_WINDOWS) <= threshold + trial.near
        if near and now not in passes:
            raise ValueError(f"the curve has no full pass at epoch {now:g}, near the threshold")
        if near and passes[now] <= threshold:
            full = (above, now)
        else:
            above = now
    return full, by_online


def _by_median(
    passes: list[float], threshold: float, now: float, above: float
) -> tuple[float, Crossing]:
    """Up to which epoch the median of an epoch's passes was above it, and when it was not.

    `passes`: those of the last epoch.
    """
    middle = round(now - LAG, 1)
    if len(passes) < PASSES:
        return above, None
    if median(passes) <= threshold:
        return above, (above, middle)
    return middle, None


def _status(
    trial: Trial, online: Sequence[Row], full: Crossing, by_online: Crossing, tests: list[float]
) -> Status:
    if not math.isfinite(online[-1].loss):
        return "diverged"
    if trial.threshold is not None:
        decided = full if trial.decided_by == "full" else by_online
        return "censored" if decided is None else "crossed"
    patience = trial.recipe.patience
    if patience is not None and _stalls(tests, patience) > _MOST_DROPS:
        return "plateaued"
    return "finished"


def _stalls(errors: list[float], patience: int) -> int:
    """How often the error has not improved for `patience` epochs, each time counted anew."""
    count, since = 0, 0
    for epoch, error in enumerate(errors, start=1):
        if error < min(errors[: epoch - 1], default=math.inf):
            since = epoch
        elif epoch - since == patience:
            count, since = count + 1, epoch
    return count


def _metrics(
    trial: Trial, result: Result, rows: Sequence[Row], online: Sequence[Row]
) -> Mapping[str, float]:
    """Those final metrics that the curve decides."""
    tests = [row.error for row in rows if row.source == "test"]
    if trial.threshold is not None:
        return {"test_error": tests[-1]} if tests else {}
    metrics: dict[str, float] = {}
    if result.epoch_errors:
        metrics["first_epoch_error"] = result.epoch_errors[0]
    if tests:
        near = [error <= tests[-1] + _PLATEAU for error in tests]
        metrics["epochs_to_plateau"] = near.index(True) + 1.0
    if tests and result.status != "diverged" and len(online) % WINDOWS == 0:
        metrics["test_error"] = tests[-1]
    if len(online) % WINDOWS == 0:
        images = sum(row.images for row in online)
        metrics["days_for_90_epochs"] = online[-1].train_seconds * _PAPER_IMAGES / images / 86_400
    if {"test_error", "train_error"} <= result.metrics.keys():
        metrics["gap"] = result.metrics["test_error"] - result.metrics["train_error"]
    return metrics


def _from_arrays(arrays: Arrays) -> Iterator[tuple[str, float]]:
    """Those final metrics that the kept arrays decide: outcomes by image, and first kernels."""
    for metric, name in _BITS.items():
        if name in arrays and "test_images" in arrays:
            images = int(arrays["test_images"])
            right = np.unpackbits(arrays[name].astype(np.uint8), count=images)
            yield metric, 1 - float(right.mean())
    if "conv1" in arrays:
        yield "colour_split", _colour_split(arrays["conv1"].astype(np.float64))


def _colour_split(kernels: npt.NDArray[np.float64]) -> float:
    """Of (maps, 3, k, k); NaN where there is no energy, or a weight is not finite."""
    if not kernels.any() or not np.isfinite(kernels).all():
        return math.nan
    grey = 3 * (kernels.mean(1) ** 2).sum((1, 2))
    energy = (kernels**2).sum((1, 2, 3))
    coloured = 1 - grey / np.where(energy > 0, energy, 1.0)
    halves = np.split(np.where(energy > 0, coloured, 0.0), [len(energy) // 2])
    return float(abs(halves[0].mean() - halves[1].mean()))


def contradictions(result: Result, derived: Result, arrays: Arrays) -> Iterator[str]:
    """A sentence for everything that the result says otherwise than the curve or the arrays."""
    if result != derived:
        yield from _unequal("", asdict(result), asdict(derived))
    for metric, value in _from_arrays(arrays):
        stored = result.metrics.get(metric, math.nan)
        both_nan = math.isnan(stored) and math.isnan(value)
        if not both_nan and not math.isclose(stored, value, abs_tol=1e-6):  # kernels are float32
            yield f"metrics.{metric} is {_short(stored)}, but the arrays give {_short(value)}"


def _unequal(path: str, stored: object, derived: object) -> Iterator[str]:
    if isinstance(stored, Mapping) and isinstance(derived, Mapping):
        for key in sorted({*stored, *derived}):
            inner = f"{path}.{key}" if path else str(key)
            yield from _unequal(inner, stored.get(key), derived.get(key))
    elif not _same(stored, derived):
        yield f"{path} is {_short(stored)}, but the curve gives {_short(derived)}"


def _same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}..."
