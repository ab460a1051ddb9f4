"""The registry's nets under their names in timm: importing this registers them.

`timm.create_model("alexnet_2012")` then works as for timm's own. Apart from the nets, since
importing timm takes longer than everything else until the first step.
"""

from collections.abc import Callable
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from repro.models.build import builder
from repro.registry import MODELS

__all__: list[str] = []

_CIFAR = {"num_classes": 10, "input_size": (3, 32, 32), "first_conv": "conv1", "classifier": "fc10"}
_CONFIGS = {
    "alexnet_2012": {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "first_conv": "features.conv1",
        "classifier": "classifier.fc8",
    },
    "cifar_19pct": _CIFAR,
    "cifar_80sec": _CIFAR,
    "cifar_conv_local": {
        "num_classes": 10,
        "input_size": (3, 24, 24),
        "first_conv": "layers.conv1",
        "classifier": "layers.fc10",
    },
    "cifar_resnet": {**_CIFAR, "classifier": "fc"},
}

default_cfgs = generate_default_cfgs(
    {f"{name}.untrained": {"url": "", **_CONFIGS.get(name, {})} for name in MODELS}
)


def _entry(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        net: nn.Module = build_model_with_cfg(builder(name), name, pretrained, **kwargs)
        return net

    create.__name__ = name
    return create


for _name in MODELS:
    register_model(_entry(_name))
