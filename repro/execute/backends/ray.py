"""Trials on a Ray cluster: a task for each group of cells, placed by the share of a GPU it needs.

A task does the same as a local worker: it locks its trials in the store, which all nodes share, and
trains. It reports each tenth of an epoch to an actor on the driver's node, the home, which answers
whether to continue. A worker that was taken for lost, and still runs, keeps its locks: nobody else
trains its trials meanwhile.
"""

import math
import os
import socket
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Self

from repro.errors import MachineError, ReproError
from repro.execute.driver import WorkerLost
from repro.execute.grouping import group_cells
from repro.execute.machine import CellOutcomes, Machine
from repro.execute.monitor.observer import Event, TrainedCell
from repro.execute.worker.train_cells import fault_of, population_bytes, train_cells
from repro.planning import Cell
from repro.store import Store
from repro.store.provenance import code_version, sources

try:
    # No report on its use is sent, and CUDA_VISIBLE_DEVICES is left as it is without a GPU.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise MachineError(
        "Ray is not installed", hint='pip install -e ".[ray]" in the checkout, on every node'
    ) from error

_OBJECT_STORE_BYTES = 200 * 2**20  # of a local Ray: events and results
_SLOTS_SECONDS = 1.0  # between two queries of the cluster's size
_ASK_SECONDS = 1.0  # between two questions of a worker whether to continue
_LEAST_SHARE = 0.25  # of a GPU, unless --gpus-per-trial says less. Not measured on a GPU yet


class _Home:
    """An actor on the driver's node: receives events, and says whether to continue."""

    def __init__(self) -> None:
        self.going = True
        self.news: list[Event] = []

    def report(self, event: Event) -> bool:
        self.news.append(event)
        return self.going

    def is_going(self) -> bool:
        return self.going

    def take(self) -> list[Event]:
        events, self.news = self.news, []
        return events

    def stop(self) -> None:
        self.going = False


class _Link:
    """A worker's connection to the home: event sink and stop flag in one."""

    def __init__(self, home: Any) -> None:
        self.home = home
        self.going = True
        self.ask_at = 0.0

    def report(self, event: Event) -> None:
        self._ask(self.home.report.remote(event))

    def is_set(self) -> bool:
        if self.going and time.monotonic() >= self.ask_at:
            self._ask(self.home.is_going.remote())
        return not self.going

    def set(self) -> None:
        self.going = False

    def _ask(self, answer: Any) -> None:
        self.going = ray.get(answer) and self.going
        self.ask_at = time.monotonic() + _ASK_SECONDS


def _train(
    cells: Sequence[Cell], machine: Machine, home: Any, mark: str, code: str
) -> CellOutcomes | ReproError:
    """Train cells in a worker. Returns errors, too: Ray would wrap them, and end the run."""
    node = socket.gethostname()
    if code != sources():
        return MachineError(
            f"node {node} has other code than the driver: repro {code_version()}, "
            f"sources {sources()} in place of {code}",
            hint="install the same version on every node, and do not change it during a run",
        )
    if not (machine.store / mark).exists():
        return MachineError(
            f"node {node} does not see the driver's store {machine.store}",
            hint="all nodes have to share its disk: choose such a folder with --store",
        )
    link = _Link(home)
    try:
        return train_cells(cells, machine, stop=link, on_event=link.report)
    except Exception as error:  # noqa: BLE001 - as said
        return fault_of(error, cells[0].trial, machine)


def _gpu_memory() -> int:
    import torch

    _, total = torch.cuda.mem_get_info()
    return int(total)


class RayBackend:
    """The back-end for a Ray cluster, or for a Ray that it starts on this machine.

    `address`: of the cluster, as for ray.init; None starts one here. `gpus`: share of a GPU for
    each group of cells; None: by the memory that its trials need. `workers`: parallel groups; None:
    as many as fit on the current nodes.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        address: str | None = None,
        gpus: float | None = None,
        workers: int | None = None,
    ) -> None:
        self.machine = replace(machine, store=machine.store.resolve())
        self.store = Store(self.machine.store)
        self.address = address
        self.gpus = gpus
        self.workers = workers
        self.mark = f".driver-{uuid.uuid4().hex}"  # in the store, by which workers know it
        self._ours = False  # whether this back-end started Ray
        self._tasks: dict[Future[CellOutcomes], Any] = {}
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
        if self._ours and self.slots() == 0:  # and none will come
            raise MachineError(
                f"{self.machine.device}: a trial asks for more CPUs or GPUs than this machine has",
                hint="lower --gpus-per-trial, or use --device cpu",
            )
        if self.gpus != 0:
            memory_task = ray.remote(num_cpus=0, num_gpus=0.001, max_calls=1)(_gpu_memory)
            self._memory = ray.get(memory_task.remote())
        self.machine.store.mkdir(parents=True, exist_ok=True)
        (self.machine.store / self.mark).touch()
        this_node = NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        home = ray.remote(_Home).options(num_cpus=0, scheduling_strategy=this_node)
        self._home = home.remote()
        # On CPUs Ray reuses processes, with their imports and images. A process that has used a GPU
        # stays on that card, so it gets one task only. Ray must not retry: the driver does.
        max_calls = 0 if self.gpus == 0 else 1
        self._train = ray.remote(num_cpus=1, max_calls=max_calls, max_retries=0)(_train)
        return self

    def __exit__(self, *_: object) -> None:
        (self.machine.store / self.mark).unlink(missing_ok=True)
        ray.kill(self._home)
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
            "num_cpus": self.workers or self.machine.workers,
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
        return f"{self.machine.device} on {nodes} Ray nodes, {self.slots()} at a time"

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
            self._room = (time.monotonic() + _SLOTS_SECONDS, slots)
        return slots

    def group(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        memory = None if self._memory is None else int(self._memory * min(1.0, self.gpus or 1.0))
        return group_cells(cells, self.machine, memory=memory)

    def share(self, cells: Sequence[Cell]) -> float:
        """The share of a GPU for a group: `gpus`, or the share of memory that it needs."""
        if self.gpus is not None or self._memory is None:
            return self.gpus or 0.0
        fraction = population_bytes(cells, self.machine) / self._memory
        return min(1.0, max(_LEAST_SHARE, math.ceil(100 * fraction) / 100))

    def submit(self, cells: Sequence[Cell]) -> Future[CellOutcomes]:
        future: Future[CellOutcomes] = Future()
        if any(self.store.held(cell.trial.id) for cell in cells):
            # Do not start a task that would only find its trials locked; the driver asks again.
            future.set_result({cell.trial.id: TrainedCell(outcome="busy") for cell in cells})
            return future
        task = self._train.options(num_gpus=self.share(cells)).remote(
            cells, self.machine, self._home, self.mark, sources()
        )
        self._tasks[future] = task
        task.future().add_done_callback(partial(self._settle, future))
        return future

    def _settle(self, future: Future[CellOutcomes], ray_future: Future[Any]) -> None:
        self._tasks.pop(future, None)
        try:
            answer = ray_future.result()
        except RayTaskError as error:
            future.set_exception(error)
        except RayError as error:
            future.set_exception(WorkerLost(str(error).partition("\n")[0]))
        else:
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

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
        for task in list(self._tasks.values()):
            ray.cancel(task, force=True)
