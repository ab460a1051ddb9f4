"""A claim file as a frozen, checked value. Knows no torch.

A claim is one statement of the paper with its number and how it is decided. Everything that is
science stands in the file; the command line describes the machine. All problems of a file are
reported at once, each in a line with file, line, column, key path, and a suggestion.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator
from typing_extensions import TypeIs  # in typing from Python 3.13 on

from repro.errors import ClaimError
from repro.registry import ACTIVATIONS, DATASETS, MODELS, folder_and_size
from repro.yaml_source import KeyPath, Problem, Source, read

__all__ = [
    "Arm",
    "Claim",
    "Contrast",
    "Model",
    "Paper",
    "Recipe",
    "Region",
    "Scale",
    "Search",
    "json_schema",
    "load",
    "load_all",
    "model_for",
    "recipe_for",
]

Scalar = bool | int | float | str
Positive = Annotated[float, Field(gt=0)]
SCALES = ("smoke", "proxy", "paper")

HINT = "`repro schema` prints what a claim file may hold; `repro show` a file that is valid"
FOLDER = re.compile(r"[A-Za-z0-9._-]+\Z")
SAFE_NAME = re.compile(r"[A-Za-z0-9_]+\Z")


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class Paper(_Strict):
    """What the paper says, in our words. `figure`: CSV of points read off, beside the file."""

    section: str
    states: str
    value: float
    unit: str
    figure: str | None = None


class Recipe(_Strict):
    """How a net is trained; every field changes the numbers.

    `inputs`: `centred` is raw 0-255 less the mean image (sec. 2), `standardised` that at unit
    variance. `initialisation`: `cuda_convnet` are the authors' standard deviations by layer.
    `bias_rate`: biases learn that many times faster (2 in the authors' files). `drops`: epochs at
    which the rate is divided by ten.
    """

    inputs: Literal["centred", "standardised"]
    initialisation: Literal["cuda_convnet", "he", "xavier"]
    batch_size: Annotated[int, Field(ge=1)] = 128
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    bias_rate: Positive = 1.0
    decay_biases: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    drops: tuple[Positive, ...] = ()


class Model(_Strict):
    """A net by name, `timm:NAME` for any of timm's, and what it is built with."""

    name: str
    arguments: dict[str, Scalar] = {}


class Arm(_Strict):
    """One side of the comparison: what it changes in the net or in the recipe."""

    model: dict[str, Scalar] = {}
    recipe: dict[str, Any] = {}


class Contrast(_Strict):
    """The ratio is epochs(slow) over epochs(fast); 1 means no effect."""

    slow: str
    fast: str


class Region(_Strict):
    """Where the interval has to lie for `reproduced`; open above when `high` is missing."""

    low: float
    high: float | None = None


class Search(_Strict):
    """Successive halving over rates: at each rung (epochs) the better `keep` of them go on."""

    rates: Annotated[tuple[Positive, ...], Field(min_length=1)]
    rungs: Annotated[tuple[Positive, ...], Field(min_length=1)]
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    seeds: Annotated[int, Field(ge=1)] = 1

    @field_validator("rates", "rungs")
    @classmethod
    def _increasing(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if list(values) != sorted(set(values)):
            raise ValueError("must increase from one value to the next")
        return values


class Scale(_Strict):
    """Where and for how long the claim is tried. `search` has one entry a recipe."""

    data: str
    images: Annotated[int, Field(ge=1)] | None = None
    model: Model
    epochs: Positive
    seeds: Annotated[int, Field(ge=1)]
    search: dict[str, Search]
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    recipe: dict[str, Any] = {}


class Claim(_Strict):
    """One statement of the paper, with its number, its place, and how it is decided."""

    version: Literal[1] = 1
    id: str
    title: str
    kind: Literal["time_to_threshold"]
    paper: Paper
    question: str
    confounds: str
    metric: Literal["train_error"]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    decided_by: Literal["full", "online"]
    near: Annotated[float, Field(ge=0, le=1)]
    arms: dict[str, Arm]
    contrast: Contrast
    region: Region
    recipes: Annotated[dict[str, Recipe], Field(min_length=1)]
    verdict_recipe: str
    scales: Annotated[
        dict[str, Scale],
        Field(min_length=1, json_schema_extra={"propertyNames": {"enum": list(SCALES)}}),
    ]
    deviations: tuple[str, ...]
    _path: Path = PrivateAttr(default=Path("claim.yaml"))

    @property
    def path(self) -> Path:
        """The file that it was loaded from."""
        return self._path

    @property
    def digest(self) -> str:
        """SHA-256 of all that is science: prose and file may change, the rule may not."""
        prose = {"title", "paper", "question", "confounds", "deviations"}
        fields = self.model_dump(mode="json", exclude=prose) | {"value": self.paper.value}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def load(path: Path) -> Claim:
    """The claim of one file; ClaimError with a line for everything that is wrong with it."""
    return load_all([path])[0]


def load_all(paths: Iterable[Path]) -> list[Claim]:
    """The claims of several files; one ClaimError for the problems of all of them."""
    claims: list[Claim] = []
    lines: list[str] = []
    for path in paths:
        claim, problems = _check(Path(path))
        lines += [f"{path}:{problem}" for problem in sorted(problems)]
        if claim is not None and not problems:
            claims.append(claim)
    if lines:
        raise ClaimError("\n".join(lines), hint=HINT)
    return claims


def json_schema() -> dict[str, Any]:
    """The JSON Schema of claim files."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Claim.model_json_schema()


def recipe_for(claim: Claim, scale: str, recipe: str, arm: str) -> Recipe:
    """The recipe with what the scale and then the arm change in it."""
    base = claim.recipes[recipe].model_dump()
    return Recipe.model_validate(base | claim.scales[scale].recipe | claim.arms[arm].recipe)


def model_for(claim: Claim, scale: str, arm: str) -> Model:
    """The scale's net with what the arm changes in it."""
    model = claim.scales[scale].model
    return Model(name=model.name, arguments=model.arguments | claim.arms[arm].model)


# Checking a file


def _check(path: Path) -> tuple[Claim | None, list[Problem]]:
    try:
        source = read(path)
    except OSError as error:
        return None, [Problem(line=1, column=1, path="", sentence=f"cannot read: {error.strerror}")]
    if source.problems:
        return None, source.problems
    if not isinstance(source.data, dict):
        return None, [source.problem((), "a claim file holds a mapping of keys to values")]
    claim, problems = None, []
    try:
        claim = Claim.model_validate(source.data)
        claim._path = path  # noqa: SLF001 - the one place that knows it
    except ValidationError as error:
        problems = [_problem(source, details) for details in error.errors() if _tells(details)]
    problems += [source.problem(where, what) for where, what in _rules(source.data, path)]
    if claim is not None and not problems:
        problems = [source.problem(where, what) for where, what in _sameness_rule(claim)]
    return claim, _unique(problems)


def _unique(problems: Sequence[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


# Which model describes the mapping at a path; * stands for a name that the file chooses.
_MODELS_AT: dict[tuple[str, ...], type[BaseModel]] = {
    (): Claim,
    ("paper",): Paper,
    ("contrast",): Contrast,
    ("region",): Region,
    ("arms", "*"): Arm,
    ("arms", "*", "recipe"): Recipe,
    ("recipes", "*"): Recipe,
    ("scales", "*"): Scale,
    ("scales", "*", "model"): Model,
    ("scales", "*", "recipe"): Recipe,
    ("scales", "*", "search", "*"): Search,
}


# What pydantic calls by Python's names.
_KINDS = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "string_type": "must be a text",
}
_UNION = {"bool", "int", "float", "str"}  # what pydantic adds to the place of a Scalar


def _tells(details: Any) -> bool:
    """False for a list that only seems empty because its members were refused one by one."""
    return not (details["type"] == "too_short" and details["input"])


def _problem(source: Source, details: Any) -> Problem:
    """One of pydantic's errors, at the place that the file holds."""
    path: KeyPath = details["loc"]
    if path not in source.positions and path[-1] in _UNION and path[:-1] in source.positions:
        value = _shown(details["input"])
        return source.problem(
            path[:-1], f"must be true, false, a finite number or a text, not {value}"
        )
    return source.problem(path, _sentence(details, path))


def _sentence(details: Any, path: KeyPath) -> str:
    given = details["input"]
    match details["type"]:
        case "extra_forbidden":
            return f"unknown key{_meant(str(path[-1]), _names_at(path[:-1]))}"
        case "missing":
            return "missing key"
        case "literal_error":
            known = details["ctx"]["expected"]
            names = re.findall(r"'([^']*)'", known)
            return f"{_shown(given)} is not one of {known}{_meant(str(given), names)}"
        case "too_short":
            return "must not be empty"
        case "value_error":
            return str(details["msg"]).removeprefix("Value error, ")
        case kind:
            message = _KINDS.get(kind) or details["msg"][0].lower() + details["msg"][1:]
            return f"{message}, not {_shown(given)}"


def _names_at(path: KeyPath) -> list[str]:
    for pattern, model in _MODELS_AT.items():
        if len(pattern) == len(path) and all(
            p in ("*", part) for p, part in zip(pattern, path, strict=True)
        ):
            return list(model.model_fields)
    return []


def _meant(given: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _shown(value: object) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


# Rules between keys. They read the raw values, so that they speak even where others fail.

Finding = tuple[KeyPath, str]


def _rules(data: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    if data.get("id") != path.stem and isinstance(data.get("id"), str):
        yield ("id",), f"{data['id']!r} must be the file's name, {path.stem!r}"
    yield from _paper_rules(data, path)
    yield from _region_rules(data)
    yield from _arm_rules(data)
    yield from _recipe_rules(data)
    for name, scale in _mapping(data, "scales").items():
        if isinstance(scale, Mapping):
            yield from _scale_rules(data, name, scale)


def _paper_rules(data: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    figure = _mapping(data, "paper").get("figure")
    if not isinstance(figure, str):
        return
    at = ("paper", "figure")
    folder = path.parent.resolve()
    try:
        target = (folder / figure).resolve()
        if not target.is_relative_to(folder):
            yield at, f"{figure!r} leaves the folder of the claim file"
        elif not target.is_file():
            yield at, f"there is no file {figure!r} beside the claim file"
    except (OSError, ValueError):  # too long, or with a NUL
        yield at, f"{_shown(figure)} cannot be the name of a file"


def _region_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    region = _mapping(data, "region")
    low, high = region.get("low"), region.get("high")
    if _number(low) and low <= 1:
        yield (
            ("region", "low"),
            f"{low} is on the wrong side of no effect: a ratio of times claims something above 1",
        )
    if _number(low) and _number(high) and high <= low:
        yield ("region", "high"), f"{high} must be above low, {low}"


def _arm_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    arms = _mapping(data, "arms")
    for name in arms:
        yield from _name_rule(("arms", name), name)
    if isinstance(data.get("arms"), Mapping) and len(arms) != 2:
        yield ("arms",), f"a comparison of times has two arms, not {len(arms)}"
    contrast = _mapping(data, "contrast")
    for side in ("slow", "fast"):
        arm = contrast.get(side)
        if isinstance(arm, str) and arms and arm not in arms:
            yield ("contrast", side), f"{arm!r} is not an arm{_meant(arm, arms)}"
    if contrast.get("slow") is not None and contrast.get("slow") == contrast.get("fast"):
        yield ("contrast",), "slow and fast are the same arm"
    yield from _factor_rule(arms)
    for name, arm in arms.items():
        if isinstance(arm, Mapping):
            yield from _activation_rule(("arms", name, "model"), _mapping(arm, "model"))
            yield from _override_rules(("arms", name, "recipe"), _mapping(arm, "recipe"))


def _factor_rule(arms: Mapping[str, Any]) -> Iterator[Finding]:
    """Arms differ in the one factor under test and in nothing else."""
    changes = [
        {(part, k): v for part in ("model", "recipe") for k, v in _mapping(arm, part).items()}
        for arm in arms.values()
        if isinstance(arm, Mapping)
    ]
    if len(changes) == 2:
        one, two = changes
        factors = {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
        if not factors:
            yield ("arms",), "the arms do not differ: there is nothing to compare"
        elif len(factors) > 1:
            names = ", ".join(sorted(".".join(key) for key in factors))
            yield ("arms",), f"the arms differ in more than the one factor under test: {names}"


def _sameness_rule(claim: Claim) -> Iterator[Finding]:
    """An arm may spell out what a recipe or a net has anyway, and so differ in words alone."""
    one, two = claim.arms
    for scale in claim.scales:
        nets_agree = model_for(claim, scale, one) == model_for(claim, scale, two)
        for recipe in claim.recipes:
            ways = [recipe_for(claim, scale, recipe, arm) for arm in (one, two)]
            if nets_agree and ways[0] == ways[1]:
                yield (
                    ("scales", scale, "search", recipe),
                    "the arms come out the same here: there is nothing to compare",
                )


def _recipe_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    recipes = _mapping(data, "recipes")
    for name in recipes:
        yield from _name_rule(("recipes", name), name)
    chosen = data.get("verdict_recipe")
    if isinstance(chosen, str) and recipes and chosen not in recipes:
        yield ("verdict_recipe",), f"{chosen!r} is not a recipe{_meant(chosen, recipes)}"


def _scale_rules(data: Mapping[str, Any], name: str, scale: Mapping[str, Any]) -> Iterator[Finding]:
    at: KeyPath = ("scales", name)
    if name not in SCALES:
        yield at, f"unknown scale; known are {', '.join(SCALES)}{_meant(name, SCALES)}"
    yield from _data_rules((*at, "data"), name, scale.get("data"))
    yield from _model_rules((*at, "model"), _mapping(scale, "model"), _mapping(data, "arms"))
    yield from _override_rules((*at, "recipe"), _mapping(scale, "recipe"))
    recipes, searches = _mapping(data, "recipes"), _mapping(scale, "search")
    for recipe in searches:
        if recipe not in recipes:
            yield (*at, "search", recipe), f"{recipe!r} is not a recipe{_meant(recipe, recipes)}"
    for recipe in recipes:
        if isinstance(scale.get("search"), Mapping) and recipe not in searches:
            yield (*at, "search"), f"the recipe {recipe!r} has no rates here"
    for recipe, search in searches.items():
        rungs = search.get("rungs") if isinstance(search, Mapping) else None
        last = rungs[-1] if isinstance(rungs, tuple) and rungs else None
        if _number(last) and _number(scale.get("epochs")) and last > scale["epochs"]:
            yield (
                (*at, "search", recipe, "rungs"),
                f"the last rung, {last}, is beyond the budget of {scale['epochs']} epochs",
            )
    if name != "smoke" and scale.get("seeds") == 1:
        yield (*at, "seeds"), "one seed gives no interval; at least 2 are needed"


def _data_rules(at: KeyPath, scale: str, name: object) -> Iterator[Finding]:
    if not isinstance(name, str):
        return
    if name.startswith("folder:"):
        yield from _folder_rules(at, name)
    elif name not in DATASETS:
        yield at, f"data set {name!r} is unknown{_meant(name, DATASETS)}"
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
    name = model.get("name")
    arguments = _mapping(model, "arguments")
    yield from _activation_rule((*at, "arguments"), arguments)
    if not isinstance(name, str):
        return
    places: list[tuple[KeyPath, Iterable[str]]] = [((*at, "arguments"), arguments)]
    places += [(("arms", arm, "model"), _mapping(a, "model")) for arm, a in arms.items()]
    for where, given in places:
        yield from _ownership_rule(where, given)
    if name.startswith("timm:"):
        yield from _timm_rule((*at, "name"), name.removeprefix("timm:"))
        return
    if name not in MODELS:
        yield (
            (*at, "name"),
            f"model {name!r} is unknown{_meant(name, MODELS)}; timm's are timm:NAME",
        )
        return
    known = [key for key in MODELS[name].arguments if key not in Recipe.model_fields]
    for where, given in places:
        for key in given:
            if key not in known and key not in _DECIDED:
                yield (*where, key), f"{name} takes no {key!r}{_meant(key, known)}"


# What a net is built with and a claim does not set there. The builder would overwrite the first
# two without a word; the others would start from weights that were trained before.
_DECIDED = {
    "initialisation": "the initialisation is a field of the recipe",
    "num_classes": "the number of classes is the data set's",
    "pretrained": "a trial starts from weights drawn from its seed",
    "pretrained_cfg": "a trial starts from weights drawn from its seed",
    "checkpoint_path": "a trial starts from weights drawn from its seed",
}


def _ownership_rule(at: KeyPath, given: Iterable[str]) -> Iterator[Finding]:
    for key in given:
        if key in _DECIDED:
            yield (*at, key), _DECIDED[key]


def _timm_rule(at: KeyPath, name: str) -> Iterator[Finding]:
    import timm

    if not timm.is_model(name):
        yield at, f"timm has no model {name!r}{_meant(name, timm.list_models())}"


def _activation_rule(at: KeyPath, arguments: Mapping[str, Any]) -> Iterator[Finding]:
    name = arguments.get("activation")
    if isinstance(name, Scalar) and name not in ACTIVATIONS:
        yield (*at, "activation"), f"activation {name!r} is unknown{_meant(str(name), ACTIVATIONS)}"


def _override_rules(at: KeyPath, changes: Mapping[str, Any]) -> Iterator[Finding]:
    """A part of a recipe is held to the whole recipe's types."""
    whole = {"inputs": "centred", "initialisation": "he", **changes}
    try:
        Recipe.model_validate(whole)
    except ValidationError as error:
        for details in error.errors():
            where: KeyPath = (*at, *details["loc"])
            yield where, _sentence(details, where)


def _name_rule(at: KeyPath, name: str) -> Iterator[Finding]:
    if not SAFE_NAME.match(name):
        yield at, f"the name {name!r} may hold letters, digits and '_' alone"


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    """The mapping under `key`, empty when there is none: its absence is told elsewhere."""
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _number(value: object) -> TypeIs[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
