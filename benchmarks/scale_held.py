"""The forecast beside runs of its own: `python benchmarks/scale_held.py`, on two cores.

A small claim, with its search, by one and by two workers of the local executor, and by a Ray
cluster of one and of two raylets on this machine. The forecast is told how long it took until the
first trial of a run was under way, and how long trials take: in the first run, as for any other
machine; and in the run itself, which leaves out that the cores of this one slow each other down.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click

from benchmarks.scale import Devices, forecast, measured_in
from benchmarks.small import small_claim
from repro.claim import TrainedClaim
from repro.data import open_dataset
from repro.execute import Backend, Local, Machine, run_cells
from repro.execute.monitor.observer import Event, Observer, TrainedCell
from repro.planning import Cell, next_cells
from repro.store import Store


class Times(Observer):
    """When the first trial was under way, and when the last one ended."""

    def __init__(self) -> None:
        self.began = self.last = time.perf_counter()
        self.first: float | None = None

    def event(self, event: Event) -> None:
        if self.first is None:
            window = event.images / 10 / event.images_per_second
            self.first = time.perf_counter() - window

    def finish(self, _cell: Cell, _ended: TrainedCell) -> None:
        self.last = time.perf_counter()


def run(claim: TrainedClaim, backend: Backend, machine: Machine) -> tuple[float, float]:
    """Seconds until the last trial has ended, and until the first one was under way."""
    store = Store(machine.store)
    data = open_dataset("digits", machine.data_dirs, machine.cache_dir)
    times = Times()

    def plan() -> list[Cell]:
        return next_cells(claim, "smoke", data.fingerprint, store.results())

    outcome = run_cells(plan, backend, observer=times)
    assert not outcome.failures, outcome.failures
    assert times.first is not None
    return times.last - times.began, times.first - times.began


@contextmanager
def raylets(number: int, machine: Machine) -> Iterator[Backend]:
    """A cluster on this machine, each of its nodes with room for one trial."""
    import ray
    from ray.cluster_utils import Cluster

    from repro.execute.backends.ray import RayBackend

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    for _ in range(number - 1):
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        yield RayBackend(machine)
    finally:
        ray.shutdown()
        cluster.shutdown()


@click.command()
@click.option("--seeds", default=4, show_default=True, help="Confirming seeds an arm.")
@click.option("--epochs", default=4, show_default=True)
def main(seeds: int, epochs: int) -> None:
    """Say what was forecast of each run, and what it took."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "small.yaml"
        rates = (
            f"search: {{small: {{rates: [0.003, 0.01, 0.03], rungs: [{epochs // 2}, {epochs}]}}}}"
        )
        claim = small_claim(
            path, rates=rates, epochs=epochs, seeds=seeds, threshold=0.001, near=0.0
        )

        def machine(store: str, workers: int) -> Machine:
            return Machine(
                device="cpu",
                workers=workers,
                store=folder / store,
                data_dirs=(folder,),
                cache_dir=folder,
            )

        click.echo("| run | start-up, s | forecast, s | by its own trials, s | measured, s |")
        click.echo("| --- | --- | --- | --- | --- |")

        def row(who: str, devices: int, where: Machine, took: float, start: float) -> None:
            first, own = (
                forecast(
                    [(claim, "smoke")],
                    measured_in(Store(store)),
                    Devices(number=devices, start_seconds=start),
                    seeds=seeds,
                ).seconds
                for store in (folder / "local 1", where.store)
            )
            click.echo(f"| {who} | {start:.1f} | {first:.1f} | {own:.1f} | {took:.1f} |")

        for workers in (1, 2):
            where = machine(f"local {workers}", workers)
            name = f"local executor, {workers} at a time"
            row(name, workers, where, *run(claim, Local(where), where))
        for nodes in (1, 2):
            where = machine(f"raylets {nodes}", nodes)
            with raylets(nodes, where) as backend:
                row(f"Ray, raylets: {nodes}", nodes, where, *run(claim, backend, where))


if __name__ == "__main__":
    main()
