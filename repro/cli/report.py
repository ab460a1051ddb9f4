"""What was found: the report, and the evidence to keep."""

from pathlib import Path

import click

from repro.cli.command import command
from repro.cli.options import (
    FOLDER,
    claims_in,
    echo,
    load_claims,
    option_claims,
    option_store,
    told,
)
from repro.cli.settings import setting

__all__ = ["export", "publish", "report"]

FORMATS = ("html", "md", "csv", "svg", "parquet", "summary", "junit")
USUAL = FORMATS[:4]


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
    help="May be given several times.",
)
@told
def report(store: Path, claims: Path, out: Path, formats: tuple[str, ...]) -> None:
    """Write what the store says, also of a half-finished run.

    \b
    html     report.html: one page that needs nothing besides itself
    md       report.md, for a page of a repository
    csv      verdicts, effects, facts, trials and curves, a file each
    svg      figures/
    parquet  the tables of csv
    summary  summary.md, short: for a comment, or >> $GITHUB_STEP_SUMMARY
    junit    junit.xml: a test case for each claim and scale
    """  # noqa: D301 - click wants the character itself
    from repro.pages import pages
    from repro.report import write_report
    from repro.store import Store

    echo(write_report(pages(load_claims(claims_in(claims)), Store(store)), out, formats))


@command(
    short_help="Write a site into a folder, for any web server.",
    examples="""
    repro publish site                      # then: python -m http.server --directory site
    """,
)
@option_store
@option_claims
@click.argument("out", type=FOLDER)
@told
def publish(store: Path, claims: Path, out: Path) -> None:
    """Write a site into a folder, for any web server: the verdicts, a page a claim, the data."""
    from repro.pages import pages
    from repro.report import write_site
    from repro.store import Store

    echo(write_site(pages(load_claims(claims_in(claims)), Store(store)), out))


@command(
    short_help="Copy a store's evidence, small enough for a repository.",
    examples="""
    repro export reports/store
    repro export --store runs /data/evidence
    """,
)
@option_store
@click.argument("out", type=FOLDER)
@told
def export(store: Path, out: Path) -> None:
    """Copy the evidence of a store, without checkpoints, small enough to keep with the code."""
    from repro.store import Store

    count = Store(store).export(out)
    echo(f"{count} trials to {out}")
