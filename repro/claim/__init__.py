"""A claim file as a frozen, checked value. Knows no torch.

A claim is one statement of the paper with its number and how it is decided. Everything that is
science stands in the file; the command line describes the machine.
"""

from repro.claim.load import json_schema, load, load_all
from repro.claim.spec import (
    KINDS,
    LEAST_SEEDS,
    SCALES,
    Arm,
    Claim,
    Difference,
    DifferenceClaim,
    ExactClaim,
    Fact,
    LevelClaim,
    Model,
    Paper,
    Recipe,
    Region,
    Scalar,
    Scale,
    Search,
    TimeClaim,
    TimeContrast,
    TrainedClaim,
    arms_of,
    metric_of,
    model_for,
    recipe_for,
)

__all__ = [
    "KINDS",
    "LEAST_SEEDS",
    "SCALES",
    "Arm",
    "Claim",
    "Difference",
    "DifferenceClaim",
    "ExactClaim",
    "Fact",
    "LevelClaim",
    "Model",
    "Paper",
    "Recipe",
    "Region",
    "Scalar",
    "Scale",
    "Search",
    "TimeClaim",
    "TimeContrast",
    "TrainedClaim",
    "arms_of",
    "json_schema",
    "load",
    "load_all",
    "metric_of",
    "model_for",
    "recipe_for",
]
