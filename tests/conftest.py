"""What every test stands on: one thread, and none of the user's folders.

And the table of `nox -s cluster`: what was provoked, how often a worker was lost by it, and how
many trials were.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch and numpy are imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("long", max_examples=20_000)

_PROVOKED: list[tuple[str, int, int]] = []


def provoked(fault: str, *, workers: int, trials: int) -> None:
    """A row of the table: so many workers and trials were lost by the fault."""
    _PROVOKED.append((fault, workers, trials))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, where anything was provoked."""
    if not _PROVOKED:
        return
    terminalreporter.section("provoked")
    terminalreporter.write_line("| provoked | workers lost | trials lost |\n| --- | --- | --- |")
    for fault, workers, trials in _PROVOKED:
        terminalreporter.write_line(f"| {fault} | {workers} | {trials} |")


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
