"""Benchmarks: contestants take turns, ratios are of the same round, and what is missing is said."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.goals import GOALS, UNMEASURED, goals
from benchmarks.run import ALL
from repro.bench import BENCHES, Table, race, ratios
from repro.cli import main
from repro.cli.bench import NAMES

CPU = torch.device("cpu")


def test_contestants_take_turns_and_the_first_round_is_not_counted() -> None:
    """A machine that drifts drifts for all."""
    turns: list[str] = []

    def contestant(name: str) -> int:
        turns.append(name)
        return 10

    times = race({n: lambda n=n: contestant(n) for n in "ab"}, CPU, 2)  # type: ignore[misc]

    assert turns == list("ababab")
    assert {name: len(each) for name, each in times.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """Not the ratio of medians: 2, 2 and 8 here."""
    assert ratios({"a": [2, 20, 8], "b": [1, 10, 1]}, "a", "b") == (2, 2, 8)


def test_what_was_not_measured_is_said_to_be(tmp_path: Path) -> None:
    """The goals' table takes its figures from the tables beside it."""
    table = Table(
        title="t",
        columns=("form", "ms", "x"),
        rows=(("nn.LocalResponseNorm", "9", "3.1 (3 to 4)"),),
    )
    (tmp_path / "lrn_cpu.md").write_text(table.markdown())
    lines = goals(tmp_path).splitlines()

    (found,) = [line for line in lines if "2.5 times as fast" in line]
    assert "| 3.1 (3 to 4) times ours |" in found
    assert sum(UNMEASURED in line for line in lines) == 2 + sum(g.on == "cuda" for g in GOALS)


def test_every_goal_has_its_table() -> None:
    """By the name of a benchmark; those of the command line are all there are."""
    assert {goal.table for goal in GOALS} <= ALL.keys()
    assert set(NAMES) == BENCHES.keys()


def test_the_command_prints_a_table() -> None:
    """Medians with their range."""
    done = CliRunner().invoke(main, ["bench", "input", "--rounds", "1", "--device", "cpu"])

    assert done.exit_code == 0, done.output
    assert "| step | images/s | MB/s |" in done.output


def test_an_unknown_benchmark_is_refused() -> None:
    """With those that there are."""
    done = CliRunner().invoke(main, ["bench", "everything"])

    assert done.exit_code == 2
    assert "steps" in done.output


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator")
@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_runs_on_the_accelerator(name: str) -> None:
    """One round."""
    assert BENCHES[name](torch.device("cuda"), 1).rows
