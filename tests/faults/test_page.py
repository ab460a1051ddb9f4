"""The registry of faults, docs/faults.md, is what the suite writes."""

from dataclasses import replace

from tests.faults.registry import PAGE, Fault, faults_with_tests, parse, render, update


def test_the_page_is_what_the_suite_writes() -> None:
    """It has a row for each fault that is tested, by name; else `nox -s faults -- --write`."""
    text = PAGE.read_text(encoding="utf-8")

    assert render(parse(text)) == text
    assert [(fault.name, fault.test) for fault in parse(text)] == faults_with_tests()


def test_every_fault_of_the_page_was_provoked_and_cost_nothing() -> None:
    """A fault that was never provoked shows nothing."""
    page = parse(PAGE.read_text(encoding="utf-8"))

    assert [fault.name for fault in page if not fault.provoked or fault.lost or fault.wrong] == []


def test_a_session_replaces_its_own_rows_alone() -> None:
    """Those of faults that it did not provoke stay, and those of no test go."""
    (first, file), (second, other) = faults_with_tests()[:2]
    old = [Fault(name=first, test=file, provoked=3), Fault(name=second, test=other, provoked=4),
           Fault(name="a fault without a test", test=file)]  # fmt: skip
    new = [replace(old[1], provoked=5, wrong=1)]
    counts = [(fault.name, fault.provoked, fault.wrong) for fault in update(old, new)]

    assert counts[:2] == [(first, 3, 0), (second, 5, 1)]
    assert {count for _, *count in map(tuple, counts[2:]) for count in count} == {0}


def test_a_page_is_read_as_it_was_written() -> None:
    """With the session of what is drawn at random."""
    faults = [
        Fault(name="A disk is full", test="test_a.py", provoked=1),
        Fault(name="A file is damaged", test="test_b.py", provoked=2, wrong=1, random=True, calls=7,
              date="2026-01-01", machine="a CPU (2 cores)", command="python -m pytest -q"),
    ]  # fmt: skip

    assert parse(render(faults)) == faults
