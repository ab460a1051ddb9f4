"""The report as one HTML file that needs nothing besides itself: no script, no network."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from repro.report.document import Document

__all__ = ["render_html"]


def render_html(document: Document) -> str:
    """The page. Everything is escaped but the figures, which are ours."""
    environment = Environment(
        loader=PackageLoader("repro", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template("template.html").render(document=document)


def _figure(svg: str, alt: str) -> Markup:
    """The SVG element, named for those who do not see it."""
    start = Markup('<svg role="img" aria-label="{}"').format(alt)
    return start + Markup(svg.removeprefix("<svg"))  # noqa: S704 - drawn by repro.figures, names in it are paths
