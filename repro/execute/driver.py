"""The driver: asks the plan for the next trials and submits them to a back-end.

It asks the plan again whenever a trial ends, so no arm waits for another. The only decisions made
here are how often a trial may lose its worker, and how often a claim's command may fail.
"""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from repro.claim import Trainer
from repro.errors import CommandError, OutOfMemoryError, ReproError, WorkerKilledError
from repro.execute.machine import SIGNALS, CellOutcomes
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.planning import Cell

_MAX_LOSSES = 3  # of workers, without progress of the trial in between
_MAX_COMMAND_FAULTS = 3  # in a row: a program at fault would fail once more, hours later
_POLL_SECONDS = 0.2
_BUSY_SECONDS = 1.0
_ECHO_SECONDS = 1.0  # one Ctrl-C may arrive twice: from the terminal and from torchrun


_Command = tuple[Path | None, Trainer | None]


def _command(cell: Cell) -> _Command:
    """The same words in another folder are another program."""
    return cell.home, cell.trial.trainer


class WorkerLost(BrokenExecutor):
    """The process or node that trained a cell is gone; the last checkpoint remains."""


class Backend(Protocol):
    """Where cells are trained. A context manager; leaving it ends all running work."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def describe(self) -> str:
        """The device and the number of parallel trials, as text."""
        ...

    def slots(self) -> int:
        """How many groups can be trained at once now; may change with the nodes of a cluster."""
        ...

    def group(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        """The cells in groups, in their order; one worker trains a group as a batch."""
        ...

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        """Train a group. The future raises BrokenExecutor if the worker is lost."""
        ...

    def events(self) -> Iterable[Event]:
        """Those since the last call."""
        ...

    def stop(self) -> None:
        """Save each trial at its next tenth of an epoch, then pause it."""
        ...

    def kill(self) -> None:
        """End all work at once, without saving."""
        ...


@dataclass(kw_only=True, slots=True)
class Outcome:
    """How the run ended. `failures`: faults of the machine.

    `worker_losses`: how often a worker was lost and its trial continued on another one.
    `gave_up`: claim files whose command failed so often in a row that its other trials were not
    begun.
    """

    worker_losses: int = 0
    interrupted: bool = False
    out_of_time: bool = False
    gave_up: set[Path] = field(default_factory=set)
    failures: dict[str, ReproError] = field(default_factory=dict)


def run_cells(
    plan: Callable[[], list[Cell]],
    backend: Backend,
    *,
    observer: Observer | None = None,
    seconds: float | None = None,
) -> Outcome:
    """Run the cells of `plan` until there are none left, or for `seconds`.

    The first Ctrl-C (or SIGTERM, or SIGHUP) saves each trial at its next tenth of an epoch; a
    second one, at least a second later, exits at once without saving.
    """
    return _Driver(
        plan=plan, backend=backend, observer=observer or Observer(), seconds=seconds
    ).drive()


@dataclass(kw_only=True)
class _Driver:
    plan: Callable[[], list[Cell]]
    backend: Backend
    observer: Observer
    seconds: float | None
    outcome: Outcome = field(default_factory=Outcome)
    running: dict[Future[CellOutcomes], list[Cell]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)  # locked by another process, at the last attempt
    elsewhere: set[str] = field(default_factory=set)  # locked by another process, and reported once
    losses: Counter[str] = field(default_factory=Counter)
    command_faults: Counter[_Command] = field(default_factory=Counter)  # in a row
    latest_epoch: dict[str, float] = field(default_factory=dict)  # epochs
    max_running: int = 1_000_000  # trials at once, fewer after memory ran out
    stopping: bool = False
    stop_announced: bool = False
    queued: bool = False  # cells wait for a slot
    waits_for_lock: bool = False  # cells wait for another process

    def drive(self) -> Outcome:
        deadline = None if self.seconds is None else time.monotonic() + self.seconds
        with self.backend, _saving_on_signals(self):
            try:
                self.observer.ready(self.backend.describe())
                self._submit()
                while self.running or self.queued or self.waits_for_lock:
                    finished = self._wait()
                    for event in self.backend.events():  # before their trials end
                        self._handle_event(event)
                    for future in finished:
                        self._end(future)
                    is_late = deadline is not None and time.monotonic() > deadline
                    if is_late and not self.stopping:
                        self.outcome.out_of_time = True
                        self.stop()
                    if self.stopping and not self.stop_announced:
                        self.stop_announced = True
                        self.observer.stop()
                    has_slot = self.queued and self.backend.slots() > len(self.running)
                    if finished or has_slot or not self.running:
                        self._submit()
            finally:
                self.stop()
        return self.outcome

    def stop(self) -> None:
        self.stopping = True
        self.backend.stop()

    def _submit(self) -> None:
        self.queued = self.waits_for_lock = False
        if self.stopping:
            return
        running = {cell.trial.id for cells in self.running.values() for cell in cells}
        excluded = running | self.outcome.failures.keys()
        missing = [cell for cell in self.plan() if cell.trial.id not in excluded]
        given_up = [self.command_faults[_command(cell)] >= _MAX_COMMAND_FAULTS for cell in missing]
        remaining = [cell for cell, failed in zip(missing, given_up, strict=True) if not failed]
        self.outcome.gave_up = {
            cell.claim_file
            for cell, failed in zip(missing, given_up, strict=True)
            if failed and cell.claim_file
        }
        free = [cell for cell in remaining if cell.trial.id not in self.busy]
        slots = max(0, min(self.backend.slots(), self.max_running) - len(self.running))
        groups = self.backend.group(free)
        for cells in groups[:slots]:
            for cell in cells:
                if cell.trial.id not in self.elsewhere:
                    self.observer.start(cell)
            self.running[self.backend.submit(cells)] = cells
        self.queued, self.waits_for_lock = len(groups) > slots, len(remaining) > len(free)

    def _wait(self) -> set[Future[CellOutcomes]]:
        if self.running:
            return wait(self.running, _POLL_SECONDS, FIRST_COMPLETED).done
        # All remaining cells are locked by another process, or wait for a node.
        time.sleep(_BUSY_SECONDS)
        self.busy.clear()
        return set()

    def _end(self, future: Future[CellOutcomes]) -> None:
        cells = self.running.pop(future)
        try:
            outcomes = future.result()
        except ReproError as error:
            outcomes = {cell.trial.id: error for cell in cells}
        except BrokenExecutor as error:
            outcomes = {cell.trial.id: self._worker_lost(cell, error) for cell in cells}
        out_of_memory = [
            name for name, outcome in outcomes.items() if isinstance(outcome, OutOfMemoryError)
        ]
        if out_of_memory:
            # Other trials took the memory. Running fewer at once changes no number.
            if self.running:
                outcomes = {**outcomes, **dict.fromkeys(out_of_memory, TrainedCell(outcome="lost"))}
            self.max_running = max(1, len(self.running))
        for cell in cells:
            self._record(cell, outcomes[cell.trial.id])

    def _worker_lost(self, cell: Cell, error: BrokenExecutor) -> TrainedCell | WorkerKilledError:
        trial = cell.trial.id
        self.losses[trial] += 1
        if self.losses[trial] >= _MAX_LOSSES:
            return WorkerKilledError(
                f"the worker that trained {trial} was killed {_MAX_LOSSES} times: {error}"
            )
        self.outcome.worker_losses += 1
        return TrainedCell(outcome="lost")

    def _record(self, cell: Cell, outcome: TrainedCell | ReproError) -> None:
        trial = cell.trial.id
        if isinstance(outcome, TrainedCell) and outcome.outcome == "busy":
            self.busy.add(trial)
            if trial not in self.elsewhere:  # reported once
                self.elsewhere.add(trial)
                self.observer.finish(cell, outcome)
            return
        self._mark_started(cell)
        if isinstance(outcome, ReproError):
            self.command_faults[_command(cell)] += isinstance(outcome, CommandError)
            self.outcome.failures[trial] = outcome
            self.observer.fail(cell, outcome)
            return
        if outcome.result is not None:
            del self.command_faults[_command(cell)]
            self.busy.clear()
        self.observer.finish(cell, outcome)

    def _handle_event(self, event: Event) -> None:
        if event.epoch > self.latest_epoch.get(event.trial_id, 0.0):
            self.latest_epoch[event.trial_id] = event.epoch
            del self.losses[event.trial_id]
        for cell in (cell for cells in self.running.values() for cell in cells):
            if cell.trial.id == event.trial_id:
                self._mark_started(cell)
        self.observer.event(event)

    def _mark_started(self, cell: Cell) -> None:
        """Report the start of a trial that another process had locked."""
        if cell.trial.id in self.elsewhere:
            self.elsewhere.remove(cell.trial.id)
            self.observer.start(cell)


@contextmanager
def _saving_on_signals(driver: _Driver) -> Iterator[None]:
    """First signal: save and stop. Second: kill the workers and exit.

    A second signal within `_ECHO_SECONDS` is the same Ctrl-C, delivered twice.
    """
    first = 0.0
    before: dict[int, Any] = {}

    def handle(_number: int, _frame: object) -> None:
        nonlocal first
        if not driver.outcome.interrupted:
            first = time.monotonic()
            driver.outcome.interrupted = True
            driver.stop()
        elif time.monotonic() - first >= _ECHO_SECONDS:
            driver.backend.kill()
            raise KeyboardInterrupt

    # Only the main thread can handle signals; elsewhere the host program decides.
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            # `nohup` ignores SIGHUP, so that the run outlives its terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for handled, handler in before.items():
            signal.signal(handled, handler)
