"""Text and bytes at any place of a claim file and of a store: read, or refused in so many words."""

import shutil
from pathlib import Path

import hypothesis.strategies as st
import pytest
from click.testing import CliRunner
from hypothesis import given

from repro.claim import load
from repro.cli import main
from repro.errors import ClaimError, ReproError
from tests.faults.conftest import Tally

pytestmark = pytest.mark.faults

GOLDEN = Path(__file__).parents[1] / "golden"
CLAIM = (GOLDEN / "claims" / "times.yaml").read_text(encoding="utf-8")
FILES = sorted(path.relative_to(GOLDEN) for path in (GOLDEN / "store-1").rglob("*.*"))

lines = st.lists(st.sampled_from(CLAIM.splitlines()), max_size=40).map("\n".join)
junk = st.text(max_size=60)


@given(drawn=st.data())
def test_any_text_is_a_claim_or_a_list_of_problems(
    drawn: st.DataObject, tmp_path: Path, tally: Tally
) -> None:
    """The text of a claim file is cut, spliced or overwritten. It is loaded, or refused."""
    start = drawn.draw(st.integers(0, len(CLAIM)))
    end = drawn.draw(st.integers(start, min(len(CLAIM), start + 80)))
    text = CLAIM[:start] + drawn.draw(st.one_of(junk, lines)) + CLAIM[end:]
    path = tmp_path / "fuzzed.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    tally.random, tally.provoked = True, tally.provoked + 1
    try:
        load(path)
    except ClaimError as error:
        assert str(error).startswith(f"{path}:")  # noqa: PT017 - most texts are no error or this


@given(drawn=st.data())
def test_any_bytes_are_a_store_or_an_error_of_the_store(
    drawn: st.DataObject, tmp_path: Path, tally: Tally
) -> None:
    """A file of an earlier version's store is cut, spliced or overwritten. It is read, or named."""
    root = tmp_path / "store"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(GOLDEN / "store-1", root)
    path = root / drawn.draw(st.sampled_from(FILES)).relative_to("store-1")
    content = path.read_bytes()
    start = drawn.draw(st.integers(0, len(content)))
    end = drawn.draw(st.integers(start, len(content)))
    path.write_bytes(content[:start] + drawn.draw(st.binary(max_size=40)) + content[end:])
    tally.random, tally.provoked, tally.calls = True, tally.provoked + 1, tally.calls + 1
    done = CliRunner().invoke(main, ["verify", str(root), "--claims", str(GOLDEN / "claims")])

    assert done.exit_code in (0, 5), done.output
    assert "E900" not in done.output, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit | ReproError)
