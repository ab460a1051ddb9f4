"""What `repro plan` says: the trials that can run now, and the time that each takes here."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from repro.claim import Claim, TimeClaim, TrainedClaim
from repro.claim.trainer import fingerprint_of
from repro.data import Dataset
from repro.execute import Machine
from repro.execute.prepare import open_images
from repro.execute.worker.probe import check_nets
from repro.execute.worker.train_cells import claim_errors, training_images
from repro.plan import most_epochs_left
from repro.store import Store
from repro.text import duration
from repro.train import Population, Run, device_context, device_data
from repro.trial import WINDOWS, Trial
from repro.verdict import settles
from repro.verdict.analysis import analyse
from repro.verdict.checks import missing_metrics
from repro.verdict.forecast import outlook
from repro.verdict.judge import (
    as_registered,
    count_finished,
    default_scale,
    judge,
    next_trials,
    registered_plan,
)

_STEPS = 10  # of training, timed for each shape


def describe_plan(
    claim: Claim, scale: str | None, machine: Machine, *, max_seeds: int | None
) -> str:
    """The trials that can run now, with an upper bound of the time of each on this device."""
    if not isinstance(claim, TrainedClaim):
        return f"{claim.id}: nothing to train, a second at most"
    scale = scale or default_scale(claim)
    if claim.trainer is not None:
        return _describe_command(claim, scale, machine, max_seeds)
    dataset = open_images(claim, scale, machine.data_dirs, machine.cache_dir)
    store = Store(machine.store)
    claim, results = as_registered(claim, scale, store), store.results()
    cells = next_trials(
        claim, scale, dataset.fingerprint, results, max_seeds=max_seeds, records=store
    )
    notes = _missing_metrics(claim, scale, dataset.fingerprint, store)
    if not cells:
        return "\n".join([f"{claim.id} at {scale} scale: nothing left to run", *notes])
    check_nets(claim, scale, cells, dataset, machine)
    epochs = _seconds_an_epoch([cell.trial for cell in cells], dataset, machine.device)
    lines = [f"{claim.id} at {scale} scale on {dataset.title}: {len(cells)} trials can run now"]
    total = 0.0
    for cell in cells:
        result = results.get(cell.trial.id)
        remaining = cell.until - (result.epochs if result else 0.0)
        seconds = remaining * epochs[cell.trial.shape]
        total += seconds
        lines.append(
            f"  {cell.name} to epoch {cell.until:g}: at most {duration(seconds)}  {cell.trial.id}"
        )
    fastest, slowest = min(epochs.values()), max(epochs.values())
    most = most_epochs_left(claim, scale, dataset.fingerprint, {}, max_seeds=max_seeds)
    everything = most * slowest / machine.workers
    span = " to ".join(dict.fromkeys([duration(fastest), duration(slowest)]))
    lines.append(
        f"{span} an epoch on {machine.device}, {machine.workers} at a time: these take "
        f"at most {duration(total / machine.workers)}, the whole claim {duration(everything)}; "
        f"less where {_ends_early(claim)}an interim analysis decides"
    )
    lines += notes
    lines += _earlier_results(claim, scale, dataset.fingerprint, store)
    lines += _chances(claim, scale, dataset.fingerprint, store, max_seeds=max_seeds)
    return "\n".join(lines)


def _ends_early(claim: TrainedClaim) -> str:
    timed = isinstance(claim, TimeClaim) and claim.decided_by is not None
    return "arms cross the threshold early, or " * timed


def _missing_metrics(claim: TrainedClaim, scale: str, fingerprint: str, store: Store) -> list[str]:
    """Metrics that finished trials lack, and that no run into this store can measure."""
    evidence = analyse(claim, scale, fingerprint, store.results(), settles=settles, records=store)
    return [
        f"  {sentence}"
        for recipe in evidence.recipes.values()
        for sentence in missing_metrics(claim, scale, recipe.outcomes, recipe.contrasts)
    ]


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


def _chances(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str,
    store: Store,
    *,
    max_seeds: int | None,
) -> Iterator[str]:
    """How likely each verdict is with the planned seeds, under the deciding recipe."""
    evidence = analyse(claim, scale, fingerprint, store.results(), settles=settles, records=store)
    recipe = evidence.recipes[claim.verdict_recipe]
    for sentence in outlook(claim, scale, recipe, seeds=max_seeds).sentences:
        yield f"  {sentence}"


def _describe_command(
    claim: TrainedClaim, scale: str, machine: Machine, max_seeds: int | None
) -> str:
    """The plan of a command. Nothing is run for it: times come from the store."""
    store = Store(machine.store)
    claim, results = as_registered(claim, scale, store), store.results()
    cells = next_trials(
        claim, scale, fingerprint_of(claim), results, max_seeds=max_seeds, records=store
    )
    if not cells:
        return f"{claim.id} at {scale} scale: nothing left to run"
    lines = [f"{claim.id} at {scale} scale, by its command: {len(cells)} trials can run now"]
    lines += [f"  {cell.name} to epoch {cell.until:g}  {cell.trial.id}" for cell in cells]
    evidence = judge(claim, scale, store).evidence
    epochs = sum(results[name].epochs for name in evidence.trials) if evidence else 0.0
    if not evidence or not epochs:
        return "\n".join([*lines, "the time is known after the first trial"])
    most = most_epochs_left(claim, scale, fingerprint_of(claim), results, max_seeds=max_seeds)
    seconds = most * evidence.clocks.wall / epochs / machine.workers
    took = duration(evidence.clocks.wall / epochs)
    return "\n".join([*lines, f"{took} an epoch so far: at most {duration(seconds)} for all"])


def _seconds_an_epoch(trials: Sequence[Trial], dataset: Dataset, device: str) -> dict[str, float]:
    """Seconds per epoch of each shape, from one short window of a trial."""
    firsts: dict[str, Trial] = {}
    for trial in trials:
        firsts.setdefault(trial.shape, trial)
    torch_device = torch.device(device)
    with device_context(torch_device):  # as trials are trained
        return {
            shape: _measure_epoch(trial, dataset, torch_device) for shape, trial in firsts.items()
        }


def _measure_epoch(trial: Trial, dataset: Dataset, device: torch.device) -> float:
    images = training_images(trial, dataset)
    short = replace(trial, images=min(_STEPS * trial.recipe.batch_size * WINDOWS, images))
    with claim_errors(trial, errors=(TypeError, ValueError)):  # as of a crop that does not fit
        run = Run(short, device_data(short, dataset, device), until=1.0)
    population = Population([run])
    population.train_window()  # the first window pays for start-up
    before = run.progress.seconds.train
    population.train_window()
    return (run.progress.seconds.train - before) * WINDOWS * images / run.images
