"""Facts by name, without torch, so that a claim file is checked in milliseconds.

A name stands in one place; other packages add theirs, see `repro.registry.plugins`. What a name
builds lies elsewhere: models in `repro.models` (and timm), data sets in `repro.data`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from repro.registry.plugins import Plugins


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFacts:
    """A measured quantity. Stored errors are fractions; `factor` makes them the `unit` shown.

    `measure`: of a package, a function of a trained net and its `repro.data.device.DeviceData`.
    """

    title: str
    unit: str
    factor: float = 1.0
    measure: Callable[[Any, Any], float] | None = None

    @property
    def label(self) -> str:
        """`test error (top-1) in %`; the title alone where it is all that is known of the unit."""
        return self.title if self.unit == self.title else f"{self.title} in {self.unit}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """A data set as claims name it. `images` is (train, test); `size` height and width in pixels.

    Besides these names a claim may say `folder:NAME`: a folder of the user's; see
    `folder_and_size`. `load`: of a package that brings its images along or draws them, a function
    that gives a `repro.data.Dataset`.
    """

    title: str
    classes: int
    images: tuple[int, int] | None  # None: no published number was found, so none is checked
    size: int
    evidence: bool  # False: embedded data, which can never support a verdict on the paper
    resize: bool = False  # the shorter side to `size`, the central square (Krizhevsky 2012, sec. 2)
    # "validation" where the test images' labels were never published (Krizhevsky 2012, sec. 6).
    tested_on: Literal["test", "validation"] = "test"
    load: Callable[[], Any] | None = None
    fetched: bool = False  # whether `repro data fetch` gets it from its authors
    shared: bool = False  # whether anyone may pass its images on, as an export of pictures does


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A net by its name, which a function of the same name in `module` builds.

    The function takes `num_classes`, `initialisation` and, by keyword, what `arguments` lists.
    `parameters`: at their defaults. `sized`: whether it is built for one size of inputs, `img_size`
    pixels a side, which follows from the data.
    """

    title: str
    module: str
    parameters: int
    arguments: tuple[str, ...]  # what a claim file may set besides the number of classes
    sized: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserFacts:
    """An optimiser by its name, which `builder` of `module` builds.

    The builder takes groups of parameters, `lr`, `weight_decay` and, by keyword, what `arguments`
    lists, each with its default.
    """

    title: str
    module: str
    builder: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleFacts:
    """A learning-rate schedule of a package.

    `factor`: what the rate is multiplied by, a function of the epoch, a float, and by keyword of
    `epochs`, the last of the schedule, and of what `arguments` lists, each with its default.
    """

    title: str
    factor: Callable[..., float]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationFacts:
    """What a package changes of training images by chance, after crops and mirroring.

    `augment`: a function of a net's inputs (B, 3, S, S) and a `torch.Generator`, both on the
    device, that returns such inputs and draws from nothing else.
    """

    title: str
    augment: Callable[[Any, Any], Any]


def _error(title: str) -> MetricFacts:
    return MetricFacts(title=title, unit="%", factor=100.0)


# All are measured at the end of a trial, on whole images or, where the recipe crops, on the
# central crop. A trial has those that make sense for its net and its data.
OWN_METRICS = {
    "train_error": _error("training error"),  # of whole passes over the training set
    "test_error": _error("test error (top-1)"),
    "test_top5_error": _error("test error (top-5)"),
    "test_error_ten_crop": _error("test error (top-1, ten crops)"),
    "test_top5_error_ten_crop": _error("test error (top-5, ten crops)"),
    "test_error_ten_crop_logits": _error("test error (top-1, ten crops, logits averaged)"),
    "test_loss": MetricFacts(title="test loss", unit="nats"),
    "calibration_error": MetricFacts(
        title="expected calibration error (15 bins)", unit="%", factor=100.0
    ),
    "gap": MetricFacts(title="test error less training error", unit="%", factor=100.0),
    "test_loss_rise": MetricFacts(title="rise of the test loss after its least", unit="nats"),
    "first_epoch_error": _error("training error of the first epoch's batches"),
    "epochs_to_plateau": MetricFacts(
        title="first epoch within half a point of the final test error", unit="epochs"
    ),
    "colour_split": MetricFacts(
        title="difference in colour between conv1's two halves", unit="share of energy"
    ),
    "neighbours_features": MetricFacts(
        title="fc7 neighbours of the image's own class", unit="%", factor=100.0
    ),
    "neighbours_pixels": MetricFacts(
        title="pixel neighbours of the image's own class", unit="%", factor=100.0
    ),
    "days_for_90_epochs": MetricFacts(
        title="training time of 90 passes over 1.2 million images", unit="days"
    ),
    "energy": MetricFacts(title="energy that the device took", unit="Wh", factor=1 / 3600),
    "initial_loss": MetricFacts(title="loss of the untrained net", unit="nats"),
}

METRICS: Mapping[str, MetricFacts] = Plugins("repro.metrics", OWN_METRICS, kind=MetricFacts)


def metric_facts(name: str) -> MetricFacts:
    """Also of a name that is not ours, which a command may measure: the number as it is."""
    title = name.replace("_", " ")
    return METRICS.get(name) or MetricFacts(title=title, unit=title)


# What facts are computed of: repro.models.facts has the functions.
QUANTITIES = (
    "crop_positions",
    "input_numbers",
    "maps",
    "multiply_adds",
    "neurons",
    "parameters",
    "parameter_share",
    "side",
)

_DATASETS = {
    "digits": DatasetFacts(
        title="scikit-learn's handwritten digits, 32x32 RGB (embedded)",
        classes=10,
        images=(1437, 360),
        size=32,
        evidence=False,
        shared=True,
    ),
    "synthetic": DatasetFacts(
        title="seeded synthetic patterns (embedded)",
        classes=10,
        images=(2000, 500),
        size=32,
        evidence=False,
        shared=True,
    ),
    "cifar10": DatasetFacts(
        title="CIFAR-10",
        classes=10,
        images=(50_000, 10_000),
        size=32,
        evidence=True,
        fetched=True,
        shared=True,
    ),
    "tiny-imagenet": DatasetFacts(
        title="Tiny ImageNet",
        classes=200,
        images=(100_000, 10_000),
        size=64,
        evidence=True,
        tested_on="validation",
        fetched=True,
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

DATASETS: Mapping[str, DatasetFacts] = Plugins("repro.datasets", _DATASETS, kind=DatasetFacts)

# Chains of layers, of which several can be trained as one program.
CHAINS = {
    "cifar_80sec": ModelFacts(
        title="cuda-convnet layers-80sec: three convolutions and fc64",
        module="repro.models.cifar",
        parameters=145_578,
        arguments=("activation",),
    ),
    "cifar_19pct": ModelFacts(
        title="cuda-convnet layers-19pct: three convolutions, no fc64",
        module="repro.models.cifar",
        parameters=89_578,
        arguments=("activation",),
    ),
    "cifar_conv_local": ModelFacts(
        title="cuda-convnet layers-conv-local-11pct: two convolutions, two unshared layers, LRN",
        module="repro.models.conv_local",
        parameters=2_112_970,
        arguments=("activation", "local3", "norm"),
    ),
    "alexnet_2012": ModelFacts(
        title="AlexNet, as printed or as its authors ran it",
        module="repro.models.alexnet",
        parameters=60_965_224,
        arguments=(
            "activation",
            "drop_rate",
            "hidden_bias",
            "norm",
            "overlapping",
            "preset",
            "split",
            "width",
            "without",
        ),
        sized=True,
    ),
}

OWN_MODELS = CHAINS | {
    "cifar_resnet": ModelFacts(
        title="CIFAR-10 ResNet of He et al. 2015, or the same net without shortcuts",
        module="repro.models.resnet",
        parameters=269_722,
        arguments=("depth", "residual", "width"),
    ),
}

MODELS: Mapping[str, ModelFacts] = Plugins("repro.models", OWN_MODELS, kind=ModelFacts)


def _torch(builder: str, **arguments: Any) -> OptimiserFacts:
    return OptimiserFacts(
        title=f"torch.optim.{builder}", module="torch.optim", builder=builder, arguments=arguments
    )


_ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}

# A test holds names and defaults against torch itself.
_OPTIMISERS = {
    "sgd": OptimiserFacts(
        title="SGD with momentum, the paper's update rule",
        module="repro.train.optim",
        builder="PaperSGD",
        arguments={"nesterov": False},
    ),
    "adadelta": _torch("Adadelta", rho=0.9, eps=1e-6),
    "adagrad": _torch("Adagrad", lr_decay=0, initial_accumulator_value=0, eps=1e-10),
    "adam": _torch("Adam", **_ADAM, amsgrad=False),
    "adamax": _torch("Adamax", **_ADAM),
    "adamw": _torch("AdamW", **_ADAM, amsgrad=False),
    "nadam": _torch("NAdam", **_ADAM, momentum_decay=0.004, decoupled_weight_decay=False),
    "radam": _torch("RAdam", **_ADAM, decoupled_weight_decay=False),
    "rmsprop": _torch("RMSprop", alpha=0.99, eps=1e-8, momentum=0, centered=False),
}

OPTIMISERS: Mapping[str, OptimiserFacts] = Plugins(
    "repro.optimisers", _OPTIMISERS, kind=OptimiserFacts
)

# Ours by the keys that each has in a claim file besides its warm-up, and those of other packages.
OWN_SCHEDULES = {
    "constant": (),
    "cosine": ("epochs", "eta_min"),
    "polynomial": ("epochs", "power"),
    "multi_step": ("milestones", "gamma"),
    "step": ("step_size", "gamma"),
}
SCHEDULES: Mapping[str, Any] = Plugins("repro.schedules", OWN_SCHEDULES, kind=ScheduleFacts)

OWN_AUGMENTATIONS = ("crop", "flip")
AUGMENTATIONS: Mapping[str, Any] = Plugins(
    "repro.augmentations", dict.fromkeys(OWN_AUGMENTATIONS), kind=AugmentationFacts
)

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


# What `--log` takes: ours by the package that each needs, and those of other packages.
LOGGERS: Mapping[str, Any] = Plugins(
    "repro.loggers", {"tensorboard": "tensorboard", "trackio": "trackio"}
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
