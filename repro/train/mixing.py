"""Batches whose images are blended with one another: mixup and CutMix, as torchvision has them."""

import torch
from torch import Tensor


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

    `mixup`, `cutmix`: alpha of each; by chance one of them where both are given.
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
