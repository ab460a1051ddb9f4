"""Running claims on this machine, and saying beforehand what that will cost."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from repro.claim import Claim, ExactClaim, TrainedClaim
from repro.console import Watcher, decoding_bar, say
from repro.data import Dataset, open_dataset
from repro.errors import ClaimError, DataError, MachineError
from repro.execute import Machine, Outcome, run_cells
from repro.facts import compute
from repro.plan import Cell, next_cells
from repro.session import Judged, default_scale, judge, judge_exact, register, runnable_hint
from repro.store import Store
from repro.text import duration
from repro.train import Run
from repro.trial import WINDOWS

__all__ = [
    "Machine",
    "RunOutcome",
    "describe_plan",
    "resolve_device",
    "run_claims",
    "seconds_an_epoch",
    "workers_for",
]

EXIT_INTERRUPTED = 130
EXIT_FAULT = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOutcome:
    """What a run of the command came to; faults come before verdicts in the exit code."""

    judged: list[Judged]
    interrupted: bool
    failed: bool

    @property
    def exit_code(self) -> int:
        """As documented in `repro --help`."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.failed:
            return EXIT_FAULT
        return max((_exit_code(one) for one in self.judged), default=0)


def _exit_code(one: Judged) -> int:
    # Smoke shows that the machinery works and can never be evidence, for or against.
    if one.evidence is not None and one.evidence.scale == "smoke":
        complete = all(r.missing == 0 for r in one.evidence.recipes.values())
        return 0 if complete else 4
    return one.deciding.exit_code


def resolve_device(name: str) -> str:
    """`auto` is the accelerator when there is one; MachineError when the named one is missing."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name.startswith("cuda") and torch.cuda.is_available()):
        raise MachineError(
            f"device {name!r} is not here (this machine has: "
            f"cpu{', cuda' if torch.cuda.is_available() else ''})",
            hint="--device auto takes what there is",
        )
    return name


def workers_for(device: str, asked: int | None) -> int:
    """One trial at a time on an accelerator; on a CPU one for each core."""
    if asked is not None:
        return asked
    return 1 if device.startswith("cuda") else len(os.sched_getaffinity(0))


def run_claims(
    claims: Sequence[Claim],
    *,
    scale: str | None,
    machine: Machine,
    max_seeds: int | None,
    budget: float | None,
) -> RunOutcome:
    """Run what is missing of each claim in turn; a fault in one does not keep the others."""
    started = time.monotonic()
    judged: list[Judged] = []
    interrupted = failed = False
    store = Store(machine.store)
    for claim in _having(claims, scale):
        if isinstance(claim, ExactClaim):
            store.keep_facts(claim.id, claim.digest, compute(claim))
            judged.append(judge_exact(claim, store))
            continue
        assert isinstance(claim, TrainedClaim)
        left = None if budget is None else max(0.0, budget - (time.monotonic() - started))
        at = scale or default_scale(claim)
        outcome = _run_claim(claim, at, machine, max_seeds, left)
        judged.append(judge(claim, at, store))
        for error in outcome.failures.values():
            say(f"error[{error.code}]: {error}\nnext: {error.hint}")
        failed = failed or bool(outcome.failures)
        if outcome.interrupted:
            interrupted = True
            say("interrupted: all is saved; the same command continues")
            break
        if outcome.out_of_time:
            say("budget used up: all is saved; the same command continues")
    return RunOutcome(judged=judged, interrupted=interrupted, failed=failed)


def _having(claims: Sequence[Claim], scale: str | None) -> list[Claim]:
    """Those that have the scale, or need none; ClaimError when no claim does."""
    if scale is None:
        return list(claims)
    having: list[Claim] = []
    for claim in claims:
        if isinstance(claim, TrainedClaim) and scale not in claim.scales:
            say(f"{claim.id} has no {scale} scale (it has: {', '.join(claim.scales)}): left out")
        else:
            having.append(claim)
    if not having:
        raise ClaimError(
            f"no claim that was named has the {scale} scale",
            hint="`repro list` shows the scales of each claim",
        )
    return having


def _run_claim(
    claim: TrainedClaim, scale: str, machine: Machine, max_seeds: int | None, budget: float | None
) -> Outcome:
    dataset = _open(claim, scale, machine)
    store = Store(machine.store)
    register(claim, scale, fingerprint=dataset.fingerprint, title=dataset.title, store=store)
    evidence = judge(claim, scale, store).evidence
    assert evidence is not None
    say(
        f"{claim.id} at {scale} scale on {dataset.title}, {machine.device}, "
        f"{machine.workers} at a time: {len(evidence.trials)} trials found done"
    )
    with Watcher(images=_images(claim, scale, dataset)) as watcher:
        return run_cells(
            lambda: next_cells(
                claim, scale, dataset.fingerprint, store.results(), max_seeds=max_seeds
            ),
            machine,
            seconds=budget,
            on_start=watcher.start,
            on_event=watcher.event,
            on_finish=watcher.finish,
        )


def describe_plan(
    claim: Claim, scale: str | None, machine: Machine, *, max_seeds: int | None
) -> str:
    """The trials that can run now, with the time that each takes on this device at most."""
    if not isinstance(claim, TrainedClaim):
        return f"{claim.id}: nothing to train, a second at most"
    _having([claim], scale)
    at = scale or default_scale(claim)
    dataset = _open(claim, at, machine)
    results = Store(machine.store).results()
    cells = next_cells(claim, at, dataset.fingerprint, results, max_seeds=max_seeds)
    if not cells:
        return f"{claim.id} at {at} scale: nothing left to run"
    epoch = seconds_an_epoch(cells[0], dataset, machine.device)
    lines = [f"{claim.id} at {at} scale on {dataset.title}: {len(cells)} trials can run now"]
    total = 0.0
    for cell in cells:
        known = results.get(cell.trial.id)
        seconds = (cell.until - (known.epochs if known else 0.0)) * epoch
        total += seconds
        lines.append(
            f"  {cell.recipe}/{cell.arm} {cell.purpose} rate {cell.trial.rate:g} "
            f"seed {cell.trial.seed} to epoch {cell.until:g}: at most {duration(seconds)}  "
            f"{cell.trial.id}"
        )
    everything = _most_epochs(claim, at, max_seeds) * epoch / machine.workers
    lines.append(
        f"{duration(epoch)} an epoch on {machine.device}, {machine.workers} at a time: these take "
        f"at most {duration(total / machine.workers)}, the whole claim {duration(everything)}; "
        "less where arms cross the threshold early"
    )
    return "\n".join(lines)


def seconds_an_epoch(cell: Cell, dataset: Dataset, device: str) -> float:
    """Time of one epoch of training, from one short window of the cell's own trial."""
    short = 20 * cell.trial.recipe.batch_size * WINDOWS
    trial = replace(cell.trial, images=min(short, len(dataset.train.labels)))
    run = Run(trial, dataset, torch.device(device))
    run.train_window()  # the first window pays for start-up
    before = run.progress.seconds.train
    run.train_window()
    window = run.progress.seconds.train - before
    epoch = len(dataset.train.labels[: cell.trial.images])
    return window * WINDOWS * epoch / run.images


def _most_epochs(claim: TrainedClaim, scale: str, max_seeds: int | None) -> float:
    """Epochs that the whole claim trains when no arm crosses early and no grid is extended."""
    at = claim.scales[scale]
    total = len(claim.recipes) * min(at.seeds, max_seeds or at.seeds) * at.epochs
    for search in at.search.values():
        alive, before = len(search.rates), 0.0
        for rung in search.rungs:
            total += alive * search.seeds * (rung - before)
            alive, before = math.ceil(alive * search.keep), rung
    return total * len(claim.arms)


def _open(claim: TrainedClaim, scale: str, machine: Machine) -> Dataset:
    try:
        with decoding_bar() as progress:
            return open_dataset(
                claim.scales[scale].data, machine.data_dirs, machine.cache_dir, progress=progress
            )
    except DataError as error:
        raise DataError(str(error), hint=runnable_hint(claim, error)) from error


def _images(claim: TrainedClaim, scale: str, dataset: Dataset) -> int:
    return len(dataset.train.labels[: claim.scales[scale].images])
