"""What each field changes: the numbers of trials, the rule of a claim, or nothing.

`numbers`: part of a trial's identity; another value makes another trial. `rule`: part of the plan's
digest only; the plan may need other trials or judge them differently, but each keeps its numbers.
`nothing`: may change at any time. Fields at their default are left out of the hash, so that a new
field invalidates no old trial.

tests/test_identity.py fails for a field without a line here, and for a wrong line.
"""

from typing import Literal

Changes = Literal["numbers", "rule", "nothing"]

_CLAIM: dict[str, Changes] = {
    "version": "rule",
    "id": "rule",
    "title": "nothing",
    "kind": "rule",
    "paper": "nothing",  # except its value
    "question": "nothing",
    "confounds": "nothing",
    "reconsidered_if": "nothing",
    "deviations": "nothing",
    "amended": "nothing",
}
_TRAINED: dict[str, Changes] = {
    **_CLAIM,
    "metric": "rule",
    "arms": "rule",
    "region": "rule",
    "analysis": "rule",
    "recipes": "rule",
    "verdict_recipe": "rule",
    "scales": "rule",
    "trainer": "numbers",
}
_CONTRAST: dict[str, Changes] = {"contrast": "rule", "also": "rule"}

FIELDS: dict[str, dict[str, Changes]] = {
    "Claim": _CLAIM,
    "TrainedClaim": _TRAINED,
    "TimeClaim": {
        **_TRAINED,
        **_CONTRAST,
        "threshold": "numbers",  # a trial stops there
        "near": "numbers",
        "crossing": "numbers",
        "decided_by": "numbers",
    },
    "DifferenceClaim": {**_TRAINED, **_CONTRAST},
    "LevelClaim": _TRAINED,
    "ExactClaim": {**_CLAIM, "facts": "rule"},
    "Paper": {
        "title": "nothing",
        "authors": "nothing",
        "year": "nothing",
        "link": "nothing",
        "section": "nothing",
        "states": "nothing",
        "value": "rule",
        "more_than": "nothing",
        "unit": "nothing",
        "figure": "nothing",
        "siblings": "nothing",
    },
    "Arm": {
        "model": "numbers",
        "net": "numbers",
        "recipe": "numbers",
        "rate": "numbers",
        "share": "numbers",
        "metric": "rule",
        "arguments": "numbers",
    },
    "Trainer": {"command": "numbers", "inputs": "numbers", "steps_per_epoch": "numbers"},
    "Model": {"name": "numbers", "arguments": "numbers"},
    "Recipe": {
        "inputs": "numbers",
        "initialisation": "numbers",
        "batch_size": "numbers",
        "momentum": "numbers",
        "weight_decay": "numbers",
        "layer_decay": "numbers",
        "bias_rate": "numbers",
        "decay_biases": "numbers",
        "precision": "numbers",
        "crop": "numbers",
        "augment": "numbers",
        "colour": "numbers",
        "drops": "numbers",
        "patience": "numbers",
        "optimiser": "numbers",
        "schedule": "numbers",
        "label_smoothing": "numbers",
        "clip_norm": "numbers",
        "padding": "numbers",
        "mixup": "numbers",
        "cutmix": "numbers",
        "ema": "numbers",
        "shuffle": "numbers",
    },
    "Optimiser": {"name": "numbers", "arguments": "numbers"},
    "Schedule": {
        "name": "numbers",
        "warmup": "numbers",
        "epochs": "numbers",
        "eta_min": "numbers",
        "power": "numbers",
        "milestones": "numbers",
        "step_size": "numbers",
        "gamma": "numbers",
    },
    "Shuffle": {"block": "numbers", "buffer": "numbers", "lanes": "numbers"},
    "Scale": {
        "data": "numbers",
        "images": "numbers",
        "resample": "numbers",
        "further_test": "numbers",
        "model": "numbers",
        "arguments": "numbers",
        # More epochs continue the same trial, unless its schedule ends with the scale.
        "epochs": "rule",
        "seeds": "rule",
        "taken": "rule",
        "search": "rule",
        "rate": "numbers",
        "threshold": "numbers",
        "recipe": "numbers",
        "checks": "rule",
        "scatter": "nothing",
    },
    "Checks": {
        "initial_loss": "rule",
        "above_chance": "rule",
        "equal_length": "rule",
        "floor": "rule",
    },
    "Search": {
        "rates": "rule",
        "rungs": "rule",
        "keep": "rule",
        "seeds": "rule",
        "refine": "rule",
    },
    "Analysis": {"error": "rule", "spending": "rule", "comparison": "rule"},
    "Region": {"low": "rule", "high": "rule"},
    "TimeContrast": {"slow": "rule", "fast": "rule"},
    "Difference": {
        "higher": "rule",
        "lower": "rule",
        "weights": "rule",
        "metric": "rule",
        "region": "rule",
    },
    "Fact": {
        "states": "rule",
        "quantity": "rule",
        "of": "rule",
        "model": "rule",
        "printed": "rule",
        "low": "rule",
        "high": "rule",
        "decides": "rule",
    },
    "Dataset": {
        "name": "numbers",
        "title": "nothing",
        "fingerprint": "numbers",  # pixels, labels and classes
        "train": "nothing",  # by their fingerprint
        "test": "nothing",
        "classes": "nothing",
        "folder": "nothing",
    },
    "Trial": {
        "model": "numbers",
        "arguments": "numbers",
        "recipe": "numbers",
        "data": "numbers",
        "fingerprint": "numbers",
        "rate": "numbers",
        "seed": "numbers",
        "numerics": "numbers",
        "images": "numbers",
        "resample": "numbers",
        "further_test": "numbers",
        "threshold": "numbers",
        "near": "numbers",
        "crossing": "numbers",
        "decided_by": "numbers",
        "trainer": "numbers",
    },
    "Machine": {
        "device": "nothing",  # except the last bits, so every result names it
        "workers": "nothing",
        "store": "nothing",
        "data_dirs": "nothing",
        "cache_dir": "nothing",
        "checkpoint_seconds": "nothing",
        "stall_seconds": "nothing",
        "population": "nothing",  # the same bits on a CPU
        "profile": "nothing",
        "keep_weights": "nothing",
        "processes": "nothing",  # another order of sums: the last bits only
    },
}


def fields_that_change(what: Changes, of: str) -> set[str]:
    """The fields of the class `of` that change `what`."""
    return {name for name, changes in FIELDS[of].items() if changes == what}
