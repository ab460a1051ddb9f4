"""Checksums of a store's files, as `sha256sum -c SHA256SUMS` checks them.

A finished trial has a `SHA256SUMS` beside its files, in its folder or in an archive. Plans and
facts, which are one file each, have `NAME.sha256` beside them. A store that was exported is sealed
as well: one `SHA256SUMS` at its root covers every file there. They show damage and careless edits;
whoever changes a file on purpose can write its new checksum, too.
"""

import fcntl
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from repro.errors import IntegrityError, WriteError
from repro.files import (
    File,
    Part,
    open_handle,
    read_text,
    reason_of,
    sha256_of,
    write_atomic,
)
from repro.store.archive import archives, parts_in

SUMS = "SHA256SUMS"
BESIDE = ".sha256"  # the end of the name of a file with the checksum of one other
TABLE = "results.csv"  # of a store that was exported
CRATE = "ro-crate-metadata.json"  # of a store that was published, with pages and claim files

# What comes and goes beside the facts, by other processes, and decides no number.
_PASSING = {SUMS, "lock", "program.lock", "progress.json", "fault.json"}
# What goes once a trial can be trained no further. A checkpoint has a checksum of its own.
_OF_TRAINING = {"checkpoint.pt", "checkpoint.corrupt"}
_OF_STORE = (
    "store.json", "*.csv", "*.tar", "plans/*", "facts/*", "trials/*/*", "apart/*", "apart/*/*"
)  # fmt: skip

_BESIDE_IN = [f"{files}{BESIDE}" for files in ("*.tar", "plans/*.json", "facts/*.json")]

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_TRIAL_FILE = re.compile(r"trials/([0-9a-f]{16})/([^/]+)")
_WHOLE_FILE = re.compile(r"[^/]+\.tar|(plans|facts)/[^/]+\.json")
_MOST_BYTES = {".safetensors": 1 << 34, ".pt": 1 << 34, ".tar": 1 << 34, ".csv": 1 << 30}


def write(folder: Path) -> None:
    """Of a finished trial, once all else of it is written."""
    write_atomic(folder / SUMS, as_text(_digests(_of_trial(folder))))


def drop(folder: Path) -> None:
    """Before a file of the trial changes: a kill in between leaves no checksum that is wrong."""
    (folder / SUMS).unlink(missing_ok=True)


def write_beside(path: Path) -> None:
    write_atomic(beside(path), as_text(_digests({path.name: path})))


def drop_beside(path: Path) -> None:
    """Before the file changes, as `drop`."""
    beside(path).unlink(missing_ok=True)


def beside(path: Path) -> Path:
    return path.with_name(path.name + BESIDE)


def is_sealed(root: Path) -> bool:
    return (root / SUMS).exists()


def seal(root: Path, further: Iterable[str] = ()) -> None:
    """One file of checksums for the whole store, and for further files beside it, such as pages."""
    files = _of_store(root) | {name: root / name for name in further}
    write_atomic(root / SUMS, as_text(_digests(files)))


def unseal(root: Path) -> None:
    """Before any file of the store changes.

    Each trial in a folder, and each file that is whole by itself, gets the checksums that the seal
    has: of archives there are no others, and earlier versions wrote none. The table of an export
    and the metadata of a crate go with the seal: they would be of what the store was.
    """
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
            sums = _read(path)
            for trial_id, of_trial in _by_trial(sums).items():
                write_atomic(root / "trials" / trial_id / SUMS, as_text(of_trial))
            for name in filter(_WHOLE_FILE.fullmatch, sums):
                write_atomic(beside(root / name), as_text({Path(name).name: sums[name]}))
            path.unlink()
            for name in (TABLE, CRATE):
                (root / name).unlink(missing_ok=True)


def _by_trial(sums: Mapping[str, str]) -> dict[str, dict[str, str]]:
    trials: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, digest in sums.items():
        match = _TRIAL_FILE.fullmatch(name)
        if match and match[2] not in _OF_TRAINING:
            trials[match[1]][match[2]] = digest
    return {trial_id: files for trial_id, files in trials.items() if "result.json" in files}


def file_digest(path: File) -> str:
    """Of a file's content; IntegrityError where it cannot be read."""
    most = _MOST_BYTES.get(os.path.splitext(path.name)[1], 1 << 26)  # noqa: PTH122 - as above
    try:
        return sha256_of(path, most=most)
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error


Digest = Callable[[File], str]  # of a file; IntegrityError where it cannot be read


def damage(root: Path, digest: Digest = file_digest) -> dict[Path, str]:
    """What is wrong with each file that is not as a checksum says, is missing, or was added.

    Of a store in which trials are trained meanwhile: their checksums go before their files change.
    `digest`: reads the files, for a caller who needs their contents as well.
    """
    is_crate = (root / CRATE).exists()
    of_all = _of_crate if is_crate else _of_store
    wrong = _damage(root / SUMS, of_all, digest) if is_sealed(root) else {}
    if is_crate and not is_sealed(root):
        wrong[root / SUMS] = (
            f"{root / SUMS}: missing, though {root / CRATE} says that it is a crate"
        )
    for pattern in _BESIDE_IN:
        for path in root.glob(pattern):
            wrong |= _damage(path, partial(_present, names=[path.stem]), digest)
    for name, is_folder in _entries(root / "trials").items():
        if is_folder:
            wrong |= _damage(root / "trials" / name / SUMS, _of_trial, digest)
    holders: dict[str, Path] = {}
    for archive in archives(root):
        if archive not in wrong:
            wrong |= _damage_in(archive, holders, digest)
    return wrong


def _damage_in(archive: Path, holders: dict[str, Path], digest: Digest) -> dict[Path, str]:
    """The same of the trials in an archive, and what `holders` have already."""
    trials: defaultdict[str, dict[str, Part]] = defaultdict(dict)
    wrong: dict[Path, str] = {}
    try:
        for part in parts_in(archive):
            if (other := holders.setdefault(part.member, archive)) != archive:
                wrong[archive / part.member] = f"{part}: is in {other}, too"
            if match := _TRIAL_FILE.fullmatch(part.member):
                trials[match[1]][match[2]] = part
        for trial_id, parts in trials.items():
            folder = archive / "trials" / trial_id
            sums = _read(parts.pop(SUMS, folder / SUMS))
            wrong |= _differences(folder / SUMS, sums, parts, digest)
    except IntegrityError as error:
        wrong[archive] = str(error)
    return wrong


def _damage(
    path: Path, list_files: Callable[[Path], Mapping[str, Path]], digest: Digest
) -> dict[Path, str]:
    """The same of the files of which one file has the checksums, and of others that are listed."""
    folder = path.parent
    try:
        before = _read(path)
    except IntegrityError as error:
        # Not of a folder that cannot be read: nothing says that there are checksums.
        return {path: str(error)} if os.path.exists(path) else {}  # noqa: PTH110 - it raises nothing
    listed = list_files(folder)
    present = {**_present(folder, before.keys() - listed.keys()), **listed}
    wrong = dict(_differences(path, before, present, digest))
    if wrong and not _is_unchanged(path, before):  # trained further, or ended, meanwhile
        return _damage(path, list_files, digest)
    return wrong


def _present(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Those of the files that are there; none outside the folder."""
    inside = (name for name in names if not name.startswith("/") and ".." not in name.split("/"))
    return {name: folder / name for name in inside if os.path.lexists(folder / name)}


def _is_unchanged(path: Path, before: Mapping[str, str]) -> bool:
    try:
        return _read(path) == before
    except IntegrityError:
        return False


def _differences(
    path: Path, sums: Mapping[str, str], present: Mapping[str, File], digest: Digest
) -> Iterator[tuple[Path, str]]:
    for name in sorted(sums.keys() | present.keys()):
        try:
            why = _difference(path, sums.get(name), present.get(name), digest)
        except IntegrityError as error:
            yield path.parent / name, str(error)
        else:
            if why:
                place = path.parent / name
                yield place, f"{place}: {why}"


def _difference(path: Path, expected: str | None, file: File | None, digest: Digest) -> str:
    if file is None:
        return f"missing, though {path} has its checksum"
    if expected is None:
        return f"added since {path} was written"
    return "" if digest(file) == expected else f"changed since {path} was written"


def _of_trial(folder: Path) -> dict[str, Path]:
    return {
        name: folder / name
        for name, is_folder in _entries(folder).items()
        if not is_folder and name[0] != "." and name not in _PASSING | _OF_TRAINING
    }


def _entries(folder: Path) -> dict[str, bool]:
    """What lies in it, and whether that is a folder; nothing where it cannot be read.

    Of thousands of folders, for which a glob takes ten times as long.
    """
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_dir() for entry in entries}
    except OSError:
        return {}


def _of_store(root: Path) -> dict[str, Path]:
    return _files(root, _OF_STORE)


def _of_crate(root: Path) -> dict[str, Path]:
    """All of it: nothing may lie among what was published that was not."""
    return {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.name != SUMS and path.name[0] != "." and (path.is_symlink() or not path.is_dir())
    }


def _files(folder: Path, patterns: Iterable[str]) -> dict[str, Path]:
    """Files below the folder, hidden ones aside: those are of writes that were cut off."""
    return {
        path.relative_to(folder).as_posix(): path
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.name not in _PASSING and path.suffix != BESIDE
        if path.name[0] != "." and not path.is_dir()
    }


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: file_digest(path) for name, path in files.items()}


def _read(path: File) -> dict[str, str]:
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


def sha256(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def as_text(sums: Mapping[str, str]) -> str:
    """Digests by file name in the format of `sha256sum`."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
