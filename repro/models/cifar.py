"""The CIFAR-10 nets of cuda-convnet, from its example-layers configuration files.

Inputs are 32x32 RGB on the 0-255 scale less the mean image. Pooling is 3x3 with stride 2 in
ceil mode (32 -> 16 -> 8 -> 4): windows that hang over the edge count, as in cuda-convnet;
PyTorch's default would give 15, 7, 3.
"""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from repro.models.activation import activation as act
from repro.models.initialise import initialise


class CifarNet(nn.Module):
    """conv 32, conv 32, conv 64, then fc `hidden` when it is not zero, then the classifier.

    `fc_std` is the authors' standard deviation of the fully connected weights: 0.1 in
    layers-80sec, 0.01 in layers-19pct. Convolutions start at 0.0001, 0.01, 0.01 in both.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_chans: int = 3,
        activation: str = "relu",
        initialisation: str = "cuda_convnet",
        hidden: int = 64,
        fc_std: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = hidden or 64 * 4 * 4
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(in_chans, 32, 5, padding=2),
            pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
            act1=act(activation),  # after the pool in the authors' file; equal for monotone units
            conv2=nn.Conv2d(32, 32, 5, padding=2),
            act2=act(activation),
            pool2=nn.AvgPool2d(3, 2, ceil_mode=True),
            conv3=nn.Conv2d(32, 64, 5, padding=2),
            act3=act(activation),
            pool3=nn.AvgPool2d(3, 2, ceil_mode=True),
            flatten=nn.Flatten(),  # (N, 64, 4, 4) -> (N, 1024)
        )
        if hidden:
            layers.update(fc64=nn.Linear(64 * 4 * 4, hidden), act4=act(activation))
        layers.update(fc10=nn.Linear(self.num_features, num_classes))
        self.layers = nn.Sequential(layers)
        initialise(
            {n: m for n, m in layers.items() if isinstance(m, nn.Conv2d | nn.Linear)},
            initialisation,
            {"conv1": 1e-4, "conv2": 0.01, "conv3": 0.01, "fc64": fc_std, "fc10": fc_std},
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) images -> (N, classes) logits."""
        logits: Tensor = self.layers(x)
        return logits


def cifar_80sec(**kwargs: Any) -> CifarNet:
    """cuda-convnet's layers-80sec: 26 % test error in 80 seconds of 2011; 145,578 parameters."""
    return CifarNet(**kwargs)


def cifar_19pct(**kwargs: Any) -> CifarNet:
    """cuda-convnet's layers-19pct: the same without fc64; 89,578 parameters."""
    return CifarNet(**{"hidden": 0, "fc_std": 0.01, **kwargs})
