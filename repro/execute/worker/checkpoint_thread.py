"""Checkpoints, written to disk in a thread beside training.

The state is copied at once, between two windows; writing it to disk takes as long again
(docs/log.md), and training does not wait for it.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

from repro.train import Run
from repro.trial import Row


class _Save(Protocol):
    def __call__(self, trial_id: str, *, checkpoint: bytes, curve: Sequence[Row]) -> None: ...


class Checkpoints:
    """Writes checkpoints in order, at most one per trial at a time.

    The next checkpoint of a trial waits for the one before, and raises its error. Leaving the
    context waits for all.
    """

    def __init__(self, save: _Save) -> None:
        self._save = save
        self._thread = ThreadPoolExecutor(1)
        self._under_way: dict[Run, Future[None]] = {}

    def take(self, run: Run) -> None:
        """Copy the state of the run, and begin to write it."""
        self.settle(run)
        start = time.perf_counter()
        self._under_way[run] = self._thread.submit(
            self._save, run.trial.id, checkpoint=run.state(), curve=tuple(run.progress.rows)
        )
        run.clock.book([run.progress], saving=time.perf_counter() - start)

    def settle(self, run: Run) -> None:
        """Wait until the last checkpoint of the run is on disk; raise its error."""
        if run in self._under_way:
            start = time.perf_counter()
            self._under_way.pop(run).result()
            run.clock.book([run.progress], saving=time.perf_counter() - start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        if error is None:
            for run in list(self._under_way):
                self.settle(run)
