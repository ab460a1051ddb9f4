"""Archives: the files of a kept store, those of one claim in each.

An archive is a tar file without compression, its members sorted and without dates or owners: the
same facts give the same bytes, and no archive is larger unpacked than packed. What `pack` writes
can be read, and nothing else: a stranger's archive has no links, no path that leads out of the
store, and no member that a store has not.
"""

import re
import tarfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from repro.errors import IntegrityError
from repro.files import Part, open_regular, reason_of

# Of a trial, in the order of their names: what says that there is one comes last.
TRIAL_FILES = ("SHA256SUMS", "arrays.npz", "curve.csv", "result.json", "trial.json")

_TRIAL = re.compile(rf"trials/([0-9a-f]{{16}})/({'|'.join(map(re.escape, TRIAL_FILES))})")
_RECORD = re.compile(r"(plans|facts)/[^/\0-\x1f]+\.json")
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_MOST_MEMBERS = 1 << 20
_LONGEST_NAME = _BLOCK  # that of a file is at most 255 bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """All that the archives of a store hold: records by path, a trial's files by their names."""

    records: dict[str, Part]
    trials: dict[str, dict[str, Part]]


def archives(root: Path) -> list[Path]:
    """Those of a store, sorted; hidden ones aside: those are of writes that were cut off."""
    return sorted(root.glob("[!.]*.tar"))


def contents(root: Path, *, without: Collection[Path] = ()) -> Contents:
    """What a store has in archives but `without` these, of what lies in several the first.

    IntegrityError names the archive that cannot be read.
    """
    members: dict[str, Part] = {}
    for archive in archives(root):
        for part in () if archive in without else parts_in(archive):
            members.setdefault(part.member, part)
    trials: dict[str, dict[str, Part]] = {}
    for name, part in members.items():
        if match := _TRIAL.fullmatch(name):
            trials.setdefault(match[1], {})[match[2]] = part
    records = {name: part for name, part in members.items() if _RECORD.fullmatch(name)}
    return Contents(records=records, trials=trials)


def pack(members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """An archive of files with their paths, which are sorted; piece by piece."""
    for name, content in members:
        if not _is_member(name):
            raise IntegrityError(f"{name!r} is no name of a file that a store keeps")
        yield _header(name, len(content))
        yield content
        yield bytes(-len(content) % _BLOCK)
    yield _END


def _is_member(name: str) -> bool:
    return bool(_TRIAL.fullmatch(name) or _RECORD.fullmatch(name))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def parts_in(archive: Path) -> list[Part]:
    """Its members; IntegrityError when it is not as `pack` writes it."""
    try:
        with open_regular(archive) as file:
            return list(_parts(archive, file))
    except (OSError, ValueError, tarfile.TarError) as error:
        raise IntegrityError(
            f"{archive}: not an archive of a store: {reason_of(error)}", hint="copy it anew"
        ) from error


def _parts(archive: Path, file: BufferedReader) -> Iterator[Part]:
    before = ""
    for _ in range(_MOST_MEMBERS):
        block = file.read(_BLOCK)
        if block == _END[:_BLOCK]:
            if file.read(_BLOCK + 1) != block:
                raise ValueError("it goes on after its end")
            return
        name, size = _member(block, file)
        if not _is_member(name) or name <= before:
            raise ValueError(f"its member {name!r} is no file of a store, or out of order")
        before = name
        yield Part(archive, name, file.tell(), size)
        file.seek(size + -size % _BLOCK, 1)
    raise ValueError(f"it has more than {_MOST_MEMBERS} members")


def _member(header: bytes, file: BufferedReader) -> tuple[str, int]:
    """Name and size; ValueError for a header that `pack` would write otherwise."""
    info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    name = info.name
    if info.type == tarfile.GNUTYPE_LONGNAME:
        blocks = file.read(_LONGEST_NAME) + file.read(_BLOCK)
        name = blocks[:_LONGEST_NAME].rstrip(b"\0").decode()
        header, info = header + blocks, tarfile.TarInfo.frombuf(blocks[-_BLOCK:], "utf-8", "strict")
    if info.size < 0 or header != _header(name, info.size):
        raise ValueError(f"its member {name!r} has a header of another kind")
    return name, info.size
