"""A claim file to begin with: one of each kind, commented, valid and runnable as it stands."""

import re
from importlib.resources import files
from pathlib import Path

from repro.claim import OWN_KINDS, Claim, load
from repro.errors import ClaimError
from repro.files import write_atomic

__all__ = ["scaffold"]

_NAME = re.compile(r"[A-Za-z0-9_]+\Z")


def scaffold(name: str, folder: Path, *, kind: str, source: Path | None = None) -> Claim:
    """Write `folder/name.yaml`, of the kind or as a copy of `source`, and return its claim.

    Raises ClaimError when there is such a file already, or when the copy would not be valid.
    """
    if not _NAME.match(name):
        raise ClaimError(
            f"{name!r} is no name for a claim: letters, digits and '_' alone",
            hint="such as `repro new gelu_speedup`",
        )
    path = folder / f"{name}.yaml"
    if path.exists():
        raise ClaimError(
            f"{path} is there already", hint="choose another name, or move the file away"
        )
    write_atomic(path, _renamed(_text(kind, source), name))
    try:
        return load(path)
    except ClaimError:
        path.unlink()  # a copy in another folder may miss a file beside it
        raise


def _text(kind: str, source: Path | None) -> str:
    if source is not None:
        load(source)  # its own problems are told under its own name
        return source.read_text(encoding="utf-8")
    assert kind in OWN_KINDS
    return (files(__package__) / f"{kind}.yaml").read_text(encoding="utf-8")


def _renamed(text: str, name: str) -> str:
    text = text.replace("my_claim", name)
    return re.sub(r"(?m)^id:\s*[A-Za-z0-9_]+", f"id: {name}", text, count=1)
