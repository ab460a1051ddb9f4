"""What `repro plan` says: the trials that can run now, and the time that each takes here."""

from collections.abc import Iterator, Mapping, Sequence

from repro.claim import Claim, TimeClaim, TrainedClaim
from repro.claim.trainer import fingerprint_of, hashed_text
from repro.data import Dataset
from repro.execute import Machine
from repro.execute.epoch_time import seconds_an_epoch
from repro.execute.prepare import open_images
from repro.execute.worker.probe import check_nets
from repro.planning import Cell, most_epochs_left
from repro.store import Store
from repro.text import counted, duration
from repro.trial import Result
from repro.verdict import settles
from repro.verdict.analysis import Evidence, analyse
from repro.verdict.checks import missing_metrics
from repro.verdict.forecast import outlook
from repro.verdict.judge import (
    as_registered,
    count_finished,
    default_scale,
    next_trials,
    registered_plan,
)


def describe_plan(
    claim: Claim, scale: str | None, machine: Machine, *, max_seeds: int | None
) -> str:
    """The trials that can run now, with an upper bound of their time.

    On this device, where a few steps are timed; of a command, which is not run for it, by the
    trials in the store.
    """
    if not isinstance(claim, TrainedClaim):
        return f"{claim.id}: nothing to train, a second at most"
    scale = scale or default_scale(claim)
    dataset = (
        None if claim.trainer else open_images(claim, scale, machine.data_dirs, machine.cache_dir)
    )
    fingerprint = dataset.fingerprint if dataset else fingerprint_of(claim)
    store = Store(machine.store)
    claim, results = as_registered(claim, scale, store), store.results()
    cells = next_trials(claim, scale, fingerprint, results, max_seeds=max_seeds, records=store)
    evidence = analyse(claim, scale, fingerprint, results, settles=settles, records=store)
    notes = [
        f"  {sentence}"
        for recipe in evidence.recipes.values()
        for sentence in missing_metrics(claim, scale, recipe.outcomes, recipe.contrasts)
    ]
    name = f"{claim.id} at {scale} scale"
    if unwritten := evidence.recipes[claim.verdict_recipe].unwritten:
        return f"{name}: nothing more is run: {unwritten}"
    if not cells:
        return "\n".join([f"{name}: nothing left to run", *notes])
    if dataset is None:
        lines = [f"{name}, by its command: {counted(len(cells), 'trial')} can run now"]
        lines.append(f"  {hashed_text(claim)}")
        lines += [f"  {cell.name} to epoch {cell.until:g}  {cell.trial.id}" for cell in cells]
        most = most_epochs_left(claim, scale, fingerprint, results, max_seeds=max_seeds)
        lines.append(_time_of_command(evidence, results, most / machine.workers))
    else:
        check_nets(claim, scale, cells, dataset, machine)
        lines = [f"{name} on {dataset.title}: {counted(len(cells), 'trial')} can run now"]
        most = most_epochs_left(claim, scale, fingerprint, {}, max_seeds=max_seeds)
        lines += _timed_cells(claim, cells, results, dataset, machine, most)
    lines += [*notes, *_earlier_results(claim, scale, fingerprint, store)]
    recipe = evidence.recipes[claim.verdict_recipe]
    chances = outlook(claim, scale, recipe, seeds=max_seeds).sentences
    return "\n".join([*lines, *(f"  {sentence}" for sentence in chances)])


def _timed_cells(
    claim: TrainedClaim,
    cells: Sequence[Cell],
    results: Mapping[str, Result],
    dataset: Dataset,
    machine: Machine,
    most: float,
) -> Iterator[str]:
    """A line for each cell, and one for all. `most`: epochs of the whole claim."""
    epochs = seconds_an_epoch(cells, dataset, machine.device)
    total = 0.0
    for cell in cells:
        result = results.get(cell.trial.id)
        remaining = cell.until - (result.epochs if result else 0.0)
        seconds = remaining * epochs[cell.trial.shape]
        total += seconds
        yield f"  {cell.name} to epoch {cell.until:g}: at most {duration(seconds)}  {cell.trial.id}"
    fastest, slowest = min(epochs.values()), max(epochs.values())
    span = " to ".join(dict.fromkeys([duration(fastest), duration(slowest)]))
    timed = isinstance(claim, TimeClaim) and claim.decided_by is not None
    early = "arms cross the threshold early, or " * timed
    yield (
        f"{span} an epoch on {machine.device}, {machine.workers} at a time: these take "
        f"at most {duration(total / machine.workers)}, the whole claim "
        f"{duration(most * slowest / machine.workers)}; less where {early}an interim analysis "
        "decides"
    )


def _time_of_command(evidence: Evidence, results: Mapping[str, Result], most: float) -> str:
    """`most`: epochs that are left, in a row."""
    epochs = sum(results[name].epochs for name in evidence.trials)
    if not epochs:
        return "the time is known after the first trial"
    took = evidence.clocks.wall / epochs
    return f"{duration(took)} an epoch so far: at most {duration(most * took)} for all"


def _earlier_results(
    claim: TrainedClaim, scale: str, fingerprint: str, store: Store
) -> Iterator[str]:
    """A note that an unregistered plan already has results, which you may have seen."""
    count = count_finished(claim, scale, fingerprint, store.results())
    if count and registered_plan(claim, scale, store) is None:
        grid = " at rates that its search may choose" * bool(claim.scales[scale].search)
        yield (
            f"  {count} of its evaluation trials{grid} are in the store already, run for another "
            "claim or plan: the report will say so"
        )
