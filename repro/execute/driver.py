"""The one driver: it asks the plan what comes next and hands it to a back-end, wherever that is.

The plan is asked again whenever a trial ends, so no arm waits for another, and nothing is decided
here but how often a trial may lose its worker.
"""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from repro.errors import OutOfMemoryError, ReproError, WorkerKilledError
from repro.execute.machine import SIGNALS, Ended
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.plan import Cell
from repro.trial import Result

__all__ = ["Backend", "Outcome", "WorkerLost", "run_cells"]

_MOST_LOSSES = 3  # of workers, without the trial getting any further in between
_LOOK_SECONDS = 0.2
_HELD_SECONDS = 1.0
_ECHO_SECONDS = 1.0  # one Ctrl-C may arrive twice: from the terminal and from torchrun


class WorkerLost(BrokenExecutor):
    """The process or the node that trained a cell is gone; the trial has its last checkpoint."""


class Backend(Protocol):
    """Where cells are trained. Entered once; leaving it ends all work that is still under way."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def describe(self) -> str:
        """On what, and how many at a time, for a person."""
        ...

    def slots(self) -> int:
        """How many groups of cells can be trained at once now; nodes may come and go."""
        ...

    def grouped(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        """The cells in their order, those together that one worker is to train as one program."""
        ...

    def submit(self, cells: Sequence[Cell]) -> Future[Ended]:
        """Train a group. The future raises BrokenExecutor when the worker is lost."""
        ...

    def events(self) -> Iterable[Event]:
        """Progress since this was last asked."""
        ...

    def stop(self) -> None:
        """Each trial is saved at its next tenth of an epoch, and then paused."""
        ...

    def kill(self) -> None:
        """All work ends at once; what was not yet saved is lost."""
        ...


@dataclass(kw_only=True, slots=True)
class Outcome:
    """How the work ended. `failures` are faults of the machine; outcomes of trials are `results`.

    `lost`: how often a trial's worker was lost and the trial went on with another one.
    """

    results: list[Result] = field(default_factory=list)
    lost: int = 0
    interrupted: bool = False
    out_of_time: bool = False
    failures: dict[str, ReproError] = field(default_factory=dict)


def run_cells(
    plan: Callable[[], list[Cell]],
    backend: Backend,
    *,
    observer: Observer | None = None,
    seconds: float | None = None,
) -> Outcome:
    """Run what `plan` asks for until it asks for nothing more, or for `seconds`.

    The first Ctrl-C (or SIGTERM, or the end of the terminal) saves each trial at its next tenth of
    an epoch; a second one, a second later or more, leaves at once and loses what was not yet saved.
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
    running: dict[Future[Ended], list[Cell]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)  # in the hands of another process, asked just now
    elsewhere: set[str] = field(default_factory=set)  # all that were when last asked, and told of
    losses: Counter[str] = field(default_factory=Counter)
    furthest: dict[str, float] = field(default_factory=dict)  # epochs
    most: int = 1_000_000  # trials at once, fewer after memory ran out
    stopping: bool = False
    told: bool = False  # that it stops
    queued: bool = False  # cells wait for a slot
    held: bool = False  # cells wait for another process

    def drive(self) -> Outcome:
        deadline = None if self.seconds is None else time.monotonic() + self.seconds
        with self.backend, _saving_on_signals(self):
            try:
                self.observer.ready(self.backend.describe())
                self._submit()
                while self.running or self.queued or self.held:
                    ended = self._wait()
                    for event in self.backend.events():  # before the trials that they are of end
                        self._look_on(event)
                    for future in ended:
                        self._end(future)
                    late = deadline is not None and time.monotonic() > deadline
                    if late and not self.stopping:
                        self.outcome.out_of_time = True
                        self.stop()
                    if self.stopping and not self.told:
                        self.told = True
                        self.observer.stop()
                    free = self.queued and self.backend.slots() > len(self.running)
                    if ended or free or not self.running:
                        self._submit()
            finally:
                self.stop()
        return self.outcome

    def stop(self) -> None:
        self.stopping = True
        self.backend.stop()

    def _submit(self) -> None:
        self.queued = self.held = False
        if self.stopping:
            return
        running = {cell.trial.id for cells in self.running.values() for cell in cells}
        known = running | self.outcome.failures.keys()
        left = [cell for cell in self.plan() if cell.trial.id not in known]
        free = [cell for cell in left if cell.trial.id not in self.busy]
        slots = max(0, min(self.backend.slots(), self.most) - len(self.running))
        groups = self.backend.grouped(free)
        for cells in groups[:slots]:
            for cell in cells:
                if cell.trial.id not in self.elsewhere:
                    self.observer.start(cell)
            self.running[self.backend.submit(cells)] = cells
        self.queued, self.held = len(groups) > slots, len(left) > len(free)

    def _wait(self) -> set[Future[Ended]]:
        if self.running:
            return wait(self.running, _LOOK_SECONDS, FIRST_COMPLETED).done
        # All that is left is in the hands of another process, or waits for a node.
        time.sleep(_HELD_SECONDS)
        self.busy.clear()
        return set()

    def _end(self, future: Future[Ended]) -> None:
        cells = self.running.pop(future)
        try:
            ended = future.result()
        except ReproError as error:
            ended = {cell.trial.id: error for cell in cells}
        except BrokenExecutor as error:
            ended = {cell.trial.id: self._lost(cell, error) for cell in cells}
        short = [name for name, one in ended.items() if isinstance(one, OutOfMemoryError)]
        if short:
            # Beside others they found too little; with fewer at once the numbers are the same.
            if self.running:
                ended = {**ended, **dict.fromkeys(short, TrainedCell(outcome="lost"))}
            self.most = max(1, len(self.running))
        for cell in cells:
            self._book(cell, ended[cell.trial.id])

    def _lost(self, cell: Cell, error: BrokenExecutor) -> TrainedCell | WorkerKilledError:
        trial = cell.trial.id
        self.losses[trial] += 1
        if self.losses[trial] >= _MOST_LOSSES:
            return WorkerKilledError(
                f"the worker that trained {trial} was killed {_MOST_LOSSES} times: {error}"
            )
        self.outcome.lost += 1
        return TrainedCell(outcome="lost")

    def _book(self, cell: Cell, ended: TrainedCell | ReproError) -> None:
        trial = cell.trial.id
        if isinstance(ended, TrainedCell) and ended.outcome == "busy":
            self.busy.add(trial)
            if trial not in self.elsewhere:  # said once, however often it is asked for
                self.elsewhere.add(trial)
                self.observer.finish(cell, ended)
            return
        self._begun_here(cell)
        if isinstance(ended, ReproError):
            self.outcome.failures[trial] = ended
            self.observer.fail(cell, ended)
            return
        if ended.result is not None:
            self.outcome.results.append(ended.result)
            self.busy.clear()
        self.observer.finish(cell, ended)

    def _look_on(self, event: Event) -> None:
        if event.epoch > self.furthest.get(event.trial_id, 0.0):
            self.furthest[event.trial_id] = event.epoch
            del self.losses[event.trial_id]
        for cell in (cell for cells in self.running.values() for cell in cells):
            if cell.trial.id == event.trial_id:
                self._begun_here(cell)
        self.observer.event(event)

    def _begun_here(self, cell: Cell) -> None:
        """A trial that was in other hands is in ours."""
        if cell.trial.id in self.elsewhere:
            self.elsewhere.remove(cell.trial.id)
            self.observer.start(cell)


class _saving_on_signals:  # noqa: N801 - used as a with-statement's verb
    """First signal: save and stop. Second: leave now, killing the workers.

    What follows the first one at once is its echo, and nobody's second thought.
    """

    def __init__(self, driver: _Driver) -> None:
        self.driver = driver
        self.before: dict[int, Any] = {}
        self.first = 0.0

    def __enter__(self) -> None:
        # Python lets only the main thread listen; elsewhere the host program decides.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # Under `nohup` it is ignored: the run is to outlive its terminal.
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self.before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: object) -> None:
        if self.driver.outcome.interrupted:
            if time.monotonic() - self.first < _ECHO_SECONDS:
                return
            self.driver.backend.kill()
            raise KeyboardInterrupt
        self.first = time.monotonic()
        self.driver.outcome.interrupted = True
        self.driver.stop()
