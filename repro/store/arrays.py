"""The arrays that a trial keeps for pictures: which there are, what each holds, and their file.

Headers are held against the table before anything is allocated: a stranger's file may claim any
number of elements, or hold objects.
"""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

_MOST_BYTES = 1 << 26  # of one array


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Type and shape of an array. A word stands for the same length in all arrays of a trial."""

    dtype: str  # NumPy's; U: text of any length
    shape: tuple[int | str, ...]


# What they hold is said where they are made: repro/train/pictures.py, and repro/train/evaluate.py
# for the first and the second.
ARRAYS = {
    "conv1": Kind(dtype="float32", shape=("maps", 3, "side", "side")),
    "near_images": Kind(dtype="uint8", shape=("queries", "1 + neighbours", "size", "size", 3)),
    "right_centre": Kind(dtype="uint8", shape=("bytes",)),
    "right_ten_crop": Kind(dtype="uint8", shape=("bytes",)),
    "test_images": Kind(dtype="int64", shape=()),
    "confusion": Kind(dtype="int32", shape=("classes", "classes")),
    "classes": Kind(dtype="U", shape=("classes",)),
    "example_images": Kind(dtype="uint8", shape=("examples", "height", "width", 3)),
    "example_labels": Kind(dtype="U", shape=("examples",)),
    "example_guesses": Kind(dtype="U", shape=("examples", "guesses")),
    "example_probabilities": Kind(dtype="float32", shape=("examples", "guesses")),
}


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name as one file, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, Array]:
    """Inverse of `pack`; ValueError, with the array's name, for anything but arrays of the table.

    Weights need not be finite: a net's last step may be the one that breaks it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            arrays = dict(_members(archive))
    except ValueError:
        raise
    except Exception as error:  # whatever damaged bytes make zipfile and zlib raise
        raise ValueError(f"not an archive: {error}") from error
    for sentence in _contradictions(arrays):
        raise ValueError(sentence)
    return arrays


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, Array]]:
    lengths: dict[str, int] = {}
    names: set[str] = set()
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name not in ARRAYS or name in names:
            raise ValueError(f"array {name!r} is unknown, or is there twice")
        names.add(name)
        if member.file_size > _MOST_BYTES:
            raise ValueError(f"array {name!r} has {member.file_size} bytes")
        try:
            yield name, _array(archive.read(member), ARRAYS[name], lengths)
        except ValueError as error:
            raise ValueError(f"array {name!r}: {error}") from error


def _array(content: bytes, kind: Kind, lengths: dict[str, int]) -> Array:
    """ValueError unless type, shape and size are as the table has them."""
    start = 10 + int.from_bytes(content[8:10], "little")  # after the header
    shape, is_fortran, dtype = _header(content[:start])
    if kind.dtype not in (dtype.name, dtype.kind):
        raise ValueError(f"its type is {dtype}, not {kind.dtype}")
    if len(shape) != len(kind.shape) or not all(
        _fits(length, expected, lengths) for length, expected in zip(shape, kind.shape, strict=True)
    ):
        raise ValueError(f"its shape is {shape}, not {kind.shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError("its length is not that of its shape")
    order: Literal["F", "C"] = "F" if is_fortran else "C"
    return np.frombuffer(content, dtype, offset=start).reshape(shape, order=order)


@lru_cache
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether it is in Fortran's order, and type. The arrays of an arm have the same."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its header is of another version")
    return np.lib.format.read_array_header_1_0(file)


def _fits(length: int, expected: int | str, lengths: dict[str, int]) -> bool:
    if isinstance(expected, int):
        return length == expected
    return length > 0 and length == lengths.setdefault(expected, length)


def _contradictions(arrays: Mapping[str, Array]) -> Iterator[str]:
    """A sentence for each array whose values, or whose length, cannot be."""
    for name, array in arrays.items():
        if array.dtype.kind == "U" and not _is_text(array):
            yield f"array {name!r}: not text"
    if np.isinf(arrays.get("example_probabilities", np.zeros(1))).any():
        yield "array 'example_probabilities': infinite"
    if len(arrays.get("conv1", ())) % 2:
        yield "array 'conv1': its maps have no two halves"
    if (arrays.get("confusion", np.zeros(1)) < 0).any():  # type: ignore[operator]
        yield "array 'confusion': its counts are negative"
    images = int(arrays.get("test_images", np.zeros(())))
    for name in {"right_centre", "right_ten_crop"} & arrays.keys():
        if len(arrays[name]) != math.ceil(images / 8):
            yield f"array {name!r}: not a bit for each of {images} test images"


def _is_text(array: Array) -> bool:
    try:
        "".join(array.ravel().tolist()).encode()
    except (ValueError, SystemError):  # code points that no text has
        return False
    return True
