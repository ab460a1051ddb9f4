"""Trials on this machine: in this process, or in as many processes as there are workers.

Nets of the CIFAR size train 1.2 times faster as two processes of one thread each than as one
process of two (2,960 against 3,590 images/s on two cores of an AMD EPYC, bfloat16).
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from repro.errors import MachineError, ReproError
from repro.execute.work import Event, Flag, Machine, TrainedCell, train_cell
from repro.plan import Cell

__all__ = ["Outcome", "run_cells"]


@dataclass(kw_only=True, slots=True)
class Outcome:
    """How the work ended. `failures` are faults of the machine; outcomes of trials are results."""

    finished: int = 0
    interrupted: bool = False
    out_of_time: bool = False
    failures: dict[str, ReproError] = field(default_factory=dict)


def run_cells(
    plan: Callable[[], list[Cell]],
    machine: Machine,
    *,
    seconds: float | None = None,
    on_start: Callable[[Cell], None] = lambda _: None,
    on_event: Callable[[Event], None] = lambda _: None,
    on_finish: Callable[[Cell, TrainedCell], None] = lambda _cell, _result: None,
) -> Outcome:
    """Run what `plan` asks for until it asks for nothing more, or for `seconds`.

    `plan` is asked again whenever a trial ends. The first Ctrl-C (or SIGTERM) saves each trial at
    its next tenth of an epoch; a second one leaves at once and loses what was not yet saved.
    """
    return _Driver(
        plan=plan,
        machine=machine,
        seconds=seconds,
        on_start=on_start,
        on_event=on_event,
        on_finish=on_finish,
    ).drive()


@dataclass(kw_only=True)
class _Driver:
    plan: Callable[[], list[Cell]]
    machine: Machine
    seconds: float | None
    on_start: Callable[[Cell], None]
    on_event: Callable[[Event], None]
    on_finish: Callable[[Cell, TrainedCell], None]
    outcome: Outcome = field(default_factory=Outcome)
    running: dict[Future[TrainedCell], Cell] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)

    def drive(self) -> Outcome:
        deadline = None if self.seconds is None else time.monotonic() + self.seconds
        pool, self.stop, events = _pool(self.machine)
        with pool, _saving_on_signals(self.stop, self.outcome, pool):
            try:
                self._submit(pool)
                while self.running:
                    done, _ = wait(self.running, timeout=0.2, return_when=FIRST_COMPLETED)
                    self._look_on(events)
                    for future in done:
                        self._end(future)
                    if deadline is not None and time.monotonic() > deadline:
                        self.outcome.out_of_time = True
                        self.stop.set()
                    if done:
                        self._submit(pool)
            finally:
                self.stop.set()
        return self.outcome

    def _submit(self, pool: Executor) -> None:
        while not self.stop.is_set():
            taken = {cell.trial.id for cell in self.running.values()}
            left = [
                cell
                for cell in self.plan()
                if cell.trial.id not in taken and cell.trial.id not in self.outcome.failures
            ]
            free = [cell for cell in left if cell.trial.id not in self.busy]
            for cell in free[: self.machine.workers - len(self.running)]:
                self.on_start(cell)
                self.running[pool.submit(_work, cell, self.machine)] = cell
            if self.running or not left:
                return
            # All that is left is in the hands of another process: look again in a while.
            time.sleep(1.0)
            self.busy.clear()

    def _end(self, future: Future[TrainedCell]) -> None:
        cell = self.running.pop(future)
        try:
            ended = future.result()
        except ReproError as error:
            self.outcome.failures[cell.trial.id] = error
        except BrokenProcessPool:
            self.stop.set()
            self.outcome.failures[cell.trial.id] = MachineError(
                f"the worker that trained {cell.trial.id} was killed",
                hint="the same command continues from its last checkpoint; "
                "if memory ran out, give fewer --workers",
            )
        else:
            if ended.outcome == "busy":
                self.busy.add(cell.trial.id)
            elif ended.outcome == "finished":
                self.outcome.finished += 1
                self.busy.clear()
            self.on_finish(cell, ended)

    def _look_on(self, events: Any) -> None:
        while True:
            try:
                self.on_event(events.get_nowait())
            except queue.Empty:
                return


class _SharedFlag:
    """Set for a worker when the parent says so, or is no more.

    It has no lock, unlike multiprocessing's event: a parent that is killed while it holds one
    would leave its workers waiting for ever, each with its trial locked.
    """

    def __init__(self, shared: Any) -> None:
        self.shared = shared
        self.parent = os.getpid()

    def is_set(self) -> bool:
        return bool(self.shared.value) or self.orphaned()

    def orphaned(self) -> bool:
        """Whether the parent that made the flag is gone, even if it went before we began."""
        return self.parent not in (os.getpid(), os.getppid())

    def set(self) -> None:
        self.shared.value = True


# What a worker process (or the one thread) was started with.
_stop: Flag
_events: Any
_training = threading.Lock()


def _start(stop: Flag, events: Any) -> None:
    global _stop, _events
    _stop, _events = stop, events


def _start_process(stop: _SharedFlag, events: Any) -> None:
    # Ctrl-C reaches the whole group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _start(stop, events)
    threading.Thread(target=_leave_with_parent, args=(stop,), daemon=True).start()


def _leave_with_parent(stop: _SharedFlag) -> None:
    """An idle worker waits for its next trial for ever, even when nobody is left to send one."""
    while not stop.orphaned():
        time.sleep(1.0)
    with _training:  # the trial in hand is saved first
        os._exit(1)


def _work(cell: Cell, machine: Machine) -> TrainedCell:
    with _training:
        return train_cell(cell, machine, stop=_stop, on_event=_events.put)


def _pool(machine: Machine) -> tuple[Executor, Flag, Any]:
    if machine.workers == 1:
        stop, events = threading.Event(), queue.SimpleQueue[Event]()
        return ThreadPoolExecutor(1, initializer=_start, initargs=(stop, events)), stop, events
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    flag, messages = _SharedFlag(context.RawValue("b", False)), context.Queue()
    pool = ProcessPoolExecutor(
        machine.workers,
        mp_context=context,
        initializer=_start_process,
        initargs=(flag, messages),
    )
    return pool, flag, messages


class _saving_on_signals:  # noqa: N801 - used as a with-statement's verb
    """First signal: save and stop. Second: leave now, killing the workers."""

    def __init__(self, stop: Flag, outcome: Outcome, pool: Executor) -> None:
        self.stop, self.outcome, self.pool = stop, outcome, pool
        self.before: dict[int, Any] = {}

    def __enter__(self) -> None:
        # Python lets only the main thread listen; elsewhere the host program decides.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: object) -> None:
        if self.outcome.interrupted:
            for process in list(getattr(self.pool, "_processes", None) or {}):
                self.pool._processes[process].kill()  # type: ignore[attr-defined]  # noqa: SLF001
            raise KeyboardInterrupt
        self.outcome.interrupted = True
        self.stop.set()
