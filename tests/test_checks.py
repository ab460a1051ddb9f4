"""Every check that a command's help names is one: a file, or a store, that it refuses."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from repro.store import checksums
from tests.commands import repro
from tests.worlds import FACT, claim_file

GOLDEN = Path(__file__).parent / "golden"


def named_in_help(command: str) -> set[str]:
    """The words that stand before what is checked."""
    text = repro(command, "--help").output.partition("Options:")[0]
    return set(re.findall(r"(?m)^  ([a-z]+)  ", text))


# validate: what to replace in a valid claim, and the sentence that refuses it.
REFUSED = {
    "text": ("title: One", "title: !!python/name:os.system One", "the tag .* is not allowed"),
    "keys": ("near: 0.4", "nera: 0.4", "nera: unknown key"),
    "values": ("threshold: 0.25", "threshold: 25", "input should be less than 1"),
    "names": ("name: cifar_80sec", "name: cifar_80s", "model 'cifar_80s' is unknown"),
    "files": ("value: 6.0,", "value: 6.0, figure: ../f.csv,", "leaves the folder"),
    "arms": ("activation: tanh", "activation: relu", "the arms do not differ"),
    "region": ("low: 3.0", "low: 0.9", "on the wrong side of no effect"),
    "rates": ("rungs: [1]", "rungs: [9]", "the last rung, 9, is beyond the budget"),
    "seeds": ("  smoke:\n    data: digits\n", "  proxy:\n    data: cifar10\n",
              "the first interim analysis has 2; a verdict needs 3 seeds"),
    "evidence": ("data: digits", "data: cifar10", "real data; the smoke scale wants embedded"),
}  # fmt: skip


def test_a_claim_is_refused_by_every_check_that_is_named(tmp_path: Path) -> None:
    """One word wrong each, in a claim that is valid without."""
    path = claim_file(tmp_path)
    text = path.read_text()
    assert repro("validate", path).exit_code == 0
    assert named_in_help("validate") == set(REFUSED)
    for check, (old, new, sentence) in REFUSED.items():
        assert old in text, check
        path.write_text(text.replace(old, new))
        done = repro("validate", path)
        assert done.exit_code == 2, check
        assert re.search(rf"tiny.yaml:\d+:\d+: .*{sentence}", done.stderr), (check, done.stderr)


def first(store: Path, pattern: str) -> Path:
    return min(store.glob(pattern))


def changed(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def another_time(store: Path) -> None:
    """Which no curve contradicts."""
    path = first(store, "trials/*/result.json")
    checksums.write(path.parent)
    values = json.loads(path.read_text())
    changed(path, seconds=values["seconds"] | {"evaluate": 1.0})


def another_fact(store: Path) -> None:
    path = first(store, "facts/*.json")
    (fact,) = json.loads(path.read_text())
    path.write_text(json.dumps([fact | {"holds": False}]))


def kept_apart(store: Path) -> None:
    shutil.copytree(first(store, "trials/*"), store / "apart" / "one")


def another_table(store: Path) -> None:
    path = store.parent / "report" / "verdicts.csv"
    path.write_text(path.read_text().replace("inconclusive", "reproduced", 1))


# verify: what is done to a store that agrees with itself, and the contradiction that is found.
SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "format": (lambda store: (store / "store.json").unlink(), "the format is a guess"),
    "sums": (another_time, "changed since"),
    "files": (lambda store: first(store, "trials/*/result.json").write_text("{"), "not a trial's"),
    "results": (
        lambda store: changed(first(store, "trials/*/result.json"), train_error=0.123),
        "train_error",
    ),
    "plans": (
        lambda store: changed(first(store, "plans/*.json"), digest="0" * 64),
        "belongs into a file of another name",
    ),
    "facts": (another_fact, "not as it follows from the claim file"),
    "apart": (kept_apart, "kept apart by `repro merge`"),
    "tables": (another_table, "verdicts.csv"),
}


@pytest.fixture(scope="module")
def agreeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with claims, their store, and a report of it."""
    folder = tmp_path_factory.mktemp("agreeing")
    shutil.copytree(GOLDEN / "claims", folder / "claims")
    shutil.copytree(GOLDEN / "store-1", folder / "store")
    (folder / "claims" / "fact.yaml").write_text(FACT)
    assert repro("run", folder / "claims/fact.yaml", "--store", folder / "store").exit_code == 0
    shared = ("--store", folder / "store", "--claims", folder / "claims")
    assert repro("report", *shared, "--out", folder / "report", "--format", "csv").exit_code == 0
    return folder


def test_every_check_of_a_store_is_named() -> None:
    """In the help, and below."""
    assert named_in_help("verify") == set(SPOILED)


@pytest.mark.parametrize("check", [None, *SPOILED])
def test_a_store_is_refused_by_every_check_that_is_named(
    check: str | None, agreeing: Path, tmp_path: Path
) -> None:
    """One file wrong each, in a store that agrees with itself without."""
    folder = Path(shutil.copytree(agreeing, tmp_path / "spoiled"))
    spoil, sentence = SPOILED[check] if check else (lambda _: None, "")
    spoil(folder / "store")
    shared = ("--claims", folder / "claims", "--report", folder / "report")
    done = repro("verify", folder / "store", *shared, "--json")
    found = json.loads(done.stdout)["contradictions"]

    assert done.exit_code == (5 if check else 0), done.output
    assert any(sentence in each for each in found) == bool(check), found
