"""Checksums of a store's files, as `sha256sum -c SHA256SUMS` checks them.

A finished trial has a `SHA256SUMS` in its folder. A store that was exported is sealed instead: one
at its root covers every file. They show damage and careless edits; whoever changes a file on
purpose can write its new checksum, too.
"""

import fcntl
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from repro.errors import IntegrityError, WriteError
from repro.files import open_handle, read_text, reason_of, sha256_of, write_atomic

__all__ = [
    "SUMS",
    "as_text",
    "covers",
    "damage",
    "drop",
    "is_sealed",
    "seal",
    "sha256",
    "unseal",
    "write",
]

SUMS = "SHA256SUMS"

# What comes and goes beside the facts, by other processes, and decides no number.
_PASSING = {SUMS, "lock", "program.lock", "progress.json", "fault.json"}
# What goes once a trial can be trained no further. A checkpoint has a checksum of its own.
_OF_TRAINING = {"checkpoint.pt", "checkpoint.corrupt"}
_OF_STORE = ("store.json", "plans/*", "facts/*", "trials/*/*", "apart/*", "apart/*/*")

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_TRIAL_FILE = re.compile(r"trials/([0-9a-f]{16})/([^/]+)")
_MOST_BYTES = {".safetensors": 1 << 34, ".pt": 1 << 34}


def write(folder: Path) -> None:
    """Of a finished trial, once all else of it is written."""
    _write(folder, {name: _sha256(folder / name) for name in _of_trial(folder)})


def drop(folder: Path) -> None:
    """Before a file of the trial changes: a kill in between leaves no checksum that is wrong."""
    (folder / SUMS).unlink(missing_ok=True)


def is_sealed(root: Path) -> bool:
    """Whether one file has the checksums of the whole store."""
    return (root / SUMS).exists()


def covers(root: Path, trial_id: str) -> bool:
    """Whether there is a checksum of the trial's files."""
    return is_sealed(root) or (root / "trials" / trial_id / SUMS).exists()


def seal(root: Path) -> None:
    """One file of checksums for the whole store, in place of each trial's."""
    _write(root, {name: _sha256(root / name) for name in _of_store(root)})
    for path in root.glob(f"trials/*/{SUMS}"):
        path.unlink(missing_ok=True)


def unseal(root: Path) -> None:
    """Before any file of the store changes: each trial gets the checksums that the seal has."""
    path = root / SUMS
    try:
        handle = open_handle(path, os.O_RDWR)  # on NFS none else is locked
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(handle):
        fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():  # else another process was faster, and may train by now
            for trial_id, sums in _by_trial(_read(path)).items():
                _write(root / "trials" / trial_id, sums)
            path.unlink()


def _by_trial(sums: Mapping[str, str]) -> dict[str, dict[str, str]]:
    trials: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, digest in sums.items():
        match = _TRIAL_FILE.fullmatch(name)
        if match and match[2] not in _OF_TRAINING:
            trials[match[1]][match[2]] = digest
    return {trial_id: files for trial_id, files in trials.items() if "result.json" in files}


def damage(root: Path) -> dict[Path, str]:
    """What is wrong with each file that is not as a checksum says, is missing, or was added.

    Of a store in which trials are trained meanwhile: their checksums go before their files change.
    """
    wrong = _damage(root, _of_store) if is_sealed(root) else {}
    for path in root.glob(f"trials/*/{SUMS}"):
        wrong |= _damage(path.parent, _of_trial)
    return wrong


def _damage(folder: Path, list_files: Callable[[Path], set[str]]) -> dict[Path, str]:
    path = folder / SUMS
    try:
        before = _read(path)
    except IntegrityError as error:
        return {path: str(error)} if path.exists() else {}
    wrong = dict(_differences(folder, before, list_files(folder)))
    if wrong and not _is_unchanged(path, before):  # trained further, or ended, meanwhile
        return _damage(folder, list_files)
    return wrong


def _is_unchanged(path: Path, before: Mapping[str, str]) -> bool:
    try:
        return _read(path) == before
    except IntegrityError:
        return False


def _differences(
    folder: Path, sums: Mapping[str, str], present: set[str]
) -> Iterator[tuple[Path, str]]:
    for name in sorted(sums.keys() | present):
        path = folder / name
        if name not in present:
            yield path, f"{path}: missing, though {folder / SUMS} has its checksum"
        elif name not in sums:
            yield path, f"{path}: added since {folder / SUMS} was written"
        else:
            try:
                if _sha256(path) != sums[name]:
                    yield path, f"{path}: changed since {folder / SUMS} was written"
            except IntegrityError as error:
                yield path, str(error)


def _of_trial(folder: Path) -> set[str]:
    return _names(folder, ("*",)) - _OF_TRAINING


def _of_store(root: Path) -> set[str]:
    return _names(root, _OF_STORE)


def _names(folder: Path, patterns: Iterable[str]) -> set[str]:
    """Files below the folder, hidden ones aside: those are of writes that were cut off."""
    return {
        path.relative_to(folder).as_posix()
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.name not in _PASSING and path.name[0] != "." and not path.is_dir()
    }


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path, most=_MOST_BYTES.get(path.suffix, 1 << 26))
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error


def _read(path: Path) -> dict[str, str]:
    try:
        *lines, end = read_text(path).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"cannot read {path}: {reason_of(error)}") from error
    if end:
        raise IntegrityError(f"{path}: its last line is cut off")
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or sums.setdefault(match[2], match[1]) != match[1]:
            raise IntegrityError(f"{path}: line {number} is no checksum, or contradicts another")
    return sums


def _write(folder: Path, sums: Mapping[str, str]) -> None:
    write_atomic(folder / SUMS, as_text(sums))


def sha256(content: bytes | str) -> str:
    """The digest of a file that will hold this."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def as_text(sums: Mapping[str, str]) -> str:
    """Digests by file name in the format of `sha256sum`."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
