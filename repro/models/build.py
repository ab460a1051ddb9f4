"""A net by the name that a claim gives it, started from a seed."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn

from repro.registry import MODELS


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
    # Nets draw from the global generator; forking it keeps the draw a function of the seed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in MODELS:
            return builder(name)(**kwargs)
        import timm  # takes longer than everything else until the first step

        model: nn.Module = timm.create_model(name.removeprefix("timm:"), **kwargs)
        return model


def builder(name: str) -> Callable[..., nn.Module]:
    """What makes the net of that name, one of the registry's."""
    made: Callable[..., nn.Module] = getattr(import_module(MODELS[name].module), name)
    return made
