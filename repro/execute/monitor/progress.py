"""The progress of a run, for its own terminal and, through the store, for `repro status`.

While a trial runs, the main process keeps a small `progress.json` in the trial's folder. It is
current as long as the trial is locked; the kernel frees the lock when the process ends.
After a fault a `fault.json` stays in the folder until the trial is started again.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import ConfigDict

from repro.errors import IntegrityError, ReproError, WriteError
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.planning import Cell
from repro.store import Store
from repro.trial import Trial
from repro.trial.strict_json import STRICT, Amount, Moment, Number, read_record

WRITE_EVERY_SECONDS = 1.0

T = TypeVar("T", bound="_TrialReport")


@dataclass(frozen=True, kw_only=True, slots=True)
class _TrialReport:
    """A report about a trial. `told`: the time of writing, UTC, ISO 8601."""

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
        return f"{self.recipe}/{self.arm} {self.purpose} rate {self.rate:g} seed {self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialProgress(_TrialReport):
    """A running trial. Remaining times are upper bounds in seconds; None while unknown.

    `error`: over the batches of the last tenth of an epoch, a fraction.
    """

    epoch: Amount
    until: Amount
    error: Number | None = None
    images_per_second: Amount | None = None
    seconds_left: Amount | None = None
    plan_seconds_left: Amount | None = None

    def after(self, event: Event) -> Self:
        return replace(
            self,
            told=_now(),
            epoch=event.epoch,
            error=event.error,
            images_per_second=event.images_per_second or None,
            seconds_left=max(0.0, self.until - event.epoch) * event.seconds_an_epoch,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault(_TrialReport):
    """The error that ended a trial. `hint`: what to do next."""

    code: str
    message: str
    hint: str


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _trial_fields(cell: Cell) -> dict[str, Any]:
    return {
        "trial_id": cell.trial.id,
        "recipe": cell.recipe,
        "arm": cell.arm,
        "purpose": cell.purpose,
        "rate": cell.trial.rate,
        "seed": cell.trial.seed,
        "told": _now(),
    }


def begun(cell: Cell) -> TrialProgress:
    return TrialProgress(**_trial_fields(cell), epoch=0.0, until=cell.until)


@dataclass(kw_only=True)
class Pace(Observer):
    """An upper bound of the remaining time of the plan, from the speed of its trials.

    `epochs_left` is called again after a trial has started or ended.
    """

    epochs_left: Callable[[], float]
    workers: int
    plan_epochs: float | None = None  # of the plan, in epochs
    seconds_an_epoch: dict[str, float] = field(default_factory=dict)
    first_epochs: dict[str, float] = field(default_factory=dict)  # epochs, at the first event
    latest_epochs: dict[str, float] = field(default_factory=dict)

    def start(self, cell: Cell) -> None:
        """The trial counts from its first event on."""
        del cell
        self.plan_epochs = None

    def event(self, event: Event) -> None:
        """Record the speed, and the epochs trained since the last call of `epochs_left`."""
        self.first_epochs.setdefault(event.trial_id, event.epoch)
        self.latest_epochs[event.trial_id] = event.epoch
        self.seconds_an_epoch[event.trial_id] = event.seconds_an_epoch

    def finish(self, cell: Cell, outcome: TrainedCell) -> None:
        """The store has its epochs now."""
        del outcome
        self._leave(cell)

    def fail(self, cell: Cell, error: ReproError) -> None:
        del error
        self._leave(cell)

    def _leave(self, cell: Cell) -> None:
        self.first_epochs.pop(cell.trial.id, None)
        self.latest_epochs.pop(cell.trial.id, None)
        self.plan_epochs = None

    def seconds_left(self) -> float | None:
        if not self.seconds_an_epoch:
            return None
        plan_epochs = self.plan_epochs  # a live view asks from its own thread
        if plan_epochs is None:
            plan_epochs = self.plan_epochs = self.epochs_left()
        starts, speeds = dict(self.first_epochs), list(self.seconds_an_epoch.values())
        trained = sum(
            self.latest_epochs.get(trial, first_epochs) - first_epochs
            for trial, first_epochs in starts.items()
        )
        seconds_an_epoch = sum(speeds) / len(speeds)
        # A worker that trains several trials together trains each more slowly.
        parallel = max(self.workers, len(starts))
        return max(0.0, plan_epochs - trained) * seconds_an_epoch / parallel


@dataclass(kw_only=True)
class ProgressFiles(Observer):
    """Writes a file for each running or failed trial, for `repro status`.

    Write errors are ignored here: they are reported when a trial is saved.
    """

    store: Store
    pace: Pace
    clock: Callable[[], float] = time.monotonic
    rows: dict[str, TrialProgress] = field(default_factory=dict)
    write_times: dict[str, float] = field(default_factory=dict)

    def start(self, cell: Cell) -> None:
        """Write the first file; remove an earlier fault."""
        self.rows[cell.trial.id] = begun(cell)
        with suppress(OSError):
            self.store.forget_report(cell.trial.id, "fault.json")
        if cell.trial.trainer is not None:
            self._forget_earlier_faults(cell.trial)
        self._write(self.rows[cell.trial.id])

    def _forget_earlier_faults(self, trial: Trial) -> None:
        """Those of the same trial with other files of its command, which no run tries again."""
        for path in self.store.reports("fault.json"):
            name = path.parent.name
            with suppress(OSError, IntegrityError):
                other = self.store.trial(name)
                if other != trial and replace(other, fingerprint=trial.fingerprint) == trial:
                    self.store.forget_report(name, "fault.json")

    def event(self, event: Event) -> None:
        """Write a new file, at most once a second."""
        row = self.rows.get(event.trial_id)
        is_due = self.clock() - self.write_times.get(event.trial_id, 0.0) >= WRITE_EVERY_SECONDS
        if row is not None and is_due:
            self._write(row.after(event))

    def finish(self, cell: Cell, outcome: TrainedCell) -> None:
        """Remove the file, unless another process writes it."""
        self.rows.pop(cell.trial.id, None)
        if outcome.outcome != "busy":
            with suppress(OSError):
                self.store.forget_report(cell.trial.id, "progress.json")
                # A fault is another process's, which lost its lock to us.
                self.store.forget_report(cell.trial.id, "fault.json")

    def fail(self, cell: Cell, error: ReproError) -> None:
        self.rows.pop(cell.trial.id, None)
        fault = Fault(**_trial_fields(cell), code=error.code, message=str(error), hint=error.hint)
        with suppress(OSError, WriteError):  # it is reported at the end of the run, too
            self.store.keep_report(cell.trial.id, "fault.json", json.dumps(asdict(fault)))
            self.store.forget_report(cell.trial.id, "progress.json")

    def _write(self, progress: TrialProgress) -> None:
        self.write_times[progress.trial_id] = self.clock()
        progress = replace(progress, plan_seconds_left=self.pace.seconds_left())
        with suppress(WriteError):
            self.store.keep_report(progress.trial_id, "progress.json", json.dumps(asdict(progress)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """The state of a store: running trials, and counts of finished and unfinished ones.

    `faults`: of trials that are not running.
    """

    running: tuple[TrialProgress, ...]
    faults: tuple[Fault, ...]
    finished: int
    unfinished: int


def overview(store: Store) -> Overview:
    """The state, from file names and the small report files; reads no results."""
    ids, finished = set(store.ids()), store.finished()
    running = [
        report
        for path in store.reports("progress.json")
        if store.held(path.parent.name) and (report := read_report(path, TrialProgress))
    ]
    names = {report.trial_id for report in running}
    faults = [
        fault
        for path in store.reports("fault.json")
        if path.parent.name not in names and (fault := read_report(path, Fault))
    ]
    return Overview(
        running=tuple(sorted(running, key=_order)),
        faults=tuple(sorted(faults, key=_order)),
        finished=len(finished - names),
        unfinished=len(ids - finished - names),
    )


def read_report(path: Path, kind: type[T]) -> T | None:
    """The report in a file; None if the file was removed meanwhile."""
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


def _order(report: _TrialReport) -> tuple[str, str, int, float]:
    return report.recipe, report.arm, report.seed, report.rate
