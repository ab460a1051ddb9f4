"""A recipe of today from the claim file to the store."""

import json
from pathlib import Path

from click.testing import CliRunner

from repro.cli import main
from repro.store import Store

CLAIM = Path(__file__).parent / "claims" / "modern_recipe.yaml"


def test_a_modern_recipe_is_planned_trained_and_kept(tmp_path: Path) -> None:
    """Each trial's record says what the file says, the scale's horizon, and no default."""
    arguments = ["run", str(CLAIM), "--store", str(tmp_path), "--scale", "smoke", "--workers", "1"]
    first = CliRunner().invoke(main, arguments)
    again = CliRunner().invoke(main, arguments)
    store = Store(tmp_path)
    recipes = [json.loads(store.trial(name).to_json())["recipe"] for name in store.results()]
    schedules = [recipe.pop("schedule") for recipe in recipes]
    shared = {
        "inputs": "standardised",
        "initialisation": "he",
        "batch_size": 16,
        "optimiser": {"name": "adamw", "arguments": {"betas": [0.9, 0.95]}},
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "crop": 32,
        "padding": 4,
        "augment": ["crop", "flip"],
        "mixup": 0.2,
        "cutmix": 1.0,
        "ema": 0.9,
    }

    assert first.exit_code == again.exit_code == 0, first.output
    assert " start " in first.output
    assert " start " not in again.output
    assert "one by one" not in first.output
    assert recipes == [shared, shared]
    assert sorted(schedules, key=len) == [
        {"name": "cosine", "epochs": 1.0},
        {"name": "cosine", "epochs": 1.0, "warmup": 0.5},
    ]


def test_what_does_not_batch_is_trained_one_by_one_and_says_so(tmp_path: Path) -> None:
    """Once, by the claim's name; and only where several at a time were asked for."""
    arguments = ["run", str(CLAIM), "--store", str(tmp_path), "--scale", "smoke", "--workers", "1"]
    done = CliRunner().invoke(main, [*arguments, "--population", "4"])
    store = Store(tmp_path)

    said = "trained one by one, whatever --population says: trials of modern_recipe, whose net or"
    assert done.exit_code == 0, done.output
    assert done.output.count(said) == 1
    assert not any("population" in each.provenance for each in store.results().values())
