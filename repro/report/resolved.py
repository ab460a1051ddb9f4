"""A claim as it will run: every arm, recipe and scale in full, with the source of each value."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from repro.claim import (
    Claim,
    ExactClaim,
    TrainedClaim,
    images_for,
    metric_of,
    model_for,
    rate_for,
    recipe_for,
)
from repro.claim.trainer import OWN_DATA, fingerprint_of
from repro.data import fingerprint
from repro.errors import ClaimError
from repro.planning import Cell, cells_of, rate_search
from repro.store import Store
from repro.trial import Result


def describe_resolved(
    claim: Claim,
    scale: str | None,
    store: Path,
    data_dirs: tuple[Path, ...],
    cache_dir: Path,
) -> str:
    """A claim at one scale, or at all of them: YAML with the source behind each value.

    The trials in the store decide the rates; where the images are missing, trials have no identity
    yet.
    """
    lines = [_line(0, "claim", claim.id), _line(0, "kind", claim.kind)]
    if isinstance(claim, ExactClaim):
        lines.append("facts:")
        for name, fact in claim.facts.items():
            fields = fact.model_dump(mode="json", exclude_none=True)
            lines += [f"  {name}:", *(_line(4, key, value) for key, value in fields.items())]
    elif isinstance(claim, TrainedClaim):
        if scale is not None and scale not in claim.scales:
            raise ClaimError(
                f"{claim.id} has no {scale} scale (it has: {', '.join(claim.scales)})",
                hint=f"repro show {claim.id} --resolved",
            )
        lines += [
            _line(0, "region", claim.region.model_dump(exclude_none=True)),
            _line(0, "verdict_recipe", claim.verdict_recipe),
            "scales:",
        ]
        results = Store(store).results()
        for name in claim.scales if scale is None else [scale]:
            images = (
                fingerprint_of(claim)
                if claim.trainer
                else fingerprint(claim.scales[name].data, data_dirs, cache_dir)
            )
            lines += _scale(claim, name, images, results)
    return "\n".join(lines)


def _scale(
    claim: TrainedClaim, scale: str, fingerprint: str | None, results: Mapping[str, Result]
) -> Iterator[str]:
    spec = claim.scales[scale]
    yield f"  {scale}:"
    yield _line(4, "digest", claim.digest(scale)[:12], "registered before the first run")
    yield _line(4, "data", spec.data or OWN_DATA)
    note = None if fingerprint else "the images are not here (repro data status)"
    yield _line(4, "fingerprint", fingerprint, note)
    if claim.trainer is None:
        images = "all" if spec.images is None else spec.images
        draw_rule = "drawn by the seed from the training set"
        yield _line(
            4, "images", images, draw_rule if spec.resample else "first of the training set"
        )
        if spec.further_test:
            source = "last of the training set, tested on beside the test set"
            yield _line(4, "further_test", spec.further_test, source)
    yield _line(4, "epochs", spec.epochs, "at most")
    threshold = getattr(claim, "threshold", None)
    if threshold is not None:
        is_own = spec.threshold is not None
        source = f"scale {scale}" if is_own else "claim"
        yield _line(4, "threshold", spec.threshold if is_own else threshold, source)
    yield _line(
        4, "seeds", spec.model_dump(mode="json")["seeds"], "per arm, at each interim analysis"
    )
    yield "    recipes:"
    for recipe in claim.recipes:
        yield f"      {recipe}:"
        for arm in claim.arms:
            yield f"        {arm}:"
            yield _line(10, "metric", metric_of(claim, arm))
            yield from _model(claim, scale, arm)
            yield from _recipe(claim, scale, recipe, arm)
            yield from _rates(claim, scale, recipe, arm)
            if fingerprint is not None:
                yield from _trials(claim, scale, recipe, arm, fingerprint, results)


def _model(claim: TrainedClaim, scale: str, arm: str) -> Iterator[str]:
    model = model_for(claim, scale, arm)
    if claim.trainer is None:
        own = claim.arms[arm].net is not None
        yield _line(10, "model", model.name, f"arm {arm}" if own else f"scale {scale}")
        if claim.arms[arm].share is not None:
            yield _line(10, "images", images_for(claim, scale, arm), f"share of arm {arm}")
    else:
        yield _line(10, "command", list(claim.trainer.command))
    if model.arguments:
        yield "          arguments:"
    arm_keys = {*claim.arms[arm].model, *claim.arms[arm].arguments, "arm"}
    for key, value in model.arguments.items():
        source = f"arm {arm}" if key in arm_keys else f"scale {scale}"
        yield _line(12, key, value, source)


def _recipe(claim: TrainedClaim, scale: str, recipe: str, arm: str) -> Iterator[str]:
    """Each field and the source that sets it; none for a command, which has its own recipe."""
    if claim.trainer is not None:
        return
    sources = (
        (f"arm {arm}", claim.arms[arm].recipe.keys()),
        (f"scale {scale}", claim.scales[scale].recipe.keys()),
        (f"recipe {recipe}", claim.recipes[recipe].model_fields_set),
    )
    yield "          recipe:"
    for key, value in recipe_for(claim, scale, recipe, arm).model_dump(mode="json").items():
        source = next((name for name, keys in sources if key in keys), "default")
        yield _line(12, key, value, source)


def _rates(claim: TrainedClaim, scale: str, recipe: str, arm: str) -> Iterator[str]:
    rate = rate_for(claim, scale, recipe, arm)
    if rate is None:
        search = claim.scales[scale].search[recipe]
        yield _line(10, "search", search.model_dump(mode="json"), "on tuning seeds")
    else:
        own = claim.arms[arm].rate is not None
        yield _line(10, "rate", rate, f"arm {arm}" if own else "given by the scale")


def _trials(
    claim: TrainedClaim,
    scale: str,
    recipe: str,
    arm: str,
    fingerprint: str,
    results: Mapping[str, Result],
) -> Iterator[str]:
    """The trials that are known so far; a search decides the later ones."""
    search = rate_search(claim, scale, recipe, arm, fingerprint, results)
    cells: list[Cell] = list(search.pending)
    if search.chosen is not None:
        cells += cells_of(claim, scale, recipe, arm, fingerprint).confirming(search.chosen)
    remark = "; others once the rate is chosen" if search.chosen is None else ""
    yield f"          trials: # identity, and to which epoch{remark}"
    for cell in cells:
        progress = "finished" if cell.done(results) else "to run"
        yield _line(12, cell.label, cell.trial.id, f"to epoch {cell.until:g}, {progress}")


def _line(indent: int, key: str, value: Any, remark: str | None = None) -> str:
    text = f"{_flow(key)}: {_flow(value)}"
    return " " * indent + text + (f" # {remark}" if remark else "")


def _flow(value: Any) -> str:
    """A value on one line; PyYAML ends a lone scalar with a line of dots."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()
