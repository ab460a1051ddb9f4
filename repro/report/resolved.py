"""A claim as it will run: every arm, recipe and scale written out, and where each value is from."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from repro.claim import Claim, ExactClaim, TrainedClaim, metric_of, model_for, recipe_for
from repro.claim.trainer import OWN_DATA
from repro.plan import Cell, confirm_cells, rate_search
from repro.trial import Result

__all__ = ["resolved"]

Fingerprints = Mapping[str, str | None]


def resolved(
    claim: Claim,
    scales: tuple[str, ...],
    fingerprints: Fingerprints,
    results: Mapping[str, Result],
) -> str:
    """YAML, with a remark behind each value that says whose it is.

    `fingerprints`: of each scale's images; None where the images are not here, and trials have no
    identity yet. `results`: finished trials, by which rates are chosen.
    """
    lines = [_line(0, "claim", claim.id), _line(0, "kind", claim.kind)]
    if isinstance(claim, ExactClaim):
        lines.append("facts:")
        for name, fact in claim.facts.items():
            said = fact.model_dump(mode="json", exclude_none=True)
            lines += [f"  {name}:", *(_line(4, key, value) for key, value in said.items())]
    elif isinstance(claim, TrainedClaim):
        lines += [
            _line(0, "region", claim.region.model_dump(exclude_none=True)),
            _line(0, "verdict_recipe", claim.verdict_recipe),
            "scales:",
        ]
        for scale in scales:
            fingerprint = fingerprints[scale]
            lines += _scale(claim, scale, fingerprint, results)
    return "\n".join(lines)


def _scale(
    claim: TrainedClaim, scale: str, fingerprint: str | None, results: Mapping[str, Result]
) -> Iterator[str]:
    at = claim.scales[scale]
    yield f"  {scale}:"
    yield _line(4, "digest", claim.digest(scale)[:12], "of what is registered before the first run")
    yield _line(4, "data", at.data or OWN_DATA)
    here = None if fingerprint else "the images are not here (repro data status)"
    yield _line(4, "fingerprint", fingerprint, here)
    if claim.trainer is None:
        images = "all" if at.images is None else at.images
        drawn = "drawn by the seed from the training set"
        yield _line(4, "images", images, drawn if at.resample else "first of the training set")
        if at.further_test:
            whose = "last of the training set, tested on beside the test set"
            yield _line(4, "further_test", at.further_test, whose)
    yield _line(4, "epochs", at.epochs, "at most")
    threshold = getattr(claim, "threshold", None)
    if threshold is not None:
        own = at.threshold is not None
        whose = f"scale {scale}" if own else "claim"
        yield _line(4, "threshold", at.threshold if own else threshold, whose)
    yield _line(4, "seeds", at.model_dump(mode="json")["seeds"], "an arm, at which the run looks")
    yield "    recipes:"
    for recipe in claim.recipes:
        yield f"      {recipe}:"
        for arm in claim.arms:
            yield f"        {arm}:"
            yield _line(10, "metric", metric_of(claim, arm))
            yield from _model(claim, scale, arm)
            yield from _recipe(claim, scale, recipe, arm)
            yield from _rates(claim, scale, recipe)
            if fingerprint is not None:
                yield from _trials(claim, scale, recipe, arm, fingerprint, results)


def _model(claim: TrainedClaim, scale: str, arm: str) -> Iterator[str]:
    model = model_for(claim, scale, arm)
    if claim.trainer is None:
        yield _line(10, "model", model.name, f"scale {scale}")
    else:
        yield _line(10, "command", list(claim.trainer.command))
    if model.arguments:
        yield "          arguments:"
    of_arm = {*claim.arms[arm].model, *claim.arms[arm].arguments, "arm"}
    for key, value in model.arguments.items():
        whose = f"arm {arm}" if key in of_arm else f"scale {scale}"
        yield _line(12, key, value, whose)


def _recipe(claim: TrainedClaim, scale: str, recipe: str, arm: str) -> Iterator[str]:
    """Each field by its strongest source; a command has its own recipe."""
    if claim.trainer is not None:
        return
    sources = (
        (f"arm {arm}", claim.arms[arm].recipe.keys()),
        (f"scale {scale}", claim.scales[scale].recipe.keys()),
        (f"recipe {recipe}", claim.recipes[recipe].model_fields_set),
    )
    yield "          recipe:"
    for key, value in recipe_for(claim, scale, recipe, arm).model_dump(mode="json").items():
        whose = next((name for name, keys in sources if key in keys), "default")
        yield _line(12, key, value, whose)


def _rates(claim: TrainedClaim, scale: str, recipe: str) -> Iterator[str]:
    at = claim.scales[scale]
    if recipe in at.rate:
        yield _line(10, "rate", at.rate[recipe], "given, the same for all arms")
    else:
        yield _line(10, "search", at.search[recipe].model_dump(mode="json"), "on tuning seeds")


def _trials(
    claim: TrainedClaim,
    scale: str,
    recipe: str,
    arm: str,
    fingerprint: str,
    results: Mapping[str, Result],
) -> Iterator[str]:
    """Identities of those that are known by now: a search decides which come after it."""
    search = rate_search(claim, scale, recipe, arm, fingerprint, results)
    cells: list[Cell] = list(search.wanted)
    if search.chosen is not None:
        cells += confirm_cells(claim, scale, recipe, arm, fingerprint, search.chosen)
    later = "; others once the rate is chosen" if search.chosen is None else ""
    yield f"          trials: # identity, and to which epoch{later}"
    for cell in cells:
        done = "finished" if cell.done(results) else "to run"
        yield _line(12, cell.wants, cell.trial.id, f"to epoch {cell.until:g}, {done}")


def _line(indent: int, key: str, value: Any, remark: str | None = None) -> str:
    text = f"{_flow(key)}: {_flow(value)}"
    return " " * indent + text + (f" # {remark}" if remark else "")


def _flow(value: Any) -> str:
    """On one line; PyYAML ends a lone scalar with a line of dots."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()
