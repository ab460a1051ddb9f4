"""What a claim file holds, as frozen values. One class a kind of claim.

Seven kinds of question come down to four kinds of claim. The gap between training and test error
is a metric like another; the same weights looked at twice (ten crops, or one) are two arms that
differ in the metric and so share their trials; a property of trained weights is a metric, too.
What is none of the four is a class of another package, found by its entry point
(`repro.registry.plugins`).
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)

from repro.claim.identity import fields_that_change
from repro.registry import OWN_SCHEDULES, SCHEDULES
from repro.registry.plugins import Plugins

Scalar = bool | int | float | str
Positive = Annotated[float, Field(gt=0)]
# Up to which float32 holds the products that an update is made of: beyond it nothing is learnt.
_MAX_RATE = 1e12
Rate = Annotated[float, Field(gt=0, le=_MAX_RATE)]
Decay = Annotated[float, Field(ge=0, le=_MAX_RATE)]
MOST_ARMS = 6  # as many as figures tell apart
SCALES = ("smoke", "proxy", "large_proxy", "paper")  # from weak to strong evidence
LEAST_SEEDS = 3  # an arm, for any verdict


def _increasing(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError("must increase from one value to the next")
    return values


TENTHS = 10  # of an epoch, in which errors are measured
MOST_SEEDS = 1000  # from here on they tune
MOST_LOOKS = 20  # each costs power, and what all of them cost is integrated over as many dimensions
MOST_EPOCHS = 100_000  # of a trial, whose curve has ten rows for each; the paper's has 90
MOST_TRIALS = 100_000  # of a claim at a scale: of a minute each, they take 70 days


def _tenths(epochs: float) -> float:
    if abs(TENTHS * epochs - round(TENTHS * epochs)) > 1e-6:
        raise ValueError(
            f"must be in tenths of an epoch, in which errors are measured, such as {epochs:.1f}"
        )
    return epochs


def _looks(value: object) -> object:
    """A number of seeds is one look at so many."""
    looks = (value,) if isinstance(value, int) and not isinstance(value, bool) else value
    if (
        not isinstance(looks, tuple)
        or not looks
        or not all(isinstance(n, int) and not isinstance(n, bool) for n in looks)
        or list(looks) != sorted(set(looks))
        or looks[0] < 1
        or looks[-1] > MOST_SEEDS
        or len(looks) > MOST_LOOKS
    ):
        raise ValueError(
            "must be a number of seeds, or the numbers of the interim analyses, each above the one "
            f"before, such as 5 or [5, 8, 12]; {MOST_LOOKS} at most, and none above {MOST_SEEDS}"
        )
    return looks


class Strict(BaseModel):
    """Unknown keys, other types and infinite numbers are refused; nothing changes later."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class Paper(Strict):
    """What the paper says, in our words. `value` is missing where it gives no number.

    `section`: where it says so. `states`: what, in a sentence or two. `value`: the printed number.
    `more_than`: the paper says more than that. `unit`: of the number and of ours, in words.

    `figure`: CSV of points read off, beside the file. `siblings`: CSV of single runs of nets like
    the paper's, where its value is the difference of two single runs.

    `title`: of the paper, as the report prints it. `authors`: likewise. `year`: of its appearance.
    `link`: to it.
    """

    title: str = ""
    authors: str = ""
    year: int | None = None
    link: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    section: str
    states: str
    value: float | None = None
    more_than: bool = False
    unit: str
    figure: str | None = None
    siblings: str | None = None

    @property
    def citation(self) -> str:
        """`Krizhevsky, Sutskever and Hinton (2012)`; empty where the claim names nobody."""
        year = f"({self.year})" if self.year is not None else ""
        return f"{self.authors} {year}".strip()

    @property
    def reference(self) -> str:
        """With the title, `Hinton et al. (2012): Improving neural networks`; or what is known."""
        return ": ".join(filter(None, (self.citation, self.title)))


def _from_name(value: object) -> object:
    """A plain name has everything else at its default."""
    return {"name": value} if isinstance(value, str) else value


# Behind `_from_name` pydantic no longer knows that a list was read from JSON, where it is a tuple.
_JSON_LIST = Field(strict=False)


class Optimiser(Strict):
    """What turns gradients into steps.

    `name`: `sgd` is the paper's update rule (sec. 5), others are torch's, and `timm:NAME` any of
    timm's. `arguments`: its own; the rate is the scale's, the weight decay the recipe's.
    """

    name: str
    arguments: dict[str, Scalar | Annotated[tuple[Scalar, ...], _JSON_LIST]] = {}


_REQUIRED = {"multi_step": "milestones", "step": "step_size"}


class Schedule(Strict):
    """How the learning rate changes, at every tenth of an epoch; keys have torch's names.

    `name`: `constant`; `cosine` from the rate to `eta_min`; `polynomial` to zero; `multi_step`
    times `gamma` at each of `milestones`; `step` times `gamma` every `step_size` epochs; or that of
    a package. `warmup`: epochs in which the rate first grows linearly from zero.

    `epochs`: the last one of a schedule that ends, by default that of the scale. `eta_min`: the
    rate there. `power`: 1 is a straight line. `milestones`: epochs, warm-up included. `step_size`:
    epochs. `gamma`: what the rate is multiplied by. `arguments`: of a package's schedule.
    """

    name: str
    warmup: Annotated[float, Field(ge=0), AfterValidator(_tenths)] = 0.0
    epochs: Annotated[Positive, Field(le=MOST_EPOCHS), AfterValidator(_tenths)] | None = None
    eta_min: Annotated[float, Field(ge=0)] = 0.0
    power: Annotated[float, Field(gt=0, le=10)] = 1.0
    milestones: Annotated[tuple[Positive, ...], _JSON_LIST, AfterValidator(_increasing)] = ()
    step_size: Annotated[float, Field(ge=0.1)] | None = None
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    arguments: dict[str, Scalar | Annotated[tuple[Scalar, ...], _JSON_LIST]] = {}

    @property
    def ends(self) -> bool:
        return "epochs" in self._keys

    @property
    def _keys(self) -> tuple[str, ...]:
        """Those that the schedule has besides its warm-up."""
        return OWN_SCHEDULES.get(self.name, ("epochs", "arguments"))

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if self.name not in SCHEDULES:  # another rule says so
            return self
        for key in sorted(self.model_fields_set - {"name", "warmup", *self._keys}):
            known = ", ".join(("warmup", *self._keys))
            raise ValueError(f"`{key}` has no effect in a {self.name} schedule (known: {known})")
        needed = _REQUIRED.get(self.name)
        if needed is not None and not getattr(self, needed):
            raise ValueError(f"a {self.name} schedule needs `{needed}`")
        return self


class Recipe(Strict):
    """How a net is trained; every field changes the numbers. That of a command has none of them.

    `inputs`: `centred` is raw 0-255 less the mean image (sec. 2), `standardised` that at unit
    variance. `precision`: of convolutions and matrix products; weights are float32.
    `initialisation`: `cuda_convnet` are the authors' standard deviations by layer, `he`
    and `xavier` scale by fan, `framework` is what PyTorch does when it is not asked.
    `bias_rate`: biases learn that many times faster (2 in the authors' files). `layer_decay`:
    weight decay of single layers, in place of `weight_decay`. `decay_biases`: whether biases decay,
    too. `batch_size`: images a step.

    `optimiser`: its name, or a name and arguments. `momentum`: of the velocity of `sgd`.
    `weight_decay`: as in the paper's update rule (sec. 5), or as the optimiser has it. `clip_norm`:
    gradients are scaled down to this norm, that of all of them together. `label_smoothing`: share
    of the target that all classes have alike, in training.

    `crop`: side of the square that the net sees, the central one in tests. `augment`: `crop` at
    random places, `flip` left and right (sec. 4.1), then those of packages as listed. `padding`:
    pixels, zeros as inputs, around the image that is cropped at random. `mixup`: alpha of the Beta
    distribution of how far two images and their labels are blended. `cutmix`: likewise, of a
    rectangle of one in the other; with both, each step takes one of them by chance. `colour`: noise
    along the principal components of RGB, alpha_i of N(0, 0.1) times the `deviations` (square roots
    of the eigenvalues, as in the authors' code), these with the image `scaled` by 1/1.1 as there,
    or the `eigenvalues` of pixels in 0 to 1, as others read the paper.

    `ema`: the decay, a step, of an exponential moving average of the weights, which is tested.

    `drops`: epochs at which the rate is divided by ten. `patience`: instead, divide whenever the
    test error has not improved for so many epochs, three times, then stop (sec. 5). `schedule`:
    in place of `drops` and `patience`, its name, or a name and keys.
    """

    inputs: Literal["centred", "standardised"] | None = None
    initialisation: Literal["cuda_convnet", "he", "xavier", "framework"] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 128
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Decay = 0.0
    layer_decay: dict[str, Decay] = {}
    bias_rate: Rate = 1.0
    decay_biases: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    crop: Annotated[int, Field(ge=8)] | None = None
    augment: tuple[str, ...] = ()
    colour: Literal["none", "deviations", "scaled", "eigenvalues"] = "none"
    drops: Annotated[tuple[Positive, ...], AfterValidator(_increasing)] = ()
    patience: Annotated[int, Field(ge=1)] | None = None
    optimiser: Annotated[
        Optimiser, BeforeValidator(_from_name, json_schema_input_type=str | Optimiser)
    ] = Optimiser(name="sgd")
    schedule: Annotated[
        Schedule | None, BeforeValidator(_from_name, json_schema_input_type=str | Schedule | None)
    ] = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_norm: Positive | None = None
    padding: Annotated[int, Field(ge=0, le=64)] = 0
    mixup: Annotated[float, Field(gt=0, le=100)] | None = None
    cutmix: Annotated[float, Field(gt=0, le=100)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All that may be of a package."""
        schedule = () if self.schedule is None else (self.schedule.name,)
        return (self.optimiser.name, *schedule, *self.augment)


class Model(Strict):
    """A net, and what it is built with.

    `name`: a registered net, or `timm:NAME` for any of timm's. `arguments`: of the net's builder.
    """

    name: str
    arguments: dict[str, Scalar] = {}


class Trainer(Strict):
    """A program that trains in place of the built-in trainer.

    `command`: its words, run in the claim file's folder, with `{rate}`, `{seed}` and others filled
    in; relative files among them are part of a trial's identity. `inputs`: further files and
    folders that are. `steps_per_epoch`: of a program that counts steps.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    inputs: tuple[str, ...] = ()
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None


class Arm(Strict):
    """One side of the comparison: what it changes in the net, in the recipe, or in what is read.

    `model`: arguments of the net. `net`: another net, without the scale's arguments. `recipe`: keys
    of the recipe. `rate`: a learning rate of its own, in place of the scale's rate or search.
    `share`: of the scale's training images. `metric`: in place of the claim's.
    `arguments`: of a `trainer`'s command, in place of model and recipe.
    """

    model: dict[str, Scalar] = {}
    net: str | None = None
    recipe: dict[str, Any] = {}
    rate: Rate | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    metric: str | None = None
    arguments: dict[str, Scalar] = {}


class Region(Strict):
    """Where the interval has to lie for `reproduced`.

    With ends equally far from no effect (-0.5 to 0.5, a ratio of 0.9 to 1.11) it claims that the
    factor makes no difference.

    `low`: its lower end. `high`: its upper end; open above when it is missing.
    """

    low: float
    high: float | None = None

    def surrounds(self, value: float | None) -> bool:
        """Whether the value lies inside, and on no edge. Of no effect: equivalence is claimed."""
        top = math.inf if self.high is None else self.high
        return value is not None and self.low < value < top


class Analysis(Strict):
    """How an interval becomes a word, and at what risk.

    `error`: of each false word, over all looks: so often an end of the interval that the word is
    read off may lie wrong. `spending`: how much of it each look spends, by the share of the seeds:
    `obrien_fleming` little at first, `pocock` evenly. `comparison`: of two arms, `paired` seed by
    seed or, as independent ones, by `welch`; by default differences are paired, times are not.
    """

    error: Annotated[float, Field(gt=0, le=0.05)] = 0.05
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"
    comparison: Literal["paired", "welch"] | None = None


class Search(Strict):
    """Successive halving over learning rates: at each rung the better `keep` of them go on.

    `rates`: the grid, with which every arm begins; it is extended once, by its own step, for an arm
    whose best rate lies at its edge. `rungs`: epochs, at least one, at which rates are compared.
    `keep`: share of them that goes on. `seeds`: tuning seeds of each rate, which confirm nothing.
    `refine`: the best rate and those about it, in steps of at most this factor, are trained for
    as long as the scale says and compared once more, so that all arms are chosen by the same
    criterion; null for the best of the grid as the rungs had it.
    """

    rates: Annotated[tuple[Rate, ...], Field(min_length=1), AfterValidator(_increasing)]
    rungs: Annotated[
        tuple[Annotated[float, Field(ge=1)], ...], Field(min_length=1), AfterValidator(_increasing)
    ]
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 3
    refine: Annotated[float, Field(gt=1, le=100)] | None = 1.8


# What a search was before it could say so: plans of that time keep their digest.
_SEARCH_BEFORE: dict[str, Any] = {"seeds": 1, "refine": None}


class Checks(Strict):
    """Sanity checks: an arm that decides and fails one makes the verdict `invalid`.

    They are about an arm's median over seeds. `initial_loss`: nats by which the loss of the
    untrained net may lie off ln(classes), that of guessing; by default 2.3, a factor of ten
    in the probability of the right class. `above_chance`: the test error has to be below that of
    guessing. `equal_length`: no trial may have been trained for longer than the scale says, unless
    times are compared. `floor`: a test error, a fraction, above which an arm shows early learning
    only, by default half-way from guessing to the best arm that decides; where all arms that decide
    do, the verdict is `undertrained`. `initial_loss: null` and `floor: 1` switch theirs off.
    """

    initial_loss: Positive | None = 2.3
    above_chance: bool = True
    equal_length: bool = True
    floor: Annotated[float, Field(gt=0, le=1)] | None = None


COMMAND = "command"  # the one recipe of a claim whose trainer is a command


def _rate_of_command(value: object) -> object:
    """A plain rate is that of the one recipe of a command."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {COMMAND: value} if is_number else value


def _search_of_command(value: object) -> object:
    is_search = isinstance(value, Mapping) and not isinstance(value.get("rates", {}), Mapping)
    return {COMMAND: value} if is_search else value


SHORTHANDS: dict[str, Callable[[object], object]] = {
    "rate": _rate_of_command,
    "search": _search_of_command,
}


class Scale(Strict):
    """Where and for how long the claim is tried.

    `data`: images, a registered name or `folder:NAME`. `images`: only the first so many training
    images. `resample`: so many that each seed draws, the same for all arms, in place of the first:
    intervals then hold how far the effect depends on the training images. `further_test`: the last
    so many training images are not trained on, but tested on beside the test set. `model`: the net.
    `epochs`: passes over the training set, at most. `threshold`: in place of the claim's. `recipe`:
    what it changes in every recipe. `checks`: of what was measured. `arguments`: of a `trainer`'s
    command, for which `data` is what a reader is told, and there is no model.

    `scatter`: the standard deviation over seeds that `seeds` were planned with, of the effect or,
    where arms are not paired, of one arm; of logarithms for a ratio. `repro validate` and
    `repro plan` say with it how likely each word is; seeds that were run replace it.

    Each recipe has its learning rate. `search`: by recipe, how it is searched for each arm.
    `rate`: by recipe, given to all arms that have none of their own. A command has one recipe,
    which is not named: `rate: 0.1`.

    `seeds`: evaluation seeds an arm at which the results are looked at; a run ends at the first
    look that settles the claim. A plain number is a single look. `taken`: so many of these looks
    were taken before this file said how its words are read off: under the older rule of equal
    intervals that hold together 95 times in 100. They keep it, and what they spent is not spent
    again.
    """

    data: str = ""
    images: Annotated[int, Field(ge=1)] | None = None
    resample: bool = False
    further_test: Annotated[int, Field(ge=0)] = 0
    model: Model = Model(name="")
    arguments: dict[str, Scalar] = {}
    epochs: Annotated[Positive, Field(le=MOST_EPOCHS), AfterValidator(_tenths)]
    seeds: Annotated[
        tuple[int, ...],
        BeforeValidator(_looks, json_schema_input_type=int | tuple[int, ...]),
    ] = (5, 8, 12)
    taken: Annotated[int, Field(ge=0)] = 0
    search: Annotated[dict[str, Search], BeforeValidator(_search_of_command)] = {}
    rate: Annotated[dict[str, Rate], BeforeValidator(_rate_of_command)] = {}
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    recipe: dict[str, Any] = {}
    checks: Checks = Checks()
    scatter: Positive | None = None

    @model_validator(mode="after")
    def _check_taken(self) -> Self:
        if self.taken > len(self.seeds):
            raise ValueError(
                f"{self.taken} of {len(self.seeds)} interim analyses cannot have been taken"
            )
        return self


class Claim(Strict):
    """One statement of the paper, with its number, its place, and how it is decided.

    `version`: the format's. `id`: names the claim, as its file does. `title`: what is claimed, in
    a line. `kind`: how it is decided. `paper`: whose statement it is. `question`: what
    is measured to answer it. `confounds`: what else could make the effect, or hide it.
    `reconsidered_if`: what would change our mind about its verdict.
    `deviations`: every known difference from the paper. `amended`: what of the rule was changed
    after trials had been run, each with its date and reason.
    """

    version: Literal[1] = 1
    id: str
    title: str
    kind: str
    paper: Paper
    question: str
    confounds: str
    reconsidered_if: str = ""
    deviations: tuple[str, ...]
    amended: tuple[str, ...] = ()
    _path: Path = PrivateAttr(default=Path("claim.yaml"))

    @property
    def path(self) -> Path:
        return self._path

    def digest(self, scale: str | None = None) -> str:
        """SHA-256 of all that is science at a scale: prose may change, the rule may not.

        What is at its default is left out, so that a new field changes no digest; and so are other
        scales, which may be added later.
        """
        content = json.dumps(self._science(scale), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def _science(self, scale: str | None) -> dict[str, Any]:
        prose = fields_that_change("nothing", of="Claim")
        content = self.model_dump(mode="json", exclude=prose, exclude_defaults=True)
        content["value"] = self.paper.value
        for at in content.get("scales", {}).values():
            for name in fields_that_change("nothing", of="Scale"):
                at.pop(name, None)
        if scale is not None:
            content["scales"] = {scale: content["scales"][scale]}
        return content


class TrainedClaim(Claim):
    """A claim that trials decide: arms, recipes side by side of which one decides, and scales.

    `metric`: what is read of a trained net. `arms`: the sides of the comparison, by name.
    `region`: where the interval has to lie. `analysis`: how it becomes a word. `recipes`: ways of
    training, by name.
    `verdict_recipe`: the one that decides; the others are shown. `scales`: where and for how long,
    by name: `smoke`, `proxy`, `large_proxy`, `paper`. `trainer`: a program that trains, in place
    of recipes.
    """

    # What tells one kind from another, besides its fields. `sides`: the keys of a contrast that
    # name its arms, in the order of the effect; none where all arms decide. `no_effect`: None for a
    # kind without a direction; where it is 1 the effect is a ratio, drawn on a log axis. `paired`:
    # whether the arms are compared seed by seed where the claim does not say.
    sides: ClassVar[tuple[str, ...]] = ()
    no_effect: ClassVar[float | None] = None
    paired: ClassVar[bool] = True

    metric: str
    arms: dict[str, Arm]
    region: Region
    analysis: Analysis = Analysis()
    trainer: Trainer | None = None
    recipes: Annotated[dict[str, Recipe], Field(min_length=1)] = {COMMAND: Recipe()}
    verdict_recipe: str = COMMAND
    scales: Annotated[
        dict[str, Scale],
        Field(min_length=1, json_schema_extra={"propertyNames": {"enum": list(SCALES)}}),
    ]

    @property
    def conditions(self) -> Mapping[str, Region]:
        """By further contrast, where it has to lie as well; none for most kinds."""
        return {}

    def by_the_older_rule(self, scale: str) -> Self:
        """The claim with all looks at the scale taken under the rule of earlier versions."""
        at = self.scales[scale]
        older = at.model_copy(update={"taken": len(at.seeds)})
        return self.model_copy(update={"scales": {**self.scales, scale: older}})

    def _science(self, scale: str | None) -> dict[str, Any]:
        """With the analysis, default or not: plans of earlier versions had another one.

        Where all looks are taken nothing is left to it, and the plan is that of such a version.
        """
        content = super()._science(scale)
        for name, values in content["scales"].items():
            for recipe, search in values.get("search", {}).items():
                complete = self.scales[name].search[recipe].model_dump(mode="json")
                for key, before in _SEARCH_BEFORE.items():
                    search.pop(key, None)
                    if complete[key] != before:
                        search[key] = complete[key]
        at = None if scale is None else self.scales[scale]
        if at is not None and at.taken == len(at.seeds):
            del content["scales"][scale]["taken"]
            content["scales"][scale]["seeds"] = [*at.seeds]  # which had no default
            return content
        return content | {"analysis": self.analysis.model_dump(mode="json")}


class TimeContrast(Strict):
    """The ratio is epochs(slow) over epochs(fast); 1 means no effect.

    `slow`: the arm that is claimed to take longer. `fast`: the other.
    """

    slow: str
    fast: str


class TimeClaim(TrainedClaim):
    """Ratio of epochs to an error, each arm at the rate that is fastest for it.

    `metric`: the `train_error`, at which a trial ends, or the `test_error`, measured after each
    epoch of trials that are all trained to the end. `threshold`: the error to reach, a fraction.
    The others are of a training error alone. `decided_by`: `full` passes over the training set, or
    the `online` error of the batches. `near`: full passes begin where the online error is this
    close. `crossing`: the `first` full pass at or below the threshold, or the tenth about which
    those of an epoch have their `median` there, since full errors jump; full passes then begin two
    standard errors of the online error earlier, one per epoch, and one every tenth once the error
    may be within a quarter of `near` an epoch later. `contrast`: the ratio that decides. `also`:
    further ones, measured and shown.
    """

    kind: Literal["time_to_threshold"]
    metric: Literal["train_error", "test_error"]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    decided_by: Literal["full", "online"] | None = None
    near: Annotated[float, Field(ge=0, le=1)] | None = None
    crossing: Literal["first", "median"] = "first"
    contrast: TimeContrast
    also: dict[str, TimeContrast] = {}
    sides = ("slow", "fast")
    no_effect = 1.0
    paired = False


class Difference(Strict):
    """The effect is metric(higher) - metric(lower), seed by seed; 0 means no effect.

    `higher`: the arm that is claimed to have more. `lower`: the other. `weights`: in place of the
    two, a linear contrast: the sum of all these arms' metrics times their weights, which add up to
    0, such as an interaction (1, -1, -1, 1) or a trend over four widths (-3, -1, 1, 3). `metric`:
    in place of the claim's, for a further contrast. `region`: of a further contrast, which then has
    to hold, too.
    """

    higher: str | None = None
    lower: str | None = None
    weights: dict[str, float] = {}
    metric: str | None = None
    region: Region | None = None

    @model_validator(mode="after")
    def _check_terms(self) -> Self:
        pair = (self.higher, self.lower)
        if None in pair if not self.weights else pair != (None, None):
            raise ValueError("a contrast has `higher` and `lower`, or `weights` of its arms")
        sizes = [abs(weight) for weight in self.weights.values()]
        if sizes and (min(sizes) < 1e-3 or max(sizes) > 1e3):
            raise ValueError("weights lie between 0.001 and 1000; an arm without one is left out")
        if abs(sum(self.weights.values())) > 1e-9 * sum(sizes):
            raise ValueError(f"the weights add up to {sum(self.weights.values()):g}, not to 0")
        return self

    @property
    def terms(self) -> Mapping[str, float]:
        if self.higher is None or self.lower is None:
            return self.weights
        return {self.higher: 1.0, self.lower: -1.0}


class DifferenceClaim(TrainedClaim):
    """Difference of a metric between two arms at equal length, paired by seed.

    `contrast`: the difference that decides. `also`: further ones, measured and shown; where one has
    a `region`, it has to hold as well.
    """

    kind: Literal["difference"]
    contrast: Difference
    also: dict[str, Difference] = {}
    sides = ("higher", "lower")
    no_effect = 0.0

    @property
    def conditions(self) -> Mapping[str, Region]:
        """Those that have a region."""
        return {name: one.region for name, one in self.also.items() if one.region is not None}


class LevelClaim(TrainedClaim):
    """A metric of one arm, held against the published number."""

    kind: Literal["level"]


class Fact(Strict):
    """Something that needs no training: a quantity of a net, or of the way images are cut.

    `states`: what the paper says. `quantity`: what is computed, by name. `of`: the layer that it is
    computed of, by default the whole net. `model`: the net. `printed`: the paper's number; without
    one the fact is shown beside the others and does not count. `low`: the least that counts as the
    same, by default that very number. `high`: the most, likewise.
    `decides`: false for a known slip of the paper, which is shown and does not count.
    """

    states: str
    quantity: str
    of: str | None = None
    model: Model
    printed: float | None = None
    low: float | None = None
    high: float | None = None
    decides: bool = True

    @property
    def counts(self) -> bool:
        return self.decides and self.printed is not None

    def holds(self, value: float) -> bool:
        """Whether our number counts as the paper's; one that is not printed contradicts nothing."""
        if self.printed is None:
            return True
        low = self.printed if self.low is None else self.low
        high = self.printed if self.high is None else self.high
        return low <= value <= high


class ExactClaim(Claim):
    """Facts that are computed: counts and shapes.

    `facts`: statements by name, each with its printed number.
    """

    kind: Literal["exact"]
    facts: Annotated[dict[str, Fact], Field(min_length=1)]


OWN_KINDS: dict[str, type[Claim]] = {
    "time_to_threshold": TimeClaim,
    "difference": DifferenceClaim,
    "level": LevelClaim,
    "exact": ExactClaim,
}
KINDS: Mapping[str, type[Claim]] = Plugins(
    "repro.kinds", OWN_KINDS, kind=TrainedClaim, classes=True
)


def recipe_for(claim: TrainedClaim, scale: str, recipe: str, arm: str) -> Recipe:
    """The recipe with what the scale and then the arm change in it; what is set there is known.

    A schedule that ends, and says no epoch, ends with the scale.
    """
    at = claim.scales[scale]
    base = claim.recipes[recipe].model_dump(exclude_unset=True)
    combined = Recipe.model_validate(base | at.recipe | claim.arms[arm].recipe)
    if (
        combined.schedule is None
        or not combined.schedule.ends
        or combined.schedule.epochs is not None
    ):
        return combined
    schedule = combined.schedule.model_copy(update={"epochs": at.epochs})
    return combined.model_copy(update={"schedule": schedule})


def model_for(claim: TrainedClaim, scale: str, arm: str) -> Model:
    """The scale's net with what the arm changes in it; of a command, what it is told."""
    if claim.trainer is not None:
        arguments = claim.scales[scale].arguments | claim.arms[arm].arguments
        return Model(name=COMMAND, arguments={**arguments, "arm": arm})
    model, changes = claim.scales[scale].model, claim.arms[arm]
    if changes.net is not None:
        return Model(name=changes.net, arguments=changes.model)
    return Model(name=model.name, arguments=model.arguments | changes.model)


def rate_for(claim: TrainedClaim, scale: str, recipe: str, arm: str) -> float | None:
    """The learning rate that is given, by the arm or by the scale; None where one is searched."""
    arm_rate = claim.arms[arm].rate
    return claim.scales[scale].rate.get(recipe) if arm_rate is None else arm_rate


def threshold_for(claim: TimeClaim, scale: str) -> float:
    """The error to reach, a fraction."""
    own = claim.scales[scale].threshold
    return claim.threshold if own is None else own


def images_for(claim: TrainedClaim, scale: str, arm: str) -> int | None:
    """How many training images the arm is given; None for all."""
    images, share = claim.scales[scale].images, claim.arms[arm].share
    return images if images is None or share is None else round(images * share)


def is_paired(claim: TrainedClaim) -> bool:
    """Whether a seed gives one value, and not one an arm."""
    comparison = claim.analysis.comparison
    return claim.paired if comparison is None else comparison == "paired"


def metric_of(claim: TrainedClaim, arm: str, contrast: Difference | None = None) -> str:
    """What is read of the arm's trials: the contrast's metric, else the arm's, else the claim's."""
    return (contrast and contrast.metric) or claim.arms[arm].metric or claim.metric


def arms_of(claim: TrainedClaim) -> tuple[str, ...]:
    """The arms that decide, in the order of the effect."""
    if isinstance(claim, DifferenceClaim):
        contrasts = [claim.contrast, *(claim.also[name] for name in claim.conditions)]
        return tuple(dict.fromkeys(arm for contrast in contrasts for arm in contrast.terms))
    if not claim.sides:
        return tuple(claim.arms)
    return tuple(getattr(claim.contrast, side) for side in claim.sides)  # type: ignore[attr-defined] # a kind with sides has it
