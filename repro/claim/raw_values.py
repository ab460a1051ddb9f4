"""Helpers of the rules: read raw values of any type, quote them, and suggest names."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from typing_extensions import TypeIs  # in typing from Python 3.13 on

from repro.claim.yaml_source import KeyPath

SAFE_NAME = re.compile(r"[A-Za-z0-9_]+\Z")

Finding = tuple[KeyPath, str]


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant, first of all that in another case; None if none is."""
    names = list(names)
    same = [each for each in names if each.lower() == name.lower()]
    close = same or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return close[0] if close else None


def suggestion(name: str, names: Iterable[str]) -> str:
    """` (did you mean 'relu'?)`; empty if no name is close."""
    close = closest(name, names)
    return f" (did you mean {close!r}?)" if close else ""


def choices(name: str, names: Iterable[str]) -> str:
    """The same, and all names in order: ` (did you mean 'relu'? known: elu, relu)`."""
    names = sorted(names)
    close = closest(name, names)
    guess = f"did you mean {close!r}? " if close else ""
    return f" ({guess}known: {', '.join(names) or 'none'})"


def quoted(value: object) -> str:
    """A value as text, shortened."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def name_rule(path: KeyPath, name: str) -> Iterator[Finding]:
    if not SAFE_NAME.match(name):
        yield path, f"the name {name!r} may have only letters, digits and '_'"


def plain(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def mapping(value: Any, key: str) -> Mapping[str, Any]:
    """The mapping under `key`; empty without one, which another rule reports."""
    inner = plain(value, key)
    return inner if isinstance(inner, Mapping) else {}


def is_number(value: object) -> TypeIs[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
