"""What pictures of a trained net need: which classes it takes for which, and a few guesses.

Looks at the net once its numbers are known, so nothing here can change one. N images, C classes,
K guesses.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.data.device import DeviceData, DeviceSplit
from repro.precision import Autocast

__all__ = ["Arrays", "by_image", "confusion", "examples", "kept", "small"]

Arrays = dict[str, npt.NDArray[np.generic]]

_BATCH = 1000
_CONFUSED = 200  # classes; nobody looks at a larger matrix
_EXAMPLES = 8  # as in Fig. 4
_SIDE = 96  # pixels; a page shows no image larger


def kept(
    model: nn.Module,
    data: DeviceData,
    classes: tuple[str, ...],
    arrays: Mapping[str, npt.NDArray[np.generic]],
    *,
    autocast: Autocast,
) -> Arrays:
    """All arrays to keep of a trial: `arrays`, images in them made small, and what stands below."""
    shown = {
        name: small(array) if array.dtype == np.uint8 else array for name, array in arrays.items()
    }
    model.eval()
    with torch.inference_mode(), autocast():
        return (
            shown
            | confusion(model, data, classes)
            | examples(model, data, classes)
            | by_image(model, data)
        )


def by_image(model: nn.Module, data: DeviceData) -> Arrays:
    """Which test images are taken for their class, bit by bit: so two tests of a net are paired.

    `right_centre`, `right_ten_crop`: (N / 8,) uint8 as numpy packs bits, of the central crop and
    of ten; `test_images`: N. Nothing where there are no crops.
    """
    if not data.ten:
        return {}
    centre: list[Tensor] = []
    ten: list[Tensor] = []
    for images, wanted in _batches(data.test):
        outputs = [model(data.test.inputs(images, view)).float() for view in data.ten]
        alone = model(data.test.inputs(images, data.centre)).float()
        together = torch.stack([F.softmax(each, 1) for each in outputs]).mean(0)
        for right, found in ((centre, alone), (ten, together)):
            right.append((found.argmax(1) == wanted) & ~found.isnan().any(1))
    bits = {"right_centre": torch.cat(centre), "right_ten_crop": torch.cat(ten)}
    packed: Arrays = {name: np.packbits(right.cpu().numpy()) for name, right in bits.items()}
    return packed | {"test_images": np.array(len(bits["right_centre"]))}


def confusion(model: nn.Module, data: DeviceData, classes: tuple[str, ...]) -> Arrays:
    """How often a test image of one class (row) was taken for another, and the classes' names.

    `confusion`: (C, C) int32, `classes`: (C,) text; nothing of more than 200 classes. An output
    that is not a number is taken for nothing.
    """
    count = len(classes)
    if count > _CONFUSED:
        return {}
    counts = torch.zeros(count * count, dtype=torch.int64, device=data.test.labels.device)
    for images, wanted in _batches(data.test):
        logits = model(data.test.inputs(images, data.centre)).float()
        known = ~logits.isnan().any(1)
        places = (wanted * count + logits.argmax(1))[known]
        counts += torch.bincount(places, minlength=count * count)
    table = counts.reshape(count, count).cpu().numpy().astype(np.int32)
    return {"confusion": table, "classes": np.array(classes)}


def _batches(split: DeviceSplit) -> Iterator[tuple[Tensor, Tensor]]:
    everything = torch.arange(len(split.labels), device=split.labels.device)
    return split.stream(torch.split(everything, _BATCH))


def examples(model: nn.Module, data: DeviceData, classes: tuple[str, ...]) -> Arrays:
    """The first test images, at most 8, each with its at most 5 likeliest classes (Fig. 4).

    `example_images`: (N, H, W, 3) uint8, `example_labels`: (N,) text, `example_guesses`: (N, K)
    text, the likeliest first, `example_probabilities`: (N, K) float32.
    """
    test = data.test
    first = torch.arange(min(_EXAMPLES, len(test.labels)), device=test.labels.device)
    inputs, labels = test.batch(first, data.centre)
    probabilities = model(inputs).float().softmax(1)
    top = probabilities.topk(min(5, probabilities.shape[1]), 1)
    names = np.array(classes)
    return {
        "example_images": small(test.rows(first).cpu().numpy()),
        "example_labels": names[labels.cpu().numpy()],
        "example_guesses": names[top.indices.cpu().numpy()],
        "example_probabilities": top.values.cpu().numpy(),
    }


def small(images: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Images (..., H, W, 3) uint8, shrunk to at most 96 pixels a side."""
    *_, height, width, _ = images.shape
    if max(height, width) <= _SIDE:
        return images
    factor = _SIDE / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    planes = torch.from_numpy(images.reshape(-1, height, width, 3)).permute(0, 3, 1, 2).float()
    shrunk = F.interpolate(planes, size=size, mode="area").round().to(torch.uint8)
    return shrunk.permute(0, 2, 3, 1).reshape(*images.shape[:-3], *size, 3).numpy()
