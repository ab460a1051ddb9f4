"""The count of what was provoked, and of what came of it: lost or wrong has to be zero."""

import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from repro.store.provenance import cpu_name
from tests.faults.registry import PAGE, Fault, fault_name, parse, render, update
from tests.faults.smoke import claims, launch, numbers, run

_TALLIES: dict[tuple[str, str], "Tally"] = {}


@dataclass(kw_only=True, slots=True)
class Tally:
    """What a test provoked of its fault.

    `lost`: finished trials that are gone or were trained again. `wrong`: numbers other than an
    undisturbed run's, or a store that contradicts itself. `refused`: this machine does not permit
    it. `random`: drawn from seeds, as many as an option says; `calls`: commands called meanwhile.
    """

    provoked: int = 0
    refused: bool = False
    random: bool = False
    calls: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def skip(self, why: str) -> NoReturn:
        """End the test without having provoked anything."""
        self.refused = True
        pytest.skip(why)

    def add(self, other: "Tally") -> None:
        """What another test of the same fault counted."""
        self.provoked += other.provoked
        self.random |= other.random
        self.calls += other.calls
        self.lost += other.lost
        self.wrong += other.wrong


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """The count of the test's fault; nothing may be lost or wrong."""
    tally = Tally()
    yield tally
    # With the test's report, which reaches the process that prints the table.
    name = fault_name(request.function.__doc__)
    request.node.user_properties.append(("fault", [name, request.path.name, asdict(tally)]))
    assert tally.refused or tally.provoked > 0
    assert tally.lost == []
    assert tally.wrong == []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Counts come with the report of a test's end."""
    for key, value in report.user_properties if report.when == "teardown" else ():
        if key == "fault":
            name, test, fields = value  # type: ignore[misc]
            _TALLIES.setdefault((name, test), Tally()).add(Tally(**fields))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The small claims, run from start to end: their folder, and their numbers."""
    folder = tmp_path_factory.mktemp("faults")
    claims(folder)
    assert launch(run, folder, "whole") == 0
    found = numbers(folder / "whole")
    assert len(found) == 3
    return folder, found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=16, help="seeded moments to kill a run at")
    parser.addoption(
        "--corruptions", default="3", help="seeded damage of each kind: so many, or FIRST:END"
    )
    parser.addoption("--brief", action="store_true", help="leave out what is marked slow")
    parser.addoption("--write", action="store_true", help="write the counts into docs/faults.md")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --brief, one point stands for those like it."""
    if config.getoption("--brief"):
        items[:] = [item for item in items if item.get_closest_marker("slow") is None]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The table of `nox -s faults`, and the page of it."""
    if not _TALLIES:
        return
    width = max(len(name) for name, _ in _TALLIES)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':{width}}  provoked  lost  wrong  commands called")
    for (name, _), tally in _TALLIES.items():
        terminalreporter.write_line(
            f"{name:{width}}  {tally.provoked:8}  {len(tally.lost):4}  {len(tally.wrong):5}"
            f"  {tally.calls or '':>15}"
        )
    if config.getoption("--write"):
        page = parse(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else []
        PAGE.write_text(render(update(page, _provoked(config))), encoding="utf-8")
        terminalreporter.write_line(f"written: {PAGE}")


def _provoked(config: pytest.Config) -> list[Fault]:
    """This session's rows."""
    words = [str(word) for word in config.invocation_params.args if word != "--write"]
    session: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{cpu_name()} ({os.cpu_count()} cores)",
        "command": f"python -m pytest {shlex.join(words)}",
    }
    return [
        Fault(
            name=name,
            test=test,
            provoked=tally.provoked,
            lost=len(tally.lost),
            wrong=len(tally.wrong),
            random=tally.random,
            calls=tally.calls,
            **(session if tally.random else {}),
        )  # fmt: skip
        for (name, test), tally in _TALLIES.items()
        if tally.provoked
    ]
