"""What a command says while it trains a trial: JSON lines, and what follows from them.

A line is `{"epoch": 2, "name": "test_error", "value": 0.31}`, or `{"ended": true}` where the
program stops by itself before its budget. A program that goes on from its own checkpoint says
some epochs again: a line takes back what was said of its name at that epoch, and all of later ones.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from repro.files import parse_json
from repro.trial.curve import Row, first_below
from repro.trial.trial import Clocks, Result, Status, Trial

ENDED = "ended"  # the program needs no more training, whatever the budget
_KEYS = {"epoch", "step", "name", "value", "images", "seconds"}
_SOURCES = ("online", "train", "test")  # of errors and losses: they make the curve


class MetricLine(NamedTuple):
    """One line: `epoch` that is done, a metric's name and value, over how many images, and when."""

    epoch: float
    name: str
    value: float
    images: int = 0
    seconds: float = 0.0  # of training, from the trial's beginning


def parse_line(text: str, *, steps_per_epoch: int | None, seconds: float) -> MetricLine | None:
    """What a line says; None where it says that the program has ended. ValueError has a sentence.

    `seconds`: of training when it was read, for a line that does not say it.
    """
    record = parse_json(text)
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of the line, not of an argument
    if record == {ENDED: True}:
        return None
    unknown = sorted(record.keys() - _KEYS)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} (known: {', '.join(sorted(_KEYS))}, {ENDED})")
    name: Any = record.get("name")
    value: Any = record.get("value")
    images: Any = record.get("images", 0)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"'name' must be a metric's, such as test_error, not {name!r}")
    if not _is_number(value):
        raise ValueError(f"'value' must be a number, not {value!r}")
    if not isinstance(images, int) or isinstance(images, bool) or images < 0:
        raise ValueError(f"'images' must be a whole number, not {images!r}")
    if name.endswith("_error") and math.isfinite(value) and not 0 <= value <= 1:
        raise ValueError(f"{name} is a fraction from 0 to 1, not {value:g}")
    return MetricLine(
        epoch=_epoch(record, steps_per_epoch),
        name=name,
        value=float(value),
        images=images,
        seconds=_amount(record, "seconds") if "seconds" in record else seconds,
    )


def _epoch(record: dict[str, Any], steps_per_epoch: int | None) -> float:
    if ("epoch" in record) == ("step" in record):
        raise ValueError("either 'epoch' or 'step' says when it was measured")
    if "epoch" in record:
        return _amount(record, "epoch")
    if steps_per_epoch is None:
        raise ValueError("'step' needs `steps_per_epoch` in the claim file's trainer")
    return _amount(record, "step") / steps_per_epoch


def _amount(record: dict[str, Any], key: str) -> float:
    value = record[key]
    if not _is_number(value) or not 0 <= value < 1e12:
        raise ValueError(f"{key!r} must be a number from 0 on, not {value!r}")
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _fits(value)


def _fits(value: float) -> bool:
    """JSON's whole numbers have no end; a float's have."""
    return isinstance(value, float) or abs(value) < 1 << 1000


@dataclass(kw_only=True, slots=True)
class Training:
    """A trial that a command trains, line by line: `status` is None while it goes on."""

    trial: Trial
    until: float
    lines: list[MetricLine] = field(default_factory=list)
    status: Status | None = None
    # Of the last epoch, by name: places in `lines`.
    _of_epoch: dict[str, int] = field(default_factory=dict, init=False)

    @property
    def epoch(self) -> float:
        """How far it is: at the end of its budget there, whatever was measured last."""
        if self.status in ("finished", "censored"):
            return self.until
        return self.lines[-1].epoch if self.lines else 0.0

    def take(self, line: MetricLine | None) -> None:
        """One more line; what comes after the trial's end is not heard."""
        if self.status is not None:
            return
        if line is None:
            self.status = "plateaued"
        elif line.epoch > self.until + 1e-9:
            self.end()
        else:
            self._add(line)

    def _add(self, line: MetricLine) -> None:
        lines = self.lines
        if lines and lines[-1].epoch != line.epoch:
            while lines and lines[-1].epoch > line.epoch:
                lines.pop()
            self._of_epoch = self._places(line.epoch)
        if line.name in self._of_epoch:
            del lines[self._of_epoch[line.name]]
            self._of_epoch = self._places(line.epoch)
        before = lines[-1].seconds if lines else 0.0
        self._of_epoch[line.name] = len(lines)
        lines.append(line._replace(seconds=max(before, line.seconds)))
        if not math.isfinite(line.value):
            self.status = "diverged"
        elif crossing(self.trial, [line]) is not None:  # none before it had crossed
            self.status = "crossed"

    def _places(self, epoch: float) -> dict[str, int]:
        """Of the metrics that the last lines have of an epoch, if it is theirs."""
        first = len(self.lines)
        while first and self.lines[first - 1].epoch == epoch:
            first -= 1
        return {line.name: at for at, line in enumerate(self.lines[first:], first)}

    def end(self) -> None:
        """The budget is used up, or the program has ended as it should."""
        self.status = "finished" if self.trial.threshold is None else "censored"


def crossing(
    trial: Trial, lines: Iterable[MetricLine], name: str = ""
) -> tuple[float, float] | None:
    """Between which two measurements the error first came down to the threshold."""
    if trial.threshold is None:
        return None
    named = name or ("train_error" if trial.decided_by == "full" else "online_error")
    measured = ((line.epoch, line.value) for line in lines if line.name == named)
    return first_below(measured, trial.threshold)


def rows_of(lines: Iterable[MetricLine]) -> list[Row]:
    """The curve: errors and losses, those of one moment in one row."""
    rows: dict[tuple[float, str], Row] = {}
    for line in lines:
        source, _, what = line.name.rpartition("_")
        if source not in _SOURCES or what not in ("error", "loss"):
            continue
        row = rows.get((line.epoch, source)) or Row(
            line.epoch, source, math.nan, math.nan, line.images, line.seconds
        )
        row = row._replace(images=max(row.images, line.images))
        error = what == "error"
        rows[line.epoch, source] = (
            row._replace(error=line.value) if error else row._replace(loss=line.value)
        )
    return sorted(rows.values(), key=lambda row: (row.epoch, row.train_seconds))


def from_rows(rows: Iterable[Row]) -> list[MetricLine]:
    """What the lines had said of the curve."""
    return [
        MetricLine(row.epoch, f"{row.source}_{what}", value, row.images, row.train_seconds)
        for row in rows
        for what, value in (("error", row.error), ("loss", row.loss))
        if not math.isnan(value)
    ]


def result_of(training: Training, seconds: Clocks, provenance: dict[str, str]) -> Result:
    assert training.status is not None
    trial, lines = training.trial, training.lines
    last = {one.name: one.value for one in lines}
    train = "train_error" if "train_error" in last else "online_error"
    return Result(
        trial_id=trial.id,
        status=training.status,
        epochs=training.epoch,
        crossing_full=crossing(trial, lines, "train_error"),
        crossing_online=crossing(trial, lines, "online_error"),
        train_error=last.get(train, math.nan),
        epoch_errors=by_epoch(lines, train),
        test_errors=() if trial.threshold is not None else by_epoch(lines, "test_error"),
        metrics=last,
        loss=last.get("train_loss", last.get("online_loss", math.nan)),
        seconds=seconds,
        provenance=provenance,
    )


def by_epoch(lines: Iterable[MetricLine], name: str) -> tuple[float, ...]:
    """The metric after each whole epoch up to its last value: the newest then, NaN before any."""
    named = [line for line in lines if line.name == name]
    times = [line.epoch - 1e-9 for line in named]
    whole = math.floor(named[-1].epoch + 1e-9) if named else 0
    counts = (bisect_right(times, epoch) for epoch in range(1, whole + 1))
    return tuple(named[count - 1].value if count else math.nan for count in counts)
