"""Activations by name: PyTorch's, timm's, and the scaled tanh of the period."""

import torch
from torch import Tensor, nn

from repro.registry import ACTIVATIONS


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x/3): unit slope and variance near the origin (LeCun et al. 1998, sec. 4.4)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        return 1.7159 * torch.tanh(x * (2 / 3))


def activation(name: str) -> nn.Module:
    """A new activation layer by a name of `registry.ACTIVATIONS`; ValueError otherwise."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown (known: {', '.join(ACTIVATIONS)})")
    if name in _COMMON:
        return _COMMON[name]()
    # Importing timm takes longer than everything else until the first step.
    from timm.layers.create_act import create_act_layer

    layer: nn.Module = create_act_layer(name)
    return layer


_COMMON: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "scaled_tanh": ScaledTanh,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}
