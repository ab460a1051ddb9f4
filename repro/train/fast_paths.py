"""Which fast paths a device takes: each is tried before it is relied on, and none ends a run.

The plain step is one net after another, laid out as PyTorch does, operation by operation. Each
path is tried on top of those that were kept before it, for about a second. It is kept where its
numbers agree and it is faster; where it loses or fails it is left, with a note.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from repro.models import lrn
from repro.train.out_of_memory import free
from repro.train.population import BATCHED_PATHS, PATHS, Population
from repro.train.ranks import SINGLE_RANK
from repro.train.trial_run import Run

_ALTERNATIVES = MappingProxyType({"streams": "grouped"})  # of which one is taken
_SECONDS = 0.5  # of steps that are timed; as long again for what comes before them
_STEPS = 6  # of which the losses are compared: beyond those that are not recorded
_RATE = 1e-4
_BOUNDS = {"float32": 1e-3, "bfloat16": 2e-2}  # relative, of losses


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMeasurement:
    """Seconds of a step of one net, and the losses of its first steps."""

    seconds: float
    losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FastPaths:
    """The paths that are taken, and a note on each that was tried."""

    paths: frozenset[str] = PATHS
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "; ".join(self.notes)


Measure = Callable[[frozenset[str]], StepMeasurement]


def try_paths(
    paths: Sequence[str],
    measure: Measure,
    *,
    bound: float,
    alternatives: Mapping[str, str] = _ALTERNATIVES,
) -> FastPaths:
    """Try the paths in their order. Where the plain step fails, that is what is raised."""
    chosen: frozenset[str] = frozenset()
    best = plain = measure(chosen)
    notes = []
    for path in paths:
        candidate = chosen - {alternatives.get(path, "")} | {path}
        try:
            measurement = measure(candidate)
        except Exception as error:  # noqa: BLE001 - whatever a path wants that is not here
            notes.append(f"{path} left: {_first_line(error)}")
            continue
        speedup = best.seconds / measurement.seconds
        if (difference := _difference(measurement.losses, plain.losses)) > bound:
            notes.append(f"{path} left: losses differ by {difference:.0e}")
        elif speedup <= 1:
            notes.append(f"{path} left: {speedup:.2f} times as fast")
        else:
            chosen, best = candidate, measurement
            notes.append(f"{path} {speedup:.2f} times as fast")
    return FastPaths(paths=chosen, notes=tuple(notes))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _difference(values: Sequence[float], references: Sequence[float]) -> float:
    """The largest relative one; infinite where a number is none."""
    return max(
        itertools.starmap(_relative_difference, zip(values, references, strict=True)), default=0.0
    )


def _relative_difference(a: float, b: float) -> float:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    difference = abs(a - b) / max(abs(b), 1e-12)
    return math.inf if math.isnan(difference) else difference


_choices: dict[
    tuple[str, str, bool], FastPaths
] = {}  # by shape, device, and whether nets are several


def choose_fast_paths(runs: Sequence[Run]) -> FastPaths:
    """What is taken for these; found out once, by nets of their shape that are thrown away.

    On a CPU there is nothing to choose: its numbers are to be the same everywhere.
    """
    run = runs[0]
    if run.device.type != "cuda":
        return FastPaths()
    key = run.trial.shape, str(run.device), len(runs) > 1
    if key not in _choices:
        paths = ["channels_last", "norm_kernel"]
        paths += ["crop_kernel"] if run.data.augment.any else []
        paths += ["graph"]
        paths += ["grouped", "streams"] if len(runs) > 1 else []
        bound = _BOUNDS[run.trial.recipe.precision]
        try:
            _choices[key] = try_paths(
                paths, lambda candidate: measure_steps(runs, candidate), bound=bound
            )
        except Exception as error:  # noqa: BLE001 - if it matters, training itself will tell
            _choices[key] = FastPaths(
                paths=frozenset(), notes=(f"not tried: {_first_line(error)}",)
            )
    lrn.use_kernel("norm_kernel" in _choices[key].paths)
    return _choices[key]


def measure_steps(
    runs: Sequence[Run], paths: frozenset[str], seconds: float = _SECONDS
) -> StepMeasurement:
    """Steps on the first batch by nets like those of the runs, which stay as they are."""
    lrn.use_kernel("norm_kernel" in paths)
    sample = runs if paths & BATCHED_PATHS else runs[:1]
    # At a rate at which losses stay where they can be compared.
    trials = [replace(run.trial, rate=_RATE) for run in sample]
    copies = [Run(trial, runs[0].data, until=1.0) for trial in trials]
    try:
        return _time_steps(Population(copies, paths=paths), seconds)
    finally:
        del copies
        free(runs[0].device, short=runs[0].device.type == "cuda")


def _time_steps(population: Population, seconds: float) -> StepMeasurement:
    now, data = population.clock.now, population.data
    batches = torch.cat([run.batches()[0] for run in population.runs])
    share = SINGLE_RANK.share(batches)
    generators = [run.generator("augment") for run in population.runs if data.augment.any]
    rows, labels = data.train.rows(batches), data.train.labels.index_select(0, batches)

    def step() -> None:
        population.step(population.inputs(rows, generators, share), labels, share)

    population.step.begin([run.seed("noise") for run in population.runs])
    losses = []
    for _ in range(_STEPS):
        step()
        losses.append(float(population.step.totals[0, 0]))
    start, steps = now(), 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not steps:
        for _ in range(8):
            step()
        steps += 8
        now()  # or all that is asked for would wait in a queue
    seconds_each = (now() - start) / (steps * len(population.runs))
    return StepMeasurement(seconds=seconds_each, losses=tuple(losses))
