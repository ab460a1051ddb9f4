"""Batches that are changed as a whole: by augmentations of packages, then by mixup and CutMix."""

from collections.abc import Iterable

import torch
from torch import Tensor

from repro.errors import MachineError
from repro.registry import AUGMENTATIONS
from repro.train.out_of_memory import is_out_of_memory
from repro.trial import derive_seed


def augment_batch(images: Tensor, names: Iterable[str], *, seed: int) -> Tensor:
    """Images (B, 3, S, S) as these augmentations of packages change them, one after another."""
    for name in names:
        generator = torch.Generator(images.device).manual_seed(derive_seed(name, seed))
        try:
            images = _same_shape(AUGMENTATIONS[name].augment(images, generator), images)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise MachineError(
                f"the augmentation {name!r} failed: {type(error).__name__}: {error}",
                hint="repair or uninstall its package",
            ) from error
    return images


def _same_shape(augmented: object, images: Tensor) -> Tensor:
    if not isinstance(augmented, Tensor) or augmented.shape != images.shape:
        what = getattr(augmented, "shape", type(augmented).__name__)
        raise ValueError(f"it made {what} of images {tuple(images.shape)}")
    return augmented.to(images.dtype)


def mix_batch(
    images: Tensor,
    labels: Tensor,
    *,
    mixup: float | None,
    cutmix: float | None,
    classes: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S) with their neighbours in them, and shares of the labels, (B, classes).

    `mixup`, `cutmix`: alpha of each, as in torchvision; by chance one of them where both are given.
    """
    from torchvision.transforms.v2 import CutMix, MixUp  # which most recipes do without

    alphas = ((MixUp, mixup), (CutMix, cutmix))
    transforms = [
        transform(alpha=alpha, num_classes=classes)
        for transform, alpha in alphas
        if alpha is not None
    ]
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the CPU's own generator
        torch.default_generator.manual_seed(seed)
        transform = transforms[int(torch.randint(len(transforms), ()))]
        blended, shares = transform(images, labels)
    return blended, shares
