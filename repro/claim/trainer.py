"""A claim trained by a command: its placeholders, and the fingerprint of its files."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from repro.claim.spec import Claim, TrainedClaim, Trainer
from repro.errors import ClaimError
from repro.files import sha256_of

OWN_DATA = "the command's own data"  # if the claim file names no data

# Placeholders of a command, besides the arguments of its arm and scale.
PLACEHOLDERS = (
    "arm", "rate", "seed", "epochs", "threshold", "device", "folder", "metrics", "python",
)  # fmt: skip

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_BYTES = 1 << 40
_FACT = "file "  # with its name, the key of a fact
_SHOWN_DIGITS = 12


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
    named = _named(claim.trainer, claim.path.parent)
    return sorted({file for files in named.values() for file in files})


def files_beside(claim: Claim) -> list[str]:
    """All that the claim file names: the paper's tables, and files of a trainer."""
    tables = filter(None, (claim.paper.figure, claim.paper.siblings))
    return [*tables, *(files_of(claim) if isinstance(claim, TrainedClaim) else ())]


def fingerprint_of(claim: TrainedClaim) -> str:
    """Of the files that the command names and of its inputs, by their names and contents."""
    assert claim.trainer is not None
    return Files.read(claim.trainer, claim.path.parent).fingerprint


def files_now(claim: TrainedClaim) -> "Files | None":
    """The files of the claim's command as they are; None without a command, or where one lacks."""
    try:
        return Files.read(claim.trainer, claim.path.parent) if claim.trainer else None
    except ClaimError:
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The files of a command, with their content: `fingerprint` is part of a trial's identity.

    `facts`: of each file and folder that the trainer names, the first digits of its hash, as
    results keep them.
    """

    fingerprint: str
    facts: Mapping[str, str]

    @classmethod
    def read(cls, trainer: Trainer, home: Path) -> "Files":
        """ClaimError where a file cannot be read."""
        named = _named(trainer, home)
        hashes = {file: _hash(home, file) for files in named.values() for file in files}
        return cls(
            fingerprint=_digest(hashes, hashes)[:16],
            facts={
                f"{_FACT}{name}": (hashes.get(name) or _digest(hashes, files))[:_SHOWN_DIGITS]
                for name, files in named.items()
            },
        )


def changed_names(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The files and folders whose hashes differ between two sets of facts."""
    names = [name for name in {**one, **other} if name.startswith(_FACT)]
    return [name.removeprefix(_FACT) for name in names if one.get(name) != other.get(name)]


def _digest(hashes: Mapping[str, str], files: Iterable[str]) -> str:
    lines = (f"{file}\0{hashes[file]}\n" for file in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hash(home: Path, name: str) -> str:
    try:
        return sha256_of(home / name, most=_MOST_BYTES)
    except OSError as error:
        raise ClaimError(
            f"{home}: cannot read {name!r}, which the trainer names: {error.strerror}"
        ) from error


def _named(trainer: Trainer | None, home: Path) -> dict[str, list[str]]:
    """The files of each word of the command and of each input, those of folders with them."""
    if trainer is None:
        return {}
    words = [part for word in trainer.command for part in (word, word.rpartition("=")[2])]
    files = {word: [word] for word in words if _is_relative_file(home, word)}
    return files | {name: list(_input(home, name)) for name in trainer.inputs}


def _input(home: Path, name: str) -> Iterator[str]:
    """A file, or all files of a folder, hidden ones and compiled code aside."""
    path = home / name
    if not path.exists():
        raise ClaimError(f"{home}: there is no {name!r}, which the trainer names")
    if not path.is_dir():
        yield name
        return
    for inner in path.rglob("*"):
        parts = inner.relative_to(path).parts
        is_hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if inner.is_file() and not is_hidden:
            yield str(Path(name, *parts))


def _is_relative_file(home: Path, name: str) -> bool:
    """Whether a word names a file; False for an impossible name, too."""
    try:
        return bool(name) and not Path(name).is_absolute() and (home / name).is_file()
    except (OSError, ValueError):
        return False
