"""Faults that take a while to provoke, as a shell sees them: exit code, what, where, what next.

The others stand in tests/test_errors.py.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import Popen

import pytest

from repro.store import Store
from tests import shell
from tests.faults.conftest import Tally
from tests.faults.smoke import claims, contradictions, numbers
from tests.shell import ROOT, codes, installed, paths, started

pytestmark = pytest.mark.faults

Whole = tuple[Path, dict[str, str]]


def command(folder: Path, *options: str) -> list[str | Path]:
    """The small claims in the folder, into its store."""
    files = sorted(folder.glob("*.yaml"))
    return ["run", *files, "--scale", "smoke", "--store", folder / "store", "--keep-weights",
            "--checkpoint-every", "0.01s", *options]  # fmt: skip


def told(process: Popen[str]) -> str:
    """What it said on stderr, once it has ended by a fault."""
    _, talk = process.communicate(timeout=300)
    assert process.returncode == 5, talk
    return talk


FAULT = re.compile(
    r"^fault [0-9a-f]{16} small/(relu|tanh) confirm rate 0.01 seed 0, \S+: error\[(E\d+)\]: .+\n"
    r"      next: .+$",
    re.MULTILINE,
)


def listed(folder: Path) -> list[str]:
    """The codes of the faults that a later command lists, each with its trial and its reason."""
    text = shell.repro("status", "--store", folder / "store").stdout
    found = [code for _, code in FAULT.findall(text)]
    assert text.count("error[") == len(found)
    assert (f"; {len(found)} with a fault" in text) == bool(found)
    return found


def continued(folder: Path, expected: dict[str, str], tally: Tally) -> None:
    """The same command once more: no fault is left, and the numbers are those expected."""
    tally.provoked += 1
    done = shell.repro(*command(folder))
    if done.returncode != 0 or listed(folder):
        tally.wrong.append(f"{folder.name}: could not be continued: {done.stderr}")
    tally.wrong += contradictions(folder, "store")
    if numbers(folder / "store") != expected:
        tally.wrong.append(f"{folder.name}: other numbers")


def while_it_runs(process: Popen[str], act: Callable[[], object]) -> None:
    while process.poll() is None:
        act()
        time.sleep(0.01)


GREEDY = """\
import torch
from torch import nn
from repro.registry import ModelFacts

FACTS = ModelFacts(title="greedy", module=__name__, parameters=30730, arguments=("activation",))

class Greedy(nn.Linear):
    steps = 0

    def forward(self, images):
        self.steps += self.training
        if self.steps > 3:
            torch.empty(1 << 50, dtype=torch.uint8)  # no address space has room for it
        return super().forward(images.flatten(1))

def greedy(*, num_classes=10, initialisation="he", activation="relu"):
    return Greedy(3 * 32 * 32, num_classes)
"""


def test_memory_runs_out(tally: Tally, tmp_path: Path) -> None:
    """The system gives no more memory, seen from a shell. The error says so."""
    claims(tmp_path)
    for path in tmp_path.glob("[ft]*.yaml"):
        path.unlink()
    path = tmp_path / "error.yaml"
    path.write_text(path.read_text().replace("name: cifar_80sec", "name: greedy"))
    packages = tmp_path / "packages"
    installed(packages, "greedy", {"repro.models": {"greedy": "greedy:FACTS"}}, GREEDY)
    talk = told(started(*command(tmp_path, "--workers", "1"), path=paths(ROOT, packages)))

    assert codes(talk) == {"E302"}
    assert "out of memory on cpu in trial " in talk
    assert (
        talk.splitlines()[-1] == "next: run again with fewer --workers; what was finished is kept"
    )
    assert set(listed(tmp_path)) == {"E302"}
    assert Store(tmp_path / "store").results() == {}
    tally.provoked += 1


def workers(parent: int) -> Iterator[int]:
    """The processes that multiprocessing started for it, but for the one that keeps its books."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            of = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended since it was listed
        if of == parent and b"spawn_main" in line:
            yield int(entry.name)


def kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
def test_every_worker_is_killed(whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """Every worker process is killed, seen from a shell. Trials are given up after three times."""
    claims(tmp_path)
    process = started(*command(tmp_path, "--workers", "2"))
    while_it_runs(process, lambda: [kill(one) for one in workers(process.pid)])
    talk = told(process)

    assert codes(talk) == {"E303"}
    assert "was killed 3 times" in talk
    assert "next: the same command continues from the last checkpoint" in talk.splitlines()[-1]
    assert set(listed(tmp_path)) == {"E303"}
    continued(tmp_path, whole[1], tally)


# Python runs it at its start: a worker reads the sources after the gate was opened, never before.
HOLDS_WORKERS = """\
import os
import sys
import time

while "spawn_main" in " ".join(sys.orig_argv) and not os.path.exists(os.environ["GATE"]):
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_the_sources_change_meanwhile(whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """The package is updated during a run, seen from a shell. The run stops."""
    claims(tmp_path)
    uncompiled = shutil.ignore_patterns("__pycache__")
    package = tmp_path / "package" / "repro"
    shutil.copytree(ROOT / "repro", package, ignore=uncompiled)
    source = package / "train" / "schedule.py"
    text = source.read_text()
    gate = tmp_path / "gate"
    held = tmp_path / "held"
    held.mkdir()
    (held / "sitecustomize.py").write_text(HOLDS_WORKERS)
    process = started(
        *command(tmp_path, "--workers", "2"),
        path=paths(package.parent, held), GATE=str(gate),
    )  # fmt: skip
    assert process.stderr is not None
    while "training on" not in process.stderr.readline():
        assert process.poll() is None
    source.write_text(text.replace("def rate_at(", "rate_at = None\n\n\ndef rate_at(", 1))
    gate.touch()
    talk = told(process)

    assert codes(talk) == {"E304"}
    assert "the code that trial" in talk
    assert "has changed since the run began" in talk
    assert talk.splitlines()[-1] == "next: run the same command again"
    assert set(listed(tmp_path)) == {"E304"}
    continued(tmp_path, whole[1], tally)


def test_another_machine_takes_trials_over(whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """Another machine takes the trials over, seen from a shell. This one lets go of them."""
    claims(tmp_path)
    taken: set[Path] = set()

    def take_over() -> None:
        for path in (tmp_path / "store").glob("trials/*/trial.json"):
            lock = path.with_name("lock")
            if lock not in taken and lock.stat().st_size:
                taken.add(lock)
                lock.write_bytes(b"of another one  ")

    process = started(*command(tmp_path, "--workers", "1"))
    while_it_runs(process, take_over)
    talk = told(process)

    assert codes(talk) == {"E305"}
    assert any(f"the lock {lock} was lost" in talk for lock in taken)
    assert "join them with `repro merge`" in talk.splitlines()[-1]
    assert set(listed(tmp_path)) == {"E305"}
    continued(tmp_path, whole[1], tally)
