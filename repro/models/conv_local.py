"""The conv-local nets of cuda-convnet: two convolutions, then two layers with unshared weights.

layers-conv-local-13pct and -11pct are the only description of the four-layer net whose test error
response normalisation lowers from 13 % to 11 % (Krizhevsky 2012, sec. 3.3, footnote 3). Published
as they are they differ in more than that: see `claims/lrn_cifar.yaml`. Inputs are 24x24 crops.
"""

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.models.activation import activation as act
from repro.models.initialise import initialise
from repro.models.lrn import LocalResponseNorm


class LocallyConnected2d(nn.Module):
    """A 3x3 convolution whose weights differ from place to place; stride 1, one pixel of zeros.

    weight: (H W, in 9, out); bias: (out, H, W), as cuda-convnet has one for each place.
    """

    def __init__(self, in_maps: int, out_maps: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.empty(side * side, in_maps * 9, out_maps))
        self.bias = nn.Parameter(torch.zeros(out_maps, side, side))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (in_maps * 9)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W)."""
        patches = neighbourhoods(x).permute(2, 0, 1)  # (N, in 9, H W) -> (H W, N, in 9)
        places: Tensor = patches @ self.weight.to(patches.dtype)  # (H W, N, out)
        return places.permute(1, 2, 0).reshape(len(x), -1, self.side, self.side) + self.bias


def neighbourhoods(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C 9, H W), as `F.unfold`; in memory place by place, as it is multiplied.

    As nine slices of the map with an edge of zeros: on a GPU some ten kernels for any number of
    images, on a CPU a third of the time of `F.unfold` and what follows it.
    """
    height, width = x.shape[2:]
    edged = F.pad(x, (1, 1, 1, 1)).permute(2, 3, 0, 1)
    # Gradients are summed from the last slice to the first: so, in the order of `F.unfold`.
    slices = [edged[i : i + height, j : j + width] for i in (2, 1, 0) for j in (2, 1, 0)]
    return torch.stack(slices[::-1], -1).flatten(0, 1).flatten(2).permute(1, 2, 0)


class ConvLocalNet(nn.Module):
    """conv 64, conv 64, local `local3`, local 32, then the classifier.

    `norm`: response normalisation over 9 maps after the first pool and before the second, as in
    the 11pct file; `local3`: 32 in the 13pct file, 64 in the other.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_chans: int = 3,
        activation: str = "relu",
        initialisation: str = "cuda_convnet",
        local3: int = 64,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = 32 * 6 * 6

        def lrn() -> nn.Module:
            if not norm:
                return nn.Identity()
            return LocalResponseNorm(64, size=9, alpha=1e-3, k=1.0, convention="mean")

        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(in_chans, 64, 5, padding=2),
            act1=act(activation),
            pool1=nn.MaxPool2d(3, 2, ceil_mode=True),  # 24 -> 12
            norm1=lrn(),
            conv2=nn.Conv2d(64, 64, 5, padding=2),
            act2=act(activation),
            norm2=lrn(),
            pool2=nn.MaxPool2d(3, 2, ceil_mode=True),  # 12 -> 6
            local3=LocallyConnected2d(64, local3, 6),
            act3=act(activation),
            local4=LocallyConnected2d(local3, 32, 6),
            act4=act(activation),
            flatten=nn.Flatten(),
            fc10=nn.Linear(32 * 6 * 6, num_classes),
        )
        self.layers = nn.Sequential(layers)
        shared = {n: m for n, m in layers.items() if isinstance(m, nn.Conv2d | nn.Linear)}
        initialise(shared, initialisation, {"conv1": 1e-4, "conv2": 0.01, "fc10": 0.01})
        if initialisation == "cuda_convnet":
            for layer in (layers["local3"], layers["local4"]):
                nn.init.normal_(layer.weight, std=0.04)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 24, 24) images -> (N, classes) logits."""
        logits: Tensor = self.layers(x)
        return logits


def cifar_conv_local(**kwargs: Any) -> ConvLocalNet:
    """cuda-convnet's layers-conv-local-11pct: 11 % test error; 2,112,970 parameters."""
    return ConvLocalNet(**kwargs)
