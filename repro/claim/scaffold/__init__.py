"""Templates of new claim files, one of each kind, commented, valid and runnable; and of projects.

A project is a folder for the claims of a paper, with a README and a workflow that runs them.
"""

import json
import os
import re
from importlib.resources import files
from pathlib import Path

from repro.claim import OWN_KINDS, Claim, load
from repro.claim.trainer import files_beside
from repro.claim.yaml_source import is_text
from repro.errors import ClaimError
from repro.files import read_bytes, read_text, write_atomic

_PROJECT = {
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "claims.yml": ".github/workflows/claims.yml",
}
_NAME = re.compile(r"[A-Za-z0-9_]+\Z")


def scaffold(
    name: str, folder: Path, *, kind: str, source: Path | None = None, script: Path | None = None
) -> Claim:
    """Write `folder/name.yaml`, of the kind or as a copy of `source`, and return its claim.

    `script`: trained by this program, of the kind `difference`.

    Also copies the tables beside `source`. Raises ClaimError, and writes nothing, if the name is
    invalid or the file exists.
    """
    if not _NAME.match(name) or not is_text(name):
        raise ClaimError(
            f"{name!r} is not a valid name: use letters, digits and '_', not a number or null",
            hint="such as `repro new gelu_speedup`",
        )
    path = folder / f"{name}.yaml"
    copies = {} if source is None else _copies(source, folder)
    for target in (path, path.with_suffix(".yml")):
        if target.exists():
            raise ClaimError(
                f"{target} exists already", hint="choose another name, or move the file away"
            )
    for file, content in copies.items():
        write_atomic(file, content)
    text = _text("command" if script else kind, source).replace("my_claim", name)
    if script is not None:
        text = text.replace('"{python}", my_script.py', _words(script, folder))
    own_id = re.sub(r"""(?m)^id:\s*["']?[A-Za-z0-9_]+["']?""", f"id: {name}", text, count=1)
    write_atomic(path, own_id)
    return load(path)


def scaffold_project(folder: Path) -> list[Path]:
    """Write what a folder of claims needs beside them; returns the files that were not there."""
    written = []
    for template, name in _PROJECT.items():
        if not (path := folder / name).exists():
            write_atomic(path, (files(__package__) / "project" / template).read_bytes())
            written.append(path)
    return written


def template_keys(claim: Claim) -> list[str]:
    """The keys of texts that are still a template's."""
    templates = [file for file in files(__package__).iterdir() if file.name.endswith(".yaml")]
    texts = [template.read_text(encoding="utf-8") for template in templates]
    lines = {line.strip() for text in texts for line in text.splitlines()}
    of_paper = ("title", "authors", "link", "section")
    values = {f"paper.{key}": getattr(claim.paper, key) for key in of_paper} | {
        "confounds": claim.confounds,
        "reconsidered_if": claim.reconsidered_if,
    }
    return [key for key, value in values.items() if f"{key.rpartition('.')[2]}: {value}" in lines]


def _copies(source: Path, folder: Path) -> dict[Path, bytes]:
    copies = {}
    for name in files_beside(load(source)):  # errors name the source file
        content, target = read_bytes(source.parent / name), folder / name
        if not target.exists():
            copies[target] = content
        elif read_bytes(target) != content:
            raise ClaimError(
                f"{target} differs from the file beside {source}",
                hint="move it away, or use another --claims folder",
            )
    return copies


def _words(script: Path, folder: Path) -> str:
    """How the script is started from the folder; what is no Python starts by itself."""
    path = os.path.relpath(script.resolve(), folder.resolve())
    words = ["{python}", path] if script.suffix == ".py" else [f"./{path}"]
    return ", ".join(map(json.dumps, words))


def _text(kind: str, source: Path | None) -> str:
    if source is not None:
        return read_text(source)
    assert kind in (*OWN_KINDS, "command")
    return (files(__package__) / f"{kind}.yaml").read_text(encoding="utf-8")
