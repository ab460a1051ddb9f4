"""A claim trained by a command: its placeholders, and the fingerprint of its files."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from repro.claim.spec import Claim, Scalar, TrainedClaim, Trainer, arms_of, metric_of, model_for
from repro.errors import ClaimError
from repro.files import read_bytes, sha256_of

OWN_DATA = "the command's own data"  # if the claim file names no data

# Placeholders of a command, besides the arguments of its arm and scale.
PLACEHOLDERS = (
    "arm", "rate", "seed", "epochs", "threshold", "device", "folder", "metrics", "python",
)  # fmt: skip

_VARIABLE = re.compile(rb"REPRO_[A-Z]*")
_ALL_VARIABLES = b"REPRO_"  # a program that looks for whatever begins so
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_BYTES = 1 << 40
_LARGE = 1 << 24  # bytes: what takes longer to hash than to look at
_FACT = "file "  # with its name, the key of a fact
_SHOWN_DIGITS = 12
_SHOWN_FILES = 8
_MOST_CODE = 1 << 20
# A word that can hardly be anything but a file; output files are below {folder}.
_CODE = re.compile(r"[\w./+-]+\.(?:py|sh|jl|R|lua|js|ya?ml|toml|json|cfg|ini|ipynb)")


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
    try:
        return Files.read(claim.trainer, claim.path.parent).fingerprint
    except ClaimError as error:
        raise ClaimError(f"{claim.path}: {error}") from error


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


def hashed_text(claim: TrainedClaim) -> str:
    """What makes new trials if it changes; and what does not, of arguments and code beside it."""
    hashed = {Path(name) for name in files_of(claim)}
    arguments = {Path(name) for name in _files_of_arguments(claim)}
    others = sorted(str(file) for file in (_code_beside(claim) | arguments) - hashed)
    more = f" and {len(others) - _SHOWN_FILES} more" * (len(others) > _SHOWN_FILES)
    text = (
        f"hashed: {', '.join(_named(claim.trainer, claim.path.parent)) or 'no file of the program'}"
    )
    if not others:
        return text
    return f"{text}; not hashed: {', '.join(others[:_SHOWN_FILES])}{more} (`inputs` adds them)"


def command_warnings(claim: TrainedClaim) -> Iterator[str]:
    """What is probably a mistake in a command, for `repro validate`."""
    if claim.trainer is not None:
        yield from _file_warnings(claim, claim.trainer)
        yield from _value_warnings(claim, claim.trainer)


def _file_warnings(claim: TrainedClaim, trainer: Trainer) -> Iterator[str]:
    home = claim.path.parent.resolve()
    for name in (word.rpartition("=")[2] for word in trainer.command):
        if not _CODE.fullmatch(name):
            continue
        if not _is_file(home / name):
            yield f"there is no file {name!r} in {home}, where the command starts"
        elif Path(name).is_absolute():
            relative = os.path.relpath(name, home)
            yield f"{name} is not hashed, so its changes make no new trials: write {relative}"
    for name in files_of(claim):
        if ".." in Path(name).parts:
            yield (
                f"{name} lies outside of the claim file's folder: `repro publish` cannot take it "
                "along; `repro new NAME --command SCRIPT --project FOLDER` copies it"
            )
    for name in _files_of_arguments(claim):
        if Path(name) not in map(Path, files_of(claim)):
            yield f"{name} is not hashed, so its changes make no new trials: add it to `inputs`"


def _value_warnings(claim: TrainedClaim, trainer: Trainer) -> Iterator[str]:
    variables = _variables(claim)
    if _ALL_VARIABLES in variables:
        return
    for name in ("seed", "rate"):
        note = unused_note(claim, name)
        if note and f"REPRO_{name.upper()}".encode() not in variables:
            yield note
    placeholders = {name for word in trainer.command for name in placeholders_in(word)}
    if "arm" in placeholders or variables & {b"REPRO_ARM", b"REPRO_ARGUMENTS"}:
        return
    if same := _same_arms(claim, trainer, reads_rate=b"REPRO_RATE" in variables):
        yield (
            f"the command is the same for the arms {' and '.join(same)}, so that there is nothing "
            "to compare, unless the program reads REPRO_ARM or REPRO_ARGUMENTS"
        )
    for name in dict.fromkeys(name for arguments in _arguments(claim) for name in arguments):
        if name not in placeholders:
            yield (
                f"the command has no {{{name}}}: this argument has no effect, unless the program "
                "reads REPRO_ARGUMENTS"
            )


def _same_arms(
    claim: TrainedClaim, trainer: Trainer, *, reads_rate: bool
) -> tuple[str, str] | None:
    """Two of the arms that decide for which the command is started in the same way, if any."""
    for scale in claim.scales:
        told: dict[object, str] = {}
        for arm in arms_of(claim):
            rate, arguments = claim.arms[arm].rate, model_for(claim, scale, arm).arguments
            values = {**dict.fromkeys(PLACEHOLDERS, ""), "rate": rate, **arguments}
            words = command_line(trainer.command, values)
            key = (*words, rate if reads_rate else None, metric_of(claim, arm))
            if (other := told.setdefault(key, arm)) != arm:
                return other, arm
    return None


def _code_beside(claim: TrainedClaim) -> set[Path]:
    """The Python files in the folders of the scripts that the trainer names."""
    home = claim.path.parent
    folders = {Path(name).parent for name in files_of(claim) if name.endswith(".py")}
    return {folder / path.name for folder in folders for path in (home / folder).glob("*.py")}


def _arguments(claim: TrainedClaim) -> list[Mapping[str, Scalar]]:
    """Those of each arm and of each scale."""
    return [
        *(arm.arguments for arm in claim.arms.values()),
        *(scale.arguments for scale in claim.scales.values()),
    ]


def _files_of_arguments(claim: TrainedClaim) -> list[str]:
    """Relative files among the arguments of arms and scales."""
    values = (str(value) for arguments in _arguments(claim) for value in arguments.values())
    home = claim.path.parent
    return [value for value in dict.fromkeys(values) if _is_relative_file(home, value)]


def unused_note(claim: TrainedClaim, name: str) -> str:
    """That a command does not hand on its `seed` or `rate`; empty if it does."""
    words = claim.trainer.command if claim.trainer else (f"{{{name}}}",)
    if any(name in placeholders_in(word) for word in words):
        return ""
    return (
        f"the command has no {{{name}}}: every {name} trains the same, unless the program reads "
        f"REPRO_{name.upper()}"
    )


def _variables(claim: TrainedClaim) -> set[bytes]:
    """The names of our variables in the program's files, as far as these are known."""
    found: set[bytes] = set()
    for name in {*files_of(claim), *map(str, _code_beside(claim))}:
        if _CODE.fullmatch(name):
            with suppress(OSError):  # one that is too large for a program has none
                found.update(
                    _VARIABLE.findall(read_bytes(claim.path.parent / name, most=_MOST_CODE))
                )
    return found


def _digest(hashes: Mapping[str, str], files: Iterable[str]) -> str:
    lines = (f"{file}\0{hashes[file]}\n" for file in sorted(files))
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def _hash(home: Path, name: str) -> str:
    path = home / name
    try:
        about = path.stat()
        if about.st_size < _LARGE:
            return sha256_of(path)
        return _known_hash(path.resolve(), about.st_ino, about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise ClaimError(
            f"cannot read {name!r} in {home}, which the trainer names: {error.strerror}"
        ) from error


@lru_cache(maxsize=1024)
def _known_hash(path: Path, _inode: int, _changed: int, _size: int) -> str:
    """Of a large file, which every trial and every page of a report asks for."""
    return sha256_of(path, most=_MOST_BYTES)


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
        raise ClaimError(f"there is no {name!r} in {home}, which the trainer names")
    if not path.is_dir():
        yield name
        return
    try:
        for inner in _files_in(path):
            yield str(name / inner.relative_to(path))
    except OSError as error:
        raise ClaimError(
            f"cannot read {error.filename}, a folder in {name!r}, which the trainer names: "
            f"{error.strerror}"
        ) from error


def _files_in(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Also those of linked folders, but for a link to a folder that it lies in."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for inner in folder.iterdir():
        if inner.name.startswith(".") or inner.name == "__pycache__":
            continue
        if inner.is_dir():
            yield from _files_in(inner, above | {real})
        elif inner.is_file():
            yield inner


def _is_relative_file(home: Path, name: str) -> bool:
    return bool(name) and not Path(name).is_absolute() and _is_file(home / name)


def _is_file(path: Path) -> bool:
    """Whether a word names a file; False for an impossible name, too."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
