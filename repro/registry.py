"""Facts by name, without torch, so that a claim file is checked in milliseconds.

Registries are plain dicts; a name stands in one place. What a name builds lies elsewhere:
models in `repro.models` (and timm), data sets in `repro.data`.
"""

import re
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ACTIVATIONS",
    "DATASETS",
    "METRICS",
    "MODELS",
    "DatasetFacts",
    "MetricFacts",
    "ModelFacts",
    "folder_and_size",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFacts:
    """A measured quantity. `unit` is that of the stored number; errors are fractions in code."""

    title: str
    unit: str
    lower_is_better: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """A data set as claims name it. `images` is (train, test); `size` height and width in pixels.

    Besides these names a claim may say `folder:NAME`: a folder of the user's; see
    `folder_and_size`.
    """

    title: str
    classes: int
    images: tuple[int, int] | None  # None: no published number was found, so none is checked
    size: int
    evidence: bool  # False: embedded data, which can never support a verdict on the paper
    resize: bool = False  # the shorter side to `size`, the central square (Krizhevsky 2012, sec. 2)
    # "validation" where the test images' labels were never published (Krizhevsky 2012, sec. 6).
    tested_on: Literal["test", "validation"] = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A net of `repro.models`, as registered with timm. `parameters` at its default arguments."""

    title: str
    parameters: int
    arguments: tuple[str, ...]  # what a claim file may set besides the number of classes


METRICS = {
    "train_error": MetricFacts(title="training error", unit="fraction", lower_is_better=True),
    "test_error": MetricFacts(title="test error", unit="fraction", lower_is_better=True),
}

DATASETS = {
    "digits": DatasetFacts(
        title="scikit-learn's handwritten digits, 32x32 RGB (embedded)",
        classes=10,
        images=(1437, 360),
        size=32,
        evidence=False,
    ),
    "synthetic": DatasetFacts(
        title="seeded synthetic patterns (embedded)",
        classes=10,
        images=(2000, 500),
        size=32,
        evidence=False,
    ),
    "cifar10": DatasetFacts(
        title="CIFAR-10", classes=10, images=(50_000, 10_000), size=32, evidence=True
    ),
    "tiny-imagenet": DatasetFacts(
        title="Tiny ImageNet", classes=200, images=(100_000, 10_000), size=64, evidence=True
    ),
    # The paper says "roughly" 1.2 million training images, and copies differ by a few.
    "ilsvrc2010": DatasetFacts(
        title="ILSVRC-2010", classes=1000, images=None, size=256, evidence=True, resize=True
    ),
    "ilsvrc2012": DatasetFacts(
        title="ILSVRC-2012",
        classes=1000,
        images=(1_281_167, 50_000),
        size=256,
        evidence=True,
        resize=True,
        tested_on="validation",
    ),
}

MODELS = {
    "cifar_80sec": ModelFacts(
        title="cuda-convnet layers-80sec: three convolutions and fc64",
        parameters=145_578,
        arguments=("activation",),
    ),
    "cifar_19pct": ModelFacts(
        title="cuda-convnet layers-19pct: three convolutions, no fc64",
        parameters=89_578,
        arguments=("activation",),
    ),
}

# timm's activation names (a test holds them against timm itself) and LeCun's scaled tanh,
# 1.7159 tanh(2x/3), the usual tanh of the period.
ACTIVATIONS = (
    "celu",
    "elu",
    "gelu",
    "gelu_tanh",
    "hard_mish",
    "hard_sigmoid",
    "hard_swish",
    "identity",
    "leaky_relu",
    "mish",
    "prelu",
    "quick_gelu",
    "relu",
    "relu6",
    "scaled_tanh",
    "selu",
    "sigmoid",
    "silu",
    "swish",
    "tanh",
)


def folder_and_size(name: str) -> tuple[str, int | None]:
    """`folder:NAME@256` as ("NAME", 256): images of any size, to be resized. Without @: None.

    Raises ValueError, with a sentence, when what stands after @ is no size.
    """
    folder, at, size = name.removeprefix("folder:").partition("@")
    if not at:
        return folder, None
    if not re.fullmatch(r"[1-9][0-9]{1,3}", size) or not 16 <= int(size) <= 1024:
        raise ValueError(f"{name!r}: the size after @ is a whole number from 16 to 1024")
    return folder, int(size)
