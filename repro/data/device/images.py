"""Images on the device: uint8, turned into the net's inputs batch by batch there.

A data set that fits is held on the device and needs no loader: CIFAR-10 is 180 MB. One that does
not, such as the 252 GB of ImageNet at 256x256, stays mapped from disk; threads read
the next batches while the device works on this one. The numbers are the same either way.

Inputs are what the paper feeds its nets, raw RGB less the per-pixel mean of the training set
(sec. 2), or the same at unit variance. The mean is taken away before the crop: a pixel's own mean,
wherever the crop lies.

B images, S pixels a side of the crop. What is drawn for them, (B, 6) float32: row and column where
each crop begins, in the padded image; 1 where it is mirrored; noise of its colours, in grey levels.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.data.arrays import Images
from repro.data.dataset import Dataset, Split
from repro.data.device.statistics import Colour, colour_components, image_statistics

Inputs = Literal["centred", "standardised"]

_READERS, _AHEAD = 4, 8  # threads, and batches that they may be ahead
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

    `padding`: pixels around an image that is cropped at random.
    `components`: what alpha is multiplied with, (3, 3), one a row, in grey levels; None: no noise.
    They stay on the host, as all that is drawn.
    """

    crop: bool
    flip: bool
    components: Tensor | None
    padding: int = 0
    shrink: float = 1.0  # of the whole image, where colour noise is added

    @property
    def any(self) -> bool:
        """Whether anything does."""
        return self.crop or self.flip or self.components is not None


def moved(images: Images, device: torch.device) -> Tensor:
    """Images to the device; a GPU's own work goes on meanwhile, and the caller's thread waits."""
    here = torch.from_numpy(images)
    if device.type != "cuda":
        return here.to(device)
    copying = _copying(device)
    with torch.cuda.stream(copying):
        there = here.pin_memory().to(device, non_blocking=True)
    copying.synchronize()
    there.record_stream(torch.cuda.default_stream(device))  # its memory is not given away before
    return there


@cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSplit:
    """One split: images (N, H, W, 3) uint8, labels (N,) int64 on the device.

    `images` is a tensor on the device, or an array mapped from disk.
    """

    images: Tensor | Images
    labels: Tensor
    mean: Tensor  # (H, W, 3) float32, grey levels
    scale: Tensor  # (H, W, 3) float32, a number a channel: what centred levels are multiplied by

    def rows(self, indices: Tensor) -> Tensor:
        """Images of indices (B,) int64 on the device, (B, H, W, 3) uint8 there."""
        if isinstance(self.images, Tensor):
            return self.images.index_select(0, indices)
        return moved(self.images[indices.cpu().numpy()], self.labels.device)

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of each batch of indices in turn, read ahead where they lie on disk."""
        if isinstance(self.images, Tensor):
            for indices in batches:
                yield self.rows(indices), self.labels.index_select(0, indices)
            return
        device = self.labels.device
        # At once, before the device has work: it would have to end first.
        arrays = [indices.cpu().numpy() for indices in batches]
        images = self.images
        with ThreadPoolExecutor(_READERS) as pool:

            def read(places: npt.NDArray[np.int64]) -> Future[Tensor]:
                return pool.submit(lambda: moved(images[places], device))

            ahead = deque(map(read, arrays[:_AHEAD]))
            for place, indices in enumerate(batches):
                rows = ahead.popleft().result()
                ahead.extend(map(read, arrays[place + _AHEAD : place + _AHEAD + 1]))
                yield rows, self.labels.index_select(0, indices)

    def batch(self, indices: Tensor, view: View | None = None) -> tuple[Tensor, Tensor]:
        """Inputs (B, 3, S, S) and labels (B,) of indices (B,) int64."""
        return self.inputs(self.rows(indices), view), self.labels.index_select(0, indices)

    def inputs(self, rows: Tensor, view: View | None = None) -> Tensor:
        """What the net sees of images (B, H, W, 3): (B, 3, S, S) float32 in channels_last.

        128 images of 32x32 take 0.13 ms on one core; with a scale of 3 numbers, which cannot be
        multiplied many at a time, 0.7 ms.
        """
        mean, scale = self.mean, self.scale
        if view is not None:
            down = slice(view.top, view.top + view.size)
            right = slice(view.left, view.left + view.size)
            rows, mean, scale = rows[:, down, right], mean[down, right], scale[down, right]
        pixels = rows.to(torch.float32)
        pixels.sub_(mean).mul_(scale)
        if view is not None and view.mirrored:
            pixels = pixels.flip(2)
        # (B, H, W, 3) in memory is (B, 3, H, W) in channels_last: no copy is made.
        return pixels.permute(0, 3, 1, 2)

    def random_inputs(
        self,
        rows: Tensor,
        augment: Augment,
        *,
        size: int,
        generators: Sequence[torch.Generator],
        first: int = 0,
        of: int | None = None,
        crop: "Crop | None" = None,
    ) -> Tensor:
        """As `inputs`, each image cut, mirrored and coloured at random.

        `rows` are as many batches of one size as there are generators, and each batch is drawn
        for by its own generator alone. Where they are a part of `of` images, from the image
        `first` on, all are drawn for: an image gets its own numbers, whoever works on it.
        """
        count = len(rows)
        each = (of or count) // len(generators)
        rooms = [side + 2 * augment.padding - size for side in self.mean.shape[:2]]
        draws = torch.cat([_draw(augment, rooms, each, generator) for generator in generators])
        draws = _sent(draws[first : first + count], rows.device)
        return (crop or crop_windows)(self, rows, draws, augment, size)


# What is drawn for images (B, H, W, 3) of the split, done to them: (B, 3, S, S) in channels_last.
Crop = Callable[[DeviceSplit, Tensor, Tensor, Augment, int], Tensor]


def crop_windows(
    split: DeviceSplit, rows: Tensor, draws: Tensor, augment: Augment, size: int
) -> Tensor:
    """By PyTorch's operations, in float32."""
    rows, mean = _padded(rows, augment.padding), _padded(split.mean, augment.padding)
    top, left, side = draws[:, :3].long().unbind(1)
    sides, means = rows[None], mean[None]
    if augment.flip:
        # A crop that is mirrored is one of the mirrored image, as far from its other edge.
        left = torch.where(side == 1, rows.shape[2] - size - left, left)
        sides = torch.stack((rows, rows.flip(2)))
        means = torch.stack((mean, mean.flip(1)))
    image = torch.arange(len(rows), device=rows.device)
    pixels = _windows(sides, size)[side, image, top, left].to(torch.float32)
    pixels.sub_(_windows(means, size)[side, top, left])
    if augment.components is not None:
        noise = draws[:, None, None, 3:].expand(-1, -1, size, -1)
        pixels.add_(noise.contiguous()).mul_(augment.shrink)  # by rows: three are too few
    pixels.mul_(split.scale[:size, :size])  # the same at every place
    return pixels.permute(0, 3, 1, 2)


def _draw(augment: Augment, rooms: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """On the host, so that a trial's crops are the same on every device, and one copy brings them.

    `rooms`: rows and columns that an image has more than its crop.
    """

    def place(room: int) -> Tensor:
        if not augment.crop:
            return torch.full((count, 1), room // 2)
        return torch.randint(room + 1, (count, 1), generator=generator)

    top, left = map(place, rooms)
    mirrored, noise = torch.zeros(count, 1), torch.zeros(count, 3)
    if augment.flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
    if augment.components is not None:
        alpha = torch.randn(count, 3, generator=generator) * _COLOUR_STD
        noise = alpha @ augment.components
    return torch.cat((top, left, mirrored, noise), 1)


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    """To the device; a GPU need not have done all its work for that."""
    on_gpu = device.type == "cuda"
    return (numbers.pin_memory() if on_gpu else numbers).to(device, non_blocking=on_gpu)


def _padded(images: Tensor, by: int) -> Tensor:
    """Images (..., H, W, 3), or their mean, with as many zeros around: what is centred stays so."""
    return F.pad(images, (0, 0, by, by, by, by)) if by else images


def _windows(images: Tensor, size: int) -> Tensor:
    """Every square of (..., H, W, 3): (..., top, left, S, S, 3), a view.

    Looking one up copies rows of a square; looking up every pixel of it takes 3 times as long.
    """
    return images.unfold(-3, size, 1).unfold(-3, size, 1).movedim(-3, -1)


class DeviceData:
    """A data set on a device, as the net's inputs. `images`: the first n training images.

    `crop`: side of the square that the net sees; None: the whole image. `held`: whether images are
    copied to the device; by default, when they take no more than half of what is free there.
    Raises ValueError when the images are smaller than the crop.
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
        padding: int = 0,
        colour: Colour = "none",
        held: bool | None = None,
    ) -> None:
        used = dataset.train.images[:images]
        side = min(used.shape[1:3])
        if crop is not None and crop > side:
            raise ValueError(f"crops of {crop} pixels do not fit into images of {side}")
        statistics = image_statistics(dataset, images)
        std = statistics.std
        # An image of one colour throughout has no deviation; it is left at zero.
        factor = np.ones(3) if inputs == "centred" else 1 / np.where(std > 0, std, 1)
        if held is None:
            held = used.nbytes + dataset.test.images.nbytes <= _free_bytes(device) / 2

        def floats(array: npt.NDArray[np.float64]) -> Tensor:
            return torch.tensor(np.ascontiguousarray(array), dtype=torch.float32)

        self.classes = len(dataset.classes)
        self.size = crop or side
        self.centre = None if crop is None else ten_crop(crop, side)[4]
        # Of crops as large as the image nine would be seen for nothing.
        self.ten = () if crop in (None, side) else ten_crop(crop, side)
        self.augment = Augment(
            crop="crop" in augment,
            flip="flip" in augment,
            padding=padding,
            components=None
            if colour == "none"
            else floats(colour_components(statistics.covariance, colour)),
            shrink=_AUTHORS_SCALE if colour == "scaled" else 1.0,
        )

        def split(part: Split, first: int | None) -> DeviceSplit:
            images = part.images[:first]
            return DeviceSplit(
                images=_tensor(images).to(device) if held else images,
                labels=_tensor(part.labels[:first]).to(device),
                mean=floats(statistics.mean).to(device),
                scale=floats(np.broadcast_to(factor, statistics.mean.shape)).to(device),
            )

        self.train = split(dataset.train, images)
        self.test = split(dataset.test, None)

    def training_inputs(
        self,
        rows: Tensor,
        generators: Sequence[torch.Generator],
        *,
        first: int = 0,
        of: int | None = None,
        crop: Crop | None = None,
    ) -> Tensor:
        """What nets are trained on, a batch for each; no generators where nothing is random.

        `rows`: all images, or those from the image `first` on of `of` images. `crop`: what does
        to them what was drawn; None: PyTorch's operations.
        """
        if not generators:
            return self.train.inputs(rows, self.centre)
        return self.train.random_inputs(
            rows,
            self.augment,
            size=self.size,
            generators=generators,
            first=first,
            of=of,
            crop=crop,
        )


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = "SC_AVPHYS_PAGES" in os.sysconf_names  # macOS does not say what is free
    return os.sysconf("SC_AVPHYS_PAGES" if known else "SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _tensor(array: npt.NDArray[np.generic]) -> Tensor:
    # torch refuses to promise that a read-only memory map stays unwritten; a copy in memory is
    # also what makes gathering a batch quick.
    return torch.from_numpy(np.array(array))
