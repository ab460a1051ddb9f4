"""The report as HTML: one self-contained file, or a site with a page for each claim."""

import json
import math
from collections.abc import Callable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from repro.report.document import ClaimSection, Document
from repro.report.svg import inline, palette, share

__all__ = ["ASSETS", "asset", "render_claim", "render_html", "render_index"]

ASSETS = ("report.css", "report.js")  # inside the one file, beside the pages of a site


def render_html(document: Document) -> str:
    """The whole report as one page."""
    return _render("report.html", document=document, link=lambda claim, part: f"#{part or claim}")


def render_index(document: Document, data: Sequence[str]) -> str:
    """The first page of a site: the verdicts, with links to the claims and the files of `data`."""
    return _render(
        "index.html",
        document=document,
        data=data,
        link=lambda claim, part: f"claims/{claim}.html" + (f"#{part}" if part else ""),
    )


def render_claim(claim: ClaimSection) -> str:
    """One claim's page of a site."""
    return _render(
        "claim.html",
        claim=claim,
        link=lambda claim, part: f"{claim}.html" + (f"#{part}" if part else ""),
    )


def _render(template: str, *, link: Callable[[str, str], str], **values: object) -> str:
    """Escapes everything except the figures, the style sheet and the script."""
    environment = Environment(
        loader=PackageLoader("repro", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"figure": inline, "sorting": _sorting, "json": json.dumps}
    environment.globals |= {
        "asset": lambda name: Markup(asset(name)),  # noqa: S704 - our own files
        "link": link,
    }
    return share(environment.get_template(template).render(**values))


def asset(name: str) -> str:
    """The text of one of ASSETS; the style sheet begins with the colours of figures."""
    loader = PackageLoader("repro", "report/templates")
    text, _, _ = loader.get_source(Environment(autoescape=True), name)
    return palette() + text if name == "report.css" else text


def _sorting(value: float) -> str:
    """The sort key of a cell; empty without a number."""
    return f"{value:.6g}" if math.isfinite(value) else ""
