"""A trial's result, derived once more from the rows of its curve.

Written apart from the training loop, which counts while it trains: where the two agree, what is
stored is what was measured.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property

import numpy as np
import pandas as pd

from repro.store import Store
from repro.trial import WINDOWS, Result, Status, Trial

__all__ = ["FromCurves", "contradictions", "rederived"]

Row = tuple[float, str, float, float, int, float]  # as CURVE_COLUMNS

# As in the training loop, whose numbers these are held against.
_NEAR_WINDOWS = 3
_MOST_DROPS = 3
_PLATEAU = 0.005
_PAPER_IMAGES = 90 * 1.2e6


class FromCurves(Store):
    """A store whose results are derived from its curves, for verdicts from what was measured.

    As it was when it was first asked: every claim asks, and curves are long.
    """

    def results(self) -> dict[str, Result]:
        """Finished trials by identity."""
        return self._derived

    @cached_property
    def _derived(self) -> dict[str, Result]:
        return {
            name: rederived(self.trial(name), self.curve(name), result)
            for name, result in super().results().items()
        }


def rederived(trial: Trial, curve: pd.DataFrame, result: Result) -> Result:
    """`result` with all that follows from the curve taken from there. ValueError says what lacks.

    What does not follow stays: metrics of the finished net, clocks of evaluation, provenance.
    """
    rows: list[Row] = list(curve.itertuples(index=False, name=None))
    if not result.ended:  # one that is being trained further has a longer curve already
        rows = [row for row in rows if row[0] <= result.epochs + 1e-9]
    online = [row for row in rows if row[1] == "online"]
    if not online:
        raise ValueError("the curve has no training error at all")
    if [row[0] for row in online] != [k / WINDOWS for k in range(1, len(online) + 1)]:
        raise ValueError("the tenths of epochs of the curve have gaps, or stand in another order")
    tests = [] if trial.threshold is not None else [row[2] for row in rows if row[1] == "test"]
    if trial.threshold is None:
        full = crossing = None
    else:
        full, crossing = _crossings(trial, trial.threshold, rows, online)
    errors = [
        _mean(online[i : i + WINDOWS]) for i in range(0, len(online) // WINDOWS * WINDOWS, WINDOWS)
    ]
    found = replace(
        result,
        status=_status(trial, online, full, crossing, tests),
        epochs=len(online) / WINDOWS,
        crossing_full=full,
        crossing_online=crossing,
        train_error=_mean(online[-WINDOWS:]),
        epoch_errors=tuple(errors),
        test_errors=tuple(tests),
        loss=online[-1][3],
        seconds=replace(result.seconds, train=online[-1][5]),
    )
    return replace(found, metrics={**result.metrics, **_metrics(trial, found, rows, online)})


def _mean(rows: list[Row]) -> float:
    return float(np.average([row[2] for row in rows], weights=[row[4] for row in rows]))


Crossing = tuple[float, float] | None


def _crossings(
    trial: Trial, threshold: float, rows: list[Row], online: list[Row]
) -> tuple[Crossing, Crossing]:
    """When full passes, and the online error of a whole epoch, first were at or below it."""
    passes = {row[0]: row[2] for row in rows if row[1] == "train"}
    full: Crossing = None
    by_online: Crossing = None
    above = 0.0
    for count, row in enumerate(online, start=1):
        now, before = count / WINDOWS, (count - 1) / WINDOWS
        if not math.isfinite(row[3]):
            break
        seen = online[:count]
        if by_online is None and count >= WINDOWS and _mean(seen[-WINDOWS:]) <= threshold:
            by_online = (before, now)
        if full is not None:
            continue
        near = _mean(seen[-_NEAR_WINDOWS:]) <= threshold + trial.near
        if near and now not in passes:
            raise ValueError(f"the curve has no full pass at epoch {now:g}, near the threshold")
        if near and passes[now] <= threshold:
            full = (above, now)
        else:
            above = now
    return full, by_online


def _status(
    trial: Trial, online: list[Row], full: Crossing, by_online: Crossing, tests: list[float]
) -> Status:
    if not math.isfinite(online[-1][3]):
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
    trial: Trial, found: Result, rows: list[Row], online: list[Row]
) -> Mapping[str, float]:
    """Those final metrics that the curve decides."""
    tests = [row[2] for row in rows if row[1] == "test"]
    if trial.threshold is not None:
        return {"test_error": tests[-1]} if tests else {}
    metrics: dict[str, float] = {}
    if found.epoch_errors:
        metrics["first_epoch_error"] = found.epoch_errors[0]
    if tests:
        near = [error <= tests[-1] + _PLATEAU for error in tests]
        metrics["epochs_to_plateau"] = near.index(True) + 1.0
    if tests and found.status != "diverged" and len(online) % WINDOWS == 0:
        metrics["test_error"] = tests[-1]
    if len(online) % WINDOWS == 0:
        seen = sum(row[4] for row in online)
        metrics["days_for_90_epochs"] = online[-1][5] * _PAPER_IMAGES / seen / 86_400
    if {"test_error", "train_error"} <= found.metrics.keys():
        metrics["gap"] = found.metrics["test_error"] - found.metrics["train_error"]
    return metrics


def contradictions(trial: Trial, curve: pd.DataFrame, result: Result) -> Iterator[str]:
    """A sentence for everything that the result says otherwise than the curve."""
    try:
        derived = asdict(rederived(trial, curve, result))
    except ValueError as error:
        yield str(error)
        return
    yield from _unequal("", asdict(result), derived)


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
