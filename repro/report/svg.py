"""Figures as SVG: the same bytes for the same data, small, and ready to embed in a page.

The marks of an arm have the class `arm-N`, its range over seeds `band-N`, the paper's points
`paper-N`; the attribute `data-axes` maps coordinates to values. The script of a page uses
these. Labels are text, which you can search and select, and a screen reader reads.
"""

import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from math import ceil
from textwrap import fill
from typing import Any
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from repro.report.figures import SCHEME, STYLE

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ET.register_namespace("", _SVG)
ET.register_namespace("xlink", _XLINK)

# The layout is computed with the first font; the second is as wide, all others are narrower.
_FAMILY = "DejaVu Sans, Verdana, sans-serif"
_MAX_OWN_LEGENDS = 2  # with more panels than these there is one legend for all, below them
_LEGEND_COLUMNS = 3  # entries of that legend in a row
_LETTER, _TITLE = 4.9, 6.0  # points that a letter takes in labels and in titles
_MIN_GAP = 3  # dots between two names of an axis
_ARM = re.compile(r"(?:arm|band|paper)-\d+")
_NUMBER = re.compile(r"-?\d+\.\d+")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")

# Ignore the user's matplotlib settings. The backend is not used.
_DEFAULTS: dict[Any, Any] = {
    key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"
}


def svg(
    name: str,
    panels: Sequence[tuple[str, Callable[[Axes], Axes]]],
    *,
    inches: tuple[float, float],
) -> str:
    """Panels (title, draw), two in a row, with one scale of errors, as an SVG element.

    inches: width and height of a panel.

    The same data give the same bytes: no date, and ids salted by `name`, so that several figures
    may stand in one page.
    """
    with _style(name):
        figure, axes = layout(panels, inches=inches)
        text = _text(figure)
        scales = [_scales(ax, axes[0]) for ax in axes if ax.axison]
    return _tidy_svg(text, scales)


def layout(
    panels: Sequence[tuple[str, Callable[[Axes], Axes]]], *, inches: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """The panels drawn and laid out, with no label cut off and none over another."""
    columns = min(len(panels), 2)
    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(columns * inches[0], rows * inches[1]))
    FigureCanvasSVG(figure)  # measures text as it will be written
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    axes = list(grid[: len(panels)])
    for ax, (title, draw) in zip(axes, panels, strict=True):
        draw(ax).set_title(fill(title, int(72 * inches[0] / _TITLE)))
        ax.set_xlabel(fill(ax.get_xlabel(), int(0.75 * 72 * inches[0] / _LETTER)))
    if len(panels) > _MAX_OWN_LEGENDS:
        _one_legend(figure, axes)
    for ax in axes[1::2]:
        ax.set_ylabel("")
        ax.tick_params(labelleft=False)
    for ax in grid[len(panels) :]:
        ax.set_axis_off()
    ConstrainedLayoutEngine().execute(figure)  # once: an engine that stays runs at every drawing
    for ax in axes:
        _thin_labels(ax)
    return figure, axes


def _thin_labels(ax: Axes) -> None:
    """Remove labels of the x axis that overlap the one before."""
    ticks = [float(tick) for tick in ax.get_xticks()]
    names = [label.get_text() for label in ax.get_xticklabels()]
    end, shown_names = -math.inf, []
    for label, name in zip(ax.get_xticklabels(), names, strict=True):
        box = label.get_window_extent()
        clear = bool(name) and box.x0 > end + _MIN_GAP
        shown_names.append(name if clear else "")
        end = box.x1 if clear else end
    if shown_names != names:
        ax.set_xticks(ticks, shown_names)


def free_svg(name: str, draw: Callable[[Figure], object], *, points: tuple[float, float]) -> str:
    """A figure that lays itself out, as an SVG element; `points`: width and height."""
    with _style(name):
        figure = Figure(figsize=(points[0] / 72, points[1] / 72))
        draw(figure)
        text = _text(figure)
    return _tidy_svg(text, [])


def free_png(draw: Callable[[Figure], object], *, points: tuple[float, float], dpi: int) -> bytes:
    with _style("png"):
        figure = Figure(figsize=(points[0] / 72, points[1] / 72), dpi=dpi)
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _style(name: str) -> AbstractContextManager[None]:
    return mpl.rc_context(_DEFAULTS | STYLE | {"svg.fonttype": "none", "svg.hashsalt": name})


def _text(figure: Figure) -> str:
    file = io.StringIO()
    empty = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", metadata=empty)
    return file.getvalue()


def _tidy_svg(text: str, scales: Sequence[object]) -> str:
    root = ET.fromstring(text)  # noqa: S314 - matplotlib wrote it
    ids = set(re.findall(r'(?:href="|url\()#([^")]*)', text))
    _tidy(root, ids)
    root.attrib |= {"data-axes": json.dumps(scales), "font-family": _FAMILY} | _JOINS
    return ET.tostring(root, encoding="unicode") + "\n"


def _one_legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all panels, each entry once."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        if legend := ax.get_legend():
            handles, labels = ax.get_legend_handles_labels()
            entries |= dict(zip(labels, handles, strict=True))
            legend.remove()
    if entries:
        figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=_LEGEND_COLUMNS
        )


def inline(text: str, alt: str) -> Markup:
    """The SVG element inside a page, with the page's colours; `alt`: its alternative text."""
    variables = {colour: f"var({name})" for colour, (name, _) in SCHEME.items()}
    drawn = text.removeprefix("<svg").strip()
    coloured = _COLOUR.sub(lambda match: variables.get(match[0], match[0]), drawn)
    start = Markup('<svg role="img" aria-label="{}"').format(alt)
    return start + Markup(coloured)  # noqa: S704 - drawn above, names in it are escaped


def share(page: str) -> str:
    """The page with each style written once, as a class, and with short ids."""
    styles = {style: f"s{n}" for n, style in enumerate(dict.fromkeys(_STYLE.findall(page)))}
    parts = {part: f"p{n}" for n, part in enumerate(dict.fromkeys(_PART.findall(page)))}
    sheet = "".join(f".{name}{{{style}}}" for style, name in styles.items())
    page = _STYLE.sub(lambda match: f'class="{styles[match[1]]}"', page)
    page = _PART.sub(lambda match: parts[match[0]], page).replace("xlink:href=", "href=")
    return page.replace("</head>", f"<style>{sheet}</style>\n</head>", 1)


# Only elements without a class: the script finds arms by their class.
_STYLE = re.compile(
    r'(?<!class="arm-\d" )(?<!class="band-\d" )(?<!class="paper-\d" )style="([^"<>]*)"'
)
_PART = re.compile(r"(?<=[#\"])[mp][0-9a-f]{10}\b")


def palette() -> str:
    """A style sheet with the colours of figures, for light and dark mode."""
    light, dark = (
        "".join(f"{name}:{shades[which]};" for name, *shades in _SHADES) for which in (0, 1)
    )
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"


_SHADES = [(name, light, dark) for light, (name, dark) in SCHEME.items()]


def standalone(text: str) -> str:
    """The SVG element as a file that follows the browser's dark mode."""
    rules = "".join(
        f'[style*="{part}:{colour}"]{{{part}:{SCHEME[colour][1]}!important}}'
        for colour in sorted(set(_COLOUR.findall(text)) & SCHEME.keys())
        for part in ("fill", "stroke")
    )
    start, rest = text.split(">", 1)
    return f"{start}>\n<style>@media (prefers-color-scheme: dark){{{rules}}}</style>{rest}"


def _scales(ax: Axes, first: Axes) -> dict[str, object]:
    """Where the axes lie, in the SVG's points from the top left, and what their ends are.

    `names`: of x and y; `rows`: what stands at 0, 1, ... where the y axis has no name. `first` has
    the labels of the y axis, which the panels share.
    """
    width, height = 72 * ax.figure.get_size_inches()  # type: ignore[union-attr] # these axes lie in a figure
    box = ax.get_position()
    ends = (box.x0 * width, (1 - box.y0) * height, box.x1 * width, (1 - box.y1) * height)
    y_name = first.get_ylabel()
    return {
        "box": [round(float(end), 2) for end in ends],
        "x": [*(float(f"{v:.6g}") for v in ax.get_xlim()), ax.get_xscale()],
        "y": [*(float(f"{v:.6g}") for v in ax.get_ylim()), ax.get_yscale()],
        "names": [ax.get_xlabel(), y_name],
        "rows": [] if y_name else [label.get_text() for label in first.get_yticklabels()],
    }


# Make figures small
#
# Matplotlib writes a group with an id for every part, a style for every marker, and coordinates to
# a millionth of a point. None of it is visible.

_JOINS = {"stroke-linejoin": "round", "stroke-linecap": "butt"}  # matplotlib's own style sheet


def _tidy(element: Element, ids: set[str]) -> None:
    """Remove everything invisible from the element and its children."""
    element.tail = "\n"
    if element.tag != f"{{{_SVG}}}text":
        element.text = None
    _tidy_attributes(element.attrib, ids)
    children = []
    for child in element:
        _tidy(child, ids)
        children += _visible(child)
    element[:] = children
    styles = {child.get("style") for child in children if child.tag != f"{{{_SVG}}}defs"}
    if len(children) > 1 and len(styles) == 1 and element.tag == f"{{{_SVG}}}g":
        _share_style(element, styles.pop())


def _tidy_attributes(attributes: dict[str, str], ids: set[str]) -> None:
    name = attributes.pop("id", "")
    if _ARM.fullmatch(name):
        attributes["class"] = name
    elif name in ids:
        attributes["id"] = name
    for key in attributes.keys() & {"d", "x", "y"}:
        numbers = " ".join(_NUMBER.sub(_round_number, attributes[key]).split())
        attributes[key] = re.sub(" ?([A-Za-z]) ?", r"\1", numbers)
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if "style" in attributes:
        style = attributes["style"].replace(" font-family: 'DejaVu Sans';", "")
        attributes["style"] = re.sub("([:;]) ", r"\1", style)


def _round_number(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.1f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _visible(child: Element) -> list[Element]:
    """The child; its children, if it is a group without attributes; nothing, if it is invisible."""
    if child.tag in {f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"}:
        return []
    if child.tag == f"{{{_SVG}}}defs" and not len(child):
        return []
    return list(child) if child.tag == f"{{{_SVG}}}g" and not child.attrib else [child]


def _share_style(group: Element, style: str | None) -> None:
    """Move a style that all children share to their group, from which they inherit it."""
    if style and "style" not in group.attrib:
        group.set("style", style)
        for child in group:
            child.attrib.pop("style", None)
