"""Files: written so that a reader sees the old or the new; read only where they can be read safely.

A store or a folder of images may come from a stranger. A FIFO in place of a file would make a
reader wait for ever, a link to a device or a file of a terabyte would fill its memory, and JSON
that is nested without end would exhaust its stack.
"""

import json
import os
import stat
import tempfile
from io import BufferedReader
from pathlib import Path
from typing import Any

from repro.errors import WriteError

__all__ = [
    "Place",
    "is_url",
    "open_regular",
    "parse_json",
    "read_bytes",
    "read_text",
    "write_atomic",
]

Place = Path | str  # a folder, or a URL that fsspec knows

_MOST_BYTES = 1 << 26  # 64 MiB: texts and tables that people write or that a trial leaves


def is_url(text: str) -> bool:
    """Whether it is meant as one: `s3://bucket/data`, `memory://x`."""
    return "://" in text


def open_regular(path: Path | str, *, most: int | None = None) -> BufferedReader:
    """A regular file of at most `most` bytes, open for reading; symbolic links are followed.

    Raises OSError, with a `strerror` for people, for anything else: a folder, a FIFO, a device, a
    socket, a file that is larger. Never waits for somebody who writes.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        problem = "not a regular file"
    elif most is not None and about.st_size > most:
        problem = _too_large(most)
    else:
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise OSError(0, problem, str(path))


def _too_large(most: int) -> str:
    return f"larger than {most} bytes, which no such file is"


def read_bytes(path: Path | str, *, most: int = _MOST_BYTES) -> bytes:
    """What a regular file of at most `most` bytes holds; OSError as `open_regular` raises it."""
    with open_regular(path, most=most) as file:
        content = file.read(most + 1)
    if len(content) > most:  # it grew, or is one that has no size, as below /proc
        raise OSError(0, _too_large(most), str(path))
    return content


def read_text(path: Path | str, *, most: int = _MOST_BYTES) -> str:
    """The same as text in UTF-8, with or without a byte-order mark; else UnicodeDecodeError.

    Line ends are as in the file.
    """
    return read_bytes(path, most=most).decode("utf-8-sig")


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`; ValueError, too, for what is nested deeper than any of our files."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content` in one step; its folder is made when missing.

    Raises WriteError when the disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)  # mkstemp gives 0600, too strict for a shared store
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}") from error
