"""Read small text files beside the images: lists of classes and of hashes."""

import re
from pathlib import Path

from repro.errors import DataError
from repro.files import read_text

# `sha256sum`, also with --binary, and `sha256sum --tag`; a backslash before escaped names.
_GNU = re.compile(r"(?P<escaped>\\?)(?P<sha256>[0-9a-fA-F]{64})[ \t]+\*?(?P<name>.+)")
_BSD = re.compile(r"(?P<escaped>\\?)SHA256 \((?P<name>.+)\) = (?P<sha256>[0-9a-fA-F]{64})")
_ONE_A_LINE = "each line names one class, in the order of their numbers from 0 on"
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file with any line ends; DataError if it is not UTF-8."""
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: not UTF-8 (byte 0x{error.object[error.start]:02x})",
            hint="save the file as UTF-8",
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def read_classes(path: Path) -> tuple[str, ...]:
    """The class names, one per line, in the order of their numbers."""
    lines = [line.strip() for line in read_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    numbers: dict[str, int] = {}
    for number, name in enumerate(lines, start=1):
        if not name:
            raise DataError(f"{path}:{number}: the line is empty", hint=_ONE_A_LINE)
        if (first := numbers.setdefault(name, number)) < number:
            raise DataError(
                f"{path}:{number}: class {name!r} is on line {first} already", hint=_ONE_A_LINE
            )
    return tuple(lines)


def read_sums(path: Path) -> dict[Path, str]:
    """The SHA-256, in lower case, of each file in a SHA256SUMS of any tool."""
    sums: dict[Path, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        match = _BSD.fullmatch(line) or _GNU.fullmatch(line)
        if match is None:
            raise DataError(
                f"{path}:{number}: {line[:80]!r} is no hash and name of a file",
                hint="`sha256sum FILE ... > SHA256SUMS` writes such lines",
            )
        name, sha256 = match["name"], match["sha256"].lower()
        if match["escaped"]:
            name = re.sub(r"\\[\\nr]", lambda escape: _ESCAPES[escape[0]], name)
        if sums.setdefault(path.parent / name, sha256) != sha256:
            raise DataError(f"{path}:{number}: {name} has another hash on an earlier line")
    return sums
