"""Rules between the keys of a recipe, and for the arguments of its optimiser."""

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from repro.claim.raw_values import choices, is_number, quoted
from repro.claim.spec import TENTHS, Recipe, Schedule, TrainedClaim, rate_for, recipe_for
from repro.registry import (
    AUGMENTATIONS,
    OPTIMISERS,
    SCHEDULES,
    OptimiserFacts,
    ScheduleFacts,
)

Cause = tuple[str, str]  # the key of the recipe, empty if it is none, and what is wrong


def recipe_rules(recipe: Recipe, *, epochs: float, timed: bool) -> Iterator[Cause]:
    """The problems of a recipe that is trained for `epochs`.

    `timed`: the trial stops at a training error.
    """
    if recipe.padding and "crop" not in recipe.augment:
        yield "padding", "`padding` has no effect: `augment` has no random crops"
    for key in ("mixup", "cutmix", "ema"):
        if timed and getattr(recipe, key) is not None:
            why = "does not go with times: training errors are then not of the net alone"
            yield key, f"`{key}` {why}"
    rates = [key for key in ("drops", "patience", "schedule") if getattr(recipe, key)]
    if len(rates) > 1:
        both = " and ".join(f"`{key}`" for key in rates)
        yield rates[-1], f"the recipe has both {both}: the rate follows one"
    if recipe.schedule is not None:
        yield from (("schedule", cause) for cause in _schedule_rules(recipe.schedule, epochs))
    yield from (("augment", cause) for cause in _augmentation_rules(recipe.augment))
    yield from _optimiser_rules(recipe)


def _schedule_rules(schedule: Schedule, epochs: float) -> Iterator[str]:
    """Whether the schedule is known, and fits the epochs of the scale."""
    if schedule.name not in SCHEDULES:
        yield f"schedule {schedule.name!r} is unknown{choices(schedule.name, SCHEDULES)}"
        return
    last = epochs if schedule.epochs is None else schedule.epochs
    if last < epochs:
        yield f"the schedule ends at epoch {last:g}, and the scale trains for {epochs:g}"
    if schedule.warmup >= last:
        yield f"a warm-up of {schedule.warmup:g} epochs takes all {last:g} of the schedule"
    facts = SCHEDULES[schedule.name]
    if isinstance(facts, ScheduleFacts):
        misfits = list(_argument_rules(schedule.name, schedule.arguments, facts.arguments))
        yield from misfits or _factor_rule(schedule, facts, last)


def _factor_rule(schedule: Schedule, facts: ScheduleFacts, last: float) -> Iterator[str]:
    """What a package's schedule makes of its own arguments, where training will ask it."""
    middles = ((window + 0.5) / TENTHS for window in range(round(TENTHS * last)))
    for epoch in itertools.chain([0.0], middles):
        try:
            factor = facts.factor(epoch, epochs=last, **schedule.arguments)
            is_factor = is_number(factor) and 0 <= factor < math.inf
        except Exception as error:  # noqa: BLE001 - whatever a package raises
            yield f"{schedule.name} fails at epoch {epoch:g}: {type(error).__name__}: {error}"
            return
        if not is_factor:
            yield f"{schedule.name} multiplies the rate by {factor!r} at epoch {epoch:g}"
            return


def _augmentation_rules(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if name not in AUGMENTATIONS:
            yield (
                f"augmentation {name!r} is unknown{choices(name, AUGMENTATIONS)}; one of your own "
                "is a plug-in, of the entry point group repro.augmentations"
            )
    if len({*names}) < len(names):
        yield f"`augment` has {max(names, key=names.count)!r} twice"


def idle_keys(claim: TrainedClaim) -> Iterator[str]:
    """Keys of a schedule without effect at a scale, except smoke, whose epochs are few."""
    warnings_by_text = {
        f"scales.{scale}: {sentence} (recipe {recipe})": None
        for scale in claim.scales
        if scale != "smoke"
        for recipe in claim.recipes
        for arm in claim.arms
        for sentence in _idle(claim, scale, recipe, arm)
    }
    return iter(warnings_by_text)


def _idle(claim: TrainedClaim, scale: str, recipe: str, arm: str) -> Iterator[str]:
    spec, settings = claim.scales[scale], recipe_for(claim, scale, recipe, arm)
    keys = settings.schedule or Schedule(name="constant")
    steps = () if keys.step_size is None else (keys.step_size,)
    for key, whens in (
        ("drops", settings.drops),
        ("milestones", keys.milestones),
        ("step_size", steps),
    ):
        late = [f"{epoch:g}" for epoch in whens if epoch >= spec.epochs]
        if late:
            yield f"{', '.join(late)} of `{key}` has no effect in {spec.epochs:g} epochs"
    rate = rate_for(claim, scale, recipe, arm)
    rates = spec.search[recipe].rates if rate is None else (rate,)
    low = [f"{rate:g}" for rate in rates if rate <= keys.eta_min]
    if low:
        yield f"`eta_min`, {keys.eta_min:g}, is not below the rate {', '.join(low)}: no fall"


# Arguments of optimisers that a claim file sets elsewhere.
_ELSEWHERE = {
    "lr": "the rate is the scale's: `rate` or `search`",
    "weight_decay": "`weight_decay` is a key of the recipe",
}


def _optimiser_rules(recipe: Recipe) -> Iterator[Cause]:
    name, arguments = recipe.optimiser.name, recipe.optimiser.arguments
    facts = optimiser_facts(name)
    if facts is None:
        known = choices(name, OPTIMISERS)
        yield "optimiser", f"optimiser {name!r} is unknown{known}; timm's are timm:NAME"
        return
    misfits = list(_argument_rules(name, arguments, facts.arguments)) or list(_refusal(recipe))
    yield from (("optimiser", misfit) for misfit in misfits)
    if name != "sgd" and "momentum" in recipe.model_fields_set:
        why = f"`momentum` has no effect: it is that of sgd, and the optimiser is {name}"
        yield "momentum", why
    if name == "sgd" and arguments.get("nesterov") and not recipe.momentum:
        yield "optimiser", "`nesterov` has no effect without momentum"


def _argument_rules(
    name: str, arguments: Mapping[str, object], defaults: Mapping[str, Any]
) -> Iterator[str]:
    for key, value in arguments.items():
        if key not in defaults:
            yield f"{name} takes no {key!r}" + (
                f": {_ELSEWHERE[key]}" if key in _ELSEWHERE else choices(key, defaults)
            )
        elif not _is_alike(value, defaults[key]):
            default = quoted(defaults[key])
            yield f"{key} of {name} must be like {default}, not {quoted(value)}"


def _refusal(recipe: Recipe) -> Iterator[str]:
    """The error of the optimiser itself about its arguments, from building it once.

    This imports torch, so only with arguments; some optimisers of timm always need some.
    """
    name, arguments = recipe.optimiser.name, recipe.optimiser.arguments
    if name == "sgd" or not (arguments or name.startswith("timm:")):
        return
    import torch

    group = {"params": [torch.nn.Parameter(torch.zeros(2, 2))], "weight_decay": recipe.weight_decay}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _builder(name)([group], lr=1e-3, weight_decay=0.0, **arguments)
    except Exception as error:  # noqa: BLE001 - whatever a library raises
        yield f"{name} refuses its `arguments`: {' '.join(str(error).split())}"


def _builder(name: str) -> Any:
    if name.startswith("timm:"):
        from timm.optim import _optim_factory as timm  # which the package does not list as exported

        return timm.get_optimizer_class(name[5:])
    facts = OPTIMISERS[name]
    return getattr(import_module(facts.module), facts.builder)


def optimiser_facts(name: str) -> OptimiserFacts | None:
    """None for an unknown name."""
    return _timm_facts(name[5:]) if name.startswith("timm:") else OPTIMISERS.get(name)


# Arguments that repro sets: the rate and decay of the recipe, and the implementation of a step.
_RESERVED = {
    *("params", "lr", "weight_decay"),
    *("foreach", "fused", "maximize", "capturable", "differentiable"),
}


def _timm_facts(name: str) -> OptimiserFacts | None:
    """Facts of timm's optimisers, except those with other packages or second derivatives."""
    from timm.optim import _optim_factory as timm  # which the package does not list as exported

    if name not in timm.list_optimizers():
        return None
    info = timm.get_optimizer_info(name)
    if isinstance(info.opt_class, str) or info.second_order or "kron" in name:
        return None
    parameters = signature(timm.get_optimizer_class(name)).parameters.values()
    arguments = {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.name not in _RESERVED
    }
    return OptimiserFacts(
        title=info.description, module="timm.optim", builder=name, arguments=arguments
    )


def _is_alike(value: object, default: object) -> bool:
    """Whether a value has the type of the default; any type if the default is None."""
    if isinstance(default, tuple):
        if not isinstance(value, tuple) or len(value) != len(default):
            return False
        return all(itertools.starmap(_is_alike, zip(value, default, strict=True)))
    if isinstance(default, bool | str):
        return isinstance(value, type(default))
    return default is None or is_number(value)
