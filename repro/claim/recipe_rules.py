"""What the keys of a recipe have to do with each other, and with optimisers by their names."""

import itertools
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from repro.claim.raw import choices, is_number, shown
from repro.claim.spec import Recipe, Schedule, TrainedClaim, rate_for, recipe_for
from repro.registry import OPTIMISERS, OptimiserFacts

__all__ = ["idle_keys", "recipe_rules"]


def recipe_rules(way: Recipe, *, epochs: float, timed: bool) -> Iterator[str]:
    """All that is wrong with a recipe that is trained for so many epochs.

    `timed`: until a training error is reached.
    """
    if way.padding and "crop" not in way.augment:
        yield "`padding` has no effect: `augment` has no random crops"
    for key in ("mixup", "cutmix", "ema"):
        if timed and getattr(way, key) is not None:
            yield f"`{key}` does not go with times: training errors are then not of the net alone"
    rates = [f"`{key}`" for key in ("drops", "patience", "schedule") if getattr(way, key)]
    if len(rates) > 1:
        yield f"the recipe has both {' and '.join(rates)}: the rate follows one"
    if way.schedule is not None:
        yield from _schedule_rules(way.schedule, epochs)
    yield from _optimiser_rules(way)


def _schedule_rules(schedule: Schedule, epochs: float) -> Iterator[str]:
    """Whether it goes with the scale's epochs."""
    last = epochs if schedule.epochs is None else schedule.epochs
    if last < epochs:
        yield f"the schedule ends at epoch {last:g}, and the scale trains for {epochs:g}"
    if schedule.warmup >= last:
        yield f"a warm-up of {schedule.warmup:g} epochs takes all {last:g} of the schedule"


def idle_keys(claim: TrainedClaim) -> Iterator[str]:
    """What of a schedule comes to nothing at a scale; of smoke's few epochs nobody asks more."""
    found = {
        f"scales.{scale}: {sentence} (recipe {recipe})": None
        for scale in claim.scales
        if scale != "smoke"
        for recipe in claim.recipes
        for arm in claim.arms
        for sentence in _idle(claim, scale, recipe, arm)
    }
    return iter(found)


def _idle(claim: TrainedClaim, scale: str, recipe: str, arm: str) -> Iterator[str]:
    at, way = claim.scales[scale], recipe_for(claim, scale, recipe, arm)
    keys = way.schedule or Schedule(name="constant")
    steps = () if keys.step_size is None else (keys.step_size,)
    for key, whens in (("drops", way.drops), ("milestones", keys.milestones), ("step_size", steps)):
        late = [f"{epoch:g}" for epoch in whens if epoch >= at.epochs]
        if late:
            yield f"{', '.join(late)} of `{key}` has no effect in {at.epochs:g} epochs"
    given = rate_for(claim, scale, recipe, arm)
    rates = at.search[recipe].rates if given is None else (given,)
    low = [f"{rate:g}" for rate in rates if rate <= keys.eta_min]
    if low:
        yield f"`eta_min`, {keys.eta_min:g}, is not below the rate {', '.join(low)}: no fall"


# What optimisers call by another name, or take from another place.
_ELSEWHERE = {
    "lr": "the rate is the scale's: `rate` or `search`",
    "weight_decay": "`weight_decay` is a key of the recipe",
}


def _optimiser_rules(way: Recipe) -> Iterator[str]:
    name, given = way.optimiser.name, way.optimiser.arguments
    facts = optimiser_facts(name)
    if facts is None:
        yield f"optimiser {name!r} is unknown{choices(name, OPTIMISERS)}; timm's are timm:NAME"
        return
    misfits = list(_argument_rules(name, given, facts))
    yield from misfits
    if not misfits:
        yield from _refusal(way)
    if name != "sgd" and "momentum" in way.model_fields_set:
        yield f"`momentum` has no effect: it is that of sgd, and the optimiser is {name}"
    if name == "sgd" and given.get("nesterov") and not way.momentum:
        yield "`nesterov` has no effect without momentum"


def _argument_rules(name: str, given: Mapping[str, object], facts: OptimiserFacts) -> Iterator[str]:
    for key, value in given.items():
        if key not in facts.arguments:
            yield f"{name} takes no {key!r}" + (
                f": {_ELSEWHERE[key]}" if key in _ELSEWHERE else choices(key, facts.arguments)
            )
        elif not _is_alike(value, facts.arguments[key]):
            yield f"{key} of {name} must be like {shown(facts.arguments[key])}, not {shown(value)}"


def _refusal(way: Recipe) -> Iterator[str]:
    """What the optimiser itself says of its arguments, asked with one parameter to learn.

    Torch is imported for it, so only where there are arguments; timm has optimisers that need some.
    """
    name, given = way.optimiser.name, way.optimiser.arguments
    if name == "sgd" or not (given or name.startswith("timm:")):
        return
    import torch

    group = {"params": [torch.nn.Parameter(torch.zeros(2, 2))], "weight_decay": way.weight_decay}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _builder(name)([group], lr=1e-3, weight_decay=0.0, **given)
    except Exception as error:  # noqa: BLE001 - whatever a library raises
        yield f"{name} refuses its `arguments`: {' '.join(str(error).split())}"


def _builder(name: str) -> Any:
    if name.startswith("timm:"):
        from timm.optim import _optim_factory as timm  # which the package does not list as exported

        return timm.get_optimizer_class(name[5:])
    facts = OPTIMISERS[name]
    return getattr(import_module(facts.module), facts.builder)


def optimiser_facts(name: str) -> OptimiserFacts | None:
    """Of any name that a recipe may say; None where nothing has it."""
    return _of_timm(name[5:]) if name.startswith("timm:") else OPTIMISERS.get(name)


# What the harness decides: the rate and the decay of a recipe, and how a step is computed.
_DECIDED = {
    *("params", "lr", "weight_decay"),
    *("foreach", "fused", "maximize", "capturable", "differentiable"),
}


def _of_timm(name: str) -> OptimiserFacts | None:
    """Not of those that need another package, a compiler, or gradients of gradients."""
    from timm.optim import _optim_factory as timm  # which the package does not list as exported

    if name not in timm.list_optimizers():
        return None
    info = timm.get_optimizer_info(name)
    if isinstance(info.opt_class, str) or info.second_order or "kron" in name:
        return None
    parameters = signature(timm.get_optimizer_class(name)).parameters.values()
    arguments = {each.name: each.default for each in parameters if each.name not in _DECIDED}
    return OptimiserFacts(
        title=info.description, module="timm.optim", builder=name, arguments=arguments
    )


def _is_alike(value: object, default: object) -> bool:
    """Of a kind with the default; None says nothing of its kind."""
    if isinstance(default, tuple):
        if not isinstance(value, tuple) or len(value) != len(default):
            return False
        return all(itertools.starmap(_is_alike, zip(value, default, strict=True)))
    if isinstance(default, bool | str):
        return isinstance(value, type(default))
    return default is None or is_number(value)
