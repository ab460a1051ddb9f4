"""A Ray cluster of two nodes on this machine: the local executor's bits, whatever is lost."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from repro.execute import Outcome, run_cells
from repro.execute.monitor.observer import Event, Observer
from repro.store import Store
from tests.gated import FREE_STEPS, gate, gated_claim_file
from tests.provoked import provoked
from tests.test_execute import assert_as_local, assert_same, curves, finish, machine, plan_of
from tests.test_ranks import torchrun
from tests.worlds import claim_file

pytestmark = [
    pytest.mark.cluster,
    # Ray's own processes and sockets are its business.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ray = pytest.importorskip("ray", reason="needs repro[ray]")


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
    stream_home: bool = False
    ranks: int = 1
    population: int | None = None
    events: list[Event] = field(default_factory=list)

    def __call__(self) -> Outcome:
        from repro.execute.backends.ray import RayBackend

        where = replace(machine(self.folder, self.name), population=self.population)
        self.held.unlink(missing_ok=True)
        backend = RayBackend(where, stream_home=self.stream_home, ranks=self.ranks)
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
    """Workers see no store of the driver's; their trials go on on the other node."""
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    run = Run(
        folder=alone,
        held=held,
        name="a node killed, no shared disk",
        fault=lambda: cluster.remove_node(node, allow_graceful=False),
        at=FREE_STEPS + 1,  # the other one has begun, too
        stream_home=True,
    )
    outcome = run()

    assert outcome.worker_losses >= 1
    assert_as_local(run.folder, run.name, outcome)


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(cluster: Any, alone: Path, held: Path) -> None:
    """By kill -9, in the middle of a trial, where the store is shared."""
    raylet = cluster.head_node.all_processes["raylet"][0].process.pid
    run = Run(
        folder=alone,
        held=held,
        name="a worker killed, shared disk",
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
    run = Run(
        folder=tmp_path, name="populations", held=held, fault=lambda: None, stream_home=True,
        population=2,
    )  # fmt: skip
    outcome = run()

    assert outcome.failures == {}
    assert_same(curves(tmp_path / run.name), whole)
    results = Store(tmp_path / run.name).results().values()
    assert "2" in {result.provenance.get("population") for result in results}


def test_ranks_on_ray_give_the_bits_of_torchrun_also_when_one_is_lost(
    cluster: Any, held: Path, tmp_path: Path
) -> None:
    """One trial over workers of two nodes; one is killed, and both go on from the checkpoint."""
    gated_claim_file(tmp_path)
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    raylet = cluster.head_node.all_processes["raylet"][0].process.pid
    run = Run(
        folder=tmp_path,
        held=held,
        name="one of two ranks killed",
        fault=lambda: [os.kill(pid, signal.SIGKILL) for pid in children(raylet)],
        ranks=2,
    )
    outcome = run()
    cluster.remove_node(node)

    assert outcome.failures == {}
    assert outcome.worker_losses >= 1
    process = torchrun(tmp_path, 2)
    _, said = process.communicate()
    assert process.returncode == 0, said
    ours, theirs = curves(tmp_path / run.name), curves(tmp_path / "ranks")
    assert_same(ours, theirs)
    provoked(run.name, workers=outcome.worker_losses, trials=len(theirs.keys() - ours.keys()))


def test_a_worker_that_was_given_up_cannot_write(tmp_path: Path) -> None:
    """A node that comes back after a cut finds its trial in other hands."""
    from repro.execute.backends.ray import _Attempt, _Home, _Reassigned

    home = _Home(machine(tmp_path))
    first, second = (_Attempt(numbers={"a": number}) for number in (1, 2))
    event = Event(trial_id="a", epoch=0.1, error=0.5, images_per_second=1.0, images=10)

    assert home.report(first, event) is True
    assert home.do(second, "checkpoint", "a") is None
    assert isinstance(home.do(first, "save", "a", checkpoint=b"", curve=None), _Reassigned)
    assert isinstance(home.report(first, event), _Reassigned)
    assert home.report(second, event) is True
    assert home.take() == [event, event]
