"""Writing files so that a reader, at any moment and after any crash, sees the old or the new."""

import os
import tempfile
from pathlib import Path

from repro.errors import WriteError

__all__ = ["Place", "is_url", "write_atomic"]

Place = Path | str  # a folder, or a URL that fsspec knows


def is_url(text: str) -> bool:
    """Whether it is meant as one: `s3://bucket/data`, `memory://x`."""
    return "://" in text


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
