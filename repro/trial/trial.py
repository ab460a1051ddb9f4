"""The unit of work and what comes back: the narrow waist between training and statistics.

A trial is one arm, one rate, one seed, at one scale. Its identity is the hash of all that can
change its numbers and of nothing else: not of the claim, arm or purpose that asked for it, so two
claims that need the same trial share it; and not of how many epochs it is trained for, so a trial
is continued instead of begun again; a schedule that ends says where in the recipe. What stands at
its default is left out, so that a new field makes no old trial another one.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from repro.claim import Recipe, Scalar, Trainer
from repro.registry import OWN_AUGMENTATIONS
from repro.trial.strict_json import STRICT, Amount, Finite, Number, finite

# What trials of one shape may differ in, and what they share: see `Trial.shape`.
_FREE_ARGUMENTS = ("drop_rate", "fc_std", "hidden_bias")
_FIXED_FIELDS = (
    *("inputs", "batch_size", "precision", "crop", "augment", "colour"),
    *("padding", "label_smoothing"),
)

# What is trained one by one where it is not at its default.
_UNBATCHED = ("optimiser", "clip_norm", "mixup", "cutmix", "ema")
_DEFAULTS = Recipe.model_fields


@dataclass(frozen=True, kw_only=True)  # no slots: they have no room for what is cached
class Trial:
    """One training run.

    With a `threshold` it stops by itself once it has crossed it; `near`, `decided_by` and
    `crossing` say how that is looked for. Without one it is trained to the length that is asked
    for, and tested after each epoch. `numerics` says which code its numbers come from, see
    `repro.trial.numerics`.
    With a `trainer` a command trains, whose files and inputs are those of the `fingerprint`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model: str
    arguments: Mapping[str, Scalar]
    recipe: Recipe
    data: str
    fingerprint: str
    rate: Amount
    seed: Annotated[int, Field(ge=0)]
    numerics: int | str
    images: Annotated[int, Field(gt=0)] | None = None  # first n training images; None: all
    threshold: Amount | None = None
    near: Amount = 0.0
    decided_by: Literal["full", "online"] = "full"
    crossing: Literal["first", "median"] = "first"
    trainer: Trainer | None = None
    resample: bool = False  # n training images drawn by the seed, not the first n
    further_test: Annotated[int, Field(ge=0)] = 0  # last n training images, tested on instead

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def batches(self) -> bool:
        """Whether several of its shape can be trained as one program, of a net that can."""
        recipe = self.recipe
        return {*recipe.augment} <= {*OWN_AUGMENTATIONS} and all(
            getattr(recipe, name) == _DEFAULTS[name].default for name in _UNBATCHED
        )

    @cached_property
    def shape(self) -> str:
        """Equal for trials that can be trained as one program, on the same images.

        They may differ in where weights start, in rates, decay, dropout and seed, and in when
        they end; not in what is computed of the images.
        """
        same = {
            "model": self.model,
            "arguments": {k: v for k, v in self.arguments.items() if k not in _FREE_ARGUMENTS},
            "recipe": {name: getattr(self.recipe, name) for name in _FIXED_FIELDS},
            "data": [self.data, self.fingerprint, self.images, self.further_test],
            "drawn": self.seed if self.resample else None,
        }
        return json.dumps(same, sort_keys=True)

    def to_json(self) -> str:
        """Canonical: equal trials give equal text."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        content = {
            f.name: values[f.name]
            for f in fields(self)
            if f.default is MISSING or values[f.name] != f.default
        }
        content["recipe"] = self.recipe.model_dump(mode="json", exclude_defaults=True)
        content["arguments"] = dict(self.arguments)
        if self.trainer is not None:
            content["trainer"] = self.trainer.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(content, sort_keys=True, indent=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clocks:
    """Seconds spent training, evaluating, and on everything else; they add up to the wall clock.

    `waiting`: of training, until the next images had come; `saving`: of the rest, on checkpoints.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    train: Amount = 0.0
    evaluate: Amount = 0.0
    other: Amount = 0.0
    waiting: Amount = 0.0
    saving: Amount = 0.0

    @property
    def wall(self) -> float:
        """Seconds from start to end, pauses between two runs of the command left out."""
        return self.train + self.evaluate + self.other

    def __add__(self, more: "Clocks") -> "Clocks":
        sums = {f.name: getattr(self, f.name) + getattr(more, f.name) for f in fields(self)}
        return Clocks(**sums)


Status = Literal["crossed", "censored", "finished", "plateaued", "diverged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a trial gave. Errors are fractions; NaN where nothing was measured.

    `status`: `crossed` its threshold, `censored` at its budget before it did, `finished` the
    length that was asked for, `plateaued` after its last drop of the rate, or `diverged` (loss
    not finite). A crossing is (lower, upper] in epochs, by full passes over the training set and
    by the online error of the last epoch; None where it was not seen before the trial stopped.
    `train_error` is the online error of the last ten windows, `epoch_errors` that of each whole
    epoch, `test_errors` the test error after each; `metrics` are by the names of the registry.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    trial_id: str
    status: Status
    epochs: Amount
    crossing_full: tuple[Amount, Amount] | None
    crossing_online: tuple[Amount, Amount] | None
    train_error: Number
    epoch_errors: tuple[Number, ...]
    loss: Number
    seconds: Clocks
    test_errors: tuple[Number, ...] = ()
    metrics: Mapping[str, Number] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether more training can never change it."""
        return self.status not in ("censored", "finished")

    def crossing(self, decided_by: Literal["full", "online"]) -> tuple[float, float] | None:
        """(lower, upper] in epochs, by what decides; None where it was not seen."""
        return self.crossing_full if decided_by == "full" else self.crossing_online

    def metric(self, name: str) -> float:
        """A final metric, in the unit in which it is stored; NaN when it was not measured."""
        return self.metrics.get(name, math.nan)

    def to_json(self) -> str:
        """JSON has no NaN and no infinity: they are written as texts, which are read back."""
        words = {math.inf: "Infinity", -math.inf: "-Infinity"}
        content = finite(asdict(self), lambda odd: words.get(odd, "NaN"))
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class FactOutcome:
    """What came out where no training is needed: our number beside the printed one, if any."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    states: str
    printed: int | Finite | None
    ours: int | Finite
    holds: bool
    decides: bool


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from names, so that adding an arm or a trial changes nobody else's."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
