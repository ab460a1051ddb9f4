"""What each field changes: the numbers of trials, the rule of a claim, or nothing.

`numbers`: part of a trial's identity; another value makes another trial. `rule`: part of the plan's
digest only; the plan may need other trials or judge them differently, but each keeps its numbers.
`nothing`: may change at any time. Fields at their default are left out of the hash, so that a new
field invalidates no old trial.

tests/test_identity.py fails for a field that is not named here, and for one in the wrong place.
"""

from typing import Literal

Changes = Literal["numbers", "rule", "nothing"]


def _fields(*, numbers: str = "", rule: str = "", nothing: str = "") -> dict[str, Changes]:
    """What each field changes, from their names separated by spaces."""
    names: dict[Changes, str] = {"numbers": numbers, "rule": rule, "nothing": nothing}
    return {name: changes for changes, text in names.items() for name in text.split()}


# Of the paper, only its value is part of the rule.
_CLAIM = _fields(
    rule="version id kind",
    nothing="title paper question confounds reconsidered_if deviations amended",
)
_TRAINED = _CLAIM | _fields(
    numbers="trainer",
    rule="metric arms region analysis recipes verdict_recipe scales",
)
_CONTRAST = _fields(rule="contrast also")

FIELDS: dict[str, dict[str, Changes]] = {
    "Claim": _CLAIM,
    "TrainedClaim": _TRAINED,
    # A trial stops at its threshold.
    "TimeClaim": _TRAINED | _CONTRAST | _fields(numbers="threshold near crossing decided_by"),
    "DifferenceClaim": _TRAINED | _CONTRAST,
    "LevelClaim": _TRAINED,
    "ExactClaim": _CLAIM | _fields(rule="facts"),
    "Paper": _fields(
        rule="value",
        nothing="title authors year link section states more_than unit figure siblings",
    ),
    "Arm": _fields(numbers="model net recipe rate share arguments", rule="metric"),
    "Trainer": _fields(numbers="command inputs steps_per_epoch"),
    "Model": _fields(numbers="name arguments"),
    "Recipe": _fields(
        numbers="inputs initialisation batch_size momentum weight_decay layer_decay bias_rate "
        "decay_biases precision crop augment colour drops patience optimiser schedule "
        "label_smoothing clip_norm padding mixup cutmix ema",
    ),
    "Optimiser": _fields(numbers="name arguments"),
    "Schedule": _fields(
        numbers="name warmup epochs eta_min power milestones step_size gamma arguments",
    ),
    # More epochs continue the same trial, unless its schedule ends with the scale.
    "Scale": _fields(
        numbers="data images resample further_test model arguments rate threshold recipe",
        rule="epochs seeds taken search checks",
        nothing="scatter",
    ),
    "Checks": _fields(rule="initial_loss above_chance equal_length floor"),
    "Search": _fields(rule="rates rungs keep seeds refine"),
    "Analysis": _fields(rule="error spending comparison"),
    "Region": _fields(rule="low high"),
    "TimeContrast": _fields(rule="slow fast"),
    "Difference": _fields(rule="higher lower weights metric region"),
    "Fact": _fields(rule="states quantity of model printed low high decides"),
    # The fingerprint is that of pixels, labels and classes.
    "Dataset": _fields(numbers="name fingerprint", nothing="title train test classes folder"),
    "Trial": _fields(
        numbers="model arguments recipe data fingerprint rate seed numerics images resample "
        "further_test threshold near crossing decided_by trainer",
    ),
    # Device and processes change the last bits, so every result names them.
    "Machine": _fields(
        nothing="device workers store data_dirs cache_dir checkpoint_seconds stall_seconds "
        "population keep_weights processes",
    ),
}


def fields_that_change(what: Changes, of: str) -> set[str]:
    return {name for name, changes in FIELDS[of].items() if changes == what}
