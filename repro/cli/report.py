"""Commands that write results: report, publish, export."""

import datetime as dt
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repro.cli.command import command
from repro.cli.options import (
    FOLDER,
    claims_in,
    echo,
    end_by_faults,
    option_claims,
    option_store,
    sound_store,
)
from repro.cli.settings import setting
from repro.registry.shipped import is_shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.errors import ClaimError
    from repro.report.page import FactPage, Page

FORMATS = ("html", "md", "csv", "svg", "card", "summary")
USUAL = FORMATS[:5]


@command(
    examples="""
    repro report                            # of runs/, into report/
    repro report --store reports/store --out report
    repro report --format summary           # report/summary.md, short
    """
)
@option_store
@option_claims
@setting(
    "--out",
    type=FOLDER,
    default=Path("report"),
    show_default=True,
    help="Folder to write into.",
)
@setting(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=USUAL,
    show_default=True,
    help="May be repeated.",
)
def report(store: Path, claims: Path | None, out: Path, formats: tuple[str, ...]) -> None:
    """Write a report of the store, also of an unfinished run.

    Without results it is written as well, with exit code 4. The report lists invalid claim files;
    the exit code is then 2.

    \b
    html     report.html: a self-contained page
    md       report.md, for a page of a repository
    csv      verdicts, effects, facts, trials and curves, a file each
    svg      figures/; claims.svg shows all claims
    card     claims.png, a preview image for links
    summary  summary.md, short: for a comment, or >> $GITHUB_STEP_SUMMARY
    """  # noqa: D301 - click wants the character itself
    _load_matplotlib()
    from repro.report.write import write_report

    claim_pages, faults = _pages(claims, store)
    echo(write_report(claim_pages, out, formats, _lines(faults)))
    _check(claim_pages, faults, store)


@command(
    short_help="Write results, claim files and report as one folder to publish.",
    examples="""
    repro publish crate --license https://spdx.org/licenses/CC-BY-4.0
    """,
)
@option_store
@option_claims
@click.option("--license", "licence", help="URL of the licence of the folder.")
@click.argument("out", type=FOLDER)
def publish(store: Path, claims: Path | None, licence: str | None, out: Path) -> None:
    """Write evidence, claim files and report into a new folder, for an archive or a web server.

    The folder is an RO-Crate, and a store like that of `repro export`: `repro verify OUT` checks
    all of it. `index.html` is the report. Figures of images with restricted use are left out. The
    report lists invalid claim files; the exit code is then 2.
    """
    if licence and not re.fullmatch(r"https?://[^\s<>\"]+", licence):
        raise click.UsageError(
            f"--license: {licence!r} is no address, such as https://spdx.org/..."
        )
    if out.exists() and any(out.iterdir()):
        raise click.UsageError(f"{out} is not empty: a crate has a folder of its own")
    _load_matplotlib()
    from repro.audit import copy_evidence
    from repro.audit.crate import claim_files, write_crate
    from repro.claim import load_valid
    from repro.store import Store

    valid, _ = load_valid(claims_in(claims))
    beside = claim_files(valid)  # before anything is written, since it may refuse
    copy_evidence(Store(store), out, valid)
    claim_pages, faults = _pages(claims, out)  # of the evidence that lies beside them
    today = dt.datetime.now(dt.UTC).date()
    echo(write_crate(claim_pages, beside, out, _lines(faults), published=today, licence=licence))
    _check(claim_pages, faults, store)


def _load_matplotlib() -> None:
    """Without the user's settings, which may name what is not installed here."""
    from repro.errors import MachineError

    if "matplotlib" not in sys.modules:
        os.environ |= {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    try:
        import matplotlib as mpl  # noqa: F401 - what goes wrong does so now
    except (OSError, ValueError) as error:
        raise MachineError(
            f"matplotlib, which draws the figures, cannot be loaded: {error}",
            hint="MPLCONFIGDIR names a folder that it may write; a `matplotlibrc` in the working "
            "folder has to be UTF-8",
        ) from error


def _pages(claims: Path | None, store: Path) -> "tuple[list[Page | FactPage], list[ClaimError]]":
    """What the store says of each claim file, and those that are not valid.

    Of the claims that come with repro none that the store knows nothing of, unless it knows none.
    """
    from repro.claim import load_valid
    from repro.report.read_pages import pages

    valid, faults = load_valid(claims_in(claims))
    claim_pages = pages(valid, sound_store(store))
    measured = {page.claim.id for page in claim_pages if page.measured}
    names = measured | {claim.id for claim in valid if not is_shipped(claim.path)}
    return [page for page in claim_pages if page.claim.id in names] or claim_pages, faults


def _lines(faults: "list[ClaimError]") -> list[str]:
    return [line for fault in faults for line in str(fault).splitlines()]


def _check(
    claim_pages: "Sequence[Page | FactPage]", faults: "Sequence[ClaimError]", store: Path
) -> None:
    """A page that says `not run` everywhere, or leaves a claim out, is written, and no success."""
    from repro.errors import NothingMeasuredError

    end_by_faults(faults)
    if not any(page.measured for page in claim_pages):
        kept = sound_store(store)
        ids = sorted({kept.plan(file).claim_id for file in kept.plan_files()})
        plans = f"; its plans are of {', '.join(ids)}" if ids else ""
        raise NothingMeasuredError(
            f"{store} has no finished trial of these claims, and no facts{plans}",
            hint="`--claims FOLDER` names the folder of the claim files that were run; "
            "`repro run FILE` measures; `--store` names the folder of results",
        )


@command(
    short_help="Copy a store's evidence into a few files.",
    examples="""
    repro export reports/store
    repro export --store runs /data/evidence
    """,
)
@option_store
@option_claims
@click.argument("out", type=FOLDER)
def export(store: Path, claims: Path | None, out: Path) -> None:
    """Copy the evidence of a store into a few files, small enough to keep with the code.

    \b
    CLAIM.tar    plans, facts, and finished trials without checkpoints and nets
    results.csv  a row for each trial and arm, for pandas and others
    SHA256SUMS   checksums, for `repro verify OUT` or `sha256sum -c SHA256SUMS`

    All commands read OUT as they read STORE. Trials of an invalid claim file go to `others.tar`;
    the exit code is then 2.
    """  # noqa: D301 - click wants the character itself
    from repro.audit import export as export_evidence
    from repro.claim import load_valid
    from repro.store import Store

    _check_apart(store, out)
    valid, faults = load_valid(claims_in(claims))
    copied, skipped = export_evidence(Store(store), out, valid)
    further = f"; {skipped} left, which it has trained or measured further" if skipped else ""
    echo(f"{copied} trials to {out}{further}")
    end_by_faults(faults)


def _check_apart(store: Path, out: Path) -> None:
    """A usage error where an export would lie among what trials are run into."""
    if out.resolve() == store.resolve():
        raise click.UsageError(f"{store} cannot be exported into itself")
    if any(out.glob("trials/*")):
        raise click.UsageError(
            f"{out} has trials in folders, as a store has that is run into; an export needs a "
            "folder of its own"
        )
