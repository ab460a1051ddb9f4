"""How long an epoch takes on this device, by a few steps of training."""

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
from repro.planning import next_cells
from repro.train import Population, Run, device_context, device_data
from repro.trial import WINDOWS, Trial

_STEPS = 10  # of training, timed for each shape


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochTime:
    """Seconds an epoch, a mean over a plan's first trials; `fingerprint`: of its images."""

    seconds: float
    device: str
    fingerprint: str


def time_epoch(claim: TrainedClaim, scale: str, machine: Machine) -> EpochTime | None:
    """None of a command, which is not run for it, and where the images are not here."""
    if claim.trainer is not None:
        return None
    try:
        dataset = open_images(claim, scale, machine.data_dirs, machine.cache_dir)
    except DataError:
        return None
    trials = [cell.trial for cell in next_cells(claim, scale, dataset.fingerprint, {})]
    seconds = seconds_an_epoch(trials, dataset, machine.device)
    return EpochTime(
        seconds=fmean(seconds[trial.shape] for trial in trials),
        device=f"{machine.device}, by a few steps",
        fingerprint=dataset.fingerprint,
    )


def seconds_an_epoch(trials: Sequence[Trial], dataset: Dataset, device: str) -> dict[str, float]:
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
