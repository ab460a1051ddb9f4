"""A trial's identity and seeds; the rows that come back."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import given

from repro.claim import Recipe, Trainer
from repro.errors import IntegrityError
from repro.report.frames import trial_cells, trial_table
from repro.trial import Clocks, Result, Trial, derive_seed
from repro.trial.strict_json import read_record

T = TypeVar("T")

TRIAL = Trial(
    model="cifar_80sec",
    arguments={"activation": "relu"},
    recipe=Recipe(inputs="centred", initialisation="cuda_convnet"),
    data="cifar10",
    fingerprint="0123456789abcdef",
    images=None,
    rate=0.001,
    seed=0,
    numerics=1,
    threshold=0.25,
    near=0.01,
    decided_by="full",
)

OTHER = {
    "model": "cifar_19pct",
    "arguments": {"activation": "tanh"},
    "recipe": Recipe(inputs="standardised", initialisation="cuda_convnet"),
    "data": "digits",
    "fingerprint": "fedcba9876543210",
    "images": 1000,
    "rate": 0.01,
    "seed": 1,
    "threshold": 0.3,
    "near": 0.02,
    "decided_by": "online",
    "numerics": "Run=2",
    "crossing": "median",
    "trainer": Trainer(command=("{python}", "train.py")),
    "resample": True,
    "further_test": 100,
}

RESULT = Result(
    trial_id=TRIAL.id,
    status="diverged",
    epochs=1.5,
    crossing_full=None,
    crossing_online=(1.0, 1.1),
    train_error=0.5,
    epoch_errors=(0.7,),
    metrics={"test_error": math.nan},
    loss=math.inf,
    seconds=Clocks(train=1.0, evaluate=2.0, other=3.0),
    provenance={"device": "cpu"},
)


@pytest.mark.parametrize("field", [f.name for f in fields(Trial)])
def test_every_field_is_part_of_the_identity(field: str) -> None:
    """A new field without an entry in OTHER fails here: say whether it changes the numbers."""
    assert replace(TRIAL, **{field: OTHER[field]}).id != TRIAL.id


def test_what_stands_at_its_default_is_not_said() -> None:
    """So a field that is added tomorrow leaves the trials of today what they are."""
    said = json.loads(TRIAL.to_json())

    assert "threshold" not in json.loads(replace(TRIAL, threshold=None).to_json())
    assert said["recipe"] == {"inputs": "centred", "initialisation": "cuda_convnet"}
    assert TRIAL.id == "24bc99afd7650a06"


def read(kind: type[T], text: str, folder: Path) -> T:
    """The record that a file of a store holds."""
    (folder / "record.json").write_text(text)
    return read_record(kind, folder / "record.json", "a record")


def test_trial_survives_the_round_trip(tmp_path: Path) -> None:
    """What is stored is what was planned."""
    assert read(Trial, TRIAL.to_json(), tmp_path) == TRIAL


def test_result_keeps_nan_and_infinity(tmp_path: Path) -> None:
    """NaN stays NaN: nobody decides here that it is zero."""
    text = RESULT.to_json()
    back = read(Result, text, tmp_path)

    json.loads(text, parse_constant=pytest.fail)  # as other languages read it
    assert math.isnan(back.metric("test_error"))
    assert math.isinf(back.loss)
    assert replace(back, metrics={}) == replace(RESULT, metrics={})
    assert back.seconds.wall == 6.0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"trial_id": "x"}'])
def test_damaged_rows_are_named_as_such(text: str, tmp_path: Path) -> None:
    """A row that cannot be read is an error of the store, never an empty result."""
    for kind in (Result, Trial):
        with pytest.raises(IntegrityError, match=r"record\.json: not a record"):
            read(kind, text, tmp_path)


@given(st.text(), st.integers())
def test_seeds_are_functions_of_names(name: str, number: int) -> None:
    """Equal names give equal seeds, in the range that torch takes."""
    seed = derive_seed(name, number)

    assert seed == derive_seed(name, number)
    assert 0 <= seed < 2**63
    assert seed != derive_seed(name, number + 1)


def test_a_metric_that_is_called_like_a_column_has_one_of_its_own() -> None:
    """A program may call its loss `loss`, as the table calls that of the batches."""
    logged = replace(RESULT, metrics={"loss": 0.25, "test_error": 0.5, "bleu": 31.0})
    table = trial_table([trial_cells(TRIAL, logged)], [logged])
    (row,) = table.cells

    assert table.columns[-2:] == ("bleu", "metric_loss")
    assert (row["metric_loss"], row["loss"], row["test_error"]) == (0.25, math.inf, 0.5)
