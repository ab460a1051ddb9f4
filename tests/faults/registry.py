"""The registry of faults, docs/faults.md: what was provoked, how often, and with what outcome.

The first sentence of a test's docstring names its fault. `nox -s faults -- --write` and
`nox -s fuzz -- --write` replace the rows of the faults that they provoked, and keep the others.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "faults.md"

HEAD = """\
# Faults

`nox -s faults` and `nox -s fuzz` provoke each of these faults for real: they kill processes, fill
disks and damage files. Then they run the same command again, and compare every result with that of
an undisturbed run.

- **Provoked**: how often.
- **Lost**: finished trials that disappeared or were trained again.
- **Wrong**: results that differ, damage that no command reports, internal errors, and
  commands that hang.

"""

SESSIONS = """
## Random faults

The moments and the damage are drawn at random, from seeds. How many are
drawn is an option of the command.

"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One row. `calls`: commands called on damaged files; the rest says when it was provoked."""

    name: str
    test: str
    provoked: int = 0
    lost: int = 0
    wrong: int = 0
    random: bool = False
    calls: int = 0
    date: str = ""
    machine: str = ""
    command: str = ""


def fault_name(docstring: str | None) -> str:
    """The first sentence, without its full stop."""
    return " ".join((docstring or "").split()).partition(". ")[0].removesuffix(".")


def faults_with_tests() -> list[tuple[str, str]]:
    """Each fault that a test here provokes, and the test's file."""
    return [
        (fault_name(ast.get_docstring(node)), path.name)
        for path in sorted(TESTS.glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
        if node.name.startswith("test_")
        if "tally" in {argument.arg for argument in node.args.args}
    ]


def update(page: Sequence[Fault], provoked: Sequence[Fault]) -> list[Fault]:
    """A row for each fault that is tested: as just provoked, else as on the page."""
    rows = {(fault.name, fault.test): fault for fault in (*page, *provoked)}
    return [rows.get(key, Fault(name=key[0], test=key[1])) for key in faults_with_tests()]


def render(faults: Sequence[Fault]) -> str:
    """The page."""
    rows = [(f.name, f.provoked, f.lost, f.wrong, f"`{f.test}`") for f in faults]
    drawn = [
        (f.name, f.provoked, f.calls or "", f.date, f.machine, f"`{f.command}`")
        for f in faults
        if f.random
    ]
    return (
        HEAD
        + _table(("Fault", "Provoked", "Lost", "Wrong", "Tested in"), rows)
        + SESSIONS
        + _table(("Fault", "Provoked", "Commands called", "Date", "Machine", "Command"), drawn)
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


def parse(page: str) -> list[Fault]:
    """What `render` was given."""
    first, _, second = page.partition(SESSIONS)
    drawn = {name: cells for name, *cells in _rows(second)}
    faults = []
    for name, provoked, lost, wrong, test in _rows(first):
        fault = Fault(
            name=name, test=test.strip("`"), provoked=int(provoked), lost=int(lost),
            wrong=int(wrong), random=name in drawn,
        )  # fmt: skip
        if fault.random:
            _, calls, date, machine, command = drawn[name]
            fault = replace(
                fault, calls=int(calls or 0), date=date, machine=machine, command=command.strip("`")
            )
        faults.append(fault)
    return faults


def _rows(text: str) -> list[list[str]]:
    lines = [line.strip("|\n").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines[2:]]
