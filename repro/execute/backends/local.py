"""Trials on this machine: in a thread of this process, or in a process for each worker.

Nets of the CIFAR size train 1.2 times faster as two processes of one thread each than as one
process of two (2,960 against 3,590 images/s on two cores of an AMD EPYC, bfloat16).
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

from repro.errors import MachineError
from repro.execute.grouping import group_cells
from repro.execute.machine import SIGNALS, CellOutcomes, Flag, Machine, PlainFlag
from repro.execute.monitor.observer import Event
from repro.messages import say_warnings
from repro.planning import Cell


class Local:
    """A back-end of the driver: a thread of this process, or a pool of processes.

    A pool that loses a process is broken as a whole, and is replaced.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._broken = True  # there is no pool yet
        self._stopping = self._killed = self._leaving = False

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._killed and isinstance(self._pool, ThreadPoolExecutor):
            return  # a thread ends with the process alone
        self._leaving = True
        # Running trials stop at their next event, which must be read.
        end = threading.Thread(target=self._pool.shutdown)
        end.start()
        while end.is_alive():
            for _event in self.events():
                pass
            end.join(0.05)

    def describe(self) -> str:
        return f"{self.machine.device}, {self.machine.workers} at a time"

    def slots(self) -> int:
        return self.machine.workers

    def group(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        return group_cells(cells, self.machine)

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        if self._broken:
            self._reopen()
        with _starting():
            try:
                future = self._pool.submit(_work, cells, self.machine)
            except BrokenExecutor:  # a worker was killed that had nothing to do
                self._reopen()
                future = self._pool.submit(_work, cells, self.machine)
        future.add_done_callback(partial(self._look_after, self._pool))
        return future

    def events(self) -> Iterator[Event]:
        if not self._leaving and any(
            process.exitcode is not None for process in _processes(self._pool)
        ):
            _kill(self._pool)  # the pool may notice a dead new worker only after another trial
        # A killed process may have left half a message, and reading that would block.
        while not self._broken and not self._events.empty():
            yield self._events.get()

    def stop(self) -> None:
        self._stopping = True
        self._stop.set()

    def kill(self) -> None:
        self._broken = self._killed = True
        _kill(self._pool)

    def _look_after(self, pool: Executor, future: Future[CellOutcomes]) -> None:
        if not future.cancelled() and isinstance(future.exception(), BrokenExecutor):
            self._broken = True
            _kill(pool)  # a broken pool sends SIGTERM, which workers ignore

    def _reopen(self) -> None:
        _kill(self._pool)
        self._pool.shutdown()
        self._open()

    def _open(self) -> None:
        try:
            with _starting():
                self._pool, self._stop, self._events = _pool(self.machine.workers)
        except OSError as error:
            raise MachineError(
                f"processes cannot be started side by side here: {error}",
                hint="--workers 1 trains in this process",
            ) from error
        self._broken = False
        if self._stopping:  # the signal came while a pool was replaced
            self._stop.set()


def _processes(pool: Executor) -> list[Any]:
    return list((getattr(pool, "_processes", None) or {}).values())


def _kill(pool: Executor) -> None:
    for process in _processes(pool):
        process.kill()


class _SharedFlag:
    """Set in a worker when the parent sets it, or is gone.

    Without a lock, unlike multiprocessing.Event: a parent that is killed while it holds the lock
    would leave its workers waiting for ever, each with a locked trial.
    """

    def __init__(self, shared: Any) -> None:
        self.shared = shared
        self.parent = os.getpid()

    def is_set(self) -> bool:
        return bool(self.shared.value) or self.orphaned()

    def orphaned(self) -> bool:
        """Whether the parent that made the flag is gone, even before this process began."""
        return self.parent not in (os.getpid(), os.getppid())

    def set(self) -> None:
        self.shared.value = True


# The arguments with which a worker process (or the thread) was started.
_stop: Flag
_events: Any
_training = threading.Lock()

_SAFE_PATH = "PYTHONSAFEPATH"


def _start(stop: Flag, events: Any) -> None:
    global _stop, _events
    _stop, _events = stop, events


@contextmanager
def _starting() -> Iterator[None]:
    """Block signals in a new process until it ignores them.

    Also keep the working folder off its module path: a `types.py` there would break Python.
    This includes multiprocessing's resource tracker, which does not ignore SIGHUP by itself.
    """
    before, safe = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS), os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        del os.environ[_SAFE_PATH]
        if safe is not None:
            os.environ[_SAFE_PATH] = safe
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_process(stop: _SharedFlag, events: Any) -> None:
    say_warnings()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # Only the parent reads. Without a parent, writing must fail, not block on a full pipe.
    events._reader.close()  # noqa: SLF001
    _start(stop, events)
    threading.Thread(target=_leave_with_parent, args=(stop,), daemon=True).start()


def _leave_with_parent(stop: _SharedFlag) -> None:
    """Exit when the parent is gone; an idle worker would wait for ever."""
    while not stop.orphaned():
        time.sleep(1.0)
    with _training:  # the running trial is saved first
        os._exit(1)


def _work(cells: Sequence[Cell], machine: Machine) -> CellOutcomes:
    with _training:
        from repro.execute.worker.train_cells import train_cells  # torch, here alone

        return train_cells(cells, machine, stop=_stop, on_event=_events.put)


def _pool(workers: int) -> tuple[Executor, Flag, Any]:
    if workers == 1:
        stop, events = PlainFlag(), queue.SimpleQueue[Event]()
        return ThreadPoolExecutor(1, initializer=_start, initargs=(stop, events)), stop, events
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    # SimpleQueue.put writes at once, so that all events of a trial arrive before its result. A
    # Queue, which has a thread of its own, could be later.
    flag, messages = _SharedFlag(context.RawValue("b", False)), context.SimpleQueue()
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_process, initargs=(flag, messages)
    )
    return pool, flag, messages
