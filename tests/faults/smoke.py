"""A small run in a process of its own, which can be made to die or to fail at a chosen moment.

A fork server imports torch once; each run is a fork of it, and so costs what it trains.
"""

import ctypes
import hashlib
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import safetensors.numpy

from repro.audit import verify
from repro.claim import load_all
from repro.data.device.images import DeviceData, DeviceSplit
from repro.execute import Backend, Local, Machine
from repro.execute.running import run_claims
from repro.execute.worker.weights import weight_files
from repro.store import Store
from repro.train.evaluate import final_metrics
from repro.train.out_of_memory import keep_freed
from repro.train.pictures import arrays_to_store
from repro.train.trial_run import Run
from tests.worlds import FACT

GOLDEN = Path(__file__).parents[1] / "golden" / "claims" / "times.yaml"
SEARCH = "search:\n      small: {rates: [0.01, 0.02, 0.04], rungs: [1], seeds: 1, refine: null}"

# The error of one net, which is trained to its end and leaves pictures; and a fact.
ERROR = {
    "id: times": "id: error",
    "kind: time_to_threshold": "kind: level",
    "unit: ratio of epochs": "unit: percent",
    "metric: train_error\nthreshold: 0.6\ndecided_by: full\nnear: 0.3": "metric: test_error",
    "  tanh: {model: {activation: tanh}}\ncontrast: {slow: tanh, fast: relu}\n": "",
    "region: {low: 1.5, high: 3.0}": "region: {low: 10.0, high: 90.0}",
}

# Each file of a run as it is begun, whole but not in place, in place; and those that go.
FILES = (
    "store.json", "times-smoke", "fact-", "trial.json", "checkpoint.pt", "curve.csv",
    "weights.safetensors", "inputs.safetensors", "weights.json", "arrays.npz", "progress.json",
    "result.json", "SHA256SUMS",
)  # fmt: skip
POINTS = [
    *((name, moment) for name in FILES for moment in ("begun", "whole", "placed")),
    ("checkpoint.pt", "removed"),
    ("progress.json", "removed"),
    ("SHA256SUMS", "removed"),
]
# Functions that are at work at the n-th of their calls, here and in what the run stands on.
MOMENTS = {
    "mid-epoch": [(DeviceData.training_inputs.__name__, n) for n in (2, 8, 15, 23)],
    "mid-evaluation": [(DeviceSplit.inputs.__name__, n) for n in (1, 12, 25, 40)],
    "mid-checkpoint": [("persistent_id", n) for n in (1, 9000, 25000)],  # of torch.save
    "mid-result": [
        (function.__name__, 1)
        for function in (Run.measure_final, final_metrics, weight_files, arrays_to_store)
    ],
}


def claims(folder: Path) -> None:
    """Two arms at one rate, one epoch of ten steps each; a net that leaves pictures; a fact."""
    text = GOLDEN.read_text(encoding="utf-8").replace(SEARCH, "rate: {small: 0.01}")
    text = text.replace("epochs: 2", "epochs: 1")
    (folder / "times.yaml").write_text(text, encoding="utf-8")
    (folder / "error.yaml").write_text(error_claim(text), encoding="utf-8")
    (folder / "fact.yaml").write_text(FACT, encoding="utf-8")


def error_claim(text: str, **changes: str) -> str:
    """The test error of one net, by the claim about times; `changes` by key."""
    for old, new in ERROR.items():
        assert old in text
        text = text.replace(old, new)
    for key, value in changes.items():
        text = re.sub(rf"(?m)^( *{key}): .*$", rf"\1: {value}", text)
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Dies:
    """By kill -9: at the n-th call of the training thread, any or of a function, or n-th write."""

    call: int = 0
    function: str = ""
    point: tuple[str, str] = ("", "")
    times: int = 1

    def arm(self) -> None:
        """From here on, in this process."""
        if self.call or self.function:
            threading.setprofile(_Calls(self.function, self.call or self.times))
        else:
            sys.addaudithook(_Writes(self))


class _Calls:
    """Counts what the interpreter tells of a thread: each call and each return, or one's calls."""

    def __init__(self, function: str, left: int) -> None:
        self.function, self.left = function, left

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if self.function in {"", frame.f_code.co_name} and (event == "call" or not self.function):
            self.left -= 1
            if self.left == 0:
                _die()


class _Writes:
    """Follows files by what the interpreter tells of every open, rename and removal."""

    def __init__(self, dies: Dies) -> None:
        self.dies, self.left, self.next = dies, dies.times, False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.next:
            self.next = False  # the kill is such an event itself
            _die()
        name, moment = self.dies.point
        match event, moment:
            case "open", "begun":
                hit = Path(str(arguments[0])).name.startswith(f".{name}")
            case "os.rename", "whole" | "placed":
                hit = Path(str(arguments[1])).name.startswith(name)
            case "os.remove", "removed":
                hit = Path(str(arguments[0])).name == name
            case _:
                return
        self.left -= hit
        if hit and self.left == 0:
            self.next = moment == "placed"  # whatever comes after the rename
            if not self.next:
                _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(
    folder: Path,
    name: str,
    dies: Dies | None = None,
    *,
    scale: str = "smoke",
    workers: int = 1,
    population: int | None = None,
    backend: Callable[[Machine], Backend] = Local,
) -> int:
    """The claims in `folder`, into the store `name` there: the exit code of the command."""
    machine = Machine(
        device="cpu",
        workers=workers,
        store=folder / name,
        data_dirs=(folder,),
        cache_dir=folder / "cache",
        checkpoint_seconds=0.0,
        population=population,
        keep_weights=True,
    )
    if dies is not None:
        dies.arm()
    outcome = run_claims(
        load_all(sorted(folder.glob("*.yaml"))),
        scale=scale,
        machine=machine,
        backend=backend(machine),
        max_seeds=None,
        budget=None,
    )
    return max((fault.exit_code for fault in outcome.faults), default=0)


def count(folder: Path, name: str) -> int:
    """A whole run; how many calls its training thread made."""
    calls = [0]

    def more(*_: object) -> None:
        calls[0] += 1

    threading.setprofile(more)
    run(folder, name)
    return calls[0]


_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ["tests.faults.smoke", "tests.faults.warm"]
_CONTEXT.set_forkserver_preload(_PRELOADED)


def preload(module: str) -> None:
    """A module that forks find imported; before the first of them."""
    _PRELOADED.append(module)
    _CONTEXT.set_forkserver_preload(_PRELOADED)


def launch(work: Callable[..., object], *arguments: object, **keywords: object) -> Any:
    """What `work` gives in a process of its own; -9 when that was killed."""
    return answer(start(work, *arguments, **keywords))


def start(work: Callable[..., object], *arguments: object, **keywords: object) -> Any:
    """`work` in a process of its own, whose answer is waited for later."""
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_send, args=(theirs, work, arguments, keywords))
    process.start()
    theirs.close()
    return ours, process


def answer(started: Any) -> Any:
    """What the work gave; the exit code of its process when that ended before."""
    ours, process = started
    try:
        given = ours.recv()
    except EOFError:
        given = None
    process.join()
    return process.exitcode if given is None else given[0]


def _send(
    pipe: Any,
    work: Callable[..., object],
    arguments: tuple[object, ...],
    keywords: Mapping[str, object],
) -> None:
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - no path of ours
        os.dup2(nowhere.fileno(), 2)
    pipe.send([work(*arguments, **keywords)])


# What is left


def finished(store: Path) -> dict[str, tuple[str, int]]:
    """Finished trials: hash and time of what was written of each."""
    found = {}
    for path in sorted(store.glob("trials/*/result.json")):
        files = [path, path.with_name("curve.csv")]
        content = b"".join(file.read_bytes() for file in files)
        found[path.parent.name] = (
            hashlib.sha256(content).hexdigest(),
            max(file.stat().st_mtime_ns for file in files),
        )
    return found


def numbers(store: Path) -> dict[str, str]:
    """All that was measured, but for clocks, by trial, and a hash of its pictures and its net."""
    facts = Store(store)
    return {name: facts.numbers(name) + _bits(facts, name) for name in facts.results()}


def _bits(store: Store, name: str) -> str:
    digest = hashlib.sha256()
    net = safetensors.numpy.load(store.weights(name)["weights.safetensors"])
    for array in (*store.arrays(name).values(), *(net[key] for key in sorted(net))):
        digest.update(array.tobytes())
    return digest.hexdigest()


def contradictions(folder: Path, name: str) -> list[str]:
    """What `repro verify` finds."""
    store = Store(folder / name)
    if not list(store.root.glob("[fpt]*/*")):
        return []  # died before the first file: nothing is there to verify
    return verify(store, load_all(sorted(folder.glob("*.yaml")))).contradictions


def seeded(most: int, number: int) -> list[int]:
    """That many points of a run, the same each time."""
    draw = random.Random(0)
    return sorted(draw.randint(1, most) for _ in range(number))


# Memory and disks


def limit_memory(megabytes: int | None) -> None:
    """From here on this process is given so much more and nothing beyond it; None: all again."""
    if megabytes is None:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return
    # What is freed goes back at once: kept and in pieces, it would count against the limit, and at
    # times leave no room for a single net.
    keep_freed()  # once a process, or the first training would undo what follows
    _LIBC.mallopt(_M_MMAP_THRESHOLD, 1 << 16)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (used,) = re.findall(r"VmData:\s+(\d+) kB", status)
    most = 1024 * int(used) + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


_M_MMAP_THRESHOLD = -3
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_PRIVATE = 1, 32, 4096, (1 << 18) | (1 << 14)
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def own_mounts() -> str:
    """From here on mounts are seen by this process alone; why not, where that is not permitted."""
    flags = _CLONE_NEWNS | (0 if os.geteuid() == 0 else _CLONE_NEWUSER)
    if _LIBC.unshare(flags) or _LIBC.mount(b"none", b"/", None, _MS_PRIVATE, None):
        return os.strerror(ctypes.get_errno())
    return ""


def small_disk(folder: Path, size: str) -> str:
    """A file system of that size at the folder; a second call changes the size."""
    again = _MS_REMOUNT if os.path.ismount(folder) else 0
    options = f"size={size}".encode()
    failed = _LIBC.mount(b"none", bytes(folder), b"tmpfs", again, options)
    return os.strerror(ctypes.get_errno()) if failed else ""


def read_only(folder: Path) -> str:
    """The folder as it is, but nothing in it can be written, by root neither."""
    place = bytes(folder)
    failed = _LIBC.mount(place, place, None, _MS_BIND, None) or _LIBC.mount(
        place, place, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None
    )
    return os.strerror(ctypes.get_errno()) if failed else ""
