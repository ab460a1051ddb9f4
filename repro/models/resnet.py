"""The CIFAR-10 nets of He et al. 2015 (arXiv 1512.03385, sec. 4.2), residual and plain.

A 3x3 convolution, then 6n of them on maps of 32, 16 and 8 pixels with 16, 32 and 64 channels,
global average pooling and a classifier: 6n + 2 layers. Batch normalisation follows every
convolution (sec. 3.4), so that convolutions have no biases.
"""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from repro.models.initialise import initialise

_CHANNELS = (16, 32, 64)


class Block(nn.Module):
    """Two convolutions; if `residual`, the input is added to their output before the last ReLU.

    Where the number of channels grows, the first convolution has stride 2; so has the shortcut,
    with zeros as the new channels (option A of sec. 3.3, which has no parameters).
    """

    def __init__(self, inputs: int, channels: int, *, stride: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride, self.residual = stride, residual

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, channels, H / stride, W / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self._shortcut(x, y.shape[1]) if self.residual else y)

    def _shortcut(self, x: Tensor, channels: int) -> Tensor:
        if self.stride == 1:
            return x
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))


class CifarResNet(nn.Module):
    """`depth`: layers, 6n + 2. `width`: a factor of all channels. `residual`: with shortcuts.

    Raises ValueError for another depth, and for a width without channels.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_chans: int = 3,
        initialisation: str = "he",
        depth: int = 20,
        width: float = 1.0,
        residual: bool = True,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"`depth` is 6n + 2, such as 20 or 56, not {depth}")
        stages = [round(width * channels) for channels in _CHANNELS]
        if stages[0] < 1:
            raise ValueError(f"a `width` of {width:g} leaves no channels")
        self.num_classes = num_classes
        self.num_features = stages[-1]
        self.conv1 = nn.Conv2d(in_chans, stages[0], 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(stages[0])
        blocks = OrderedDict[str, nn.Module]()
        inputs = stages[0]
        for stage, channels in enumerate(stages):
            for place in range(depth // 6):
                stride = 2 if stage and not place else 1
                blocks[f"block{stage + 1}_{place + 1}"] = Block(
                    inputs, channels, stride=stride, residual=residual
                )
                inputs = channels
        self.blocks = nn.Sequential(blocks)
        self.fc = nn.Linear(self.num_features, num_classes)
        layers = {
            name: layer
            for name, layer in self.named_modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)
        }
        initialise(layers, initialisation, dict.fromkeys(layers, 0.01))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) images -> (N, classes) logits."""
        x = F.relu(self.norm1(self.conv1(x)))
        x = self.blocks(x).mean((2, 3))  # (N, 64, S / 4, S / 4) -> (N, 64)
        logits: Tensor = self.fc(x)
        return logits


def cifar_resnet(**kwargs: Any) -> CifarResNet:
    """Of depth 20 it has 269,722 parameters, of depth 56 853,018, with and without shortcuts."""
    return CifarResNet(**kwargs)
