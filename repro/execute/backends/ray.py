"""Trials on a Ray cluster, one task each, packed by the share of a GPU that a trial needs.

The driver owns the assignment: it holds the lock of each trial that it has given away, and an
actor beside it, the home, numbers the attempts. A worker asks the home at every tenth of an epoch
whether to go on; one that was given up for lost, but lives, is refused there before it writes.

Where a worker sees the driver's store, it reads and writes it. Where it does not, it does so
through the home, so that checkpoints and results lie with the driver all the same.

Several workers may train each trial together, as ranks; the first of them does all of the above.
"""

import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Self

from repro.errors import MachineError, ReproError, WorkerKilledError
from repro.execute.backends.torchrun import follow, lead
from repro.execute.driver import WorkerLost
from repro.execute.grouping import in_populations
from repro.execute.machine import Ended, Machine
from repro.execute.monitor.observer import Event, TrainedCell
from repro.execute.worker.work import fault_of, population_bytes, train_held
from repro.plan import Cell
from repro.store import Store
from repro.store.arrays import Array
from repro.store.provenance import code_version, sources
from repro.trial import Result, Row, Trial

try:
    # No report on its use is sent, and CUDA_VISIBLE_DEVICES is left as it is without a GPU.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from repro.execute.backends.gang import Gangs, Seat
except ImportError as error:
    raise MachineError(
        "Ray is not installed", hint='pip install -e ".[ray]" in the checkout, on every node'
    ) from error

__all__ = ["OnRay"]

_OBJECT_STORE_BYTES = 200 * 2**20  # of a Ray of our own: events and curves, and checkpoints in turn
_SLOTS_SECONDS = 1.0  # for which what is known of the cluster's size holds
_LEAST_SHARE = 0.25  # of a GPU, unless --gpus-per-trial says less. Not measured on a GPU yet
_HOME_THREADS = 16  # a checkpoint being written must not keep another trial waiting


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    """By trial, for how many-th time it was given to a worker."""

    numbers: Mapping[str, int]


class _GivenAway(BaseException):
    """The trial was given to another worker, and this one is to leave it alone."""


class _Home:
    """An actor beside the driver: where events arrive, and the store of those that see none."""

    def __init__(self, machine: Machine) -> None:
        self.store = Store(machine.store)
        self.going = True
        self.news = SimpleQueue[Event]()
        self.newest: dict[str, int] = {}

    def report(self, attempt: _Attempt, event: Event) -> bool | BaseException:
        """Whether to go on."""
        if self._is_outdated(attempt):
            return _GivenAway()
        self.news.put(event)
        return self.going

    def do(self, attempt: _Attempt, name: str, *args: Any, **named: Any) -> Any:
        """A call of the store; errors are answers, since Ray would wrap what is raised."""
        if self._is_outdated(attempt):
            return _GivenAway()
        try:
            return getattr(self.store, name)(*args, **named)
        except ReproError as error:
            return error

    def take(self) -> list[Event]:
        taken = []
        while True:
            try:
                taken.append(self.news.get_nowait())
            except Empty:
                return taken

    def stop(self) -> None:
        self.going = False

    def _is_outdated(self, attempt: _Attempt) -> bool:
        for trial_id, number in attempt.numbers.items():
            self.newest[trial_id] = max(number, self.newest.get(trial_id, 0))
        return any(number < self.newest[name] for name, number in attempt.numbers.items())


class _Link:
    """A worker's end: its events, the flag that it looks at, and the store at home."""

    def __init__(self, home: Any, attempt: _Attempt) -> None:
        self.home = home
        self.attempt = attempt
        self.going = True

    def report(self, event: Event) -> None:
        self.going = self._ask(self.home.report, event)

    def is_set(self) -> bool:
        return not self.going

    def set(self) -> None:
        self.going = False

    def begin(self, trial: Trial) -> None:
        self._ask(self.home.do, "begin", trial)

    def result(self, trial_id: str) -> Result | None:
        found: Result | None = self._ask(self.home.do, "result", trial_id)
        return found

    def checkpoint(self, trial_id: str) -> bytes | None:
        found: bytes | None = self._ask(self.home.do, "checkpoint", trial_id)
        return found

    def set_aside(self, trial_id: str) -> object:
        return self._ask(self.home.do, "set_aside", trial_id)

    def save(self, trial_id: str, *, checkpoint: bytes, curve: Sequence[Row]) -> None:
        self._ask(self.home.do, "save", trial_id, checkpoint=checkpoint, curve=curve)

    def keep_weights(self, trial_id: str, files: Mapping[str, bytes]) -> None:
        self._ask(self.home.do, "keep_weights", trial_id, files)

    def drop_weights(self, trial_id: str) -> None:
        self._ask(self.home.do, "drop_weights", trial_id)

    def finish(self, result: Result, arrays: Mapping[str, Array] | None = None) -> None:
        self._ask(self.home.do, "finish", result, arrays)

    def _ask(self, method: Any, *args: Any, **named: Any) -> Any:
        answer = ray.get(method.remote(self.attempt, *args, **named))
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _train(
    cells: Sequence[Cell],
    machine: Machine,
    home: Any,
    attempt: _Attempt,
    mark: str,
    code: str,
    seat: Seat | None = None,
) -> Ended | ReproError:
    """What a worker does with cells, alone or at its seat; errors are answers here too."""
    if code != sources():
        return MachineError(
            f"node {socket.gethostname()} has other code than the driver: repro {code_version()}, "
            f"sources {sources()} in place of {code}",
            hint="install the same version on every node; a run heeds no change of its own code",
        )
    link = _Link(home, attempt)
    store = Store(machine.store) if mark and (machine.store / mark).exists() else link
    train = partial(train_held, cells, machine, store, stop=link, on_event=link.report)
    try:
        if seat is None:
            return train()
        with seat.taken() as group:
            if seat.rank > 0:
                follow(machine, group)
                return {}
            ended = train(trainer=partial(lead, group))
            group.say(None)
            return ended
    except _GivenAway:
        return {cell.trial.id: TrainedCell(outcome="busy") for cell in cells}
    except Exception as error:  # noqa: BLE001 - Ray would wrap it, and end the run with it
        return fault_of(error, cells[0].trial, machine)


def _gpu_memory() -> int:
    """Bytes of the GPU that this worker sees."""
    import torch

    _, total = torch.cuda.mem_get_info()
    return int(total)


class OnRay:
    """A back-end of the driver: a Ray cluster, or a Ray that is started on this machine.

    `address`: of the cluster, as for ray.init; None starts one here. `gpus`: share of a GPU that
    each worker gets; None: by the memory that its trials need, where the cluster has any, and a
    whole one for each of several ranks. `ranks`: workers that train each trial together.
    `workers`: trials at once; None: as many as there is room for, as nodes come and go.
    `stream_home`: workers write through the driver even where they see its store.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        address: str | None = None,
        gpus: float | None = None,
        ranks: int = 1,
        workers: int | None = None,
        stream_home: bool = False,
    ) -> None:
        self.machine = replace(machine, store=machine.store.resolve(), processes=ranks)
        self.address = address
        self.gpus = gpus
        self.workers = workers
        self.mark = "" if stream_home else f".driver-{uuid.uuid4().hex}"
        self._ours = False  # whether Ray was set up here
        self._tasks: dict[Future[Ended], list[Any]] = {}
        self._attempts: dict[str, int] = {}
        self._memory: int | None = None  # bytes, of a GPU of the cluster
        self._room = (0.0, 0)  # until when it holds, and how many trials there is room for

    def __enter__(self) -> Self:
        if not ray.is_initialized():
            self._connect()
        if self.gpus is None and not ray.cluster_resources().get("GPU"):
            self.gpus = 0.0
        if self.gpus == 0 or self.machine.device == "cpu":
            self.gpus = 0.0
            self.machine = replace(self.machine, device="cpu")
        else:  # Ray shows each worker its own
            self.machine = replace(self.machine, device="cuda")
            if self.machine.processes > 1:
                self.gpus = self.gpus or 1.0
                if self.gpus < 1:
                    raise MachineError(
                        f"{self.machine.processes} ranks with {self.gpus:g} of a GPU each: two "
                        "ranks of a trial cannot share one (NCCL refuses)",
                        hint="leave --gpus-per-trial out, or take --ranks-per-trial 1",
                    )
        if self._ours and self.slots() == 0:  # and none will come
            raise MachineError(
                f"{self.machine.device}: the processors and GPUs of this machine have no room for "
                "what a trial is to have",
                hint="give less by --gpus-per-trial or --ranks-per-trial, or take --device cpu",
            )
        if self.gpus != 0 and self.machine.processes == 1:
            asked = ray.remote(num_cpus=0, num_gpus=0.001, max_calls=1)(_gpu_memory)
            self._memory = ray.get(asked.remote())
        if self.mark:
            self.machine.store.mkdir(parents=True, exist_ok=True)
            (self.machine.store / self.mark).touch()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._home = (
            ray.remote(_Home)
            .options(num_cpus=0, max_concurrency=_HOME_THREADS, scheduling_strategy=here)
            .remote(self.machine)
        )
        # On CPUs a process is used again, with its imports and images. One that has used a GPU
        # stays on that card, whichever Ray gives to its next task. No attempt is repeated unasked.
        calls = 0 if self.gpus == 0 else 1
        remote = ray.remote(num_cpus=1, num_gpus=self.gpus or 0, max_calls=calls, max_retries=0)
        self._train = remote(_train)
        if self.machine.processes > 1:
            self._gangs = Gangs(self.machine.processes, gpus=self.gpus)
        return self

    def __exit__(self, *_: object) -> None:
        if self.mark:
            (self.machine.store / self.mark).unlink(missing_ok=True)
        ray.kill(self._home)
        if self.machine.processes > 1:
            self._gangs.make_room()
        if self._ours:
            ray.shutdown()

    def _connect(self) -> None:
        if self.address is not None and self.address.startswith("ray://"):
            raise MachineError(
                f"--address {self.address}: the driver has to run on a node of the cluster",
                hint="ray job submit -- repro run ... --executor ray --address auto",
            )
        alone: dict[str, Any] = {
            "_node_ip_address": "127.0.0.1",
            "object_store_memory": _OBJECT_STORE_BYTES,
            "num_cpus": self.machine.processes * self.workers
            if self.workers
            else max(self.machine.processes, self.machine.workers),
        }
        try:
            ray.init(
                address=self.address or "local",
                include_dashboard=False if self.address is None else None,
                log_to_driver=False,
                logging_level="warning",
                **(alone if self.address is None else {}),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise MachineError(
                f"no Ray cluster at {self.address or 'this machine'}: {error}",
                hint="`ray start --head` on one node and `ray start --address=...` on the others",
            ) from error
        self._ours = True

    def describe(self) -> str:
        nodes = sum(node["Alive"] for node in ray.nodes())
        ranks = self.machine.processes
        each = "" if ranks == 1 else f", {ranks} workers a trial"
        return f"{self.machine.device} on {nodes} Ray nodes, {self.slots()} at a time{each}"

    def slots(self) -> int:
        if self.workers is not None:
            return self.workers
        until, slots = self._room
        if time.monotonic() >= until:
            has = ray.cluster_resources()
            slots = int(has.get("CPU", 0))
            share = _LEAST_SHARE if self.gpus is None else self.gpus
            if share:
                # A share of a GPU lies on one GPU: three trials of 0.3 on each, not ten on three.
                each = int(1 / share) if share <= 1 else 1 / share
                slots = min(slots, int(has.get("GPU", 0) * each))
            slots //= self.machine.processes
            self._room = (time.monotonic() + _SLOTS_SECONDS, slots)
        return slots

    def grouped(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        if self.machine.processes > 1:
            return [[cell] for cell in cells]
        memory = None if self._memory is None else int(self._memory * min(1.0, self.gpus or 1.0))
        return in_populations(cells, self.machine, memory=memory)

    def share(self, cells: Sequence[Cell]) -> float:
        """Of a GPU, for these as one program: what was told, or as much as of its memory."""
        if self.gpus is not None or self._memory is None:
            return self.gpus or 0.0
        needed = population_bytes(cells, self.machine) / self._memory
        return min(1.0, max(_LEAST_SHARE, math.ceil(100 * needed) / 100))

    def submit(self, cells: Sequence[Cell]) -> Future[Ended]:
        locks = ExitStack()
        store = Store(self.machine.store)
        mine = [cell for cell in cells if locks.enter_context(store.lock(cell.trial.id))]
        ended: Future[Ended] = Future()
        busy: Ended = {
            cell.trial.id: TrainedCell(outcome="busy") for cell in cells if cell not in mine
        }
        if not mine:
            ended.set_result(busy)
            return ended
        for cell in mine:
            self._attempts[cell.trial.id] = self._attempts.get(cell.trial.id, 0) + 1
        attempt = _Attempt(numbers={cell.trial.id: self._attempts[cell.trial.id] for cell in mine})
        told = mine, self.machine, self._home, attempt, self.mark, sources()
        settle = self._settling(ended, busy, locks)
        if self.machine.processes == 1:
            task = self._train.options(num_gpus=self.share(mine)).remote(*told)
            self._tasks[ended] = [task]
            task.future().add_done_callback(settle)
        else:
            (number,) = attempt.numbers.items()
            gang = self._gangs.start(self._train, "/".join(map(str, number)), *told)
            self._tasks[ended] = gang.tasks
            gang.when_ended(settle)
        return ended

    def _settling(
        self, ended: Future[Ended], busy: Ended, locks: ExitStack
    ) -> Callable[[Future[Any]], None]:
        """Ray's answer made the driver's."""

        def settle(answered: Future[Any]) -> None:
            locks.close()
            self._tasks.pop(ended, None)
            try:
                answer = answered.result()
            except RayTaskError as error:
                ended.set_exception(error)
            except RayError as error:
                ended.set_exception(WorkerLost(str(error).partition("\n")[0]))
            else:
                if isinstance(answer, WorkerKilledError):
                    ended.set_exception(WorkerLost(str(answer)))
                elif isinstance(answer, Exception):
                    ended.set_exception(answer)
                else:
                    ended.set_result(busy | answer)

        return settle

    def events(self) -> list[Event]:
        try:
            taken: list[Event] = ray.get(self._home.take.remote())
        except RayError as error:
            raise MachineError(
                f"the driver's own actor, which takes what workers say, is lost: {error}",
                hint="run the same command again: it continues from the last checkpoints",
            ) from error
        return taken

    def stop(self) -> None:
        with suppress(RayError):  # lost, and told of
            ray.get(self._home.stop.remote())

    def kill(self) -> None:
        for tasks in list(self._tasks.values()):
            for task in tasks:
                ray.cancel(task, force=True)
