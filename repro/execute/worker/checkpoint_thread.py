"""Checkpoints, written to disk in a thread beside training.

The state is copied at once, between two windows; writing it to disk takes as long again
(docs/log.md), and training does not wait for it.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from repro.store import Store
from repro.train import Run


class Checkpoints:
    """Writes checkpoints in order, at most one per trial at a time.

    The next checkpoint of a trial waits for the one before, and raises its error. Leaving the
    context waits for all.
    """

    def __init__(self, store: Store) -> None:
        self._save = store.save
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

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._thread.shutdown()
        if error is None:
            for run in list(self._under_way):
                self.settle(run)
