"""Profiling for users: a trace that a browser opens, a table that adds up, and the same numbers."""

import json
from pathlib import Path

from repro.data import Dataset
from repro.execute import CellOutcomes, Machine
from repro.execute.worker.profile import write_times
from repro.execute.worker.work import train_cells
from repro.plan import Cell
from repro.store import Store
from repro.trial import Clocks, Result
from tests.worlds import tiny, trial_on


class Going:
    """Nobody asks for a stop."""

    def is_set(self) -> bool:
        return False

    def set(self) -> None: ...


def run(dataset: Dataset, folder: Path, profile: Path | None) -> tuple[CellOutcomes, Store]:
    machine = Machine(
        device="cpu",
        workers=1,
        store=folder / f"store-{profile is None}",
        data_dirs=(folder,),
        cache_dir=folder,
        checkpoint_seconds=0.0,
        profile=profile,
    )
    trial = trial_on(dataset, data="digits", images=640)
    cell = Cell(recipe="period", arm="a", purpose="tune", trial=trial, until=0.5, decides=True)
    return train_cells([cell], machine, stop=Going(), on_event=lambda _: None), Store(machine.store)


def test_a_trace_is_written_and_no_number_changes(tmp_path: Path) -> None:
    """The third and fourth window, once for each shape of trial."""
    dataset = tiny(tmp_path)
    _, plain = run(dataset, tmp_path, None)
    ended, traced = run(dataset, tmp_path, tmp_path / "profile")
    (trial,) = ended
    (path,) = (tmp_path / "profile").iterdir()
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}

    assert {"waiting for data", "aten::conv2d"} <= names
    assert traced.numbers(trial) == plain.numbers(trial)


def test_waiting_and_saving_are_parts_of_the_clocks(tmp_path: Path) -> None:
    """Of training, and of the rest."""
    ended, store = run(tiny(tmp_path), tmp_path, None)
    result = store.result(next(iter(ended)))

    assert result is not None
    assert 0 < result.seconds.waiting < result.seconds.train
    assert 0 < result.seconds.saving < result.seconds.other


def test_the_table_of_times_adds_up(tmp_path: Path) -> None:
    """A line a trial, and one for all."""
    clocks = Clocks(train=3.0, evaluate=1.0, other=0.75, waiting=1.5, saving=0.25)
    one = Result(
        trial_id="abc",
        status="censored",
        epochs=1.0,
        crossing_full=None,
        crossing_online=None,
        train_error=0.5,
        epoch_errors=(),
        loss=1.0,
        seconds=clocks,
    )
    text = write_times(tmp_path, [one, one])

    assert "| abc | 3.00 s | 50.0 % | 1.00 s | 0.25 s | 0.50 s |" in text
    assert "| all | 6.00 s | 50.0 % | 2.00 s | 0.50 s | 1.00 s |" in text
    assert (tmp_path / "times.md").read_text() == f"{text}\n"
