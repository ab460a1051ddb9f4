"""Commands for stores: verify, diff, merge, why; and explain, for errors."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from repro.cli.command import command
from repro.cli.options import (
    FOLDER,
    Folder,
    claims_in,
    echo,
    end_by_faults,
    load_claims,
    option_claims,
    option_store,
    print_json,
    sound_store,
)
from repro.registry.shipped import claim_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.store import Store


def opened(path: Path) -> "Store":
    """The store of a folder that is there; a usage error otherwise."""
    from repro.store import Store

    _check_folder(path)
    return Store(path)


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise click.UsageError(f"{path} is not a folder")


@command(
    short_help="Check a store, and recompute its verdicts.",
    examples="""
    repro verify reports/store
    repro verify reports/store --report reports/report   # and what was printed of it
    repro verify runs --json
    """,
)
@click.argument("store", type=FOLDER, default=Path("runs"), envvar="REPRO_STORE")
@option_claims
@click.option(
    "--report",
    type=Folder(exists=True),
    help="Also compare the tables of the report in this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(store: Path, claims: Path | None, report: Path | None, as_json: bool) -> None:
    """Check a store, and recompute every verdict from the curves.

    A folder of `repro publish` is checked with its own claim files.

    Exit code 5 if a check fails.

    \b
    format   store.json has a known format
    sums     every file matches its SHA-256; none is missing or added
    files    are readable, and belong to the trial of their folder
    results  follow from their curves
    plans    have the digest in their name
    facts    agree with the claim file
    apart    `repro merge` found no contradictions
    tables   of --report: every cell agrees with the store
    """  # noqa: D301 - click wants the character itself
    from repro.audit import claims_beside, verification_fields, verification_text
    from repro.audit import verify as check
    from repro.claim import load_valid

    source = click.get_current_context().get_parameter_source("claims")
    own = None if source is ParameterSource.COMMANDLINE else claims_beside(store)
    valid, faults = load_valid(claim_files(own) if own else claims_in(claims))
    verification = check(opened(store), valid, report=report)
    if as_json:
        print_json(verification_fields(verification))
    else:
        echo(verification_text(verification))
    _print_contradictions(store, verification.contradictions)
    end_by_faults(faults)


@command(
    examples="""
    repro diff reports/store runs
    repro diff reports/store runs --json
    """
)
@click.argument("one", type=FOLDER)
@click.argument("two", type=FOLDER)
@option_claims
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(one: Path, two: Path, claims: Path | None, as_json: bool) -> None:
    """Compare the verdicts of two stores. Exit code 3 if one differs."""
    from repro.audit import compare, difference_fields, difference_text

    for path in (one, two):
        _check_folder(path)
    differences = compare(sound_store(one), sound_store(two), load_claims(claims_in(claims)))
    if as_json:
        print_json([difference_fields(each) for each in differences])
    else:
        echo("\n".join(difference_text(each) for each in differences))
    sys.exit(0 if all(each.agrees for each in differences) else 3)


@command(
    short_help="Merge stores of several machines into one.",
    examples="""
    repro merge runs /mnt/other-machine/runs
    """,
)
@click.argument("into", type=FOLDER)
@click.argument("sources", nargs=-1, required=True, type=FOLDER, metavar="FROM...")
def merge(into: Path, sources: tuple[Path, ...]) -> None:
    """Merge stores of several machines into INTO; the FROM stores do not change.

    A trial in several stores is kept once. Contradicting numbers go into INTO/apart, and damaged
    files stay in FROM; the exit code is then 5. Unfinished trials stay in FROM.
    """
    from repro.audit import merge as join
    from repro.audit import merge_text
    from repro.store import Store

    if into.resolve() in [source.resolve() for source in sources]:
        raise click.UsageError(f"{into} cannot be merged into itself")
    merged = join(Store(into), [opened(source) for source in sources])
    echo(merge_text(merged))
    _print_contradictions(into, merged.apart)


def _print_contradictions(store: Path, contradictions: "Sequence[str]") -> None:
    """As an error, once all of them were printed."""
    from repro.errors import ContradictionError

    if contradictions:
        count = (
            "a contradiction"
            if len(contradictions) == 1
            else f"{len(contradictions)} contradictions, first"
        )
        raise ContradictionError(f"{store}: {count}: {contradictions[0]}")


@command(
    short_help="Explain why a stored trial counts or does not count for a claim.",
    examples="""
    repro why relu_speedup
    repro why 00e4d988d13b1a46 --store reports/store
    """,
)
@click.argument("target", metavar="TRIAL|CLAIM")
@option_store
@option_claims
def why(target: str, store: Path, claims: Path | None) -> None:
    """Explain why a stored trial counts or not: which field or code differs from the plan."""
    from repro.audit import why as reason

    files = claims_in(claims)
    named = Path(target)
    if named.is_file():
        files = [named, *(file for file in files if file.stem != named.stem)]
    echo(reason(target, opened(store), load_claims(files)))


@command(
    short_help="Explain an error code, or list all of them.",
    examples="""
    repro explain
    repro explain E302
    """,
)
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Explain an error code: its cause, where to look, what to do next. Without one: list all."""
    from repro.messages import error_list, explain_error

    echo(explain_error(code) if code else error_list())
