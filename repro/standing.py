"""Where a run stands: what its terminal shows, and what a second terminal reads from the store.

While a trial runs, the process that drives it keeps a small `progress.json` in the trial's folder.
Whether one is still true is told by the trial's lock, which the kernel frees with its process.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from repro.observer import Event, Observer, TrainedCell
from repro.plan import Cell
from repro.store import Store

__all__ = ["Overview", "Pace", "Standing", "StandingFiles", "overview", "standing_of"]

WRITE_EVERY_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One trial in training. Times left are upper bounds, in seconds; None while nobody knows.

    `error`: of the last tenth of an epoch's batches, a fraction; `told`: UTC, ISO 8601.
    """

    trial_id: str
    recipe: str
    arm: str
    purpose: str
    rate: float
    seed: int
    epoch: float
    until: float
    told: str
    error: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    plan_seconds_left: float | None = None

    @property
    def name(self) -> str:
        """As every line about the trial has it."""
        return f"{self.recipe}/{self.arm} {self.purpose} rate {self.rate:g} seed {self.seed}"


def standing_of(cell: Cell, event: Event | None, *, now: datetime) -> Standing:
    """Of the cell, after its latest event."""
    start = Standing(
        trial_id=cell.trial.id,
        recipe=cell.recipe,
        arm=cell.arm,
        purpose=cell.purpose,
        rate=cell.trial.rate,
        seed=cell.trial.seed,
        epoch=0.0,
        until=cell.until,
        told=now.isoformat(timespec="seconds"),
    )
    if event is None:
        return start
    left = max(0.0, cell.until - event.epoch) * event.images / event.images_per_second
    return Standing(
        **{
            **asdict(start),
            "epoch": event.epoch,
            "error": event.error,
            "images_per_second": event.images_per_second,
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
        self.seconds_an_epoch[event.trial_id] = event.images / event.images_per_second

    def finish(self, cell: Cell, ended: TrainedCell) -> None:
        """What it has trained is in the store now."""
        del ended
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
        since = sum(self.latest[trial] - self.first[trial] for trial in self.first)
        epoch = sum(self.seconds_an_epoch.values()) / len(self.seconds_an_epoch)
        # A worker may train several trials as one program: each is slower then.
        at_once = max(self.workers, len(self.first))
        return max(0.0, left - since) * epoch / at_once


@dataclass(kw_only=True)
class StandingFiles(Observer):
    """Keeps a file for each running trial, for `repro status`; none of a trial that has ended."""

    store: Store
    pace: Pace
    clock: Callable[[], float] = time.monotonic
    cells: dict[str, Cell] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)

    def start(self, cell: Cell) -> None:
        """Its first file."""
        self.cells[cell.trial.id] = cell
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
            self.store.forget_progress(cell.trial.id)

    def _write(self, cell: Cell, event: Event | None) -> None:
        self.written[cell.trial.id] = self.clock()
        standing = asdict(standing_of(cell, event, now=datetime.now(UTC)))
        standing["plan_seconds_left"] = self.pace.seconds_left()
        self.store.keep_progress(cell.trial.id, json.dumps(standing))


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """A store at a glance: trials that run now, and how many are finished or wait to go on."""

    running: tuple[Standing, ...]
    finished: int
    unfinished: int


def overview(store: Store) -> Overview:
    """From names of files and the small files of running trials; no result is read."""
    ids, finished = set(store.ids()), store.finished()
    running = [
        Standing(**values) for trial_id, values in store.progress().items() if store.held(trial_id)
    ]
    names = {one.trial_id for one in running}
    return Overview(
        running=tuple(sorted(running, key=lambda one: (one.recipe, one.arm, one.seed, one.rate))),
        finished=len(finished - names),
        unfinished=len(ids - finished - names),
    )
