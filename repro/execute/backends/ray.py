"""Trials on a Ray cluster, a task each, placed by the share of a GPU that a trial needs.

The driver locks each trial that it assigns, and an actor on its node, the home, numbers the
attempts. A worker asks the home at every tenth of an epoch whether to continue. The home refuses
the writes of a worker that was taken for lost and still runs.

A worker that can reach the driver's store reads and writes it directly. Otherwise it does so
through the home, so that checkpoints and results always end up in the driver's store.

Several workers can train each trial together, as ranks; rank 0 does all of the above.
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
from repro.execute.grouping import group_cells
from repro.execute.machine import CellOutcomes, Machine
from repro.execute.monitor.observer import Event, TrainedCell
from repro.execute.worker.work import fault_of, population_bytes, train_locked
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

    from repro.execute.backends.gang import GangScheduler, Seat
except ImportError as error:
    raise MachineError(
        "Ray is not installed", hint='pip install -e ".[ray]" in the checkout, on every node'
    ) from error

_OBJECT_STORE_BYTES = 200 * 2**20  # of a local Ray: events, curves and checkpoints
_SLOTS_SECONDS = 1.0  # between two queries of the cluster's size
_LEAST_SHARE = 0.25  # of a GPU, unless --gpus-per-trial says less. Not measured on a GPU yet
_HOME_THREADS = 16  # so that writing a checkpoint does not block other trials


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    """The number of the attempt for each trial."""

    numbers: Mapping[str, int]


class _Reassigned(BaseException):
    """The trial was assigned to another worker, and this one must stop."""


class _Home:
    """An actor on the driver's node: receives events, and serves the store to remote workers."""

    def __init__(self, machine: Machine) -> None:
        self.store = Store(machine.store)
        self.going = True
        self.news = SimpleQueue[Event]()
        self.newest: dict[str, int] = {}

    def report(self, attempt: _Attempt, event: Event) -> bool | BaseException:
        """Record an event; return whether to continue."""
        if self._is_outdated(attempt):
            return _Reassigned()
        self.news.put(event)
        return self.going

    def do(self, attempt: _Attempt, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the store. Returns errors, since Ray would wrap a raised one."""
        if self._is_outdated(attempt):
            return _Reassigned()
        try:
            return getattr(self.store, name)(*args, **kwargs)
        except ReproError as error:
            return error

    def take(self) -> list[Event]:
        events = []
        while True:
            try:
                events.append(self.news.get_nowait())
            except Empty:
                return events

    def stop(self) -> None:
        self.going = False

    def _is_outdated(self, attempt: _Attempt) -> bool:
        for trial_id, number in attempt.numbers.items():
            self.newest[trial_id] = max(number, self.newest.get(trial_id, 0))
        return any(number < self.newest[name] for name, number in attempt.numbers.items())


class _Link:
    """A worker's connection to the home: event sink, stop flag and store in one."""

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
        result: Result | None = self._ask(self.home.do, "result", trial_id)
        return result

    def checkpoint(self, trial_id: str) -> bytes | None:
        checkpoint: bytes | None = self._ask(self.home.do, "checkpoint", trial_id)
        return checkpoint

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

    def _ask(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        answer = ray.get(method.remote(self.attempt, *args, **kwargs))
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
) -> CellOutcomes | ReproError:
    """Train cells in a worker, alone or as a rank. Returns errors, too."""
    if code != sources():
        return MachineError(
            f"node {socket.gethostname()} has other code than the driver: repro {code_version()}, "
            f"sources {sources()} in place of {code}",
            hint="install the same version on every node, and do not change it during a run",
        )
    link = _Link(home, attempt)
    store = Store(machine.store) if mark and (machine.store / mark).exists() else link
    train = partial(train_locked, cells, machine, store, stop=link, on_event=link.report)
    try:
        if seat is None:
            return train()
        with seat.join() as group:
            if seat.rank > 0:
                follow(machine, group)
                return {}
            outcomes = train(trainer=partial(lead, group))
            group.say(None)
            return outcomes
    except _Reassigned:
        return {cell.trial.id: TrainedCell(outcome="busy") for cell in cells}
    except Exception as error:  # noqa: BLE001 - Ray would wrap it, and end the run with it
        return fault_of(error, cells[0].trial, machine)


def _gpu_memory() -> int:
    """Total bytes of this worker's GPU."""
    import torch

    _, total = torch.cuda.mem_get_info()
    return int(total)


class RayBackend:
    """The back-end for a Ray cluster, or for a Ray that it starts on this machine.

    `address`: of the cluster, as for ray.init; None starts one here. `gpus`: share of a GPU for
    each worker; None: by the memory that its trials need, or a whole GPU for each of several
    ranks. `ranks`: workers that train each trial together. `workers`: parallel trials; None: as
    many as fit on the current nodes. `stream_home`: workers always write through the driver.
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
        self._ours = False  # whether this back-end started Ray
        self._tasks: dict[Future[CellOutcomes], list[Any]] = {}
        self._attempts: dict[str, int] = {}
        self._memory: int | None = None  # bytes, of a GPU of the cluster
        self._room = (0.0, 0)  # when to query again, and the number of slots

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
                        hint="omit --gpus-per-trial, or use --ranks-per-trial 1",
                    )
        if self._ours and self.slots() == 0:  # and none will come
            raise MachineError(
                f"{self.machine.device}: a trial asks for more CPUs or GPUs than this machine has",
                hint="lower --gpus-per-trial or --ranks-per-trial, or use --device cpu",
            )
        if self.gpus != 0 and self.machine.processes == 1:
            memory_task = ray.remote(num_cpus=0, num_gpus=0.001, max_calls=1)(_gpu_memory)
            self._memory = ray.get(memory_task.remote())
        if self.mark:
            self.machine.store.mkdir(parents=True, exist_ok=True)
            (self.machine.store / self.mark).touch()
        this_node = NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._home = (
            ray.remote(_Home)
            .options(num_cpus=0, max_concurrency=_HOME_THREADS, scheduling_strategy=this_node)
            .remote(self.machine)
        )
        # On CPUs Ray reuses processes, with their imports and images. A process that has used a GPU
        # stays on that card, so it gets one task only. Ray must not retry: the driver does.
        max_calls = 0 if self.gpus == 0 else 1
        remote = ray.remote(num_cpus=1, num_gpus=self.gpus or 0, max_calls=max_calls, max_retries=0)
        self._train = remote(_train)
        if self.machine.processes > 1:
            self._gangs = GangScheduler(self.machine.processes, gpus=self.gpus)
        return self

    def __exit__(self, *_: object) -> None:
        if self.mark:
            (self.machine.store / self.mark).unlink(missing_ok=True)
        ray.kill(self._home)
        if self.machine.processes > 1:
            self._gangs.release_finished()
        if self._ours:
            ray.shutdown()

    def _connect(self) -> None:
        if self.address is not None and self.address.startswith("ray://"):
            raise MachineError(
                f"--address {self.address}: the driver has to run on a node of the cluster",
                hint="ray job submit -- repro run ... --executor ray --address auto",
            )
        local_options: dict[str, Any] = {
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
                **(local_options if self.address is None else {}),
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
        ranks_text = "" if ranks == 1 else f", {ranks} workers a trial"
        return f"{self.machine.device} on {nodes} Ray nodes, {self.slots()} at a time{ranks_text}"

    def slots(self) -> int:
        if self.workers is not None:
            return self.workers
        until, slots = self._room
        if time.monotonic() >= until:
            resources = ray.cluster_resources()
            slots = int(resources.get("CPU", 0))
            share = _LEAST_SHARE if self.gpus is None else self.gpus
            if share:
                # A share does not span GPUs: each has room for three trials of 0.3.
                trials_per_gpu = int(1 / share) if share <= 1 else 1 / share
                slots = min(slots, int(resources.get("GPU", 0) * trials_per_gpu))
            slots //= self.machine.processes
            self._room = (time.monotonic() + _SLOTS_SECONDS, slots)
        return slots

    def group(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        if self.machine.processes > 1:
            return [[cell] for cell in cells]
        memory = None if self._memory is None else int(self._memory * min(1.0, self.gpus or 1.0))
        return group_cells(cells, self.machine, memory=memory)

    def share(self, cells: Sequence[Cell]) -> float:
        """The share of a GPU for a group: `gpus`, or the share of memory that it needs."""
        if self.gpus is not None or self._memory is None:
            return self.gpus or 0.0
        fraction = population_bytes(cells, self.machine) / self._memory
        return min(1.0, max(_LEAST_SHARE, math.ceil(100 * fraction) / 100))

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        locks = ExitStack()
        store = Store(self.machine.store)
        locked = [cell for cell in cells if locks.enter_context(store.lock(cell.trial.id))]
        future: Future[CellOutcomes] = Future()
        busy: CellOutcomes = {
            cell.trial.id: TrainedCell(outcome="busy") for cell in cells if cell not in locked
        }
        if not locked:
            future.set_result(busy)
            return future
        for cell in locked:
            self._attempts[cell.trial.id] = self._attempts.get(cell.trial.id, 0) + 1
        attempt = _Attempt(
            numbers={cell.trial.id: self._attempts[cell.trial.id] for cell in locked}
        )
        arguments = locked, self.machine, self._home, attempt, self.mark, sources()
        settle = self._settling(future, busy, locks)
        if self.machine.processes == 1:
            task = self._train.options(num_gpus=self.share(locked)).remote(*arguments)
            self._tasks[future] = [task]
            task.future().add_done_callback(settle)
        else:
            (name_and_attempt,) = attempt.numbers.items()
            gang = self._gangs.start(self._train, "/".join(map(str, name_and_attempt)), *arguments)
            self._tasks[future] = gang.tasks
            gang.on_end(settle)
        return future

    def _settling(
        self, future: Future[CellOutcomes], busy: CellOutcomes, locks: ExitStack
    ) -> Callable[[Future[Any]], None]:
        """A callback that passes Ray's answer to the driver's future."""

        def settle(ray_future: Future[Any]) -> None:
            locks.close()
            self._tasks.pop(future, None)
            try:
                answer = ray_future.result()
            except RayTaskError as error:
                future.set_exception(error)
            except RayError as error:
                future.set_exception(WorkerLost(str(error).partition("\n")[0]))
            else:
                if isinstance(answer, WorkerKilledError):
                    future.set_exception(WorkerLost(str(answer)))
                elif isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(busy | answer)

        return settle

    def events(self) -> list[Event]:
        try:
            events: list[Event] = ray.get(self._home.take.remote())
        except RayError as error:
            raise MachineError(
                f"the driver's actor, which receives the workers' events, is lost: {error}",
                hint="run the same command again: it continues from the last checkpoints",
            ) from error
        return events

    def stop(self) -> None:
        with suppress(RayError):  # lost, which `events` reports
            ray.get(self._home.stop.remote())

    def kill(self) -> None:
        for tasks in list(self._tasks.values()):
            for task in tasks:
                ray.cancel(task, force=True)
