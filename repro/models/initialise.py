"""How weights start: the authors' standard deviations by layer, He, or Xavier."""

from collections.abc import Mapping

from torch import nn

__all__ = ["initialise"]


def initialise(layers: Mapping[str, nn.Module], scheme: str, stds: Mapping[str, float]) -> None:
    """Set weights in the order of `layers`, biases to zero. Draws from torch's CPU generator.

    `scheme`: `cuda_convnet` draws N(0, stds[name] squared), `he` and `xavier` scale by fan.
    """
    for name, layer in layers.items():
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        assert layer.bias is not None
        match scheme:
            case "cuda_convnet":
                nn.init.normal_(layer.weight, std=stds[name])
            case "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            case "xavier":
                nn.init.xavier_normal_(layer.weight)
            case _:
                raise ValueError(
                    f"initialisation {scheme!r} is unknown (known: cuda_convnet, he, xavier)"
                )
        nn.init.zeros_(layer.bias)
