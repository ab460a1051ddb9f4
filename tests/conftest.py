"""What every test stands on: one thread, none of the user's folders, and nothing of the shell."""

import atexit
import hashlib
import os
import pickle
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.provoked import table

# Before torch and numpy are imported, and for the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# Without files of compiled code each of some hundred processes compiles all of PyTorch.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What would change what is printed or drawn: a terminal, a language, a user's settings.
for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES", "MPLBACKEND"):
    os.environ.pop(name, None)
os.environ["LC_ALL"] = "C.UTF-8"
if "PYTEST_XDIST_WORKER" not in os.environ:  # a list of fonts, made once and for all workers
    fonts = tempfile.TemporaryDirectory(prefix="repro-tests-matplotlib-")
    atexit.register(fonts.cleanup)
    os.environ["MPLCONFIGDIR"] = fonts.name


def ignore(_number: int, _frame: object) -> None:
    """As SIG_IGN does, but no process that a test starts inherits it."""


# What `nohup` and a shell's `&` ignore: a run of the tool that inherits it ignores it, too.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, ignore)

# However slow or busy the machine is, and whether or not it calls itself CI.
UNTIMED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("usual", deadline=None, suppress_health_check=UNTIMED)
settings.register_profile("long", settings.get_profile("usual"), max_examples=20_000)
settings.load_profile("usual")


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
    monkeypatch.delenv("NO_COLOR", raising=False)  # which `--no-color` sets
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    if not data:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-10 of 12 images in the original format, whose hashes torchvision is told."""
    import numpy as np
    from torchvision.datasets import CIFAR10

    from repro.registry import DATASETS
    from tests.pictures import CLASSES

    folder: Path = tmp_path / "source" / CIFAR10.base_folder
    folder.mkdir(parents=True)

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(seed: int) -> dict[str, object]:
        pixels = np.random.default_rng(seed).integers(0, 256, (2, 3072), dtype=np.uint8)
        return {"data": pixels, "labels": [0, 1]}

    train = [[f"data_batch_{i}", write(f"data_batch_{i}", batch(i))] for i in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", write("test_batch", batch(6))]])
    names = write("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": names})
    facts = replace(DATASETS["cifar10"], images=(10, 2), classes=2)
    monkeypatch.setitem(DATASETS.own, "cifar10", facts)
    return folder
