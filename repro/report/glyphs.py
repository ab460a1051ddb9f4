"""Figures made ready to stand in a page: one set of glyphs for all, colours that follow the page.

A figure's file carries every letter that it shows as a path, and its colours as numbers; many
figures on one page would repeat the letters, and stay white in the dark.
"""

import re

from markupsafe import Markup

from repro.figures import SCHEME

__all__ = ["Glyphs"]

_DEFINED = re.compile(r'<path id="[^"]*?-(DejaVuSans[\w-]*)" (d="[^"]*"[^>]*)/>')
_USED = re.compile(r'(xlink:href="#)[^"]*?-(DejaVuSans[\w-]*")')
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_STYLE = re.compile(r"<style[^>]*>.*?</style>", re.DOTALL)
_NOTHING = re.compile(r"<!--.*?-->|<defs>\s*</defs>", re.DOTALL)


class Glyphs:
    """The letters that the figures of one page have used so far, each once."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}

    def figure(self, svg: str, alt: str) -> Markup:
        """The SVG element, named for those who do not see it."""
        self._paths |= dict(_DEFINED.findall(svg))
        text = _USED.sub(r"\1\2", _DEFINED.sub("", _STYLE.sub("", svg)))
        text = _COLOUR.sub(lambda found: _variable(found[0]), _NOTHING.sub("", text))
        text = " ".join(text.removeprefix("<svg").split()).replace("> <", "><")
        start = Markup('<svg role="img" aria-label="{}" ').format(alt)
        return start + Markup(text)  # noqa: S704 - drawn by repro.figures, names in it are escaped

    def shared(self) -> Markup:
        """An element that shows nothing and holds every letter used; after the last figure."""
        paths = "".join(
            f'<path id="{name}" {" ".join(rest.split())}/>'
            for name, rest in sorted(self._paths.items())
        )
        hidden = '<svg class="glyphs" width="0" height="0" aria-hidden="true">'
        return Markup(f"{hidden}<defs>{paths}</defs></svg>")  # noqa: S704 - matplotlib's paths


def _variable(colour: str) -> str:
    name = SCHEME.get(colour)
    return f"var({name}, {colour})" if name else colour
