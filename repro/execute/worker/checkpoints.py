"""Checkpoints on their way to the disk, written beside training.

What a checkpoint holds is taken down at once, between two windows; bringing it to the disk takes
as long again (docs/log.md), and no net has to wait for that.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

from repro.train import Run
from repro.trial import Row

__all__ = ["Checkpoints"]


class _Save(Protocol):
    def __call__(self, trial_id: str, *, checkpoint: bytes, curve: Sequence[Row]) -> None: ...


class Checkpoints:
    """Written one after another, in the order in which they were taken.

    Of each trial one at most is under way: the next one waits for it, and raises its fault if it
    had any. Leaving waits for all.
    """

    def __init__(self, save: _Save) -> None:
        self._save = save
        self._thread = ThreadPoolExecutor(1)
        self._under_way: dict[Run, Future[None]] = {}

    def take(self, run: Run) -> None:
        """Take one down as the run stands, and begin to write it."""
        self.settle(run)
        started = time.perf_counter()
        self._under_way[run] = self._thread.submit(
            self._save, run.trial.id, checkpoint=run.state(), curve=tuple(run.progress.rows)
        )
        run.clock.book([run.progress], saving=time.perf_counter() - started)

    def settle(self, run: Run) -> None:
        """Return once the run's last one is on the disk; raises what kept it from there."""
        if run in self._under_way:
            started = time.perf_counter()
            self._under_way.pop(run).result()
            run.clock.book([run.progress], saving=time.perf_counter() - started)

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
