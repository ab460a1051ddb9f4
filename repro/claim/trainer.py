"""A claim trained by a command: its placeholders, and the fingerprint of its files."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from repro.claim.spec import Claim, TrainedClaim
from repro.errors import ClaimError
from repro.files import sha256_of

OWN_DATA = "the command's own data"  # if the claim file names no data

# Placeholders of a command, besides the arguments of its arm and scale.
PLACEHOLDERS = (
    "arm", "rate", "seed", "epochs", "threshold", "device", "folder", "metrics", "python",
)  # fmt: skip

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_BYTES = 1 << 40


def placeholders_in(word: str) -> list[str]:
    """The placeholders in a word; other braces belong to the program."""
    return _PLACEHOLDER.findall(word)


def command_line(command: tuple[str, ...], values: Mapping[str, object]) -> list[str]:
    """The command with the placeholders replaced; an empty argument leaves no word."""

    def filled(match: re.Match[str]) -> str:
        value = values[match[1]]
        return str(value).lower() if isinstance(value, bool) else str(value)

    return [_PLACEHOLDER.sub(filled, word) for word in command if not _is_left_out(word, values)]


def _is_left_out(word: str, values: Mapping[str, object]) -> bool:
    """Whether a word is nothing but an argument that is empty, such as a flag that is not set."""
    alone = _PLACEHOLDER.fullmatch(word)
    return alone is not None and alone[1] not in PLACEHOLDERS and values[alone[1]] == ""


def files_of(claim: TrainedClaim) -> list[str]:
    """The files that the command names and its inputs, as seen from the claim file's folder."""
    home = claim.path.parent
    return sorted({*_files(claim, home), *_inputs(claim, home)})


def files_beside(claim: Claim) -> list[str]:
    """All that the claim file names: the paper's tables, and files of a trainer."""
    tables = filter(None, (claim.paper.figure, claim.paper.siblings))
    return [*tables, *(files_of(claim) if isinstance(claim, TrainedClaim) else ())]


def fingerprint_of(claim: TrainedClaim) -> str:
    """Of the files that the command names and of its inputs, by their names and contents."""
    assert claim.trainer is not None
    home, digest = claim.path.parent, hashlib.sha256()
    for name in files_of(claim):
        try:
            content = sha256_of(home / name, most=_MOST_BYTES)
        except OSError as error:
            raise ClaimError(
                f"{claim.path}: cannot read {name!r}, which the trainer names: {error.strerror}"
            ) from error
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def _files(claim: TrainedClaim, home: Path) -> Iterator[str]:
    """Relative files that stand in the command, also behind an equals sign."""
    for word in claim.trainer.command if claim.trainer else ():
        for name in (word, word.rpartition("=")[2]):
            if name and not Path(name).is_absolute() and _is_file(home / name):
                yield name


def _inputs(claim: TrainedClaim, home: Path) -> Iterator[str]:
    """Files, and all files of folders, hidden ones and compiled code aside."""
    for name in claim.trainer.inputs if claim.trainer else ():
        path = home / name
        if not path.exists():
            raise ClaimError(f"{claim.path}: there is no {name!r}, which the trainer names")
        if not path.is_dir():
            yield name
            continue
        for inner in path.rglob("*"):
            parts = inner.relative_to(path).parts
            is_hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
            if inner.is_file() and not is_hidden:
                yield str(Path(name, *parts))


def _is_file(path: Path) -> bool:
    """Whether a word names a file; False for an impossible name, too."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
