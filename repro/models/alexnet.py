"""AlexNet of 2012, as printed and as its authors ran it; not torchvision's, which is of 2014.

Two presets (Krizhevsky 2012, sec. 3.5 and 5; the authors' released files of their net #145):

|                   | `paper_text`          | `authors_2012`                        |
| ----------------- | --------------------- | ------------------------------------- |
| layer 1           | conv, ReLU, LRN, pool | conv, LRN, pool, ReLU                 |
| layer 2           | conv, ReLU, LRN, pool | conv, ReLU, LRN, spatial norm, pool   |
| layer 5           | conv, ReLU, pool      | conv, pool, ReLU (the same function)  |
| LRN               | k + alpha * sum       | k + alpha/n * sum                     |
| std of conv3 to 5 | 0.01                  | 0.03                                  |

Their biases also learn twice as fast, without weight decay: that stands in the recipe.

224 -> 55 is where readers stumble: kernel 11, stride 4 and no padding give 54 in PyTorch. The
authors' code rounds up, so that the last filters hang over the right and lower edge: three pixels
of zeros on these two sides.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from repro.models.activation import activation as act
from repro.models.dropout import Dropout
from repro.models.initialise import initialise
from repro.models.lrn import ConstantScale, LocalResponseNorm, SpatialResponseNorm

Preset = Literal["paper_text", "authors_2012"]
Split = Literal["two_gpus", "one_gpu", "ungrouped", "columns"]
Norm = Literal["both", "first", "none", "constant"]
NamedLayer = tuple[str, nn.Module]


class CeilConv2d(nn.Conv2d):
    """A convolution whose output size is rounded up: zeros right and below make it so."""

    def hang_over(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with the zeros that the last filters hang over."""
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        below, right = (kh - x.shape[2]) % sh, (kw - x.shape[3]) % sw
        return F.pad(x, (0, right, 0, below))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(N, C, H, W) -> (N, C', 1 + ceil((H - kernel) / stride), likewise of W)."""
        return super().forward(self.hang_over(input))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Conv:
    """A convolution of sec. 3.5: maps, kernel; whether it is cut in two, and is pooled."""

    maps: int
    kernel: int
    cut: bool
    pooled: bool = False


_CONVS = {
    "conv1": _Conv(maps=96, kernel=11, cut=False, pooled=True),
    "conv2": _Conv(maps=256, kernel=5, cut=True, pooled=True),
    "conv3": _Conv(maps=384, kernel=3, cut=False),
    "conv4": _Conv(maps=384, kernel=3, cut=True),
    "conv5": _Conv(maps=256, kernel=3, cut=True, pooled=True),
}
_UNITS = 4096
_SIDE = 6  # of the last maps, for inputs of 224
_BIASED = ("conv2", "conv4", "conv5", "fc6", "fc7")  # sec. 5: these biases start at one
_CHOICES: dict[str, tuple[str, ...]] = {
    "preset": ("paper_text", "authors_2012"),
    "split": ("two_gpus", "one_gpu", "ungrouped", "columns"),
    "norm": ("both", "first", "none", "constant"),
    "without": ("", "conv2", "conv3", "conv4", "conv5"),
}


class AlexNet(nn.Module):
    """The net, with each part that a claim of the paper is about as an argument.

    `split`: `two_gpus` groups conv2, 4 and 5, its LRN within each half; `one_gpu` is the
    comparison net of sec. 3.2, conv1 to 4 halved, conv5 and the rest kept; `ungrouped` has no
    groups; `columns` cuts conv3, fc6 and fc7 as well. `overlapping`: pools are 3x3, else 2x2,
    always with stride 2 and maps of equal size. `norm`: LRN in both layers, the `first`, `none`,
    or the `constant` scale of LRN without its normalisation. `without`: a convolution that is
    left out. `hidden_bias`: where the biases of conv2, 4, 5, fc6 and fc7 start.

    `width` scales maps and units, `img_size` is the side of the inputs: 11x11 kernels with stride
    4 from 128 pixels, 7x7 with 2 from 48, 5x5 with 1 below. Standard deviations are the printed
    ones times sqrt(full fan-in / fan-in), so that signals keep their size in a smaller net; that of
    the last layer is the printed one, so that an untrained net does little more than guess.

    Raises ValueError for a choice that is not one of these.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        preset: Preset = "paper_text",
        split: Split = "two_gpus",
        overlapping: bool = True,
        norm: Norm = "both",
        drop_rate: float = 0.5,
        without: str = "",
        hidden_bias: float = 1.0,
        width: float = 1.0,
        img_size: int = 224,
        activation: str = "relu",
        initialisation: str = "cuda_convnet",
    ) -> None:
        super().__init__()
        _check(preset=preset, split=split, norm=norm, without=without)
        self.num_classes = num_classes
        self.num_features = units = _even(_UNITS * width)
        self._preset, self._split, self._norm = preset, split, norm
        self._overlapping, self._activation, self._width = overlapping, activation, width

        convs: list[NamedLayer] = []
        maps, side = in_chans, img_size
        for name, conv in _CONVS.items():
            if name != without:
                layer = self._conv(name, conv, maps, img_size)
                maps = layer.out_channels
                convs += self._block(name, layer)
            elif conv.pooled:
                convs.append((f"pool{name[-1]}", self._pool()))
            if name == "conv1":
                side = -(-(side - layer.kernel_size[0]) // layer.stride[0]) + 1
            side = side // 2 if conv.pooled else side
        self.features = nn.Sequential(OrderedDict(convs))

        def connected(inputs: int, kernel: int) -> nn.Module:
            # A fully connected layer cut in two is a grouped convolution as large as the map.
            if split == "columns":
                return nn.Conv2d(inputs, units, kernel, groups=2)
            return nn.Linear(inputs * kernel * kernel, units)

        flatten = nn.Identity() if split == "columns" else nn.Flatten()
        outputs = (units, 1, 1) if split == "columns" else (units,)
        self.classifier = nn.Sequential(
            OrderedDict(
                flatten=flatten,  # (N, 256, 6, 6) -> (N, 9216)
                fc6=connected(maps, side),
                act6=act(activation),
                drop6=Dropout(drop_rate, outputs),
                fc7=connected(units, 1),
                act7=act(activation),
                drop7=Dropout(drop_rate, outputs),
                head=nn.Flatten(),
                fc8=nn.Linear(units, num_classes),
            )
        )
        self._start(initialisation, hidden_bias, in_chans=in_chans, side=side)

    def _conv(self, name: str, conv: _Conv, inputs: int, img_size: int) -> nn.Conv2d:
        halved = self._split == "one_gpu" and name != "conv5"
        maps = _even(conv.maps * self._width / (2 if halved else 1))
        if name == "conv1":
            kernel, stride = _first_kernel(img_size)
            return CeilConv2d(inputs, maps, kernel, stride)
        cut = self._split == "columns" or (self._split == "two_gpus" and conv.cut)
        return nn.Conv2d(
            inputs, maps, conv.kernel, padding=conv.kernel // 2, groups=2 if cut else 1
        )

    def _block(self, name: str, conv: nn.Conv2d) -> Iterator[NamedLayer]:
        """The convolution with what follows it, in the order of the preset."""
        number = name[-1]
        unit = (f"act{number}", act(self._activation))
        pool = [(f"pool{number}", self._pool())] if _CONVS[name].pooled else []
        norms = list(self._norms(number, conv.out_channels))
        yield name, conv
        if self._preset == "authors_2012" and number in "15":
            yield from [*norms, *pool, unit]
        else:
            yield from [unit, *norms, *pool]

    def _norms(self, number: str, maps: int) -> Iterator[NamedLayer]:
        authors = self._preset == "authors_2012"
        if self._norm == "none" or number not in ("1" if self._norm == "first" else "12"):
            return
        if self._norm == "constant":
            yield f"norm{number}", ConstantScale()
            return
        yield (
            f"norm{number}",
            LocalResponseNorm(
                maps,
                convention="mean" if authors else "sum",
                groups=2 if self._split in ("two_gpus", "columns") else 1,
            ),
        )
        if authors and number == "2":
            yield "spatial2", SpatialResponseNorm()

    def _pool(self) -> nn.Module:
        # Rounded up with 3x3 and down with 2x2, both halve even sides and (side - 1) / 2 odd ones.
        return nn.MaxPool2d(3, 2, ceil_mode=True) if self._overlapping else nn.MaxPool2d(2, 2)

    def _start(self, scheme: str, hidden_bias: float, *, in_chans: int, side: int) -> None:
        layers: dict[str, Any] = {
            name: module
            for part in (self.features, self.classifier)
            for name, module in part.named_children()
            if isinstance(module, nn.Conv2d | nn.Linear)
        }
        deep = 0.03 if self._preset == "authors_2012" else 0.01
        stds = {name: deep if name in ("conv3", "conv4", "conv5") else 0.01 for name in layers}
        kernel = layers["conv1"].kernel_size[0]
        full_over_here = dict.fromkeys(layers, 1 / self._width) | {
            "conv1": 3 * 11**2 / (in_chans * kernel**2),
            "fc6": _SIDE**2 / (self._width * side**2),
            "fc8": 1,
        }
        initialise(
            layers,
            scheme,
            {name: std * math.sqrt(full_over_here[name]) for name, std in stds.items()},
            biases=dict.fromkeys(_BIASED, hidden_bias) if scheme == "cuda_convnet" else {},
        )

    def first_kernels(self) -> Tensor:
        """(maps, 3, K, K): the weights of conv1, which Fig. 3 shows."""
        return self.features.get_parameter("conv1.weight")

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) images -> (N, units) activations of fc7, which sec. 6.1 compares."""
        features: Tensor = self.classifier[:-1](self.features(x))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) images -> (N, classes) logits."""
        logits: Tensor = self.classifier[-1](self.forward_features(x))
        return logits


def _check(**chosen: str) -> None:
    for argument, value in chosen.items():
        if value not in _CHOICES[argument]:
            known = ", ".join(repr(choice) for choice in _CHOICES[argument])
            raise ValueError(f"{argument} {value!r} is unknown (known: {known})")


def _first_kernel(img_size: int) -> tuple[int, int]:
    """Kernel and stride of conv1."""
    return (11, 4) if img_size >= 128 else (7, 2) if img_size >= 48 else (5, 1)


def _even(count: float) -> int:
    """Nearest even number, since two GPUs share it; at least two."""
    return max(2, 2 * round(count / 2))


def alexnet_2012(**kwargs: Any) -> AlexNet:
    """AlexNet as printed: 60,965,224 parameters, grouped as on two GPUs."""
    return AlexNet(**kwargs)
