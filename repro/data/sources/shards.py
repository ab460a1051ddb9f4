"""Tar shards in the webdataset format: `key.jpg` for each image, and its class in `key.cls`.

Consecutive files with the same name up to the first dot are one sample. One pass over the headers
finds the offset of each image, where it is read from then on. Nothing is extracted, so that no name
in a shard can point outside of it.
"""

import re
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

from repro.data.arrays import LARGEST_FILE
from repro.data.sources.names import is_hidden
from repro.errors import DataError
from repro.files import open_regular

_IMAGES = ("jpg", "jpeg", "png", "webp")
_BLOCK = 512  # bytes; a block of zeros ends the archive


class Sample(NamedTuple):
    """One image: its shard, its name there, its offset and size, and its class number."""

    shard: Path
    name: str
    offset: int
    size: int
    label: int

    def read(self) -> bytes:
        """The encoded image."""
        with open_regular(self.shard) as file:
            file.seek(self.offset)
            return file.read(self.size)


def index(shards: tuple[Path, ...]) -> list[Sample]:
    """All images in the order of the shards. DataError for a missing label or a damaged shard."""
    return [sample for shard in shards for sample in _samples(shard)]


def _samples(shard: Path) -> Iterator[Sample]:
    try:
        with open_regular(shard) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for key, members in groupby(_files(shard, tar), key=_key):
                yield from _sample(shard, file, key, list(members))
            _check_end(shard, file, tar.offset)
    # RecursionError and MemoryError: endless headers, or sizes beyond the memory.
    except (tarfile.TarError, OSError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(
            f"{shard} cannot be read as tar: {str(error) or type(error).__name__}",
            hint="copy the file again; shards are not compressed, since their images are",
        ) from error


def _files(shard: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        if not (member.isdir() or (member.isreg() and not member.issparse())):
            raise DataError(f"{shard}: {member.name} is no plain file", hint="remove it")
        if not 0 <= member.size <= LARGEST_FILE:
            raise DataError(
                f"{shard}: {member.name} has {member.size:,} bytes, and at most {LARGEST_FILE:,} "
                "are read",
                hint="remove it",
            )
        if not (member.isdir() or is_hidden(member.name.rpartition("/")[2])):
            yield member


def _key(member: tarfile.TarInfo) -> str:
    folder, slash, file = member.name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _ending(member: tarfile.TarInfo) -> str:
    return member.name.rpartition("/")[2].partition(".")[2].lower()


def _sample(
    shard: Path, file: BinaryIO, key: str, members: list[tarfile.TarInfo]
) -> Iterator[Sample]:
    """One sample, or none if the files are neither image nor label."""
    images = [member for member in members if _ending(member) in _IMAGES]
    labels = [member for member in members if _ending(member) == "cls"]
    if not images and not labels:
        return
    if len(images) != 1 or len(labels) != 1:
        raise DataError(
            f"{shard}: {key} has {len(images)} images and {len(labels)} labels, not one of each",
            hint=f"store its files one after another: {key}.jpg (or {', '.join(_IMAGES[1:])}) and "
            f"{key}.cls",
        )
    (image,) = images
    label = _label(shard, file, labels[0])
    yield Sample(shard, image.name, image.offset_data, image.size, label)


def _label(shard: Path, file: BinaryIO, member: tarfile.TarInfo) -> int:
    file.seek(member.offset_data)
    text = file.read(min(member.size, 20))
    if not re.fullmatch(rb"\s*-?[0-9]{1,9}\s*", text):
        raise DataError(
            f"{shard}: {member.name} holds {text!r}, not the number of a class",
            hint="classes are counted from 0; list their names in classes.txt, one per line",
        )
    return int(text)


def _check_end(shard: Path, file: BinaryIO, offset: int) -> None:
    """Check the end: tarfile also stops, without an error, at damaged or missing headers."""
    file.seek(offset)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise DataError(
            f"{shard} is damaged or incomplete: at byte {offset:,} of {shard.stat().st_size:,} "
            "there is neither a file nor the archive's end",
            hint="copy the file again",
        )
