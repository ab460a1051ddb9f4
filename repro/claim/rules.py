"""Rules between the keys of a claim file, which types cannot express.

They read the raw values, so that they speak even where others fail.
"""

import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from repro.claim.command_rules import command_rules, placeholder_rules
from repro.claim.raw_values import (
    Finding,
    choices,
    is_number,
    mapping,
    name_rule,
    plain,
    quoted,
    suggestion,
)
from repro.claim.recipe_rules import Cause, recipe_rules
from repro.claim.spec import (
    COMMAND,
    LEAST_SEEDS,
    MOST_ARMS,
    MOST_TRIALS,
    SCALES,
    SHORTHANDS,
    TENTHS,
    Claim,
    Difference,
    DifferenceClaim,
    LevelClaim,
    Recipe,
    Scalar,
    TimeClaim,
    TrainedClaim,
    arms_of,
    images_for,
    metric_of,
    model_for,
    rate_for,
    recipe_for,
)
from repro.claim.tables import TABLES
from repro.claim.yaml_source import KeyPath
from repro.errors import ClaimError
from repro.registry import (
    ACTIVATIONS,
    DATASETS,
    METRICS,
    MODELS,
    OWN_MODELS,
    QUANTITIES,
    folder_and_size,
)

FOLDER = re.compile(r"[A-Za-z0-9._-]+\Z")

# What pydantic calls by Python's names.
_TYPES = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "string_type": "must be a text",
}


def sentence(details: Any, names: Iterable[str] = ()) -> str:
    """The message for an error of pydantic; `names`: the keys that are allowed there."""
    value = details["input"]
    match details["type"]:
        case "extra_forbidden":
            return f"unknown key{choices(str(details['loc'][-1]), names)}"
        case "missing":
            return "missing key"
        case "literal_error":
            expected = details["ctx"]["expected"]
            return f"{quoted(value)} is not one of {expected}" + suggestion(
                str(value), re.findall(r"'([^']*)'", expected)
            )
        case "too_short":
            return "must not be empty"
        case "value_error":
            return str(details["msg"]).removeprefix("Value error, ")
        case kind:
            message = _TYPES.get(kind) or details["msg"][0].lower() + details["msg"][1:]
            return f"{message}, not {quoted(value)}"


def rules(kind: type[Claim], data: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    if data.get("id") != path.stem and isinstance(data.get("id"), str):
        yield ("id",), f"{data['id']!r} must be the file's name, {path.stem!r}"
    yield from _paper_rules(data, path)
    if not issubclass(kind, TrainedClaim):
        for name, fact in mapping(data, "facts").items():
            yield from name_rule(("facts", name), name)
            yield from _fact_rules(("facts", name), fact)
        return
    yield from _region_rules(kind, data)
    yield from _comparison_rule(kind, data)
    yield from _arm_rules(kind, data)
    yield from _contrast_rules(kind, data)
    if issubclass(kind, TimeClaim):
        yield from _time_rules(data)
    yield from command_rules(data, path) if "trainer" in data else _built_in_rules(data)
    for name, scale in mapping(data, "scales").items():
        if isinstance(scale, Mapping):
            yield from _scale_rules(kind, data, name, scale)


def _built_in_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _missing_rules(data)
    yield from _metric_rules(data)
    for name, arm in mapping(data, "arms").items():
        yield from _activation_rule(("arms", name, "model"), mapping(arm, "model"))
        yield from _override_rules(("arms", name, "recipe"), mapping(arm, "recipe"))
        of_net = (("arms", name, "model"), mapping(arm, "model"))
        yield from _net_rules(("arms", name, "net"), plain(arm, "net"), [of_net])
    yield from _recipe_rules(data)
    for name, scale in mapping(data, "scales").items():
        at: KeyPath = ("scales", name)
        yield from _data_rules((*at, "data"), name, plain(scale, "data"))
        yield from _model_rules((*at, "model"), mapping(scale, "model"), mapping(data, "arms"))
        yield from _override_rules((*at, "recipe"), mapping(scale, "recipe"))
        yield from _images_rule(at, scale)


def _missing_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Keys that are required without a command as trainer."""
    required: dict[str, tuple[str, ...]] = {
        "recipes": ("inputs", "initialisation"),
        "scales": ("data", "model"),
    }
    yield from (((key,), "missing key") for key in ("recipes", "verdict_recipe") if key not in data)
    for part, keys in required.items():
        for name, spec in mapping(data, part).items():
            keys_given = spec if isinstance(spec, Mapping) else dict.fromkeys(keys)
            yield from (((part, name, key), "missing key") for key in keys if key not in keys_given)
    for part in ("arms", "scales"):
        for name, spec in mapping(data, part).items():
            if plain(spec, "arguments") is not None:
                yield (part, name, "arguments"), "only a `trainer`'s command has arguments"


def _metric_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    arms: dict[KeyPath, Any] = {("arms", name): arm for name, arm in mapping(data, "arms").items()}
    for at, part in ({(): data} | arms | _contrasts(data)).items():
        name = plain(part, "metric")
        if isinstance(name, str) and name not in METRICS:
            yield (*at, "metric"), f"metric {name!r} is unknown{choices(name, METRICS)}"


def _images_rule(at: KeyPath, scale: Mapping[str, Any]) -> Iterator[Finding]:
    facts, images = DATASETS.get(str(plain(scale, "data"))), plain(scale, "images")
    further = plain(scale, "further_test")
    needed = sum(count for count in (images or 1, further) if is_number(count))
    if facts and facts.images and needed > facts.images[0]:
        keys_text = f"{needed} (images and further_test)" if further else f"{needed}"
        yield (
            (*at, "images" if images else "further_test"),
            f"{plain(scale, 'data')} has {facts.images[0]} training images, fewer than {keys_text}",
        )
    if plain(scale, "resample") is True and images is None:
        yield (*at, "resample"), "`images` has to say how many each seed draws"


def resolved_rules(claim: TrainedClaim) -> Iterator[Finding]:
    """Rules for the recipes after the changes of scale and arm; each cause is reported once."""
    if claim.trainer is not None:
        return
    cases_by_cause: dict[Cause, list[_Case]] = {}
    for scale in claim.scales:
        for recipe in claim.recipes:
            for arm in claim.arms:
                for cause in _case_rules(claim, scale, recipe, arm):
                    cases_by_cause.setdefault(cause, []).append((recipe, scale, arm))
    for (key, why), cases in cases_by_cause.items():
        yield _place(claim, key, cases), why + _affected(claim, cases)


_Case = tuple[str, str, str]  # recipe, scale and arm


def _place(claim: TrainedClaim, key: str, cases: Sequence[_Case]) -> KeyPath:
    """The recipe's key, where it is set: by arm, by scale, or in the recipe.

    Of what is no such key: the arm or the scale, if only one has the problem; else the recipe.
    """
    recipe, scale, arm = cases[0]
    settings: list[tuple[KeyPath, Container[str]]] = [
        (("arms", arm, "recipe"), claim.arms[arm].recipe),
        (("scales", scale, "recipe"), claim.scales[scale].recipe),
        (("recipes", recipe), claim.recipes[recipe].model_fields_set),
    ]
    for at, keys in settings:
        if key in keys:
            return (*at, key)
    recipes, scales, arms = (list(dict.fromkeys(values)) for values in zip(*cases, strict=True))
    if len(arms) < len(claim.arms):
        return "arms", arms[0]
    if len(scales) < len(claim.scales) or len(recipes) > 1:
        return "scales", scales[0]
    return "recipes", recipes[0]


def _affected(claim: TrainedClaim, cases: Iterable[_Case]) -> str:
    """The recipes, scales and arms with the problem, if not all have it."""
    columns = zip(("recipe", "scale", "arm"), zip(*cases, strict=True), strict=True)
    counts = {"recipe": len(claim.recipes), "scale": len(claim.scales), "arm": len(claim.arms)}
    parts = []
    for word, values in columns:
        names = list(dict.fromkeys(values))
        if len(names) < counts[word]:
            parts.append(f"{word}{'s' * (len(names) > 1)} {', '.join(names)}")
    return f" ({'; '.join(parts)})" if parts else ""


# What repro.train.evaluate reads of the net's own layers.
_OF_ALEXNET = {"colour_split", "neighbours_features", "neighbours_pixels"}


def _case_rules(claim: TrainedClaim, scale: str, recipe: str, arm: str) -> Iterator[Cause]:
    try:
        settings = recipe_for(claim, scale, recipe, arm)
    except ValidationError as error:
        for details in error.errors():
            yield str(details["loc"][0]) if details["loc"] else "", sentence(details)
        return
    yield from _fit_rules(claim, scale, arm, settings)
    crops = [name for name in _metrics_read(claim, arm) if "ten_crop" in name]
    facts = DATASETS.get(claim.scales[scale].data)
    if crops and settings.crop is None:
        yield "", f"the recipe has no `crop`, a size, of which {crops[0]} reads ten"
    elif crops and facts and settings.crop == facts.size:
        why = f"a crop of {settings.crop} is the whole image: {crops[0]} reads ten smaller ones"
        yield "crop", why
    if "crop" in settings.augment and settings.crop is None:
        yield "augment", "the recipe has no `crop`, the size of the random crops of `augment`"
    yield from recipe_rules(
        settings,
        epochs=claim.scales[scale].epochs,
        timed=isinstance(claim, TimeClaim) and claim.metric == "train_error",
    )
    if isinstance(claim, TimeClaim) and claim.metric == "test_error" and settings.patience:
        why = "`patience` does not go with times to a test error: trials end before it may cross"
        yield "patience", why
    model = model_for(claim, scale, arm).name
    for name in _OF_ALEXNET.intersection(_metrics_read(claim, arm)):
        if model.startswith("timm:") or (model in OWN_MODELS and model != "alexnet_2012"):
            yield "", f"{name} is measured of alexnet_2012 alone, not of {model}"
    if model.startswith("timm:") and settings.initialisation != "framework":
        yield (
            "initialisation",
            f"{model} draws its own initial weights, so that `initialisation: "
            f"{settings.initialisation}` has no effect: write `framework`",
        )


def amount_rule(claim: TrainedClaim) -> Iterator[Finding]:
    """Limit the number of trials: a huge plan, surely a mistake, could not even be listed."""
    for name, scale in claim.scales.items():
        searches = [scale.search.get(recipe) for recipe in claim.recipes]
        tuning = sum(len(search.rates) * search.seeds for search in searches if search is not None)
        searched = sum(arm.rate is None for arm in claim.arms.values())
        trials = searched * tuning + len(claim.arms) * len(searches) * scale.seeds[-1]
        if trials > MOST_TRIALS:
            yield (
                ("scales", name),
                f"{trials:,} trials, of up to {scale.epochs:g} epochs each; at most "
                f"{MOST_TRIALS:,} are planned (for each arm and recipe: rates times tuning seeds, "
                "and evaluation seeds)",
            )


def _fit_rules(claim: TrainedClaim, scale: str, arm: str, settings: Recipe) -> Iterator[Cause]:
    """Whether a registered data set has enough images, and large enough ones."""
    at, images = claim.scales[scale], images_for(claim, scale, arm)
    if at.images is None and claim.arms[arm].share is not None:
        yield "", "`share` is of the scale's `images`, which it does not say"
    facts = DATASETS.get(at.data)
    if facts and settings.crop is not None and settings.crop > facts.size:
        why = f"crops of {settings.crop} pixels do not fit into {at.data}'s images of {facts.size}"
        yield "crop", why
    if images is None and facts and facts.images:
        images = facts.images[0] - at.further_test
    steps = TENTHS if images is None else math.ceil(images / settings.batch_size)
    if steps < TENTHS:
        yield (
            "batch_size",
            f"{images} images in batches of {settings.batch_size} (recipe.batch_size) make {steps} "
            f"steps an epoch; at least {TENTHS} are needed: errors are measured in tenths of it",
        )


def _metrics_read(claim: TrainedClaim, arm: str) -> Iterator[str]:
    yield metric_of(claim, arm)
    contrasts = [getattr(claim, "contrast", None), *getattr(claim, "also", {}).values()]
    for contrast in filter(None, contrasts):
        if arm in _named(type(claim), contrast.model_dump()).values():
            yield getattr(contrast, "metric", None) or ""


def _paper_rules(data: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    for key, reader in TABLES.items():
        name = mapping(data, "paper").get(key)
        if not isinstance(name, str):
            continue
        misplaced = list(_file_rules(("paper", key), name, path.parent.resolve()))
        yield from misplaced
        if not misplaced:
            try:
                reader(path.parent / name)
            except ClaimError as error:
                yield ("paper", key), str(error)


def _file_rules(at: KeyPath, name: str, folder: Path) -> Iterator[Finding]:
    try:
        target = (folder / name).resolve()
        if not target.is_relative_to(folder):
            yield at, f"{name!r} leaves the folder of the claim file"
        elif not target.exists():
            yield at, f"there is no file {name!r} beside the claim file"
    except (OSError, ValueError):  # too long, or with a NUL
        yield at, f"{quoted(name)} cannot be the name of a file"


def _fact_rules(at: KeyPath, fact: Any) -> Iterator[Finding]:
    quantity, low, high = (plain(fact, key) for key in ("quantity", "low", "high"))
    if isinstance(quantity, str) and quantity not in QUANTITIES:
        yield (*at, "quantity"), f"{quantity!r} is unknown{choices(quantity, QUANTITIES)}"
    if is_number(low) and is_number(high) and high < low:
        yield (*at, "high"), f"{high} must not be below low, {low}"
    yield from _model_rules((*at, "model"), mapping(fact, "model"), {})


def _region_rules(kind: type[TrainedClaim], data: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _one_region_rules(("region",), kind, mapping(data, "region"))
    for name, contrast in mapping(data, "also").items():
        yield from _one_region_rules(("also", name, "region"), kind, mapping(contrast, "region"))
    if plain(data.get("contrast"), "region") is not None:
        yield ("contrast", "region"), "the claim's `region` is that of its contrast"


def _one_region_rules(
    at: KeyPath, kind: type[TrainedClaim], region: Mapping[str, Any]
) -> Iterator[Finding]:
    low, high = region.get("low"), region.get("high")
    nothing = kind.no_effect
    above = nothing is None or not is_number(low) or low > nothing
    if nothing is not None and not above and not _equally_far(nothing, low, high):
        margin = "1/x to x" if nothing == 1 else "-x to x"
        yield (
            (*at, "low"),
            f"{low} is on the wrong side of no effect: what is claimed lies above {nothing:g}; "
            f"that nothing differs is claimed by ends equally far from it, {margin}",
        )
    if is_number(low) and is_number(high) and high <= low:
        yield (*at, "high"), f"{high} must be above low, {low}"


def _equally_far(nothing: float, low: Any, high: Any) -> bool:
    """A region about no effect is an equivalence; one end on the wrong side is a mistake."""
    if not is_number(high):
        return False
    if nothing == 1:
        return 0 < low < 1 < high and math.isclose(-math.log(low), math.log(high), rel_tol=0.1)
    return high > nothing and math.isclose(nothing - low, high - nothing)


def _comparison_rule(kind: type[TrainedClaim], data: Mapping[str, Any]) -> Iterator[Finding]:
    comparison = plain(data.get("analysis"), "comparison")
    at: KeyPath = ("analysis", "comparison")
    if comparison is not None and not kind.sides:
        yield at, "there is one arm, which is compared with nothing"
    weighted = any(mapping(contrast, "weights") for contrast in _contrasts(data).values())
    if comparison == "welch" and weighted:
        yield at, "a contrast with `weights` is computed seed by seed: paired"
    if comparison == "paired" and issubclass(kind, TimeClaim):
        yield at, "times are compared as independent arms (welch): some of them may be censored"


def _time_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    """How a training error is looked for has to be said; a test error is measured by itself."""
    of_test = data.get("metric") == "test_error"
    for key in ("decided_by", "near", "crossing"):
        if of_test and key in data:
            yield (key,), "has no effect: the test error is measured after each epoch"
        elif not of_test and key not in data and key != "crossing":
            yield (key,), "missing key"


def _arm_rules(kind: type[TrainedClaim], data: Mapping[str, Any]) -> Iterator[Finding]:
    arms = mapping(data, "arms")
    for name in arms:
        yield from name_rule(("arms", name), name)
    if not isinstance(data.get("arms"), Mapping):
        return
    if len(arms) > MOST_ARMS:
        yield ("arms",), f"{len(arms)} arms: figures tell at most {MOST_ARMS} apart"
    if kind.sides and len(arms) < 2:
        yield ("arms",), f"a comparison has at least two arms, not {len(arms)}"
    if issubclass(kind, LevelClaim) and len(arms) != 1:
        yield ("arms",), f"a level is that of one arm, not of {len(arms)}"
    contrasts = _contrasts(data).values()
    arms_used = {arm for one in contrasts for arm in _named(kind, one).values()} - {None}
    for name in arms:
        if arms_used and name not in arms_used:
            yield ("arms", name), "no contrast uses this arm"


def _contrasts(data: Mapping[str, Any]) -> dict[KeyPath, Any]:
    """The contrasts by key path, the deciding one first."""
    also = mapping(data, "also").items()
    return {("contrast",): data.get("contrast"), **{("also", name): one for name, one in also}}


def _named(kind: type[TrainedClaim], contrast: Any) -> dict[KeyPath, object]:
    """The arms of a contrast, by the keys that name them."""
    named: dict[KeyPath, object] = {}
    named.update((("weights", arm), arm) for arm in mapping(contrast, "weights"))
    return named or {(side,): plain(contrast, side) for side in kind.sides}


def _contrast_rules(kind: type[TrainedClaim], data: Mapping[str, Any]) -> Iterator[Finding]:
    sides = kind.sides
    if not sides:
        return
    arms = mapping(data, "arms")
    for name in mapping(data, "also"):
        yield from name_rule(("also", name), name)
        if name == "contrast":
            yield ("also", name), "this is the name of the contrast that decides"
    for at, contrast in _contrasts(data).items():
        named = _named(kind, contrast)
        for key, arm in named.items():
            if isinstance(arm, str) and arms and arm not in arms:
                yield (*at, *key), f"{arm!r} is not an arm{choices(arm, arms)}"
        if len(named) > 1 and None not in named.values() and len({*named.values()}) == 1:
            yield at, f"{sides[0]} and {sides[1]} are the same arm"
        decides = at == ("contrast",) or plain(contrast, "region") is not None
        misnamed = any(placeholder_rules(data))  # an argument, which then is no second factor
        if decides and len(named) == 2 and not misnamed:  # an interaction is of two factors
            compared = {name: arm for name, arm in arms.items() if name in named.values()}
            yield from _factor_rule(compared, by_name="trainer" in data)


def _factor_rule(arms: Mapping[str, Any], *, by_name: bool) -> Iterator[Finding]:
    """The arms that decide differ in the one factor under test and in nothing else.

    `by_name`: a command is told an arm's name, which may say it all.
    """
    changes = [
        {
            (part, key): value
            for part in ("model", "recipe", "arguments")
            for key, value in mapping(arm, part).items()
        }
        | {(key,): plain(arm, key) for key in ("metric", "net", "rate", "share")}
        for arm in arms.values()
    ]
    for first, second in combinations(changes, 2):
        factors = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
        if ("net",) in factors:  # a net of timm's draws its own initial weights, and has to say so
            factors -= {("recipe", "initialisation")}
        if not factors and not by_name:
            yield ("arms",), "the arms do not differ: there is nothing to compare"
        elif len(factors) > 1:
            names = ", ".join(sorted(".".join(key) for key in factors))
            yield ("arms",), f"the arms differ in more than the one factor under test: {names}"


def contrast_rules(claim: TrainedClaim) -> Iterator[Finding]:
    """Rules for the metrics of a contrast, once its arms exist."""
    own = {claim.arms[arm].rate is not None for arm in arms_of(claim)}
    if len(own) > 1 and any(scale.search for scale in claim.scales.values()):
        yield ("arms",), "of the arms that decide, some have a rate of their own and some a search"
    if isinstance(claim, TimeClaim):
        for name, arm in claim.arms.items():
            if arm.share is not None:
                yield ("arms", name, "share"), "an epoch of fewer images is no measure of time"
            if arm.metric is not None:
                yield ("arms", name, "metric"), "has no effect: times are to the claim's own metric"
        for name, scale in claim.scales.items():
            if claim.metric == "test_error" and claim.trainer is None and scale.epochs % 1:
                yield ("scales", name, "epochs"), "the test error is measured after whole epochs"
    if isinstance(claim, DifferenceClaim):
        yield from _difference_rules(claim)


def _difference_rules(claim: DifferenceClaim) -> Iterator[Finding]:
    contrasts: dict[KeyPath, Difference] = {("contrast",): claim.contrast}
    contrasts |= {("also", name): claim.also[name] for name in claim.conditions}
    for at, contrast in contrasts.items():
        metrics = {metric_of(claim, arm, contrast) for arm in contrast.terms}
        if len(contrast.terms) > 2 and len(metrics) > 1:
            yield at, f"`weights` are of one metric, not of {' and '.join(sorted(metrics))}"
        if metrics == {"gap"} and (contrast is not claim.contrast or len(contrast.terms) > 2):
            yield at, "a gap shows overfitting of two arms alone, as the contrast that decides"
        if (
            contrast is not claim.contrast
            and contrast.terms == claim.contrast.terms
            and metrics == {metric_of(claim, arm, claim.contrast) for arm in contrast.terms}
        ):
            yield at, "it is the contrast that decides once more: its region is the claim's"
    if claim.conditions:
        for name, scale in claim.scales.items():
            if scale.taken:
                yield (
                    ("scales", name, "taken"),
                    "analyses that were taken cannot share their error with further contrasts",
                )


def sameness_rule(claim: TrainedClaim) -> Iterator[Finding]:
    """Arms that are written differently but train the same net."""
    for first, second in combinations(arms_of(claim), 2):
        if metric_of(claim, first) != metric_of(claim, second):
            continue
        for scale, at in claim.scales.items():
            nets_agree = all(
                of(claim, scale, first) == of(claim, scale, second)
                for of in (model_for, images_for)
            )
            for recipe in claim.recipes:
                ways = [recipe_for(claim, scale, recipe, arm) for arm in (first, second)]
                rates = [rate_for(claim, scale, recipe, arm) for arm in (first, second)]
                if nets_agree and ways[0] == ways[1] and rates[0] == rates[1]:
                    yield (
                        ("scales", scale, "search" if recipe in at.search else "rate", recipe),
                        "the arms come out the same here: there is nothing to compare",
                    )


def length_rule(claim: TrainedClaim) -> Iterator[Finding]:
    """Scales whose trials are the same, but for how long a command is told to train.

    It would go on from the shorter training, which the built-in trainer may do and a program whose
    schedule ends with its epochs may not; and the shorter scale would be judged by the longer one.
    """
    if claim.trainer is None:
        return
    for (name, one), (other, two) in combinations(claim.scales.items(), 2):
        nets = [
            {arm: model_for(claim, scale, arm) for arm in claim.arms} for scale in (name, other)
        ]
        same = one.data == two.data and nets[0] == nets[1] and one.threshold == two.threshold
        if same and one.epochs != two.epochs and _share_rates(claim, name, other):
            yield (
                ("scales", other, "epochs"),
                f"the {name} scale has the same trials, but trains for {one.epochs:g} epochs, not "
                f"{two.epochs:g}: tell them apart by their `data` or `arguments`",
            )


def _share_rates(claim: TrainedClaim, one: str, other: str) -> bool:
    """Whether an arm may have the same rate at both scales; a search may find any."""
    pairs = (
        [rate_for(claim, scale, recipe, arm) for scale in (one, other)]
        for recipe in claim.recipes
        for arm in claim.arms
    )
    return any(None in rates or rates[0] == rates[1] for rates in pairs)


def _recipe_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    recipes = mapping(data, "recipes")
    for name in recipes:
        yield from name_rule(("recipes", name), name)
    deciding = data.get("verdict_recipe")
    if isinstance(deciding, str) and recipes and deciding not in recipes:
        yield ("verdict_recipe",), f"{deciding!r} is not a recipe{choices(deciding, recipes)}"


def _scale_rules(
    kind: type[Claim], data: Mapping[str, Any], name: str, scale: Mapping[str, Any]
) -> Iterator[Finding]:
    at: KeyPath = ("scales", name)
    if name not in SCALES:
        yield at, f"unknown scale{choices(name, SCALES)}"
    recipes = {COMMAND: {}} if "trainer" in data else mapping(data, "recipes")
    yield from _rate_rules(at, recipes, scale)
    if "threshold" in scale and not issubclass(kind, TimeClaim):
        yield (*at, "threshold"), "only a comparison of times has a threshold"
    seeds = scale.get("seeds")
    first = seeds[0] if isinstance(seeds, tuple) and seeds else seeds
    if name != "smoke" and is_number(first) and 1 <= first < LEAST_SEEDS:
        yield (
            (*at, "seeds"),
            f"the first interim analysis has {first}; a verdict needs {LEAST_SEEDS} seeds an arm",
        )


def _rate_rules(
    at: KeyPath, recipes: Mapping[str, Any], scale: Mapping[str, Any]
) -> Iterator[Finding]:
    """Each recipe has a search or a rate, and not both."""
    searches, rates = (_by_recipe(scale, key) for key in ("search", "rate"))
    for key, keys_given in (("search", searches), ("rate", rates)):
        for recipe in keys_given:
            if recipe not in recipes:
                yield (*at, key, recipe), f"{recipe!r} is not a recipe{choices(recipe, recipes)}"
    for recipe in recipes:
        if recipe in searches and recipe in rates:
            yield (*at, "rate", recipe), "this recipe has a search for its rate already"
        if recipe not in searches and recipe not in rates:
            name, rate = (
                ("the command", "0.01")
                if recipe == COMMAND
                else (f"the recipe {recipe!r}", f"{{{recipe}: 0.01}}")
            )
            yield (
                (*at, "rate" if rates else "search"),
                f"{name} has no rates here: add `rate: {rate}`, or a `search`",
            )
    for recipe, search in searches.items():
        rungs = search.get("rungs") if isinstance(search, Mapping) else None
        last = rungs[-1] if isinstance(rungs, tuple) and rungs else None
        if is_number(last) and is_number(scale.get("epochs")) and last > scale["epochs"]:
            yield (
                (*at, "search", recipe, "rungs"),
                f"the last rung, {last}, is beyond the budget of {scale['epochs']} epochs",
            )


def _by_recipe(scale: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The rates of a scale by recipe; a command has one recipe, without a name."""
    keys_given = SHORTHANDS[key](scale.get(key))
    return keys_given if isinstance(keys_given, Mapping) else {}


def _data_rules(at: KeyPath, scale: str, name: object) -> Iterator[Finding]:
    if not isinstance(name, str):
        return
    if name.startswith("folder:"):
        yield from _folder_rules(at, name)
    elif name not in DATASETS:
        yield at, f"data set {name!r} is unknown{choices(name, DATASETS)}"
    elif DATASETS[name].evidence == (scale == "smoke"):
        kind = "real" if scale == "smoke" else "embedded"
        wants = "embedded data" if scale == "smoke" else "real images"
        yield at, f"{name!r} is {kind} data; the {scale} scale wants {wants}"


def _folder_rules(at: KeyPath, name: str) -> Iterator[Finding]:
    try:
        folder, _ = folder_and_size(name)
    except ValueError as error:
        yield at, str(error)
        return
    if not FOLDER.match(folder) or folder in (".", ".."):
        yield at, f"{name!r}: a folder's name has letters, digits, '.', '_' and '-' alone"


def _model_rules(
    at: KeyPath, model: Mapping[str, Any], arms: Mapping[str, Any]
) -> Iterator[Finding]:
    """Rules for a net and the arms that change its arguments, except arms with their own net."""
    arguments = mapping(model, "arguments")
    yield from _activation_rule((*at, "arguments"), arguments)
    places: list[tuple[KeyPath, Iterable[str]]] = [((*at, "arguments"), arguments)]
    places += [
        (("arms", arm, "model"), mapping(a, "model"))
        for arm, a in arms.items()
        if plain(a, "net") is None
    ]
    yield from _net_rules((*at, "name"), model.get("name"), places)


def _net_rules(
    at: KeyPath, name: object, places: Iterable[tuple[KeyPath, Iterable[str]]]
) -> Iterator[Finding]:
    """Rules for the name of a net, and for its arguments at these key paths."""
    if not isinstance(name, str):
        return
    for where, given in places:
        yield from (((*where, key), _DECIDED[key]) for key in given if key in _DECIDED)
    if name.startswith("timm:"):
        yield from _timm_rule(at, name.removeprefix("timm:"))
        return
    if name not in MODELS:
        yield at, f"model {name!r} is unknown{choices(name, MODELS)}; timm's are timm:NAME"
        return
    known = [key for key in MODELS[name].arguments if key not in Recipe.model_fields]
    for where, given in places:
        for key in given:
            if key not in known and key not in _DECIDED:
                yield (*where, key), f"{name} takes no {key!r}{choices(key, known)}"


# What a net is built with and a claim does not set there. The builder would overwrite the first
# two without a word; the others would start from weights that were trained before.
_DECIDED = {
    "initialisation": "the initialisation is a field of the recipe",
    "img_size": "the size of the inputs follows from the images and the recipe's crop",
    "num_classes": "the number of classes is the data set's",
    "pretrained": "a trial starts from weights drawn from its seed",
    "pretrained_cfg": "a trial starts from weights drawn from its seed",
    "checkpoint_path": "a trial starts from weights drawn from its seed",
}


def _timm_rule(at: KeyPath, name: str) -> Iterator[Finding]:
    import timm

    if not timm.is_model(name):
        yield at, f"timm has no model {name!r}{suggestion(name, timm.list_models())}"
        return
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:  # of the weights that a trial does not start from
        net = name.partition(".")[0]
        yield at, f"timm has no {name!r}: name the net alone, timm:{net}"


def _activation_rule(at: KeyPath, arguments: Mapping[str, Any]) -> Iterator[Finding]:
    name = arguments.get("activation")
    if isinstance(name, Scalar) and name not in ACTIVATIONS:
        yield (
            (*at, "activation"),
            f"activation {name!r} is unknown{choices(str(name), ACTIVATIONS)}",
        )


def _override_rules(at: KeyPath, changes: Mapping[str, Any]) -> Iterator[Finding]:
    whole = {"inputs": "centred", "initialisation": "he", **changes}
    try:
        Recipe.model_validate(whole)
    except ValidationError as error:
        for details in error.errors():
            where: KeyPath = (*at, *details["loc"])
            if details["loc"]:  # what keys have to do with each other is asked of the whole
                yield where, sentence(details, Recipe.model_fields)
