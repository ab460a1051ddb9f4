"""How time and memory of the commands on a store grow with its trials.

A store has a claim for each thousand trials: two arms, five recipes and about a hundred seeds,
every other claim with times. The store's own writer writes them; their numbers are made up.
"""

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.race import Table
from repro.audit.curves import rederived
from repro.claim import TrainedClaim, load
from repro.planning import Cell, next_cells
from repro.store import Store
from repro.store.arrays import Array
from repro.store.provenance import provenance
from repro.trial import WINDOWS, Clocks, Result, Row, Trial
from repro.verdict.judge import register

__all__ = ["make_store", "stores"]

CLAIMS = (1, 10, 30)  # of a thousand trials each

_FINGERPRINT = "0" * 16
_IMAGES = 5000  # of a tenth of an epoch
_TEST_IMAGES = 10_000
_VARIANTS = 20  # of curves, of which each is worked out once
_BEST_RATE = 0.003

_RECIPE = {"inputs": "centred", "initialisation": "cuda_convnet", "batch_size": 128}
_RECIPES: dict[str, dict[str, object]] = {
    "plain": {},
    "decay": {"weight_decay": 0.001},
    "bias": {"bias_rate": 2.0},
    "flip": {"augment": ["flip"]},
    "he": {"initialisation": "he"},
}
_RATES = (0.001, _BEST_RATE, 0.01)
_SEARCH = {"rates": _RATES, "rungs": [2], "seeds": 1, "refine": None}
_DIFFERENCE = {
    "kind": "difference",
    "metric": "test_error",
    "contrast": {"higher": "second", "lower": "first"},
    "region": {"low": 1.0, "high": 3.0},
}
_TIME = {
    "kind": "time_to_threshold",
    "metric": "train_error",
    "threshold": 0.25,
    "decided_by": "full",
    "near": 0.02,
    "contrast": {"slow": "second", "fast": "first"},
    "region": {"low": 1.2, "high": 3.0},
}

# By a small process: a child's greatest memory counts that of which it was forked. What processes
# share counts once (PSS, looked at ten times a second), and no less than the greatest has.
_MEASURE = """\
import resource, subprocess, sys, time

def memory(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            below = sum(map(memory, children.read().split()))
        with open(f"/proc/{pid}/smaps_rollup") as own:
            return below + sum(1024 * int(l.split()[1]) for l in own if l.startswith("Pss:"))
    except OSError:  # it has ended
        return 0

began, most = time.perf_counter(), 0
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
while process.poll() is None:
    most = max(most, memory(process.pid))
    time.sleep(0.1)
wall = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, max(most, 1024 * used.ru_maxrss))
sys.exit(process.returncode)
"""


class Cost(NamedTuple):
    """What a command takes. `cpu`: user and system."""

    wall: float  # s
    cpu: float  # s
    memory: float  # bytes, at most, of all its processes


def stores(device: torch.device, rounds: int) -> Table:
    """What each command takes on a store of so many trials, of which none lies on a disk."""
    del device  # which a store has not
    rows = []
    for claims in CLAIMS:
        with TemporaryDirectory(dir=_memory()) as folder:
            root = Path(folder)
            make_store(root, claims=claims)
            costs = [_costs(root) for _ in range(rounds)]
            shown = {name: [each[name] for each in costs] for name in costs[0]}
            rows += [_row(f"{1000 * claims:,} trials", *each) for each in shown.items()]
    return Table(
        title="How the commands on a store grow",
        columns=("command", "seconds", "CPU seconds, user and system", "memory at most"),
        rows=tuple(rows),
    )


def _memory() -> Path | None:
    """A file system in memory, where there is one."""
    path = Path("/dev/shm")
    return path if path.is_dir() else None


def _row(trials: str, name: str, costs: list[Cost]) -> tuple[str, ...]:
    wall, cpu, most = (median(each) for each in zip(*costs, strict=True))
    return f"{trials}: `repro {name}`", f"{wall:.1f}", f"{cpu:.1f}", f"{most / 1e6:.0f} MB"


def _costs(root: Path) -> dict[str, Cost]:
    """Each command on `root`/store, by its name."""
    store = root / "store"
    claims: list[str | Path] = ["--claims", root / "claims"]
    with TemporaryDirectory(dir=root) as folder:
        out = Path(folder)
        (out / "merged").mkdir()
        commands: dict[str, list[str | Path]] = {
            "status": ["--store", store],
            "report": ["--store", store, *claims, "--out", out / "report"],
            "verify": [store, *claims],
            "export": ["--store", store, *claims, out / "exported"],
            "merge": [out / "merged", store],
        }
        return {name: _cost([name, *map(str, words)]) for name, words in commands.items()}


def _cost(words: list[str]) -> Cost:
    command = [sys.executable, "-c", _MEASURE, sys.executable, "-m", "repro", *words]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Cost(*map(float, text.split()))


def make_store(root: Path, *, claims: int, seeds: int = 100) -> None:
    """`root`/store with ten trials for each claim and seed, and the claims in `root`/claims."""
    folder = root / "claims"
    folder.mkdir(parents=True)
    store = Store(root / "store")
    for number in range(claims):
        path = folder / f"grown_{number}.yaml"
        path.write_text(json.dumps(_claim(number, seeds), indent=1))
        claim = load(path)
        assert isinstance(claim, TrainedClaim)
        register(claim, "proxy", fingerprint=_FINGERPRINT, title="made up", store=store)
        _fill(store, claim)


def _claim(number: int, seeds: int) -> dict[str, object]:
    """A claim file's content; its momentum gives it trials of its own."""
    of_times = number % 2 == 1
    common = {**_RECIPE, "momentum": number / 1000}
    return {
        "version": 1,
        "id": f"grown_{number}",
        "title": f"The arms of claim {number} differ",
        "paper": {"section": "none", "states": "They do.", "value": 2.0, "unit": "points"},
        "question": "Do they?",
        "confounds": "None.",
        **(_TIME if of_times else _DIFFERENCE),
        "arms": {
            "first": {"model": {"activation": "relu"}},
            "second": {"model": {"activation": "tanh"}},
        },
        "recipes": {name: {**common, **change} for name, change in _RECIPES.items()},
        "verdict_recipe": "plain",
        "scales": {
            "proxy": {
                "data": "cifar10",
                "model": {"name": "cifar_80sec"},
                "epochs": 10,
                # Three rates of each arm and recipe are tried on a seed of their own.
                "seeds": seeds - len(_RATES) if of_times else seeds,
                **(
                    {"search": dict.fromkeys(_RECIPES, _SEARCH)}
                    if of_times
                    else {"rate": dict.fromkeys(_RECIPES, _BEST_RATE)}
                ),
            }
        },
        "deviations": [],
    }


def _fill(store: Store, claim: TrainedClaim) -> None:
    """With a result of every trial of the claim."""
    results: dict[str, Result] = {}
    made: dict[tuple[float, float, int], tuple[Result, list[Row]]] = {}
    while cells := next_cells(claim, "proxy", _FINGERPRINT, results):
        for cell in cells:
            fall = _fall(cell.trial)
            kind = fall, cell.until, cell.trial.seed % _VARIANTS
            if kind not in made:
                made[kind] = _outcome(cell, fall)
            result, curve = made[kind]
            result = results[cell.trial.id] = replace(result, trial_id=cell.trial.id)
            store.begin(cell.trial)
            store.save(cell.trial.id, checkpoint=b"", curve=curve)
            store.finish(result, _arrays(result))


def _fall(trial: Trial) -> float:
    """Epochs in which the error falls by a factor e, more or less."""
    fall = 4.0 if trial.arguments["activation"] == "tanh" else 2.0
    return fall if trial.rate == _BEST_RATE else 1.5 * fall


def _outcome(cell: Cell, fall: float) -> tuple[Result, list[Row]]:
    """A result, and the curve that it follows from."""
    curve = list(_curve(cell, fall))
    first = Result(
        trial_id=cell.trial.id,
        status="finished",
        epochs=cell.until,
        crossing_full=None,
        crossing_online=None,
        train_error=0.0,
        epoch_errors=(),
        loss=0.0,
        seconds=Clocks(evaluate=1.0),
        provenance=provenance("cpu"),
    )
    return rederived(cell.trial, curve, first), curve


def _curve(cell: Cell, fall: float) -> Iterator[Row]:
    chance = random.Random(cell.trial.seed % _VARIANTS)
    threshold, fall = cell.trial.threshold, fall * chance.uniform(0.9, 1.1)
    latest: list[float] = []
    for window in range(1, round(WINDOWS * cell.until) + 1):
        epoch = window / WINDOWS
        error = (
            round(0.9 * math.exp(-epoch / fall) * chance.uniform(0.98, 1.02) * _IMAGES) / _IMAGES
        )
        latest = [*latest[-2:], error]
        yield Row(epoch, "online", error, 2.5 * error, _IMAGES, 3.7 * epoch)
        crossed = False
        if threshold is not None and sum(latest) / len(latest) <= threshold + cell.trial.near:
            crossed = error <= threshold
            yield Row(epoch, "train", error, 2.4 * error, WINDOWS * _IMAGES, 3.7 * epoch)
        if window % WINDOWS == 0 if threshold is None else crossed:
            yield Row(epoch, "test", _tested(error), 2.6 * error, _TEST_IMAGES, 3.7 * epoch)
        if crossed:
            return


def _tested(error: float) -> float:
    return round((error + 0.1) / 1.1 * _TEST_IMAGES) / _TEST_IMAGES


def _arrays(result: Result) -> dict[str, Array]:
    """Which test images the net classified correctly, as trials of one length keep it."""
    if result.status != "finished":
        return {}
    right = np.arange(_TEST_IMAGES) >= round(result.metrics["test_error"] * _TEST_IMAGES)
    return {"right_centre": np.packbits(right), "test_images": np.array(_TEST_IMAGES)}
