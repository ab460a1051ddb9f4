"""Templates of new claim files, one of each kind, commented, valid and runnable; and of projects.

A project is a folder for the claims of a paper, with a README, a plug-in, and a workflow.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable
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
    "pyproject.toml": "pyproject.toml",
    "plugin.txt": "plugin_my_paper.py",
}
_PAPER = "my_paper"  # stands for the project's name
_NAME = re.compile(r"[A-Za-z0-9_]+\Z")


def scaffold(
    name: str,
    folder: Path,
    *,
    kind: str,
    source: Path | None = None,
    script: Path | None = None,
    copy_script: bool = False,
) -> Claim:
    """Write `folder/name.yaml`, of the kind or as a copy of `source`, and return its claim.

    `script`: trained by this program, of the kind `difference`; where it lies, or by a copy.

    Also copies the files beside `source`. Raises ClaimError, and writes nothing, if the name is
    invalid or a file exists.
    """
    if not _NAME.match(name) or not is_text(name):
        raise ClaimError(
            f"{name!r} is not a valid name: use letters, digits and '_', not a number or null",
            hint="such as `repro new gelu_speedup`",
        )
    path = folder / f"{name}.yaml"
    copies = {}
    if source is not None:  # errors of its claim name the source file
        copies = _copies(source.parent, files_beside(load(source)), folder)
    elif script is not None and copy_script:
        copies = _copies(script.parent, [script.name], folder)
        script = folder / script.name
    for target in (path, path.with_suffix(".yml")):
        if target.exists():
            raise ClaimError(
                f"{target} exists already", hint="choose another name, or move the file away"
            )
    for copy, original in copies.items():
        write_atomic(copy, read_bytes(original))
        shutil.copymode(original, copy)
    text = _text("command" if script else kind, source).replace("my_claim", name)
    if script is not None:
        text = text.replace('"{python}", my_script.py', _words(script, folder))
    own_id = re.sub(r"""(?m)^id:\s*["']?[A-Za-z0-9_]+["']?""", f"id: {name}", text, count=1)
    write_atomic(path, own_id)
    return load(path)


def scaffold_project(folder: Path) -> list[Path]:
    """Write what a folder of claims needs beside them; returns the files that were not there."""
    own = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_") or _PAPER
    written = []
    for template, name in _PROJECT.items():
        if not (path := folder / name.replace(_PAPER, own)).exists():
            text = (files(__package__) / "project" / template).read_text(encoding="utf-8")
            write_atomic(path, text.replace(_PAPER, own))
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


def _copies(home: Path, names: Iterable[str], folder: Path) -> dict[Path, Path]:
    """The files of `home` that the folder lacks, by their places in it."""
    copies = {}
    for name in names:
        original, target = home / name, folder / name
        if not target.exists():
            copies[target] = original
        elif read_bytes(target) != read_bytes(original):
            raise ClaimError(
                f"{target} differs from {original}",
                hint="move it away, or use another folder",
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
