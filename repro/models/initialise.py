"""How weights start: the authors' standard deviations by layer, He, Xavier, or PyTorch's own."""

from collections.abc import Mapping

from torch import nn


def initialise(
    layers: Mapping[str, nn.Module],
    scheme: str,
    stds: Mapping[str, float],
    biases: Mapping[str, float] | None = None,
) -> None:
    """Set weights in the order of `layers`, then biases, to zero where `biases` has none.

    `scheme`: `cuda_convnet` draws N(0, stds[name] squared), `he` and `xavier` scale by fan,
    `framework` leaves what PyTorch does by itself, uniform within 1/sqrt(fan), also for biases.
    Draws from torch's CPU generator.
    """
    for name, layer in layers.items():
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        match scheme:
            case "cuda_convnet":
                nn.init.normal_(layer.weight, std=stds[name])
            case "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            case "xavier":
                nn.init.xavier_normal_(layer.weight)
            case "framework":
                layer.reset_parameters()
                continue
            case _:
                raise ValueError(
                    f"initialisation {scheme!r} is unknown "
                    "(known: cuda_convnet, he, xavier, framework)"
                )
        if layer.bias is not None:  # batch normalisation has one in its place
            nn.init.constant_(layer.bias, (biases or {}).get(name, 0.0))
