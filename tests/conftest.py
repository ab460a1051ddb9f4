"""What every test stands on: one thread, and none of the user's folders."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.provoked import table

# Before torch and numpy are imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("long", max_examples=20_000)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What faults cost, where any was provoked."""
    if rows := table():
        terminalreporter.section("provoked")
        terminalreporter.write_line(rows)


@pytest.fixture(autouse=True)
def own_folders(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep data, cache and store below `tmp_path`; tests marked `data` see the user's data."""
    data = request.node.get_closest_marker("data") is not None
    kept = {"REPRO_DATA", "REPRO_CACHE"} if data else set()
    for name in {name for name in os.environ if name.startswith("REPRO_")} - kept:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    if not data:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
