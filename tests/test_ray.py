"""A Ray cluster of two nodes on this machine: the local executor's bits, whatever is lost."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from repro.errors import MachineError
from repro.execute import Local, Outcome, run_cells
from repro.execute.monitor.observer import Event, Observer
from repro.planning import Cell
from repro.store import Store
from repro.store.provenance import sources
from tests.gated import FREE_STEPS, gate, gated_claim_file
from tests.test_command import cells_of
from tests.test_command import claim_file as command_claim_file
from tests.test_execute import assert_as_local, assert_same, curves, finish, machine, plan_of
from tests.worlds import claim_file

pytestmark = [
    pytest.mark.cluster,
    # Ray's own processes and sockets are its business.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ray = pytest.importorskip("ray", reason="needs repro[ray]")
from repro.execute.backends.ray import RayBackend, _train  # noqa: E402 - which imports Ray


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The gate, also of the cluster's processes."""
    with gate(tmp_path_factory.mktemp("gated")) as opened:
        yield opened


@pytest.fixture(scope="module")
def cluster(held: Path) -> Iterator[Any]:
    """A head with one slot; each of its nodes is a raylet with processes of its own."""
    assert held
    from ray.cluster_utils import Cluster

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - so Ray calls it
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    small = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=small | {"num_cpus": 1})
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def alone(held: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials by the local executor."""
    held.touch()  # whatever became of the tests before
    folder = tmp_path_factory.mktemp("alone")
    gated_claim_file(folder)
    finish(folder)
    return folder


@dataclass(kw_only=True)
class Run(Observer):
    """The claim on Ray, held until a fault was provoked at its `at`-th event."""

    folder: Path
    name: str
    held: Path
    fault: Callable[[], object]
    at: int = FREE_STEPS
    population: int | None = None
    events: list[Event] = field(default_factory=list)

    def __call__(self) -> Outcome:
        where = replace(machine(self.folder, self.name), population=self.population)
        self.held.unlink(missing_ok=True)
        backend = RayBackend(where)
        return run_cells(plan_of(self.folder, where.store), backend, observer=self)

    def event(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) == self.at:
            self.fault()
            self.held.touch()


def children(parent: int) -> list[int]:
    """Processes that train a trial and were started by this raylet."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            of = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            said = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if of == parent and said.startswith(b"ray::_train"):
            found.append(int(entry.name))
    return found


def test_a_node_that_dies_half_way_changes_nothing(cluster: Any, alone: Path, held: Path) -> None:
    """Its trial goes on on the other node."""
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    run = Run(
        folder=alone,
        held=held,
        name="a node killed",
        fault=lambda: cluster.remove_node(node, allow_graceful=False),
        at=FREE_STEPS + 1,  # the other one has begun, too
    )
    outcome = run()

    assert outcome.worker_losses >= 1
    assert_as_local(run.folder, run.name, outcome)


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(cluster: Any, alone: Path, held: Path) -> None:
    """By kill -9, in the middle of a trial."""
    raylet = cluster.head_node.all_processes["raylet"][0].process.pid
    run = Run(
        folder=alone,
        held=held,
        name="a worker killed",
        fault=lambda: [os.kill(pid, signal.SIGKILL) for pid in children(raylet)],
    )
    outcome = run()

    assert outcome.worker_losses >= 1
    assert_as_local(run.folder, run.name, outcome)


def test_ctrl_c_at_the_driver_leaves_what_any_executor_continues(
    cluster: Any, alone: Path, held: Path
) -> None:
    """Saved at the next tenth of an epoch on Ray, ended by the local executor."""
    assert cluster
    run = Run(
        folder=alone,
        held=held,
        name="Ctrl-C at the driver, then local",
        fault=lambda: os.kill(os.getpid(), signal.SIGINT),
    )
    outcome = run()
    assert outcome.interrupted
    assert list((alone / run.name).glob("trials/*/checkpoint.pt"))

    finish(alone, run.name)
    assert_as_local(run.folder, run.name, outcome)


def test_populations_on_ray_are_those_of_one_process(
    cluster: Any, held: Path, tmp_path: Path
) -> None:
    """Two trials as one program, placed as one, with the bits of two as one program here."""
    assert cluster
    claim_file(tmp_path, epochs=1, seeds=1, rates=(0.01, 0.03))
    whole = finish(tmp_path, population=2)
    run = Run(folder=tmp_path, name="populations", held=held, fault=lambda: None, population=2)
    outcome = run()

    assert outcome.failures == {}
    assert_same(curves(tmp_path / run.name), whole)
    results = Store(tmp_path / run.name).results().values()
    assert "2" in {result.provenance.get("population") for result in results}


def test_a_claims_command_runs_on_ray(cluster: Any, tmp_path: Path) -> None:
    """Its trials lie in the shared store, with the numbers of the local executor."""
    assert cluster
    path = command_claim_file(tmp_path)

    def plan(store: Path) -> Callable[[], list[Cell]]:
        return lambda: cells_of(path, store)

    for name, backend in (("store", Local), ("ray", RayBackend)):
        where = machine(tmp_path, name)
        outcome = run_cells(plan(where.store), backend(where))
        assert outcome.failures == {}

    assert_same(curves(tmp_path / "ray"), curves(tmp_path / "store"))


def test_a_node_without_the_store_is_named(tmp_path: Path) -> None:
    """Its results would be lost: it trains nothing."""
    told = _train([], machine(tmp_path), None, ".driver-of-another-disk", sources())

    assert isinstance(told, MachineError)
    assert "does not see the driver's store" in str(told)
