"""Claims of known truth through all of the tool: equal arms are never found to differ."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro.claim import TrainedClaim, load
from repro.cli import main
from repro.data import open_dataset
from repro.planning import next_cells
from repro.store import Store
from repro.trial import Row
from tests.worlds import claim_file, planted

CLAIMS = Path(__file__).parent / "claims"


@pytest.mark.slow
def test_equal_arms_do_not_differ_and_a_planted_effect_is_found(tmp_path: Path) -> None:
    """On embedded data, look by look; half a minute on one core."""
    claims = [str(path) for path in sorted(CLAIMS.glob("*.yaml"))]
    done = CliRunner().invoke(
        main,
        ["run", *claims, "--scale", "smoke", "--store", str(tmp_path), "--json", "--workers", "1"],
    )
    words = {verdict["claim"]: verdict["verdict"] for verdict in json.loads(done.stdout)}

    assert done.exit_code == 0, done.stderr
    assert words["equal_arms"] in ("not reproduced", "inconclusive")
    assert words["planted_effect"] == "reproduced"


def passes(crossed: float | None) -> list[Row]:
    """Of each tenth of an epoch: above the threshold until it crossed."""
    epochs = [round(tenth / 10, 1) for tenth in range(1, round(10 * (crossed or 0)) + 1)]
    return [
        Row(epoch, source, 0.2 if source == "train" and epoch == epochs[-1] else 0.5, 1.0, 100, 0.0)
        for epoch in epochs
        for source in ("online", "train")
    ]


def test_planted_curves_come_out_as_their_ratio(tmp_path: Path) -> None:
    """Times of 8 and 48 epochs, on the rate that crosses first: six, and nothing is trained."""
    path = claim_file(tmp_path, epochs=60, seeds=3)
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    store = Store(tmp_path / "runs")
    data = open_dataset("digits", (), tmp_path)
    while cells := next_cells(claim, "smoke", data.fingerprint, store.results()):
        for cell in cells:
            crossed = 0.5 if cell.trial.rate == 0.01 else None
            if cell.purpose == "confirm":
                spread = (1.0, 1.05, 0.95)[cell.trial.seed]
                crossed = spread * (48.0 if cell.arm == "slow" else 8.0)
            store.begin(cell.trial)
            store.save(cell.trial.id, checkpoint=b"", curve=passes(crossed))
            store.finish(planted(cell, crossed=crossed))
    done = CliRunner().invoke(main, ["run", str(path), "--store", str(store.root), "--json"])
    (verdict,) = json.loads(done.stdout)

    assert done.exit_code == 0, done.stderr
    assert "training on" not in done.stderr
    assert verdict["verdict"] == "reproduced"
    assert verdict["estimate"] == pytest.approx(6.0, rel=0.01)
    assert verdict["seeds"] == 3
