"""In which order a trial sees its images, and where the tenths of an epoch begin."""

import math

import torch
from torch import Tensor

from repro.trial import WINDOWS, derive_seed


def epoch_order(images: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of the training images, (images,) int64, on the CPU.

    The arm is not asked for: arms with the same seed see the same batches (paired data order).
    """
    generator = torch.Generator().manual_seed(derive_seed("order", seed, epoch))
    return torch.randperm(images, generator=generator)


def window_steps(images: int, batch_size: int) -> list[int]:
    """Where the tenths of an epoch begin, in steps: WINDOWS + 1 numbers from 0 to the last.

    Raises ValueError when an epoch has fewer steps than windows.
    """
    steps = math.ceil(images / batch_size)
    if steps < WINDOWS:
        raise ValueError(
            f"{images} images in batches of {batch_size} make {steps} steps an epoch; "
            f"at least {WINDOWS} are needed to measure in tenths"
        )
    return [round(steps * k / WINDOWS) for k in range(WINDOWS + 1)]
