"""A net by the name that a claim gives it, started from a seed."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from repro.registry import MODELS

__all__ = ["build"]


def build(
    name: str,
    arguments: Mapping[str, Any],
    *,
    classes: int,
    size: int,
    initialisation: str,
    seed: int,
) -> nn.Module:
    """The net `name` on the CPU, its weights drawn from `seed` alone; torch's state is kept.

    `size`: pixels a side of its inputs, for nets that are built for one. `timm:NAME` is any model
    of timm's, which keeps its own initialisation.
    """
    kwargs = {**arguments, "num_classes": classes}
    if name in MODELS:
        kwargs["initialisation"] = initialisation
        if MODELS[name].sized:
            kwargs["img_size"] = size
    # timm draws from the global generator; forking it keeps the draw a function of the seed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(name.removeprefix("timm:"), **kwargs)
    return model
