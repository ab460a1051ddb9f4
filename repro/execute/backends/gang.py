"""One trial over several Ray workers: the ranks of `torchrun`, placed and started by Ray.

They are tasks in one placement group, so that Ray starts all of them or none. They rendezvous at a
TCP store in the driver's process and form a process group for one trial. Ray Train would make the
same group, with a controller and fresh processes for every trial; tasks reuse their processes, and
the driver alone handles the outcome of a trial.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch._C._distributed_c10d import PrefixStore, TCPStore

from repro.errors import MachineError, WorkerKilledError
from repro.execute.backends.torchrun import Group, join_group, leave_group


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """A worker's rank in a trial, and the address of the rendezvous."""

    host: str
    port: int
    trial: str
    rank: int
    size: int

    @contextmanager
    def join(self) -> Iterator[Group]:
        """Join the process group of the trial; leave it at the end, also after an error."""
        try:
            meeting = TCPStore(self.host, self.port)
            group = join_group(
                store=PrefixStore(self.trial, meeting), rank=self.rank, world_size=self.size
            )
        except RuntimeError as error:
            raise WorkerKilledError(f"the ranks of a trial did not meet: {error}") from error
        try:
            yield group
        finally:
            leave_group()


class Gang:
    """The tasks of one trial, the first rank's first. `gpus`: of each."""

    def __init__(self, train: Any, seats: list[Seat], *arguments: Any, gpus: float | None) -> None:
        need = {"CPU": 1.0} | ({"GPU": gpus} if gpus else {})
        self.places = placement_group([need] * len(seats))
        self.tasks = [
            train.options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    placement_group=self.places, placement_group_bundle_index=seat.rank
                )
            ).remote(*arguments, seat)
            for seat in seats
        ]
        self.left = len(seats)
        self._lock = threading.Lock()

    def on_end(self, call: Callable[[Future[Any]], None]) -> None:
        """Call back with the answer of rank 0, or with the error that made another rank fail."""
        futures = [task.future() for task in self.tasks]

        def count_down(_: Future[Any]) -> None:
            with self._lock:
                self.left -= 1
                if self.left:
                    return
            call(next(filter(_is_own_fault, futures[1:]), futures[0]))

        for future in futures:
            future.add_done_callback(count_down)


def _is_own_fault(future: Future[Any]) -> bool:
    """Whether a rank failed by itself; the other ranks only see a lost peer."""
    if future.exception() is not None:
        return True
    answer = future.result()
    return isinstance(answer, Exception) and not isinstance(answer, WorkerKilledError)


class GangScheduler:
    """Starts the `size` ranks of each trial; they rendezvous at the driver's process."""

    def __init__(self, size: int, *, gpus: float | None) -> None:
        self.size, self.gpus = size, gpus
        self.gangs: list[Gang] = []
        self.host = ray.util.get_node_ip_address()
        try:
            self.meeting = TCPStore(self.host, 0, is_master=True, wait_for_workers=False)
        except RuntimeError as error:
            raise MachineError(f"no port of {self.host} can be listened at: {error}") from error

    def start(self, train: Any, name: str, *arguments: Any) -> Gang:
        """Call `train(*arguments, seat)` on each rank. `name`: of this attempt."""
        self.release_finished()
        seats = [
            Seat(host=self.host, port=self.meeting.port, trial=name, rank=rank, size=self.size)
            for rank in range(self.size)
        ]
        gang = Gang(train, seats, *arguments, gpus=self.gpus)
        self.gangs.append(gang)
        return gang

    def release_finished(self) -> None:
        """Free the placement groups of finished gangs; inside a callback Ray would deadlock."""
        for gang in [gang for gang in self.gangs if not gang.left]:
            self.gangs.remove(gang)
            remove_placement_group(gang.places)
