"""What every test stands on: one thread, and none of the user's folders."""

import os
from pathlib import Path

import pytest

# Before torch and numpy are imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_folders(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep data, cache and store below `tmp_path`; tests marked `data` see the user's data."""
    monkeypatch.delenv("REPRO_STORE", raising=False)
    if request.node.get_closest_marker("data") is None:
        monkeypatch.delenv("REPRO_DATA", raising=False)
        monkeypatch.delenv("REPRO_CACHE", raising=False)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
