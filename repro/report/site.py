"""The report as a static web site: verdicts first, then a page for each claim.

    index.html  report.html  claims/CLAIM.html  assets/  data/  figures/  SHA256SUMS

All links are relative, so you can put the folder anywhere.
"""

from collections.abc import Sequence
from pathlib import Path

from repro.files import write_atomic
from repro.report.document import document
from repro.report.frames import csv_files, parquet_files
from repro.report.html import ASSETS, asset, render_claim, render_html, render_index
from repro.report.page import FactPage, Page
from repro.store.checksums import SUMS, as_text, sha256

__all__ = ["site_files", "write_site"]


def write_site(pages: Sequence[Page | FactPage], out: Path, refused: Sequence[str] = ()) -> Path:
    """Write the site into `out`; returns its first page. `refused`: as `write_report` takes it."""
    files = site_files(pages, refused)
    sums = as_text({name: sha256(content) for name, content in files.items()})
    for name, content in {**files, SUMS: sums}.items():
        write_atomic(out / name, content)
    return out / "index.html"


def site_files(
    pages: Sequence[Page | FactPage], refused: Sequence[str] = ()
) -> dict[str, str | bytes]:
    """What the files of a site hold, by their paths in it."""
    report = document(pages, refused)
    data = csv_files(pages) | parquet_files(pages)
    files: dict[str, str | bytes] = {
        "report.html": render_html(report),
        ".nojekyll": "",  # for GitHub's Pages: serve the files as they are
        **{f"assets/{name}": asset(name) for name in ASSETS},
        **{f"data/{name}": content for name, content in data.items()},
        **{f"figures/{name}": svg for name, svg in report.figures.items()},
        **{f"{part.anchor}.png": part.card for part in report.parts if part.measured},
    }
    for claim in report.claims:
        files[f"claims/{claim.anchor}.html"] = render_claim(claim)
    return {**files, "index.html": render_index(report, tuple(data))}
