"""Where a run stands: what its terminal shows, and what a second terminal reads from the store.

While a trial runs, the process that drives it keeps a small `progress.json` in the trial's folder.
Whether one is still true is told by the trial's lock, which the kernel frees with its process.
Where a fault keeps a trial from its end, a `fault.json` says so until the trial is begun again.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict

from repro.errors import IntegrityError, ReproError, WriteError
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.plan import Cell
from repro.store import Store
from repro.trial.records import STRICT, Amount, Moment, Number, read_record

__all__ = [
    "Fault",
    "Overview",
    "Pace",
    "Standing",
    "StandingFiles",
    "overview",
    "report_in",
    "standing_of",
]

WRITE_EVERY_SECONDS = 1.0

T = TypeVar("T", bound="_OfTrial")


@dataclass(frozen=True, kw_only=True, slots=True)
class _OfTrial:
    """What is said of a trial. `told`: when, UTC, ISO 8601."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    trial_id: str
    recipe: str
    arm: str
    purpose: str
    rate: Amount
    seed: int
    told: Moment

    @property
    def name(self) -> str:
        """As every line about the trial has it."""
        return f"{self.recipe}/{self.arm} {self.purpose} rate {self.rate:g} seed {self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing(_OfTrial):
    """One trial in training. Times left are upper bounds, in seconds; None while nobody knows.

    `error`: of the last tenth of an epoch's batches, a fraction.
    """

    epoch: Amount
    until: Amount
    error: Number | None = None
    images_per_second: Amount | None = None
    seconds_left: Amount | None = None
    plan_seconds_left: Amount | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault(_OfTrial):
    """What kept a trial from its end, as an error has it. `hint`: what to do next."""

    code: str
    message: str
    hint: str


def _named(cell: Cell, now: datetime) -> dict[str, Any]:
    return {
        "trial_id": cell.trial.id,
        "recipe": cell.recipe,
        "arm": cell.arm,
        "purpose": cell.purpose,
        "rate": cell.trial.rate,
        "seed": cell.trial.seed,
        "told": now.isoformat(timespec="seconds"),
    }


def standing_of(cell: Cell, event: Event | None, *, now: datetime) -> Standing:
    """Of the cell, after its latest event."""
    start = Standing(**_named(cell, now), epoch=0.0, until=cell.until)
    if event is None:
        return start
    left = max(0.0, cell.until - event.epoch) * event.seconds_an_epoch
    return Standing(
        **{
            **asdict(start),
            "epoch": event.epoch,
            "error": event.error,
            "images_per_second": event.images_per_second or None,
            "seconds_left": left,
        }
    )


@dataclass(kw_only=True)
class Pace(Observer):
    """How long the whole plan takes at most, by the speed of the trials that were seen.

    `epochs_left`: asked again once a trial has begun or ended, when somebody wants to know.
    """

    epochs_left: Callable[[], float]
    workers: int
    left: float | None = None  # of the plan, in epochs
    seconds_an_epoch: dict[str, float] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)  # epochs, at the first event
    latest: dict[str, float] = field(default_factory=dict)

    def start(self, cell: Cell) -> None:
        """It counts as not begun until it is heard of."""
        del cell
        self.left = None

    def event(self, event: Event) -> None:
        """Speed, and what has been trained since the plan was last asked."""
        self.first.setdefault(event.trial_id, event.epoch)
        self.latest[event.trial_id] = event.epoch
        self.seconds_an_epoch[event.trial_id] = event.seconds_an_epoch

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """What it has trained is in the store now."""
        del ended
        self._leave(cell)

    def fail(self, cell: Cell, error: ReproError) -> None:
        """It is not heard of any more."""
        del error
        self._leave(cell)

    def _leave(self, cell: Cell) -> None:
        self.first.pop(cell.trial.id, None)
        self.latest.pop(cell.trial.id, None)
        self.left = None

    def seconds_left(self) -> float | None:
        """At most; None before the first speed is known."""
        if not self.seconds_an_epoch:
            return None
        left = self.left  # a live view asks from its own thread
        if left is None:
            left = self.left = self.epochs_left()
        begun, speeds = dict(self.first), list(self.seconds_an_epoch.values())
        since = sum(self.latest.get(trial, first) - first for trial, first in begun.items())
        epoch = sum(speeds) / len(speeds)
        # A worker may train several trials as one program: each is slower then.
        at_once = max(self.workers, len(begun))
        return max(0.0, left - since) * epoch / at_once


@dataclass(kw_only=True)
class StandingFiles(Observer):
    """Keeps a file for each trial that runs, or that a fault ended, for `repro status`.

    They are only shown: a disk that is full or cannot be written is told when a trial is saved.
    """

    store: Store
    pace: Pace
    clock: Callable[[], float] = time.monotonic
    cells: dict[str, Cell] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)

    def start(self, cell: Cell) -> None:
        """Its first file; what was wrong before is forgotten."""
        self.cells[cell.trial.id] = cell
        with suppress(OSError):
            self.store.forget_fault(cell.trial.id)
        self._write(cell, None)

    def event(self, event: Event) -> None:
        """A new one, once a second at most."""
        cell = self.cells.get(event.trial_id)
        due = self.clock() - self.written.get(event.trial_id, 0.0) >= WRITE_EVERY_SECONDS
        if cell is not None and due:
            self._write(cell, event)

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """A trial in other hands keeps the file that those write."""
        self.cells.pop(cell.trial.id, None)
        if ended.outcome != "busy":
            with suppress(OSError):
                self.store.forget_progress(cell.trial.id)
                self.store.forget_fault(cell.trial.id)  # another's, which lost its lock to us

    def fail(self, cell: Cell, error: ReproError) -> None:
        """The fault in place of its progress."""
        self.cells.pop(cell.trial.id, None)
        now = datetime.now(UTC)
        fault = Fault(**_named(cell, now), code=error.code, message=str(error), hint=error.hint)
        with suppress(OSError, WriteError):  # it is told at the end of the run, too
            self.store.keep_fault(cell.trial.id, json.dumps(asdict(fault)))
            self.store.forget_progress(cell.trial.id)

    def _write(self, cell: Cell, event: Event | None) -> None:
        self.written[cell.trial.id] = self.clock()
        standing = asdict(standing_of(cell, event, now=datetime.now(UTC)))
        standing["plan_seconds_left"] = self.pace.seconds_left()
        with suppress(WriteError):
            self.store.keep_progress(cell.trial.id, json.dumps(standing))


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """A store at a glance: trials that run now, and how many are finished or wait to go on.

    `faults`: of trials that do not run now.
    """

    running: tuple[Standing, ...]
    faults: tuple[Fault, ...]
    finished: int
    unfinished: int


def overview(store: Store) -> Overview:
    """From names of files and the small files of running trials; no result is read."""
    ids, finished = set(store.ids()), store.finished()
    running = [
        one
        for path in store.reports("progress.json")
        if store.held(path.parent.name) and (one := report_in(path, Standing))
    ]
    names = {one.trial_id for one in running}
    faults = [
        fault
        for path in store.reports("fault.json")
        if path.parent.name not in names and (fault := report_in(path, Fault))
    ]
    return Overview(
        running=tuple(sorted(running, key=_order)),
        faults=tuple(sorted(faults, key=_order)),
        finished=len(finished - names),
        unfinished=len(ids - finished - names),
    )


def report_in(path: Path, kind: type[T]) -> T | None:
    """What a run says of a trial in that file; None when the file is gone since it was listed."""
    hint = f"remove {path}: no number depends on it"
    try:
        report = read_record(kind, path, "what a run writes there", hint=hint)
    except IntegrityError:
        if os.path.lexists(path):
            raise
        return None
    if report.trial_id != path.parent.name:
        raise IntegrityError(f"{path}: is about trial {report.trial_id!r}", hint=hint)
    return report


def _order(one: _OfTrial) -> tuple[str, str, int, float]:
    return one.recipe, one.arm, one.seed, one.rate
