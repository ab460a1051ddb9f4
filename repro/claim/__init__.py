"""A claim file as a frozen, checked value. May import `registry`; knows no torch.

A claim is one statement of the paper with its number and how it is decided. Everything that is
science stands in the file; the command line describes the machine.
"""

from repro.claim.load import json_schema, load, load_all, load_valid
from repro.claim.spec import (
    COMMAND,
    KINDS,
    LEAST_SEEDS,
    MOST_SEEDS,
    OWN_KINDS,
    SCALES,
    Analysis,
    Checks,
    Claim,
    Difference,
    DifferenceClaim,
    ExactClaim,
    Fact,
    LevelClaim,
    Paper,
    Recipe,
    Region,
    Scalar,
    Scale,
    Schedule,
    Search,
    TimeClaim,
    TimeContrast,
    TrainedClaim,
    Trainer,
    arms_of,
    images_for,
    is_paired,
    metric_of,
    model_for,
    rate_for,
    recipe_for,
    threshold_for,
)
from repro.claim.tables import FigurePoint, read_figure, read_siblings
