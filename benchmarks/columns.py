"""AlexNet over two devices, as the paper ran it (sec. 3.2 and 3.5, Fig. 2).

"The GPUs communicate only in certain layers": the kernels of conv2, conv4 and conv5 see the maps of
their own column; conv3 and the fully connected layers see both. Each device holds half the maps or
units of a layer, the first also the classes. One process drives both devices, which work side by
side.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from repro.models.alexnet import AlexNet
from repro.models.lrn import LocalResponseNorm

__all__ = ["TwoColumns"]


class TwoColumns(nn.Module):
    """The grouped net's function, with its weights, one half on each of two devices.

    Dropout draws a mask in each column. ValueError when the net is not grouped as on two GPUs.
    """

    def __init__(self, net: AlexNet, devices: tuple[torch.device, torch.device]) -> None:
        super().__init__()
        layers = {
            f"{part}.{name}": layer
            for part in ("features", "classifier")
            for name, layer in net.get_submodule(part).named_children()
        }
        if not any(isinstance(layer, nn.Conv2d) and layer.groups == 2 for layer in layers.values()):
            raise ValueError("only a net with split='two_gpus' falls into two columns")
        self.devices = devices
        self._names = {name.rpartition(".")[2]: name for name in layers}
        weighted = [name for name, layer in layers.items() if _is_weighted(layer)]
        self._last = weighted[-1].rpartition(".")[2]
        self._crossing = {
            name.rpartition(".")[2]
            for name in weighted[1:]
            if getattr(layers[name], "groups", 1) == 1
        }
        self.columns = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: _half(layers[path], half, whole=name == self._last)
                    for name, path in self._names.items()
                    if half == 0 or name != self._last
                }
            ).to(device)
            for half, device in enumerate(devices)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) images -> (N, classes) logits on the first device."""
        parts = [x.to(device, non_blocking=True) for device in self.devices]
        for name in self._names:
            if name in self._crossing:
                parts = [self._both(parts, device) for device in self.devices]
            parts = [
                column[name](part)  # type: ignore[index]
                for column, part in zip(self.columns, parts, strict=False)
                if name in column  # type: ignore[operator]
            ]
        return parts[0]

    @staticmethod
    def _both(parts: list[Tensor], device: torch.device) -> Tensor:
        """Both columns' maps or units, (N, C / 2, ...) each, on one device: (N, C, ...)."""
        return torch.cat([part.to(device, non_blocking=True) for part in parts], 1)

    def whole(self, of: Callable[[nn.Parameter], Tensor | None]) -> dict[str, Tensor]:
        """What `of` says of each parameter, put together under the grouped net's names, on the CPU.

        With `Tensor.detach` it is what the grouped net loads.
        """
        found: dict[str, list[Tensor]] = {}
        for column in self.columns:
            for name, parameter in column.named_parameters():
                layer, _, kind = name.rpartition(".")
                value = of(parameter)
                if value is not None:
                    found.setdefault(f"{self._names[layer]}.{kind}", []).append(value.cpu())
        return {name: torch.cat(halves) for name, halves in found.items()}


def _is_weighted(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | nn.Linear)


def _half(layer: nn.Module, half: int, *, whole: bool) -> nn.Module:
    """The column's half of the layer's maps or units; `whole`: all of them."""
    if isinstance(layer, LocalResponseNorm):
        return LocalResponseNorm(
            len(layer.band) // 2,
            size=layer.size,
            alpha=layer.alpha,
            beta=layer.beta,
            k=layer.k,
            convention=layer.convention,
        )
    copy = deepcopy(layer)
    if whole or not isinstance(copy, nn.Conv2d | nn.Linear):
        return copy
    for name, parameter in list(copy.named_parameters()):
        rows = parameter.detach().chunk(2)[half]
        setattr(copy, name, nn.Parameter(rows.clone(memory_format=torch.preserve_format)))
    if isinstance(copy, nn.Linear):
        copy.out_features //= 2
    else:
        copy.out_channels //= 2
        copy.in_channels //= copy.groups
        copy.groups = 1
    return copy
