"""The report as one self-contained HTML file."""

import json
import math

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from repro.report.document import Document
from repro.report.svg import inline, palette, share


def render_html(document: Document) -> str:
    """The whole report as one page; all but figures, style sheet and script is escaped."""
    environment = Environment(
        loader=PackageLoader("repro", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"figure": inline, "sorting": _sorting, "json": json.dumps}
    environment.globals["asset"] = _asset
    return share(environment.get_template("report.html").render(document=document))


def _asset(name: str) -> Markup:
    """The style sheet or the script; the style sheet begins with the colours of figures."""
    loader = PackageLoader("repro", "report/templates")
    text, _, _ = loader.get_source(Environment(autoescape=True), name)
    return Markup(palette() + text if name == "report.css" else text)  # noqa: S704 - our own files


def _sorting(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
