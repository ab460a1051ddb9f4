"""How long an epoch takes on this device, tests included, by a few steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch

from repro.claim import TrainedClaim
from repro.data import Dataset
from repro.errors import DataError
from repro.execute.machine import Machine
from repro.execute.prepare import open_images
from repro.execute.worker.train_cells import claim_errors, training_images
from repro.planning import Cell, next_cells
from repro.train import Population, Run, device_context, device_data
from repro.train.evaluate import evaluate
from repro.trial import WINDOWS

_STEPS = 10  # of training, timed for each shape
_TESTED = 1000  # images of which a test is timed


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochTime:
    """Seconds an epoch, a mean over a plan's first trials; `fingerprint`: of its images."""

    seconds: float
    device: str
    fingerprint: str


def time_epoch(claim: TrainedClaim, scale: str, machine: Machine) -> EpochTime | str:
    """Or why it is unknown: of a command, which is not run for it, and without the images."""
    if claim.trainer is not None:
        return "known after the first trial of its command"
    try:
        dataset = open_images(claim, scale, machine.data_dirs, machine.cache_dir)
    except DataError as error:
        return f"unknown: {error}"
    cells = next_cells(claim, scale, dataset.fingerprint, {})
    seconds = seconds_an_epoch(cells, dataset, machine.device)
    return EpochTime(
        seconds=fmean(seconds[cell.trial.shape] for cell in cells),
        device=f"{machine.device}, by a few steps",
        fingerprint=dataset.fingerprint,
    )


def seconds_an_epoch(cells: Sequence[Cell], dataset: Dataset, device: str) -> dict[str, float]:
    """Seconds per epoch of each shape, from one short window of a trial."""
    firsts: dict[str, Cell] = {}
    for cell in cells:
        firsts.setdefault(cell.trial.shape, cell)
    torch_device = torch.device(device)
    with device_context(torch_device):  # as trials are trained
        return {
            shape: _measure_epoch(cell, dataset, torch_device) for shape, cell in firsts.items()
        }


def _measure_epoch(cell: Cell, dataset: Dataset, device: torch.device) -> float:
    trial = cell.trial
    images = training_images(trial, dataset)
    short = replace(trial, images=min(_STEPS * trial.recipe.batch_size * WINDOWS, images))
    with claim_errors(trial, errors=(TypeError, ValueError)):  # as of a crop that does not fit
        run = Run(short, device_data(short, dataset, device), until=1.0)
    population = Population([run])
    population.train_window()  # the first window pays for start-up
    before = run.progress.seconds.train
    population.train_window()
    training = (run.progress.seconds.train - before) * WINDOWS * images / run.images
    return training + _tests_an_epoch(run, images, cell.until)


def _tests_an_epoch(run: Run, images: int, epochs: float) -> float:
    """A test after each epoch, and at the end the training images and all crops.

    None are counted of a trial with a threshold, which is tested near it alone.
    """
    if run.trial.threshold is not None:
        return 0.0
    test, start = run.data.test, run.clock.now()
    tested = evaluate(run.model, test, run.data.centre, autocast=run.autocast, first=_TESTED)
    each = (run.clock.now() - start) / tested.images
    at_the_end = images + len(test.labels) * (1 + len(run.data.ten))
    return each * (len(test.labels) + at_the_end / epochs)
