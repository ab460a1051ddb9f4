"""Images on the device: kept as uint8, turned into the net's inputs batch by batch there.

A data set that fits needs no loader: CIFAR-10 is 180 MB. Inputs are what the paper feeds its
nets, raw RGB less the per-pixel mean of the training set (sec. 2), or the same at unit variance.
The mean is taken away before the crop: a pixel's own mean, wherever the crop lies.

B images, S pixels a side of the crop.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from repro.data.dataset import Dataset, Images, Split

__all__ = [
    "Augment",
    "Colour",
    "DeviceData",
    "DeviceSplit",
    "Inputs",
    "View",
    "colour_components",
    "pixel_statistics",
    "ten_crop",
]

Inputs = Literal["centred", "standardised"]
Colour = Literal["none", "deviations", "scaled", "eigenvalues"]

_CHUNK = 512  # images; its sums of squares have to fit into 32 bits
_COLOUR_STD = 0.1  # of alpha (sec. 4.1)
_AUTHORS_SCALE = 1 / 1.1  # their code divides images with colour noise by 1.1


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Where a square of `size` pixels is cut out, and whether it is mirrored."""

    top: int
    left: int
    size: int
    mirrored: bool = False


def ten_crop(size: int, side: int) -> tuple[View, ...]:
    """Four corners and the centre of images of `side` pixels, each as it is and mirrored."""
    end, middle = side - size, (side - size) // 2
    corners = ((0, 0), (0, end), (end, 0), (end, end), (middle, middle))
    return tuple(
        View(top=top, left=left, size=size, mirrored=mirrored)
        for mirrored in (False, True)
        for top, left in corners
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """What changes from one use of an image to the next.

    `components`: what alpha is multiplied with, (3, 3), one a row, in grey levels; None: no noise.
    """

    crop: bool
    flip: bool
    components: Tensor | None
    shrink: float = 1.0  # of the whole image, where colour noise is added

    @property
    def any(self) -> bool:
        """Whether anything does."""
        return self.crop or self.flip or self.components is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSplit:
    """One split on the device: images (N, H, W, 3) uint8, labels (N,) int64."""

    images: Tensor
    labels: Tensor
    mean: Tensor  # (H, W, 3) float32, grey levels
    scale: Tensor  # (H, W, 3) float32, by which centred grey levels are multiplied

    def batch(self, indices: Tensor, view: View | None = None) -> tuple[Tensor, Tensor]:
        """Inputs (B, 3, S, S) float32 in channels_last and labels (B,), of indices (B,) int64.

        128 images of 32x32 take 0.13 ms on one core. Brackets in place of index_select, together
        with a scale of 3 numbers, which cannot be multiplied many at a time, make it 0.7 ms.
        """
        images, mean, scale = self.images, self.mean, self.scale
        if view is not None:
            rows = slice(view.top, view.top + view.size)
            columns = slice(view.left, view.left + view.size)
            images, mean, scale = (
                images[:, rows, columns],
                mean[rows, columns],
                scale[rows, columns],
            )
        pixels = images.index_select(0, indices).to(torch.float32)
        pixels.sub_(mean).mul_(scale)
        if view is not None and view.mirrored:
            pixels = pixels.flip(2)
        # (B, H, W, 3) in memory is (B, 3, H, W) in channels_last: no copy is made.
        return pixels.permute(0, 3, 1, 2), self.labels.index_select(0, indices)

    def random_batch(
        self, indices: Tensor, augment: Augment, *, size: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """As `batch`, each image cut, mirrored and coloured at random, by `generator` alone."""
        height, width = self.images.shape[1:3]
        count, device = len(indices), self.images.device

        def places(room: int) -> Tensor:
            if not augment.crop:
                return torch.full((count, 1), room // 2, device=device)
            return torch.randint(room + 1, (count, 1), generator=generator, device=device)

        along = torch.arange(size, device=device)
        rows = places(height - size) + along  # (B, S)
        columns = places(width - size) + along
        if augment.flip:
            mirrored = torch.rand(count, 1, generator=generator, device=device) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        where = rows[:, :, None], columns[:, None, :]
        pixels = self.images[indices[:, None, None], *where].to(torch.float32)
        pixels.sub_(self.mean[where])
        if augment.components is not None:
            alpha = torch.randn(count, 3, generator=generator, device=device) * _COLOUR_STD
            pixels.add_((alpha @ augment.components)[:, None, None]).mul_(augment.shrink)
        pixels.mul_(self.scale[where])
        return pixels.permute(0, 3, 1, 2), self.labels.index_select(0, indices)


class DeviceData:
    """A data set on a device, as the net's inputs. `images`: the first n training images.

    `crop`: side of the square that the net sees; None: the whole image. Raises ValueError when
    the images are smaller than that.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        device: torch.device,
        inputs: Inputs,
        images: int | None = None,
        crop: int | None = None,
        augment: tuple[str, ...] = (),
        colour: Colour = "none",
    ) -> None:
        used = dataset.train.images[:images]
        side = min(used.shape[1:3])
        if crop is not None and crop > side:
            raise ValueError(f"crops of {crop} pixels do not fit into images of {side}")
        mean, std = pixel_statistics(used)
        # An image of one colour throughout has no deviation; it is left at zero.
        factor = np.ones(3) if inputs == "centred" else 1 / np.where(std > 0, std, 1)

        def floats(array: npt.NDArray[np.float64]) -> Tensor:
            return torch.tensor(np.ascontiguousarray(array), dtype=torch.float32, device=device)

        self.size = crop or side
        self.centre = None if crop is None else ten_crop(crop, side)[4]
        self.ten = () if crop is None else ten_crop(crop, side)
        self.augment = Augment(
            crop="crop" in augment,
            flip="flip" in augment,
            components=None if colour == "none" else floats(colour_components(used, colour)),
            shrink=_AUTHORS_SCALE if colour == "scaled" else 1.0,
        )

        def split(part: Split, first: int | None) -> DeviceSplit:
            return DeviceSplit(
                images=_tensor(part.images[:first]).to(device),
                labels=_tensor(part.labels[:first]).to(device),
                mean=floats(mean),
                scale=floats(np.broadcast_to(factor, mean.shape)),
            )

        self.train = split(dataset.train, images)
        self.test = split(dataset.test, None)

    def training_batch(
        self, indices: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """What the net is trained on; `generator` None where nothing is random."""
        if generator is None:
            return self.train.batch(indices, self.centre)
        return self.train.random_batch(indices, self.augment, size=self.size, generator=generator)


def pixel_statistics(
    images: Images,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean image (H, W, 3) and standard deviation by channel (3,) of the centred images.

    images: (N, H, W, 3) uint8. Sums are of whole numbers, so their order does not matter. Short
    ones make it quick: 0.09 s for CIFAR-10 against 1 s in 64 bits.
    """
    count = len(images)
    total = np.zeros(images.shape[1:], dtype=np.int64)
    squares = np.zeros(images.shape[1:], dtype=np.int64)
    for start in range(0, count, _CHUNK):
        chunk = images[start : start + _CHUNK]
        wide = chunk.astype(np.uint16)
        wide *= wide  # at most 255 * 255 < 2**16
        total += chunk.sum(0, dtype=np.uint32)
        squares += wide.sum(0, dtype=np.uint32)
    mean = total / count
    variance = squares / count - mean**2  # (H, W, 3), of each pixel about its own mean
    return mean, np.sqrt(variance.mean((0, 1)).clip(0))


def colour_components(images: Images, colour: Colour) -> npt.NDArray[np.float64]:
    """Principal components of the RGB values of all pixels, (3, 3), one a row, largest first.

    Each is as long, in grey levels, as what alpha is multiplied with (sec. 4.1): the standard
    deviation along it, as in the authors' code, or (`eigenvalues`) the variance of pixels in 0 to
    1. Literally, on 0 to 255, the paper's variance would be noise of 1,483 grey levels.
    """
    covariance = np.zeros((3, 3))
    total = np.zeros(3)
    for start in range(0, len(images), _CHUNK):
        pixels = images[start : start + _CHUNK].reshape(-1, 3).astype(np.float64)
        covariance += pixels.T @ pixels
        total += pixels.sum(0)
    count = len(images) * math.prod(images.shape[1:3])
    mean = total / count
    values, vectors = np.linalg.eigh(covariance / count - np.outer(mean, mean))
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    lengths = values / 255 if colour == "eigenvalues" else np.sqrt(values)
    # The sign of an eigenvector is the library's choice; the noise is symmetric, its bits are not.
    signs = np.sign(vectors.sum(0))
    return (vectors * np.where(signs == 0, 1, signs) * lengths).T


def _tensor(array: npt.NDArray[np.generic]) -> Tensor:
    # torch refuses to promise that a read-only memory map stays unwritten; a copy in memory is
    # also what makes gathering a batch quick.
    return torch.from_numpy(np.array(array))
