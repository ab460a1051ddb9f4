"""What each field changes is declared in one place, and is what it changes."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from repro.claim import TrainedClaim, load, spec
from repro.claim.identity import FIELDS
from repro.data import Dataset
from repro.execute import Machine
from repro.planning import next_cells
from repro.trial import Trial

CLAIMS = Path(__file__).parent / "golden" / "claims"


def subclasses(of: type) -> Iterator[type]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


DECLARED = {each.__name__: each for each in [*subclasses(spec.Strict), Dataset, Machine, Trial]}


def test_every_class_of_the_claim_file_is_declared() -> None:
    """And of data, trials and the machine; nothing that is no more."""
    assert DECLARED.keys() == FIELDS.keys()


@pytest.mark.parametrize("name", DECLARED)
def test_every_field_is_classified(name: str) -> None:
    """A new one gets a line in repro/claim/identity.py."""
    of: Any = DECLARED[name]
    there = {f.name for f in fields(of)} if is_dataclass(of) else set(of.model_fields)

    assert there == FIELDS[name].keys(), "say in repro/claim/identity.py what the field changes"


# A field of a class, where it stands in a golden claim, and another value.
OTHER: dict[str, tuple[str, str, object]] = {
    "Claim.title": ("times", "title", "Another"),
    "Claim.question": ("times", "question", "Another?"),
    "Claim.confounds": ("times", "confounds", "Some."),
    "Claim.reconsidered_if": ("times", "reconsidered_if", "More seeds."),
    "Claim.deviations": ("times", "deviations", ("one",)),
    "Claim.amended": ("times", "amended", ("one",)),
    "Scale.scatter": ("times", "scales.smoke.scatter", 0.3),
    "Claim.id": ("times", "id", "another"),
    "TrainedClaim.metric": ("differences", "metric", "gap"),
    "TrainedClaim.verdict_recipe": ("times", "verdict_recipe", "another"),
    "TimeClaim.threshold": ("times", "threshold", 0.5),
    "TimeClaim.near": ("times", "near", 0.5),
    "TimeClaim.crossing": ("times", "crossing", "median"),
    "TimeClaim.decided_by": ("times", "decided_by", "online"),
    "DifferenceClaim.also": (
        "differences",
        "also",
        {"more": spec.Difference(higher="with", lower="without")},
    ),
    "Paper.section": ("times", "paper.section", "sec. 9"),
    "Paper.states": ("times", "paper.states", "Another."),
    "Paper.value": ("times", "paper.value", 9.0),
    "Paper.more_than": ("times", "paper.more_than", True),
    "Paper.unit": ("times", "paper.unit", "times"),
    "Paper.figure": ("times", "paper.figure", "x.csv"),
    "Arm.model": ("times", "arms.relu.model", {"activation": "gelu"}),
    "Arm.recipe": ("times", "arms.relu.recipe", {"momentum": 0.5}),
    "Arm.net": ("times", "arms.relu.net", "cifar_19pct"),
    "Arm.rate": ("times", "arms.relu.rate", 0.002),
    "Arm.share": ("times", "arms.relu.share", 0.5),
    "Arm.metric": ("differences", "arms.with.metric", "gap"),
    "Model.name": ("times", "scales.smoke.model.name", "cifar_19pct"),
    "Model.arguments": ("differences", "scales.smoke.model.arguments", {"width": 0.25}),
    "Recipe.inputs": ("times", "recipes.small.inputs", "centred"),
    "Recipe.initialisation": ("times", "recipes.small.initialisation", "xavier"),
    "Recipe.batch_size": ("times", "recipes.small.batch_size", 8),
    "Recipe.momentum": ("times", "recipes.small.momentum", 0.5),
    "Recipe.weight_decay": ("times", "recipes.small.weight_decay", 0.1),
    "Recipe.layer_decay": ("levels", "recipes.small.layer_decay", {"fc10": 0.1}),
    "Recipe.bias_rate": ("times", "recipes.small.bias_rate", 1.0),
    "Recipe.decay_biases": ("times", "recipes.small.decay_biases", True),
    "Recipe.precision": ("times", "recipes.small.precision", "bfloat16"),
    "Recipe.crop": ("times", "recipes.small.crop", 24),
    "Recipe.augment": ("times", "recipes.small.augment", ("flip",)),
    "Recipe.colour": ("times", "recipes.small.colour", "scaled"),
    "Recipe.drops": ("times", "recipes.small.drops", (1.0,)),
    "Recipe.patience": ("times", "recipes.small.patience", 2),
    "Recipe.optimiser": ("times", "recipes.small.optimiser", spec.Optimiser(name="adam")),
    "Recipe.schedule": ("times", "recipes.small.schedule", spec.Schedule(name="cosine")),
    "Recipe.label_smoothing": ("times", "recipes.small.label_smoothing", 0.1),
    "Recipe.clip_norm": ("times", "recipes.small.clip_norm", 1.0),
    "Recipe.padding": ("times", "recipes.small.padding", 4),
    "Recipe.mixup": ("times", "recipes.small.mixup", 0.2),
    "Recipe.cutmix": ("times", "recipes.small.cutmix", 1.0),
    "Recipe.ema": ("times", "recipes.small.ema", 0.99),
    "Scale.data": ("times", "scales.smoke.data", "synthetic"),
    "Scale.images": ("times", "scales.smoke.images", 320),
    "Scale.epochs": ("times", "scales.smoke.epochs", 9.0),
    "Scale.taken": ("times", "scales.smoke.taken", 1),
    "Analysis.error": ("times", "analysis", spec.Analysis(error=0.01)),
    "Analysis.spending": ("times", "analysis", spec.Analysis(spending="pocock")),
    "Analysis.comparison": ("differences", "analysis", spec.Analysis(comparison="welch")),
    "Scale.seeds": ("times", "scales.smoke.seeds", (5,)),
    "Scale.threshold": ("times", "scales.smoke.threshold", 0.3),
    "Scale.recipe": ("times", "scales.smoke.recipe", {"momentum": 0.5}),
    "Scale.checks": ("times", "scales.smoke.checks", spec.Checks(floor=0.5)),
    "Checks.initial_loss": ("times", "scales.smoke.checks.initial_loss", 1.0),
    "Checks.above_chance": ("times", "scales.smoke.checks.above_chance", False),
    "Checks.equal_length": ("times", "scales.smoke.checks.equal_length", False),
    "Checks.floor": ("times", "scales.smoke.checks.floor", 0.5),
    "Scale.rate": ("levels", "scales.smoke.rate", {"small": 0.002}),
    "Search.rungs": ("times", "scales.smoke.search.small.rungs", (2.0,)),
    "Search.keep": ("times", "scales.smoke.search.small.keep", 0.3),
    "Region.low": ("times", "region.low", 1.1),
    "Region.high": ("times", "region.high", 9.0),
    "TimeContrast.slow": ("times", "contrast.slow", "relu"),
    "Difference.region": (
        "differences",
        "also",
        {"m": spec.Difference(higher="with", lower="without", region=spec.Region(low=1.0))},
    ),
    "Difference.weights": (
        "differences",
        "contrast",
        spec.Difference(weights={"with": -2.0, "without": 2.0}),
    ),
    "Difference.metric": ("differences", "contrast.metric", "gap"),
}


def changed(value: Any, path: list[str], new: object) -> Any:
    """A copy of a claim with another value at the path."""
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: changed(value[key], rest, new)}
    return value.model_copy(update={key: changed(getattr(value, key), rest, new)})


def trials(claim: TrainedClaim) -> set[str]:
    """Those that come first."""
    return {cell.trial.id for cell in next_cells(claim, "smoke", "0123456789abcdef", {})}


@pytest.mark.parametrize("field", OTHER)
def test_a_field_changes_what_it_is_declared_to_change(field: str) -> None:
    """Numbers: other trials and another plan. The rule: another plan alone. Nothing: neither."""
    of, _, name = field.partition(".")
    file, path, new = OTHER[field]
    before = load(CLAIMS / f"{file}.yaml")
    after = changed(before, path.split("."), new)
    assert isinstance(before, TrainedClaim)
    plan_stands = before.digest("smoke") == after.digest("smoke")
    seeds_more = trials(before) <= trials(after)

    match FIELDS[of][name]:
        case "numbers":
            assert not plan_stands
            assert not seeds_more
        case "rule":
            assert not plan_stands
            assert seeds_more
        case "nothing":
            assert plan_stands
            assert trials(before) == trials(after)


def test_which_trials_a_search_and_other_scales_want_changes_no_trial() -> None:
    """Rates and tuning seeds choose among trials; a trial is the same whoever wants it."""
    before = load(CLAIMS / "times.yaml")
    assert isinstance(before, TrainedClaim)
    search = ["scales", "smoke", "search", "small"]
    more = changed(before, [*search, "rates"], (0.005, 0.01, 0.02, 0.04))
    again = changed(before, [*search, "seeds"], 2)

    for other in (more, again):
        assert before.digest("smoke") != other.digest("smoke")
        assert trials(before) < trials(other)
