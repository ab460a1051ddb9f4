"""What rules read of a claim file: raw values, which may be of any type, and names."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from typing_extensions import TypeIs  # in typing from Python 3.13 on

from repro.claim.yaml_source import KeyPath

__all__ = ["Finding", "choices", "is_number", "mapping", "meant", "name_rule", "plain", "shown"]

SAFE_NAME = re.compile(r"[A-Za-z0-9_]+\Z")

Finding = tuple[KeyPath, str]


def meant(given: str, known: Iterable[str]) -> str:
    """` (did you mean 'relu'?)`, or nothing when no name is close."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def choices(given: str, known: Iterable[str]) -> str:
    """The same, and all names in order: ` (did you mean 'relu'? known: elu, relu)`."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f" ({guess}known: {', '.join(names) or 'none'})"


def shown(value: object) -> str:
    """A value as a person recognises it in the file."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def name_rule(at: KeyPath, name: str) -> Iterator[Finding]:
    if not SAFE_NAME.match(name):
        yield at, f"the name {name!r} may hold letters, digits and '_' alone"


def plain(value: Any, key: str) -> Any:
    """The value under `key`, None when there is none."""
    return value.get(key) if isinstance(value, Mapping) else None


def mapping(value: Any, key: str) -> Mapping[str, Any]:
    """The mapping under `key`, empty when there is none: its absence is told elsewhere."""
    inner = plain(value, key)
    return inner if isinstance(inner, Mapping) else {}


def is_number(value: object) -> TypeIs[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
