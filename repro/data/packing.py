"""Writing a pack: the data set's decoded images, wherever trials are to read them from."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from repro.data.dataset import Dataset, Split
from repro.data.device import statistics_file
from repro.data.sources.packs import MANIFEST, files_at, is_local, read_file, shard_name
from repro.errors import DataError, MachineError
from repro.files import is_url, parse_json, write_atomic

__all__ = ["write_pack"]


def write_pack(
    dataset: Dataset,
    place: str,
    *,
    each: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Write all of a data set to a folder or URL, `each` images in a file; how many files were new.

    What is there already, as an earlier call left it, is not written again. Raises MachineError
    when the place cannot be written, or holds something else.
    """
    if not is_url(place) and (Path(place) / "train").is_dir():
        raise MachineError(
            f"{place} holds images by class: a pack beside them would be read in their place",
            hint="give the pack a folder of its own",
        )
    files = _Files(place)
    files.check(dataset.fingerprint)
    total = len(dataset.train.labels) + len(dataset.test.labels)
    done = 0
    said: dict[str, Any] = {
        "title": dataset.title,
        "fingerprint": dataset.fingerprint,
        "classes": dataset.classes,
        "size": dataset.train.images.shape[1:3],
        "each": each,
    }
    splits: dict[str, Split] = {"train": dataset.train, "test": dataset.test}
    for name, split in splits.items():
        shards = []
        for number, start in enumerate(range(0, len(split.labels), each)):
            images = np.asarray(split.images[start : start + each])
            shards.append(files.put(shard_name(name, number), _npy(images)))
            done += len(images)
            progress(done, total)
        labels = files.put(f"{name}_labels.npy", _npy(np.asarray(split.labels)))
        said[name] = {"images": len(split.labels), "labels": labels, "shards": shards}
    file = f"statistics-{len(dataset.train.labels)}.npz"
    said["statistics"] = files.put(file, statistics_file(dataset))
    files.put(MANIFEST, json.dumps(said).encode())
    return files.written


class _Files:
    """Files at a place, put there where they are not yet."""

    def __init__(self, place: str) -> None:
        self.place, self.written = place, 0
        self._system, self._folder = files_at(place)
        with_folders = getattr(self._system, "makedirs", None)
        if with_folders is not None:
            self._try(lambda: self._system.makedirs(self._folder, exist_ok=True))

    def put(self, name: str, content: bytes) -> str:
        """SHA-256 of the content, which is there afterwards."""
        path = f"{self._folder}/{name}"
        if self._content(path, most=len(content)) != content:
            self._try(lambda: self._write(path, content))
            self.written += 1
        return hashlib.sha256(content).hexdigest()

    def check(self, fingerprint: str) -> None:
        """MachineError where the pack of other images lies there already."""
        try:
            there = parse_json(read_file(self._system, f"{self._folder}/{MANIFEST}"))
        except (FileNotFoundError, ValueError):  # none, or one that was cut off
            return
        if isinstance(there, dict) and there.get("fingerprint") != fingerprint:
            raise MachineError(
                f"{self.place} holds the pack of other images, with the fingerprint "
                f"{there.get('fingerprint')}",
                hint="give this one a folder of its own, or remove that one first",
            )

    def _content(self, path: str, *, most: int) -> bytes | None:
        """Of a file that is there; None for one that is longer, or is no file."""
        try:
            return read_file(self._system, path, most)
        except (FileNotFoundError, DataError):
            return None

    def _write(self, path: str, content: bytes) -> None:
        if is_local(self._system):
            write_atomic(Path(path), content)
        else:
            self._system.pipe_file(path, content)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        # Each kind of store raises errors of its own.
        except Exception as error:
            raise MachineError(
                f"cannot write to {self.place}: {error}",
                hint="the same command continues where this one ended",
            ) from error


def _npy(array: "np.ndarray[Any, Any]") -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
