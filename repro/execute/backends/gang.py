"""One trial over several Ray workers: the ranks of `torchrun`, placed and started by Ray.

They are tasks in one placement group, so that all have a place or none. They meet at a store in
the driver's process, which every worker can reach, and are one process group for one trial. Ray
Train would make the same group, with a controller and fresh processes for every trial; tasks use
their processes again, and what becomes of a trial stays with the one driver.
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
from repro.execute.backends.torchrun import Group, join, part

__all__ = ["Gang", "Gangs", "Seat"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """A worker's place among the ranks of a trial, and where they meet."""

    host: str
    port: int
    trial: str
    rank: int
    size: int

    @contextmanager
    def taken(self) -> Iterator[Group]:
        """The process group of the trial; it is left whatever happens, which the others notice."""
        try:
            meeting = TCPStore(self.host, self.port)
            group = join(
                store=PrefixStore(self.trial, meeting), rank=self.rank, world_size=self.size
            )
        except RuntimeError as error:
            raise WorkerKilledError(f"the ranks of a trial did not meet: {error}") from error
        try:
            yield group
        finally:
            part()


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

    def when_ended(self, call: Callable[[Future[Any]], None]) -> None:
        """Call with what the first rank answered, or with what made another one fail."""
        every = [task.future() for task in self.tasks]

        def one_ended(_: Future[Any]) -> None:
            with self._lock:
                self.left -= 1
                if self.left:
                    return
            call(next(filter(_is_a_cause, every[1:]), every[0]))

        for answered in every:
            answered.add_done_callback(one_ended)


def _is_a_cause(answered: Future[Any]) -> bool:
    """Whether a rank ended by a fault of its own: the others only see that it is gone."""
    if answered.exception() is not None:
        return True
    answer = answered.result()
    return isinstance(answer, Exception) and not isinstance(answer, WorkerKilledError)


class Gangs:
    """Starts the ranks of each trial, `size` of them; the driver's process is where they meet."""

    def __init__(self, size: int, *, gpus: float | None) -> None:
        self.size, self.gpus = size, gpus
        self.gangs: list[Gang] = []
        self.host = ray.util.get_node_ip_address()
        try:
            self.meeting = TCPStore(self.host, 0, is_master=True, wait_for_workers=False)
        except RuntimeError as error:
            raise MachineError(f"no port of {self.host} can be listened at: {error}") from error

    def start(self, train: Any, name: str, *arguments: Any) -> Gang:
        """`train(*arguments, seat)` by each rank. `name`: of this attempt at the trial."""
        self.make_room()
        seats = [
            Seat(host=self.host, port=self.meeting.port, trial=name, rank=rank, size=self.size)
            for rank in range(self.size)
        ]
        gang = Gang(train, seats, *arguments, gpus=self.gpus)
        self.gangs.append(gang)
        return gang

    def make_room(self) -> None:
        """Give back the places of gangs that ended; a callback of Ray's would wait for itself."""
        for gang in [gang for gang in self.gangs if not gang.left]:
            self.gangs.remove(gang)
            remove_placement_group(gang.places)
