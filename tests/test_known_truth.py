"""Claims of known truth through all of the tool: equal arms are never found to differ."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro.cli import main

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
