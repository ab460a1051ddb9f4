"""Check before the first trial that the nets of a claim can be trained.

On the CPU, where an error is about shapes; on a GPU it might be the device's.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from repro.claim import Claim
from repro.data import Dataset
from repro.errors import ClaimError
from repro.execute.machine import Machine
from repro.execute.worker.train_cells import check_size, claim_errors, fault_of, training_images
from repro.planning import Cell
from repro.train import untrained
from repro.trial import Trial


def check_nets(
    claim: Claim, scale: str, cells: Sequence[Cell], dataset: Dataset, machine: Machine
) -> None:
    """Build each net of the cells once, and train it on a batch like an epoch's last.

    ClaimError names the file, the arm, and the cause.
    """
    for cell in {_net(cell.trial): cell for cell in reversed(cells)}.values():
        try:
            _check(cell.trial, dataset)
        except ClaimError as error:
            place = f"{claim.path}: the {cell.arm} arm at {scale} scale"
            raise ClaimError(f"{place}: {error}", hint=error.hint) from error
        except Exception as error:
            raise fault_of(error, cell.trial, machine) from error


def _net(trial: Trial) -> tuple[str, ...]:
    """A key that is equal for trials with the same net."""
    return trial.shape, str(sorted(trial.arguments.items())), str(trial.recipe.initialisation)


def _check(trial: Trial, dataset: Dataset) -> None:
    images = training_images(trial, dataset)
    side = trial.recipe.crop or min(dataset.train.images.shape[1:3])
    classes = len(dataset.classes)
    with torch.random.fork_rng(devices=[]):
        with claim_errors(trial):
            net = untrained(trial, classes=classes, size=side)
        check_size(trial, net, side)
        # Batch normalisation fails on a batch of one image; two are enough.
        last = min(2, images % trial.recipe.batch_size or trial.recipe.batch_size)
        batch = "a batch of one image, the last of an epoch" if last == 1 else "its images"
        with claim_errors(trial, f"{trial.model} cannot be trained on {batch}: "):
            logits = net.train()(torch.zeros(last, 3, side, side))
            if logits.shape != (last, classes):
                raise ValueError(f"it gives {tuple(logits.shape)}, not a logit for each class")
            loss = F.cross_entropy(logits, torch.zeros(last, dtype=torch.long))
            torch.autograd.backward(loss)
