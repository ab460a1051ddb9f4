"""Files damaged at random: every command says so, or has the same results as before.

A failure names its seed: `nox -s faults -- -k claim_files --corruptions 17:18` tries it again.
"""

from pathlib import Path

import pytest

from tests.faults import corrupt
from tests.faults.conftest import Tally
from tests.faults.smoke import launch, preload

pytestmark = pytest.mark.faults

preload("tests.faults.corrupt")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is damaged, undamaged."""
    folder = tmp_path_factory.mktemp("worlds")
    corrupt.build(folder)
    return folder


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    """`--corruptions 2000`, or `--corruptions 17:18`."""
    first, _, end = request.config.getoption("--corruptions").rpartition(":")
    return range(int(first or 0), int(end))


def corrupted(kind: str, worlds: Path, seeds: range, tally: Tally, folder: Path) -> None:
    """Damage one file for each seed, and count what must not happen."""
    tally.random = True
    for seed in seeds:
        place = folder / str(seed)
        answer = launch(corrupt.attempt, worlds, place, kind, seed)
        tally.provoked += 1
        if isinstance(answer, corrupt.Answer):
            tally.calls += answer.calls
            tally.wrong += [f"seed {seed}: {problem}" for problem in answer.problems]
        else:
            tally.wrong.append(f"seed {seed}: ended by {answer}: {corrupt.last_words(place)}")


def test_a_damaged_store(worlds: Path, seeds: range, tally: Tally, tmp_path: Path) -> None:
    """A file of a store is damaged. `verify` names it, or no command gives another result."""
    corrupted("store", worlds, seeds, tally, tmp_path)


def test_a_damaged_export(worlds: Path, seeds: range, tally: Tally, tmp_path: Path) -> None:
    """A file of an exported store is damaged. The same."""
    corrupted("export", worlds, seeds, tally, tmp_path)


def test_damaged_tables(worlds: Path, seeds: range, tally: Tally, tmp_path: Path) -> None:
    """A table of a report is damaged. `verify --report` names it."""
    corrupted("report", worlds, seeds, tally, tmp_path)


def test_damaged_claim_files(worlds: Path, seeds: range, tally: Tally, tmp_path: Path) -> None:
    """A claim file, or a table beside it, is damaged. What cannot be meant is told."""
    corrupted("claims", worlds, seeds, tally, tmp_path)


def test_damaged_images(worlds: Path, seeds: range, tally: Tally, tmp_path: Path) -> None:
    """An image or a table of images is damaged. No other images have its fingerprint."""
    corrupted("images", worlds, seeds, tally, tmp_path)


def test_a_damaged_cache(worlds: Path, seeds: range, tally: Tally, tmp_path: Path) -> None:
    """A file of decoded images is damaged. They are decoded again."""
    corrupted("cache", worlds, seeds, tally, tmp_path)
