"""What running claims on this machine will cost, said beforehand."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from repro.budget import Forecast, forecast
from repro.claim import Claim, TrainedClaim
from repro.data import Dataset
from repro.execute import Machine
from repro.execute.work import building, check_size
from repro.plan import Cell, most_epochs_left
from repro.prepare import having, open_images
from repro.session import default_scale, next_trials
from repro.store import Store
from repro.text import duration
from repro.train import Population, Run, device_data, using
from repro.trial import WINDOWS

__all__ = ["describe_plan", "forecasts", "seconds_an_epoch"]


def describe_plan(
    claim: Claim, scale: str | None, machine: Machine, *, max_seeds: int | None
) -> str:
    """The trials that can run now, with the time that each takes on this device at most."""
    if not isinstance(claim, TrainedClaim):
        return f"{claim.id}: nothing to train, a second at most"
    at = scale or default_scale(claim)
    dataset = open_images(claim, at, machine.data_dirs, machine.cache_dir)
    results = Store(machine.store).results()
    cells = next_trials(claim, at, dataset.fingerprint, results, max_seeds=max_seeds)
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
            f"  {cell.name} to epoch {cell.until:g}: at most {duration(seconds)}  {cell.trial.id}"
        )
    epochs = most_epochs_left(claim, at, dataset.fingerprint, {}, max_seeds=max_seeds)
    everything = epochs * epoch / machine.workers
    lines.append(
        f"{duration(epoch)} an epoch on {machine.device}, {machine.workers} at a time: these take "
        f"at most {duration(total / machine.workers)}, the whole claim {duration(everything)}; "
        "less where arms cross the threshold early, or a look settles it"
    )
    return "\n".join(lines)


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
        plans = store.plans(claim.id, at)
        fingerprint = plans[-1].fingerprint if plans else None
        found.append(
            forecast(claim, at, fingerprint, results, workers=machine.workers, seconds=seconds)
        )
    return found


def seconds_an_epoch(cell: Cell, dataset: Dataset, device: str) -> float:
    """Time of one epoch of training, from one short window of the cell's own trial."""
    short = 20 * cell.trial.recipe.batch_size * WINDOWS
    trial = replace(cell.trial, images=min(short, len(dataset.train.labels)))
    at = torch.device(device)
    with using(at):  # as trials are trained
        with building(trial):
            run = Run(trial, device_data(trial, dataset, at), until=cell.until)
        check_size(run)
        population = Population([run])
        population.train_window()  # the first window pays for start-up
        before = run.progress.seconds.train
        population.train_window()
    window = run.progress.seconds.train - before
    epoch = len(dataset.train.labels[: cell.trial.images])
    return window * WINDOWS * epoch / run.images
