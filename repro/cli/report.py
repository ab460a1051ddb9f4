"""What was found: the report, and the evidence to keep."""

from pathlib import Path

import click

from repro.cli.command import command
from repro.cli.options import FOLDER, claims_in, load_claims, option_claims, option_store, told

__all__ = ["export", "report"]


@command(
    examples="""
    repro report                            # of runs/, into report/
    repro report --store reports/store --out report
    """
)
@option_store
@option_claims
@click.option(
    "--out",
    type=FOLDER,
    default=Path("report"),
    show_default=True,
    help="Folder to write into.",
)
@told
def report(store: Path, claims: Path, out: Path) -> None:
    """Write what the store says as HTML, Markdown, CSV and SVG; also of a half-finished run."""
    from repro.report import write_report
    from repro.session import pages
    from repro.store import Store

    click.echo(write_report(pages(load_claims(claims_in(claims)), Store(store)), out))


@command(
    examples="""
    repro export reports/store
    repro export --store runs /data/evidence
    """
)
@option_store
@click.argument("out", type=FOLDER)
@told
def export(store: Path, out: Path) -> None:
    """Copy the evidence of a store, without checkpoints, small enough to keep with the code."""
    from repro.store import Store

    count = Store(store).export(out)
    click.echo(f"{count} trials to {out}")
