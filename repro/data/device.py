"""Images on the device: kept as uint8, turned into the net's inputs batch by batch there.

A data set that fits needs no loader: CIFAR-10 is 180 MB. Inputs are what the paper feeds its
nets, raw RGB less the per-pixel mean of the training set (sec. 2), or the same at unit variance.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from repro.data.dataset import Dataset, Split

__all__ = ["DeviceData", "DeviceSplit", "Inputs", "pixel_statistics"]

Inputs = Literal["centred", "standardised"]

_CHUNK = 4096  # images; bounds the memory of the statistics


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSplit:
    """One split on the device: images (N, H, W, 3) uint8, labels (N,) int64."""

    images: Tensor
    labels: Tensor
    mean: Tensor  # (H, W, 3) float32, grey levels
    scale: Tensor  # (3,) float32, by which centred grey levels are multiplied

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """indices (B,) int64 -> inputs (B, 3, H, W) float32 in channels_last, labels (B,)."""
        pixels = self.images[indices].to(torch.float32)
        # (B, H, W, 3) in memory is (B, 3, H, W) in channels_last: no copy is made.
        return ((pixels - self.mean) * self.scale).permute(0, 3, 1, 2), self.labels[indices]


class DeviceData:
    """A data set on a device, as the net's inputs. `images`: the first n training images."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        device: torch.device,
        inputs: Inputs,
        images: int | None = None,
    ) -> None:
        train = dataset.train.images[:images]
        mean, std = pixel_statistics(train)
        scale = np.ones(3) if inputs == "centred" else 1 / np.maximum(std, 1e-12)
        on_device = {
            "mean": torch.tensor(mean, dtype=torch.float32, device=device),
            "scale": torch.tensor(scale, dtype=torch.float32, device=device),
        }

        def split(part: Split, first: int | None) -> DeviceSplit:
            return DeviceSplit(
                images=_tensor(part.images[:first]).to(device),
                labels=_tensor(part.labels[:first]).to(device),
                **on_device,
            )

        self.train = split(dataset.train, images)
        self.test = split(dataset.test, None)


def pixel_statistics(
    images: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean image (H, W, 3) and standard deviation by channel (3,) of the centred images.

    images: (N, H, W, 3) uint8. Sums are of whole numbers, so their order does not matter.
    """
    count = len(images)
    total = np.zeros(images.shape[1:], dtype=np.int64)
    squares = np.zeros(images.shape[1:], dtype=np.int64)
    for start in range(0, count, _CHUNK):
        chunk = images[start : start + _CHUNK].astype(np.int64)
        total += chunk.sum(0)
        squares += (chunk * chunk).sum(0)
    mean = total / count
    variance = squares / count - mean**2  # (H, W, 3), of each pixel about its own mean
    return mean, np.sqrt(variance.mean((0, 1)))


def _tensor(array: npt.NDArray[np.generic]) -> Tensor:
    # torch refuses to promise that a read-only memory map stays unwritten; a copy in memory is
    # also what makes gathering a batch quick.
    return torch.from_numpy(np.array(array))
