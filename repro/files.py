"""Files: written so that a reader sees the old or the new; read only where they can be read safely.

A store or a folder of images may come from a stranger. A FIFO in place of a file would make a
reader wait for ever, a link to a device or a file of a terabyte would fill its memory, and JSON
that is nested without end would exhaust its stack.
"""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from repro.errors import WriteError

_MOST_BYTES = 1 << 26  # 64 MiB: texts and tables that people write or that a trial leaves
_PART_BYTES = 1 << 16  # read at once: most files are smaller


@dataclass(frozen=True, slots=True)
class Part:
    """A file inside an archive that compresses nothing: `size` bytes of `archive` from `start`."""

    archive: Path
    member: str  # its path in the archive
    start: int
    size: int

    @property
    def name(self) -> str:
        return self.member.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.archive}/{self.member}"


File = Path | Part


def exists(file: File) -> bool:
    """Whether it is there; a part of an archive is."""
    return isinstance(file, Part) or file.exists()


def open_handle(path: Path | str, flags: int) -> int:
    """A regular file as `os.open` opens it; a new one follows the umask.

    Raises OSError, with a `strerror` for people, for anything else: a folder, a FIFO, a device, a
    socket. Never waits for somebody who writes.
    """
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(0, "not a regular file", str(path))
    return handle


def open_regular(path: Path | str, *, most: int | None = None) -> BufferedReader:
    """The same for reading, of at most `most` bytes; symbolic links are followed."""
    file = os.fdopen(open_handle(path, os.O_RDONLY), "rb")
    if most is not None and _size(file) > most:
        file.close()
        raise _too_large(path, most)
    return file


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size


def _too_large(path: Path | str, most: int) -> OSError:
    return OSError(0, f"larger than {most} bytes, which no such file is", str(path))


def read_bytes(path: File | str, *, most: int = _MOST_BYTES) -> bytes:
    """What a regular file of at most `most` bytes holds; OSError as `open_regular` raises it."""
    if isinstance(path, Part):
        return _read_part(path, most)
    with open_regular(path, most=most) as file:
        size = _size(file)
        content = file.read(size + 1)  # no more: what is asked for is allocated at once
        if len(content) > size:  # it grew, or has no size, as files below /proc
            content += file.read(min(most, _MOST_BYTES))
    if len(content) > most:
        raise _too_large(path, most)
    return content


def _read_part(part: Part, most: int) -> bytes:
    if part.size > most:
        raise _too_large(str(part), most)
    with open_regular(part.archive) as file:
        file.seek(part.start)
        content = file.read(min(part.size, _size(file)))
    if len(content) != part.size:
        raise OSError(0, "its archive is cut off", str(part))
    return content


def sha256_of(path: File | str, *, most: int = _MOST_BYTES) -> str:
    """The SHA-256 of what `read_bytes` would give, in little memory."""
    if isinstance(path, Part):
        return hashlib.sha256(_read_part(path, most)).hexdigest()
    digest = hashlib.sha256()
    with open_regular(path, most=most) as file:
        while part := file.read(_PART_BYTES):
            digest.update(part)
    return digest.hexdigest()


def read_text(path: File | str, *, most: int = _MOST_BYTES) -> str:
    """The same as text in UTF-8, with or without a byte-order mark; else UnicodeDecodeError.

    Line ends are as in the file.
    """
    return decoded(read_bytes(path, most=most))


def decoded(content: bytes) -> str:
    """What `read_text` makes of it."""
    return content.decode("utf-8-sig")


def reason_of(error: Exception) -> str:
    """Why a file could not be read, without its path, which the sentence has already."""
    return str(error.strerror if isinstance(error, OSError) else error)


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`; ValueError, too, for what is nested deeper than any of our files."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def write_atomic(path: Path, *content: bytes | str) -> None:
    """Replace `path` by `content`, its parts in a row, in one step.

    Its folder is made when missing; who may read it follows the umask, as for any new file.
    Raises WriteError when the disk is full or the folder cannot be written.
    """
    write_together({path: content})


def write_together(files: Mapping[Path, Iterable[bytes | str]]) -> None:
    """The same of several files: none is replaced before all are written.

    Parts may be made while they are written.
    """
    new = {path: path.with_name(f".{path.name}.{secrets.token_hex(4)}") for path in files}
    try:
        for path, parts in files.items():
            with _write_errors(path):
                _write_new(new[path], parts)
        for path in files:
            with _write_errors(path):
                new[path].replace(path)
    except BaseException:
        for each in new.values():
            with suppress(OSError):
                each.unlink(missing_ok=True)
        raise


def _write_new(path: Path, parts: Iterable[bytes | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for part in parts:
            file.write(part.encode() if isinstance(part, str) else part)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}") from error
