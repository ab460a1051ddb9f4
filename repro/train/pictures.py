"""What pictures of a trained net need: which classes it takes for which, and a few guesses.

Made once the numbers of a net are known, so nothing here can change one. N images, C classes,
K guesses.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from repro.data.device import DeviceData
from repro.train.precision import Autocast

Arrays = dict[str, npt.NDArray[np.generic]]

_GUESSES = "guesses_"
_MAX_CLASSES = 200  # classes; nobody looks at a larger matrix
_EXAMPLES = 8  # as in Fig. 4
_SIDE = 96  # pixels; a page shows no image larger


def arrays_to_store(
    model: nn.Module,
    data: DeviceData,
    classes: tuple[str, ...],
    arrays: Mapping[str, npt.NDArray[np.generic]],
    *,
    autocast: Autocast,
) -> Arrays:
    """All arrays to keep of a trial: of those that its measurement gave, and what stands below.

    Images are shrunk, and guesses are counted.
    """
    guesses = {
        name: array.astype(np.int64) for name, array in arrays.items() if name.startswith(_GUESSES)
    }
    images = {
        name: shrink(array) if array.dtype == np.uint8 else array
        for name, array in arrays.items()
        if name not in guesses
    }
    labels = data.test.labels.cpu().numpy()
    model.eval()
    with torch.inference_mode(), autocast():
        example_arrays = examples(model, data, classes)
    return (
        images
        | example_arrays
        | confusion(guesses[f"{_GUESSES}centre"], labels, classes)
        | correct_by_image(guesses, labels)
    )


def correct_by_image(
    guesses: Mapping[str, npt.NDArray[np.int64]], labels: npt.NDArray[np.int64]
) -> Arrays:
    """Which test images are taken for their class, bit by bit: so two tests of a net are paired.

    `right_centre`, `right_ten_crop`: (N / 8,) uint8 as numpy packs bits, of the central crop and
    of ten; `test_images`: N. Nothing where there are no crops.
    """
    if len(guesses) == 1:
        return {}
    packed: Arrays = {
        f"right_{name.removeprefix(_GUESSES)}": np.packbits(predicted == labels)
        for name, predicted in guesses.items()
    }
    return packed | {"test_images": np.array(len(labels))}


def confusion(
    guesses: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], classes: tuple[str, ...]
) -> Arrays:
    """How often a test image of one class (row) was taken for another, and the classes' names.

    guesses, labels: (N,) int64. `confusion`: (C, C) int32, `classes`: (C,) text; nothing of more
    than 200 classes. A guess of -1 is taken for nothing.
    """
    count = len(classes)
    if count > _MAX_CLASSES:
        return {}
    valid = guesses >= 0
    table = np.zeros((count, count), dtype=np.int32)
    np.add.at(table, (labels[valid], guesses[valid]), 1)
    return {"confusion": table, "classes": np.array(classes)}


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
        "example_images": shrink(test.rows(first).cpu().numpy()),
        "example_labels": names[labels.cpu().numpy()],
        "example_guesses": names[top.indices.cpu().numpy()],
        "example_probabilities": top.values.cpu().numpy(),
    }


def shrink(images: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Images (..., H, W, 3) uint8, shrunk to at most 96 pixels a side."""
    *_, height, width, _ = images.shape
    if max(height, width) <= _SIDE:
        return images
    factor = _SIDE / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    planes = torch.from_numpy(images.reshape(-1, height, width, 3)).permute(0, 3, 1, 2).float()
    resized = F.interpolate(planes, size=size, mode="area").round().to(torch.uint8)
    return resized.permute(0, 2, 3, 1).reshape(*images.shape[:-3], *size, 3).numpy()
