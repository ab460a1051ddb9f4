"""The count of what was provoked, and of what came of it: lost or wrong has to be zero."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from tests.faults.smoke import claims, launch, numbers, run

_TALLIES: dict[str, "Tally"] = {}


@dataclass(kw_only=True, slots=True)
class Tally:
    """One kind of fault.

    `lost`: finished trials that are gone or were trained again. `wrong`: numbers other than an
    uninterrupted run's, or a store that contradicts itself. `refused`: this machine permits it not.
    """

    provoked: int = 0
    refused: bool = False
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def skip(self, why: str) -> NoReturn:
        """End the test without having provoked anything."""
        self.refused = True
        pytest.skip(why)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """The count of the test's fault, which its docstring names; nothing may be lost or wrong."""
    name = request.function.__doc__.split(".")[0].split(":")[0].strip()
    found = _TALLIES.setdefault(name, Tally())
    before = found.provoked, len(found.lost), len(found.wrong)
    yield found
    assert found.refused or found.provoked > before[0]
    assert found.lost[before[1] :] == []
    assert found.wrong[before[2] :] == []


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
    parser.addoption("--brief", action="store_true", help="leave out what is marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --brief, one point stands for those like it."""
    if config.getoption("--brief"):
        items[:] = [item for item in items if item.get_closest_marker("slow") is None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of `nox -s faults`."""
    if not _TALLIES:
        return
    width = max(map(len, _TALLIES))
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':{width}}  provoked  lost  wrong")
    for name, found in _TALLIES.items():
        terminalreporter.write_line(
            f"{name:{width}}  {found.provoked:8}  {len(found.lost):4}  {len(found.wrong):5}"
        )
