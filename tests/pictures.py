"""Tiny data sets on disk, in each container, from the same pixels."""

import io
import json
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from repro.data.arrays import Images

CLASSES = ("ant", "bee")


def picture(seed: int, *, height: int = 8, width: int = 8) -> Images:
    """(H, W, 3) uint8, another for each seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: Images, *, mode: str = "RGB", kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def write_parquet(
    folder: Path,
    *,
    train: Sequence[tuple[bytes, int]],
    test: Sequence[tuple[bytes, int]],
    names: Sequence[str] | None = CLASSES,
    image: str = "image",
    label: str = "label",
    test_name: str = "test",
) -> None:
    """Files in the Hugging Face image layout: (bytes of an image file, label) by row."""
    folder.mkdir(parents=True, exist_ok=True)
    features = {label: {"names": list(names or ()), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    for split, rows in (("train", train), (test_name, test)):
        table = pa.table(
            {
                image: [
                    {"bytes": content, "path": f"{i}.png"} for i, (content, _) in enumerate(rows)
                ],
                label: pa.array([number for _, number in rows], pa.int64()),
            }
        ).replace_schema_metadata(metadata)
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=3)


def write_folders(
    folder: Path,
    *,
    train: Sequence[tuple[bytes, int]],
    test: Sequence[tuple[bytes, int]],
    names: Sequence[str] = CLASSES,
    test_name: str = "test",
) -> None:
    """One folder for each class; files are named so that their order is that of the rows."""
    for split, rows in (("train", train), (test_name, test)):
        for i, (content, number) in enumerate(rows):
            file = folder / split / names[number] / f"{i:03d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            os.utime(file, ns=(10**18, 10**18))


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket has at most 108 bytes
        server.bind(path.name)
        os.chdir(here)


# What may lie where a file should, and must be neither waited for nor read.
NO_FILES: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "socket": _socket,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link loop": lambda path: path.symlink_to(path.name),
    "link to a folder": lambda path: path.symlink_to("."),
    "folder": Path.mkdir,
    "terabyte of holes": _huge,
}
