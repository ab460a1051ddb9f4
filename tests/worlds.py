"""Small worlds for tests: data sets, recipes and trials that train in a second."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from repro.claim import Claim, Recipe, load
from repro.data import Dataset, open_dataset
from repro.planning import Cell
from repro.train import Run
from repro.trial import CURVE_COLUMNS, Clocks, Result, Trial

RECIPE = Recipe(
    inputs="standardised", initialisation="he", batch_size=16, bias_rate=1.0, precision="float32"
)

FACT = """\
id: fact
title: One layer counted
kind: exact
paper: {section: none, states: It has 96 maps., unit: counts}
question: How many maps?
confounds: None.
facts:
  maps: {states: 96 maps, quantity: maps, of: conv1, model: {name: alexnet_2012}, printed: 96}
deviations: []
"""

CLAIM = """\
id: {id}
title: One arm is faster
kind: time_to_threshold
paper: {{section: "sec. 0", states: It is., value: 6.0, unit: ratio of epochs}}
question: Which arm is faster?
confounds: None.
metric: train_error
threshold: 0.25
decided_by: full
near: 0.4
arms:
  fast: {{model: {{activation: relu}}}}
  slow: {{model: {{activation: tanh}}}}
contrast: {{slow: slow, fast: fast}}
region: {{low: 3.0, high: 9.0}}
recipes:
  period: {{inputs: standardised, initialisation: he, batch_size: 16}}
verdict_recipe: period
scales:
  smoke:
    data: digits
    images: 160
    model: {{name: cifar_80sec}}
    epochs: {epochs}
    seeds: {seeds}
    search:
      period: {{rates: [{rates}], rungs: [1], seeds: 1, refine: null}}
deviations: []
"""


def tiny(folder: Path, *, images: int = 320) -> Dataset:
    """The digits, cut to `images` of training and 100 of test."""
    whole = open_dataset("digits", (folder,), folder)
    return replace(
        whole,
        train=replace(
            whole.train, images=whole.train.images[:images], labels=whole.train.labels[:images]
        ),
        test=replace(whole.test, images=whole.test.images[:100], labels=whole.test.labels[:100]),
    )


def trial_on(dataset: Dataset, **changes: object) -> Trial:
    """A trial of the small net that never stops by itself unless a threshold is given."""
    fields: dict[str, object] = {
        "model": "cifar_80sec",
        "arguments": {"activation": "relu"},
        "recipe": RECIPE,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "images": None,
        "rate": 0.01,
        "seed": 0,
        "numerics": 1,
        "threshold": 0.0001,
        "near": 0.0,
        "decided_by": "full",
    }
    return Trial(**(fields | changes))  # type: ignore[arg-type]


def planned(recipe: Recipe, **changes: object) -> Trial:
    """A trial that is not trained, of a recipe and what is changed in it."""
    return Trial(
        model="cifar_80sec",
        arguments={},
        recipe=recipe.model_copy(update=changes),
        data="digits",
        fingerprint="0" * 16,
        rate=0.1,
        seed=0,
        numerics=1,
    )


def claim_file(
    folder: Path,
    *,
    epochs: float = 2,
    seeds: int = 2,
    rates: Sequence[float] = (0.003, 0.01, 0.03),
    name: str = "tiny",
) -> Path:
    """A claim on embedded data that runs in seconds."""
    path = folder / f"{name}.yaml"
    text = CLAIM.format(
        id=name, epochs=epochs, seeds=seeds, rates=", ".join(f"{rate:g}" for rate in rates)
    )
    path.write_text(text)
    return path


def quick_claim_file(folder: Path, *, name: str = "tiny") -> Path:
    """The same at a given rate and with one seed an arm: two trials."""
    path = claim_file(folder, epochs=1, seeds=1, name=name)
    text = path.read_text()
    search = text[text.index("    search:") : text.index("deviations")]
    path.write_text(text.replace(search, "    rate: {period: 0.01}\n"))
    return path


def lasting_claim_file(
    folder: Path, *, epochs: int = 100_000, rate: float = 0.01, name: str = "lasting"
) -> Path:
    """Two trials that end by their epochs alone: hours, in which a test waits for what it is about.

    Epochs are no part of a trial: a claim of fewer goes on with what one of more began.
    """
    path = quick_claim_file(folder, name=name)
    text = path.read_text().replace("epochs: 1", f"epochs: {epochs}")
    text = text.replace("    images: 160\n", "").replace("period: 0.01", f"period: {rate:g}")
    text = text.replace("time_to_threshold", "difference")
    text = text.replace("{slow: slow, fast: fast}", "{higher: slow, lower: fast}")
    path.write_text(re.sub(r"(?m)^(threshold|decided_by|near): .*\n", "", text))
    return path


def tiny_claim(folder: Path, **changes: object) -> Claim:
    """`claim_file`, loaded."""
    return load(claim_file(folder, **changes))  # type: ignore[arg-type]


def curve_of(run: Run) -> pd.DataFrame:
    """All that was measured of it so far, as the store would give it back."""
    return pd.DataFrame(run.progress.rows, columns=list(CURVE_COLUMNS))


def planted(
    cell: Cell, *, crossed: float | None, error: float = 0.5, epochs: float | None = None
) -> Result:
    """A result as if the cell's trial had been trained: crossed at an epoch, or never."""
    stop = crossed if crossed is not None else (epochs if epochs is not None else cell.until)
    interval = None if crossed is None else (crossed - 0.1, crossed)
    return Result(
        trial_id=cell.trial.id,
        status="censored" if crossed is None else "crossed",
        epochs=stop,
        crossing_full=interval,
        crossing_online=interval,
        train_error=error,
        epoch_errors=tuple(np.linspace(error, 0.9, int(stop))[::-1].tolist()) if stop >= 1 else (),
        metrics={"test_error": error},
        loss=1.0,
        seconds=Clocks(train=1.0, evaluate=0.5, other=0.25),
        provenance={"device": "cpu", "data": "planted"},
    )
