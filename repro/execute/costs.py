"""What running claims on this machine will cost, said beforehand."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from repro.claim import Claim, TrainedClaim
from repro.claim.trainer import fingerprint_of
from repro.data import Dataset
from repro.execute import Machine
from repro.execute.budget import Forecast, forecast
from repro.execute.prepare import having, open_images
from repro.execute.worker.probe import check_nets
from repro.execute.worker.work import fitting, training_images
from repro.plan import most_epochs_left
from repro.store import Store
from repro.text import duration
from repro.train import Population, Run, device_data, using
from repro.trial import WINDOWS, Trial
from repro.verdict import settles
from repro.verdict.analysis import analyse
from repro.verdict.checks import unmeasured
from repro.verdict.forecast import outlook
from repro.verdict.session import (
    as_registered,
    default_scale,
    finished,
    judge,
    next_trials,
    planned,
)

__all__ = ["describe_plan", "forecasts"]

_STEPS = 10  # of which a shape's window is timed


def describe_plan(
    claim: Claim, scale: str | None, machine: Machine, *, max_seeds: int | None
) -> str:
    """The trials that can run now, with the time that each takes on this device at most."""
    if not isinstance(claim, TrainedClaim):
        return f"{claim.id}: nothing to train, a second at most"
    at = scale or default_scale(claim)
    if claim.trainer is not None:
        return _of_command(claim, at, machine, max_seeds)
    dataset = open_images(claim, at, machine.data_dirs, machine.cache_dir)
    store = Store(machine.store)
    claim, results = as_registered(claim, at, store), store.results()
    cells = next_trials(claim, at, dataset.fingerprint, results, max_seeds=max_seeds, records=store)
    lacking = _lacking(claim, at, dataset.fingerprint, store)
    if not cells:
        return "\n".join([f"{claim.id} at {at} scale: nothing left to run", *lacking])
    check_nets(claim, at, cells, dataset, machine)
    epochs = _seconds_an_epoch([cell.trial for cell in cells], dataset, machine.device)
    lines = [f"{claim.id} at {at} scale on {dataset.title}: {len(cells)} trials can run now"]
    total = 0.0
    for cell in cells:
        known = results.get(cell.trial.id)
        left = cell.until - (known.epochs if known else 0.0)
        seconds = left * epochs[cell.trial.shape]
        total += seconds
        lines.append(
            f"  {cell.name} to epoch {cell.until:g}: at most {duration(seconds)}  {cell.trial.id}"
        )
    fastest, slowest = min(epochs.values()), max(epochs.values())
    most = most_epochs_left(claim, at, dataset.fingerprint, {}, max_seeds=max_seeds)
    everything = most * slowest / machine.workers
    span = " to ".join(dict.fromkeys([duration(fastest), duration(slowest)]))
    lines.append(
        f"{span} an epoch on {machine.device}, {machine.workers} at a time: these take "
        f"at most {duration(total / machine.workers)}, the whole claim {duration(everything)}; "
        "less where arms cross the threshold early, or a look settles it"
    )
    lines += lacking
    lines += _known_before(claim, at, dataset.fingerprint, store)
    lines += _chances(claim, at, dataset.fingerprint, store, max_seeds=max_seeds)
    return "\n".join(lines)


def _lacking(claim: TrainedClaim, scale: str, fingerprint: str, store: Store) -> list[str]:
    """What finished trials have no number for, which no run into this store gives."""
    evidence = analyse(claim, scale, fingerprint, store.results(), settles=settles, records=store)
    return [
        f"  {sentence}"
        for found in evidence.recipes.values()
        for sentence in unmeasured(claim, scale, found.outcomes, found.contrasts)
    ]


def _known_before(claim: TrainedClaim, scale: str, fingerprint: str, store: Store) -> Iterator[str]:
    """That a plan which is not registered yet has results that could have been looked at."""
    there = finished(claim, scale, fingerprint, store.results())
    if there and planned(claim, scale, store) is None:
        grid = " at rates that its search may choose" * bool(claim.scales[scale].search)
        yield (
            f"  {there} of its evaluation trials{grid} are in the store already, run for another "
            "claim or plan: the report will say so"
        )


def _chances(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str,
    store: Store,
    *,
    max_seeds: int | None,
) -> Iterator[str]:
    """How likely the words are by the seeds that are planned, of the recipe that decides."""
    evidence = analyse(claim, scale, fingerprint, store.results(), settles=settles, records=store)
    found = evidence.recipes[claim.verdict_recipe]
    for sentence in outlook(claim, scale, found, seeds=max_seeds).sentences:
        yield f"  {sentence}"


def _of_command(claim: TrainedClaim, scale: str, machine: Machine, max_seeds: int | None) -> str:
    """Nothing is run to find out what a trial takes: those in the store say it."""
    store = Store(machine.store)
    claim, results = as_registered(claim, scale, store), store.results()
    cells = next_trials(
        claim, scale, fingerprint_of(claim), results, max_seeds=max_seeds, records=store
    )
    if not cells:
        return f"{claim.id} at {scale} scale: nothing left to run"
    lines = [f"{claim.id} at {scale} scale, by its command: {len(cells)} trials can run now"]
    lines += [f"  {cell.name} to epoch {cell.until:g}  {cell.trial.id}" for cell in cells]
    found = judge(claim, scale, store).evidence
    epochs = sum(results[name].epochs for name in found.trials) if found else 0.0
    if not found or not epochs:
        return "\n".join([*lines, "how long one takes is known once the first has ended"])
    most = most_epochs_left(claim, scale, fingerprint_of(claim), results, max_seeds=max_seeds)
    left = most * found.clocks.wall / epochs / machine.workers
    took = duration(found.clocks.wall / epochs)
    return "\n".join([*lines, f"{took} an epoch so far: at most {duration(left)} for all"])


def forecasts(
    claims: Sequence[Claim], scale: str | None, machine: Machine, *, seconds: float
) -> list[Forecast]:
    """What each claim that needs training could come to in so much time, by what is in the store.

    No image is opened: the store's own plans say on which data set trials were run.
    """
    store = Store(machine.store)
    results = store.results()
    trained = [claim for claim in having(claims, scale) if isinstance(claim, TrainedClaim)]
    found = []
    for claim in trained:
        at = scale or default_scale(claim)
        rule, plans = as_registered(claim, at, store), store.plans(claim.id, at)
        fingerprint = plans[-1].fingerprint if plans else None
        found.append(
            forecast(
                rule,
                at,
                fingerprint,
                results,
                workers=machine.workers,
                seconds=seconds,
                records=store,
            )
        )
    return found


def _seconds_an_epoch(trials: Sequence[Trial], dataset: Dataset, device: str) -> dict[str, float]:
    """Time of one epoch of training, by shape, from one short window of a trial of each."""
    firsts: dict[str, Trial] = {}
    for trial in trials:
        firsts.setdefault(trial.shape, trial)
    at = torch.device(device)
    with using(at):  # as trials are trained
        return {shape: _timed(trial, dataset, at) for shape, trial in firsts.items()}


def _timed(trial: Trial, dataset: Dataset, device: torch.device) -> float:
    images = training_images(trial, dataset)
    short = replace(trial, images=min(_STEPS * trial.recipe.batch_size * WINDOWS, images))
    with fitting(trial, errors=(TypeError, ValueError)):  # as of crops that do not fit
        run = Run(short, device_data(short, dataset, device), until=1.0)
    population = Population([run])
    population.train_window()  # the first window pays for start-up
    before = run.progress.seconds.train
    population.train_window()
    return (run.progress.seconds.train - before) * WINDOWS * images / run.images
