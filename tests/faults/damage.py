"""Ways to damage a file of a store, a data folder or a claims folder: one a seed, of every kind."""

import csv
import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from PIL import Image

Bytes = Callable[[bytes, Random], bytes]

NESTED = "[" * 100_000 + "]" * 100_000
NUMBERS = (0, -1, 1, 5, 0.5, 1e308, 10**15, float("inf"), float("nan"), 10**400)
VALUES = (None, True, "", "text", "\x1b[2J", [], {}, [1, 2], {"a": 1}, "../../x", "9" * 400)


def damage(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """Change the file in one way, drawn at random; how, in words.

    `siblings`: files that may lie in its place. Draws again where nothing would change.
    """
    before = path.read_bytes()
    while True:
        family = random.choice([_bytes, _node, *_OF_KIND.get(path.suffix, ())])
        how = family(path, siblings, random)
        if how and not (path.is_file() and not path.is_symlink() and _same(path, before)):
            return how


def _same(path: Path, before: bytes) -> bool:
    return path.stat().st_size == len(before) and path.read_bytes() == before


# Bytes


def _bytes(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """Whatever the file holds, some of it is changed."""
    name = random.choice([*_BYTES, "another file"])
    if name == "another file":
        other = random.choice(siblings)
        path.write_bytes(other.read_bytes())
        return f"replaced by {other.name}"
    path.write_bytes(_BYTES[name](path.read_bytes(), random))
    return name


def _place(content: bytes, random: Random) -> int:
    """Anywhere; in one of two cases near the start or the end, where headers lie."""
    near = min(len(content), 400)
    start = random.choice([0, len(content) - near])
    return (
        random.randrange(len(content)) if random.random() < 0.5 else start + random.randrange(near)
    )


def _flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[_place(bytes(changed), random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _zero(content: bytes, random: Random) -> bytes:
    start, length = _place(content or b"\0", random), random.choice([1, 16, 512, 4096])
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def _insert(content: bytes, random: Random) -> bytes:
    start = _place(content or b"\0", random)
    return content[:start] + random.randbytes(random.choice([1, 8, 100])) + content[start:]


def _cut_out(content: bytes, random: Random) -> bytes:
    start = _place(content or b"\0", random)
    return content[:start] + content[start + random.choice([1, 8, 100]) :]


_BYTES: dict[str, Bytes] = {
    "one bit flipped": _flip,
    "a run of bytes zeroed": _zero,
    "bytes inserted": _insert,
    "bytes removed": _cut_out,
    "truncated": lambda content, random: content[: random.randrange(len(content) or 1)],
    "emptied": lambda _content, _random: b"",
    "doubled": lambda content, _: content + content,
    "nested 100,000 deep": lambda _content, _random: NESTED.encode(),
    "a pickle that would run code": lambda _content, _random: b"cposix\nsystem\n(S'touch ran'\ntR.",
}


# Something else in place of the file


def _node(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """The name leads to what is no regular file, or to one of an impossible size."""
    del siblings
    name = random.choice([*_NODES])
    path.unlink()
    _NODES[name](path)
    return name


def _fill_folder(path: Path) -> None:
    path.mkdir()
    (path / "file").write_text("text")


def _make_sparse(path: Path) -> None:
    path.touch()
    for size in (1 << 42, 1 << 34):  # as large as this file system permits
        try:
            os.truncate(path, size)
        except OSError:
            continue
        return


_NODES: dict[str, Callable[[Path], object]] = {
    "removed": lambda _: None,
    "a FIFO": os.mkfifo,
    "a folder": Path.mkdir,
    "a folder with a file": _fill_folder,
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to its folder": lambda path: path.symlink_to("."),
    "a huge sparse file": _make_sparse,
}


# JSON


def _field(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """One value, at any depth, is another one, gone, or repeated under another key."""
    del siblings
    value = json.loads(path.read_bytes())
    holder, key = random.choice(list(_places(value)) or [(None, None)])
    if holder is None:
        return ""
    way = random.choice(["another value", "another number", "nested", "gone", "added"])
    if way == "gone":
        del holder[key]
    elif way == "nested":
        holder[key] = "NESTED"
    elif way == "added" and isinstance(holder, dict):
        holder["unknown"] = random.choice(VALUES)
    elif way == "another number" and type(holder[key]) in (int, float):
        holder[key] = random.choice([holder[key] + 1, holder[key] * 0.99, -holder[key]])
    else:
        holder[key] = random.choice(NUMBERS + VALUES)
    text = json.dumps(value, indent=1).replace('"NESTED"', NESTED)
    path.write_text(text, encoding="utf-8")
    return f"{way} at {key!r}"


def _places(value: Any) -> Any:
    """Every key of every object and index of every list, with what holds it."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        yield value, key
        yield from _places(value[key])


# Text


def _line(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """One line is gone, said twice, or stands elsewhere; or line ends and marks are others."""
    del siblings
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if not lines:
        return ""
    place = random.randrange(len(lines))
    line = lines[place]
    way = random.choice(["a line gone", "a line twice", "a line moved", "UTF-16", "a long line"])
    if way != "a line twice":
        del lines[place]
    if way in {"a line moved", "a line twice"}:
        lines.insert(random.randrange(len(lines) + 1), line)
    if way == "a long line":
        lines.insert(place, line.rstrip("\n") + "x" * 1_000_000 + "\n")
    path.write_text("".join(lines), encoding="utf-16" if way == "UTF-16" else "utf-8")
    return f"{way}, line {place + 1}"


def _cell(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """One cell of a table has another number, or text."""
    del siblings
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    if len(rows) < 2:
        return ""
    row, column = random.randrange(1, len(rows)), random.randrange(len(rows[0]))
    other = random.choice(rows)[column]
    rows[row][column] = random.choice(
        [other, _other_number(rows[row][column]), *map(str, NUMBERS), "", "text", "9" * 400]
    )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return f"{rows[0][column]!r} of row {row} is {rows[row][column][:20]!r}"


def _other_number(cell: str) -> str:
    try:
        return repr(float(cell) * 1.01 + 0.001)
    except ValueError:
        return cell


# Arrays


def _array(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """An archive, whole, with one array that is another one."""
    del siblings
    with np.load(path) as archive:
        arrays = dict(archive)
    name = random.choice(sorted(arrays))
    way = random.choice([*_ARRAYS, "gone", "added", "a claim of 10^15 elements"])
    if way == "gone":
        del arrays[name]
    elif way == "added":
        arrays["unknown"] = np.zeros(3)
    elif way in _ARRAYS:
        arrays[name] = _ARRAYS[way](arrays[name])
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=True, **arrays)
    if way == "a claim of 10^15 elements":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.npy", _header("<f8", (10**15,)))
    return f"{name}: {way}"


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _changed(array: Any) -> Any:
    """One element is another one."""
    array = np.array(array)
    if array.size:
        flat = array.reshape(-1)
        middle = array.size // 2
        match array.dtype.kind:
            case "b":
                flat[middle] = not flat[middle]
            case "U" | "S":
                flat[middle] = "?"
            case _:
                flat[middle] += 1
    return array


_ARRAYS: dict[str, Callable[[Any], Any]] = {
    "another value": _changed,
    "one dimension": lambda array: array.reshape(-1),
    "strings": lambda array: array.astype(str),
    "no elements": lambda array: array[:0] if array.ndim else array.reshape(1)[:0],
    "NaN": lambda array: np.full(array.shape, np.nan),
    "infinite": lambda array: np.full(array.shape, -np.inf),
    "negative": lambda array: -np.ones(array.shape, np.int64),
    "objects": lambda _: np.array([{}, None], dtype=object),
    "complex": lambda array: array.astype(complex),
    "dates": lambda array: np.zeros(array.shape, "datetime64[s]"),
    "another order of bytes": lambda array: array.astype(array.dtype.newbyteorder(">")),
}


def _single_array(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """The same for a file of one array."""
    del siblings
    way = random.choice([*_ARRAYS, "a claim of 10^15 elements"])
    if way in _ARRAYS:
        np.save(path, _ARRAYS[way](np.load(path)), allow_pickle=True)
    else:
        path.write_bytes(_header("|u1", (10**15,)))
    return way


def _tensor(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """A net, whole, with one tensor that is another one."""
    del siblings
    tensors = safetensors.numpy.load_file(path)
    name = random.choice(sorted(tensors))
    way = random.choice(["another value", "one dimension", "no elements", "NaN", "gone"])
    if way == "gone":
        del tensors[name]
    else:
        tensors[name] = _ARRAYS[way](tensors[name])
    safetensors.numpy.save_file(tensors, path)
    return f"{name}: {way}"


def _checkpoint(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """A state of training, whole, in which one value is another one."""
    del siblings
    head, _, content = path.read_bytes().partition(b"\n")  # its checksum
    state = torch.load(io.BytesIO(content), weights_only=False)
    places = [place for place in _places(state) if not isinstance(place[0][place[1]], dict | list)]
    holder, key = random.choice(places)
    way = random.choice(["another value", "NaN", "None", "text", "gone"])
    value = holder[key]
    if way == "gone":
        del holder[key]
    elif way in {"None", "text"}:
        holder[key] = None if way == "None" else "text"
    elif isinstance(value, torch.Tensor) and value.is_floating_point():
        holder[key] = value + 1 if way == "another value" else value * float("nan")
    else:
        return ""
    changed = io.BytesIO()
    torch.save(state, changed)
    path.write_bytes(head + b"\n" + changed.getvalue())
    return f"{way} at {key!r}"


# Images


@cache
def _bomb() -> bytes:
    """A PNG of 20 kB that is 13,000 pixels wide and high."""
    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG")
    return file.getvalue()


def _image(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """An image of another size, depth or kind."""
    del siblings
    way = random.choice(["far too large", "another size", "grey", "16 bits", "animated", "CMYK"])
    if way == "far too large":
        path.write_bytes(_bomb())
        return way
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    match way:
        case "another size":
            rgb.resize(random.choice([(1, 1), (7, 300), (1, 10_000)])).save(path)
        case "grey":
            rgb.convert("L").save(path)
        case "16 bits":
            rgb.convert("I").convert("I;16").save(path)
        case "animated":
            rgb.save(path, "GIF", save_all=True, append_images=[rgb] * 3)
        case _:
            rgb.convert("CMYK").save(path, "TIFF")
    return way


def _shard(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """A tar file, whole, with one member that is another one."""
    del siblings
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    place = random.randrange(len(members))
    member, content = members[place]
    ways = ["gone", "twice", "another class", "a far name", "a link", "a device", "a false size"]
    way = random.choice(ways)
    match way:
        case "gone":
            del members[place]
        case "twice":
            members.append((member, content))
        case "another class":
            content = random.choice(
                [b"999999999", b"-1", b"", b"one", b"9" * 5000, b"\xff", b"1.5"]
            )
        case "a far name":
            member.name = random.choice(
                ["../../" + member.name, "/etc/" + member.name, "caf\xe9.png"]
            )
        case "a link":
            member.type, member.linkname = tarfile.SYMTYPE, "/dev/zero"
        case "a device":
            member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, 1, 5
        case _:
            pass
    if way != "gone":
        members[place] = member, content
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for each, inside in members:
            each.size = len(inside)
            tar.addfile(each, io.BytesIO(inside))
    if way == "a false size":
        _write_size(path, members[place][0].offset, random.choice([10**12, 8**11 - 1, 513]))
    return f"{member.name}: {way}"


def _write_size(path: Path, offset: int, size: int) -> None:
    """Into the header of a tar file's member, whose sum is made right."""
    content = bytearray(path.read_bytes())
    header = content[offset : offset + 512]
    header[124:136] = f"{size:011o}\0".encode()[-12:]
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    content[offset : offset + 512] = header
    path.write_bytes(content)


def _parquet(path: Path, siblings: Sequence[Path], random: Random) -> str:
    """A table, whole, with other labels, other columns or no rows."""
    del siblings
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    labels = table["label"].to_pylist()
    way = random.choice(
        ["no rows", "no labels", "text labels", "a null", "huge", "negative", "twice"]
    )
    match way:
        case "no rows":
            table = table[:0]
        case "no labels":
            table = table.drop_columns(["label"])
        case "twice":
            table = pa.concat_tables([table, table])
        case "text labels":
            table = table.set_column(1, "label", pa.array(map(str, labels)))
        case _:
            labels[0] = {"a null": None, "huge": 2**40, "negative": -1}[way]
            table = table.set_column(1, "label", pa.array(labels, pa.int64()))
    parquet.write_table(table, path)
    return way


Family = Callable[[Path, Sequence[Path], Random], str]

_OF_KIND: dict[str, tuple[Family, ...]] = {
    ".json": (_field, _field),
    ".csv": (_cell, _cell, _line),
    "": (_line,),
    ".txt": (_line,),
    ".yaml": (_line,),
    ".npz": (_array,),
    ".npy": (_single_array,),
    ".safetensors": (_tensor,),
    ".pt": (_checkpoint,),
    ".png": (_image,),
    ".tar": (_shard, _shard),
    ".parquet": (_parquet,),
}
