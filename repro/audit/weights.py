"""Trained weights to give away: safetensors, what they were fed, and a model card.

`repro run --keep-weights` keeps them with each trial that ends; a checkpoint is no such thing: it
goes once training can go no further, and holds what only the next step needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from repro.claim import Claim, TrainedClaim
from repro.errors import ClaimError, IntegrityError
from repro.files import write_atomic
from repro.plan import confirm_cells, rate_search
from repro.registry import METRICS, MODELS, metric_facts
from repro.store import NetRecord, Store
from repro.trial import Result, Trial
from repro.verdict.session import default_scale, registered_plan


@dataclass(frozen=True, kw_only=True, slots=True)
class NetChoice:
    """Which of a claim's trained nets: None takes what decides, and the only arm there is."""

    scale: str | None = None
    recipe: str | None = None
    arm: str | None = None
    seed: int = 0


def trial_of(claim: Claim, choice: NetChoice, store: Store) -> str:
    """Identity of the evaluation trial that is wanted; ClaimError says what there is instead."""
    if not isinstance(claim, TrainedClaim):
        raise ClaimError(f"{claim.id} trains nothing", hint="`repro list` shows the scales of each")
    scale = choice.scale or default_scale(claim)
    recipe = choice.recipe or claim.verdict_recipe
    for what, name, names in (
        ("scale", scale, claim.scales),
        ("recipe", recipe, claim.recipes),
        ("arm", choice.arm or next(iter(claim.arms)), claim.arms),
    ):
        if name not in names:
            raise ClaimError(
                f"{claim.id} has no {what} {name!r}", hint=f"it has: {', '.join(names)}"
            )
    if choice.arm is None and len(claim.arms) > 1:
        raise ClaimError(
            f"{claim.id} has several arms", hint=f"give --arm, one of {', '.join(claim.arms)}"
        )
    arm = choice.arm or next(iter(claim.arms))
    record = registered_plan(claim, scale, store)
    results = store.results()
    fingerprint = record.fingerprint if record else ""
    rate = rate_search(claim, scale, recipe, arm, fingerprint, results).chosen
    cells = confirm_cells(claim, scale, recipe, arm, fingerprint, rate) if rate is not None else []
    for cell in cells:
        if cell.trial.seed == choice.seed and cell.trial.id in results:
            return cell.trial.id
    most = claim.scales[scale].seeds[-1]
    raise ClaimError(
        f"{claim.id}: {recipe}/{arm} with seed {choice.seed} is not trained at {scale} scale",
        hint=f"repro run {claim.id} --scale {scale} --keep-weights"
        if choice.seed < most
        else f"the claim file asks for {most} seeds, from 0 on",
    )


def write_weights(store: Store, trial_id: str, out: Path) -> Path:
    """Weights, inputs, configuration and card of a trial into a folder; returns the card's path.

    Raises IntegrityError when the trial has none.
    """
    result = store.result(trial_id) if trial_id in store.ids() else None
    if result is None:
        raise IntegrityError(
            f"{store.root} has no finished trial {trial_id}", hint="`repro show CLAIM --resolved`"
        )
    files = store.weights(trial_id)
    if not files:
        raise IntegrityError(
            f"trial {trial_id} was run without --keep-weights",
            hint="run its claim with --keep-weights into another --store: equal numbers come out",
        )
    trial = store.trial(trial_id)
    siblings = {
        other.seed: sibling
        for name, sibling in store.results().items()
        if replace(other := store.trial(name), seed=trial.seed) == trial
    }
    net = store.net(trial_id)
    write_atomic(out / "model.safetensors", files["weights.safetensors"])
    write_atomic(out / "inputs.safetensors", files["inputs.safetensors"])
    write_atomic(out / "config.json", files["weights.json"])
    write_atomic(out / "README.md", _card(trial, result, siblings, net))
    return out / "README.md"


def _card(trial: Trial, result: Result, siblings: Mapping[int, Result], net: NetRecord) -> str:
    head = {
        "library_name": "timm",
        "tags": ["image-classification", "repro"],
        "license": "mit",
        "datasets": [trial.data],
    }
    recipe = yaml.safe_dump(trial.recipe.model_dump(mode="json"), sort_keys=False).strip()
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).strip(),
        "---",
        "",
        f"# {net.architecture}, trained on {result.provenance.get('data', trial.data)}",
        "",
        f"Trial {trial.id} of `repro`: seed {trial.seed}, learning rate {trial.rate:g}, "
        f"{result.epochs:g} epochs, {result.status}.",
        "A net of an experiment, not a product: it shows what the recipe below gives.",
        "",
        "## Data",
        "",
        f"`{trial.data}`, fingerprint `{trial.fingerprint}` (pixels, labels and classes), "
        f"{'all' if trial.images is None else f'the first {trial.images}'} training images.",
        "",
        "## Metrics",
        "",
        *_metrics(trial.seed, siblings),
        "",
        "## Recipe",
        "",
        f"```yaml\n{recipe}\n```",
        "",
        "## Use",
        "",
        *_use(trial, net),
        "",
        "## Licence",
        "",
        "The weights are under the MIT licence, as the code that trained them; the images have "
        "terms of their own.",
        "",
        "## Provenance",
        "",
        *(f"- {name}: {value}" for name, value in result.provenance.items()),
        "",
    ]
    return "\n".join(lines)


def _metrics(seed: int, siblings: Mapping[int, Result]) -> Sequence[str]:
    """A row a metric, a column a seed, these weights' first: a single run says little."""
    seeds = sorted(siblings, key=lambda other: (other != seed, other))
    names = [name for name in METRICS if any(name in siblings[s].metrics for s in seeds)]
    heads = [f"seed {s}" + (" (these weights)" if s == seed else "") for s in seeds]
    rows = [f"| epochs | {' | '.join(f'{siblings[s].epochs:g}' for s in seeds)} |"]
    for name in names:
        facts = metric_facts(name)
        values = [f"{siblings[s].metric(name) * facts.factor:.4g}" for s in seeds]
        rows.append(f"| {facts.title}, {facts.unit} | {' | '.join(values)} |")
    return [
        f"| metric | {' | '.join(heads)} |",
        f"| --- |{' ---: |' * len(seeds)}",
        *rows,
    ]


def _use(trial: Trial, net: NetRecord) -> Sequence[str]:
    crop = net.crop
    cut = (
        f"images = images[:, {crop.top}:{crop.top + crop.size}, "
        f"{crop.left}:{crop.left + crop.size}]  # the central crop"
        if crop
        else "# the whole image is seen"
    )
    register = (
        ["import repro.models.with_timm  # names the net for timm"] if trial.model in MODELS else []
    )
    return [
        "```python",
        "import json",
        "",
        "import timm",
        *register,
        "import torch",
        "from safetensors.torch import load_file",
        "",
        'config = json.load(open("config.json"))',
        "model = timm.create_model(",
        '    config["architecture"], checkpoint_path="model.safetensors", **config["arguments"]',
        ").eval()",
        'inputs = load_file("inputs.safetensors")',
        "",
        f"# images: (N, {net.image_side}, {net.image_side}, 3) uint8, RGB",
        cut,
        'pixels = (images.float() - inputs["mean"]) * inputs["scale"]',
        "logits = model(pixels.permute(0, 3, 1, 2))  # (N, classes)",
        "```",
    ]
