"""What a command says while it trains a trial: JSON lines, and what follows from them.

A line is `{"epoch": 2, "name": "test_error", "value": 0.31}`, or `{"ended": true}` where the
program stops by itself before its budget. A program that goes on from its own checkpoint says
some epochs again: a line takes back what was said of its name at that epoch, and all of later ones.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from repro.files import parse_json
from repro.trial.trial import Clocks, Result, Row, Status, Trial

ENDED = "ended"  # the program needs no more training, whatever the budget
_KEYS = {"epoch", "step", "name", "value", "images", "seconds"}
_SOURCES = ("online", "train", "test")  # of errors and losses: they make the curve
_MOST_NAMES = 1000


class Reported(NamedTuple):
    """One line: `epoch` that is done, a metric's name and value, over how many images, and when."""

    epoch: float
    name: str
    value: float
    images: int = 0
    seconds: float = 0.0  # of training, from the trial's beginning


def parse_line(text: str, *, steps_per_epoch: int | None, seconds: float) -> Reported | None:
    """What a line says; None where it says that the program has ended. ValueError has a sentence.

    `seconds`: of training when it was read, for a line that does not say it.
    """
    said = parse_json(text)
    if not isinstance(said, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of the line, not of an argument
    if said == {ENDED: True}:
        return None
    unknown = sorted(said.keys() - _KEYS)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} (known: {', '.join(sorted(_KEYS))}, {ENDED})")
    name: Any = said.get("name")
    value: Any = said.get("value")
    images: Any = said.get("images", 0)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"'name' must be a metric's, such as test_error, not {name!r}")
    if not _is_number(value):
        raise ValueError(f"'value' must be a number, not {value!r}")
    if not isinstance(images, int) or isinstance(images, bool) or images < 0:
        raise ValueError(f"'images' must be a whole number, not {images!r}")
    if name.endswith("_error") and math.isfinite(value) and not 0 <= value <= 1:
        raise ValueError(f"{name} is a fraction from 0 to 1, not {value:g}")
    return Reported(
        epoch=_epoch(said, steps_per_epoch),
        name=name,
        value=float(value),
        images=images,
        seconds=_amount(said, "seconds") if "seconds" in said else seconds,
    )


def _epoch(said: dict[str, Any], steps_per_epoch: int | None) -> float:
    if ("epoch" in said) == ("step" in said):
        raise ValueError("either 'epoch' or 'step' says when it was measured")
    if "epoch" in said:
        return _amount(said, "epoch")
    if steps_per_epoch is None:
        raise ValueError("'step' needs `steps_per_epoch` in the claim file's trainer")
    return _amount(said, "step") / steps_per_epoch


def _amount(said: dict[str, Any], key: str) -> float:
    value = said[key]
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
    reported: list[Reported] = field(default_factory=list)
    status: Status | None = None

    @property
    def epoch(self) -> float:
        """How far it is: at the end of its budget there, whatever was measured last."""
        if self.status in ("finished", "censored"):
            return self.until
        return self.reported[-1].epoch if self.reported else 0.0

    def take(self, line: Reported | None) -> None:
        """One more line; what comes after the trial's end is not heard."""
        if self.status is not None:
            return
        if line is None:
            self.status = "plateaued"
        elif line.epoch > self.until + 1e-9:
            self.end()
        else:
            self._add(line)

    def _add(self, line: Reported) -> None:
        kept = self.reported
        while kept and kept[-1].epoch > line.epoch:
            kept.pop()
        now = [one for one in _last_epoch(kept) if one[:2] == line[:2]]
        for one in now:
            kept.remove(one)
        before = kept[-1].seconds if kept else 0.0
        kept.append(line._replace(seconds=max(before, line.seconds)))
        if not math.isfinite(line.value):
            self.status = "diverged"
        elif self.trial.threshold is not None and crossing(self.trial, kept) is not None:
            self.status = "crossed"

    def end(self) -> None:
        """The budget is used up, or the program has ended as it should."""
        self.status = "finished" if self.trial.threshold is None else "censored"


def _last_epoch(reported: Sequence[Reported]) -> list[Reported]:
    found: list[Reported] = []
    for one in reversed(reported):
        if one.epoch != reported[-1].epoch:
            break
        found.append(one)
    return found


def _deciding(trial: Trial) -> str:
    return "train_error" if trial.decided_by == "full" else "online_error"


def crossing(
    trial: Trial, reported: Iterable[Reported], name: str = ""
) -> tuple[float, float] | None:
    """Between which two measurements the error first came down to the threshold."""
    before = 0.0
    for one in reported:
        if one.name != (name or _deciding(trial)):
            continue
        if trial.threshold is not None and one.value <= trial.threshold:
            return before, one.epoch
        before = one.epoch
    return None


def rows_of(reported: Iterable[Reported]) -> list[Row]:
    """The curve: errors and losses, those of one moment in one row."""
    rows: dict[tuple[float, str], Row] = {}
    for one in reported:
        source, _, what = one.name.rpartition("_")
        if source not in _SOURCES or what not in ("error", "loss"):
            continue
        row = rows.get((one.epoch, source)) or Row(
            one.epoch, source, math.nan, math.nan, one.images, one.seconds
        )
        row = row._replace(images=max(row.images, one.images))
        error = what == "error"
        rows[one.epoch, source] = (
            row._replace(error=one.value) if error else row._replace(loss=one.value)
        )
    return sorted(rows.values(), key=lambda row: (row.epoch, row.train_seconds))


def from_rows(rows: Iterable[Row]) -> list[Reported]:
    """What the lines had said of the curve."""
    return [
        Reported(row.epoch, f"{row.source}_{what}", value, row.images, row.train_seconds)
        for row in rows
        for what, value in (("error", row.error), ("loss", row.loss))
        if not math.isnan(value)
    ]


def result_of(training: Training, seconds: Clocks, provenance: dict[str, str]) -> Result:
    """What came out, once the trial has ended."""
    assert training.status is not None
    trial, reported = training.trial, training.reported
    last = {one.name: one.value for one in reported}
    train = "train_error" if "train_error" in last else "online_error"
    return Result(
        trial_id=trial.id,
        status=training.status,
        epochs=training.epoch,
        crossing_full=crossing(trial, reported, "train_error"),
        crossing_online=crossing(trial, reported, "online_error"),
        train_error=last.get(train, math.nan),
        epoch_errors=by_epoch(reported, train),
        test_errors=() if trial.threshold is not None else by_epoch(reported, "test_error"),
        metrics=last,
        loss=last.get("train_loss", last.get("online_loss", math.nan)),
        seconds=seconds,
        provenance=provenance,
    )


def by_epoch(reported: Iterable[Reported], name: str) -> tuple[float, ...]:
    """The metric after each whole epoch up to its last value: the newest then, NaN before any."""
    said = [one for one in reported if one.name == name]
    times = [one.epoch - 1e-9 for one in said]
    whole = math.floor(said[-1].epoch + 1e-9) if said else 0
    counts = (bisect_right(times, epoch) for epoch in range(1, whole + 1))
    return tuple(said[count - 1].value if count else math.nan for count in counts)
