"""The path of an image, step by step: from the disk, through the decoder, to the net's crops.

Each step is the code that data sets go through, by itself: whichever is slowest says what to do
about it, a faster disk, more cores, or packing the images once (`repro data prepare`).
"""

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from benchmarks.race import Table, race
from repro.data import synthetic
from repro.data.decoded.decode import square, to_rgb
from repro.data.device import DeviceData, moved
from repro.errors import DataError

__all__ = ["can_evict", "image_files", "input_path"]

_SIZE, _CROP, _BATCH = 256, 224, 128  # pixels, pixels, images: the paper's
_PACKED = 512  # images in the packed file, 100 MB; and the most files that are read
_DECODED = 2**28  # bytes of decoded images that are kept to be resized
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
_KEPT = "not measured: the kernel keeps the files in memory"
_NO_NVJPEG = "not measured: it takes a GPU of NVIDIA's, and JPEG files alone"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One turn handles some images and says how many; `bytes_each` is what goes in of each.

    `cold`: files that the kernel is to have forgotten. `cannot`: why it is not measured here.
    """

    name: str
    work: Callable[[], int]
    bytes_each: float
    cold: tuple[Path, ...] = ()
    cannot: str = ""


def input_path(device: torch.device, rounds: int, images: Path | None = None) -> Table:
    """Of the image files below the folder `images`, or of generated ones.

    Raises DataError where the folder has no image, or one that cannot be read.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = image_files(images) if images else _generated(folder)
        title = f"Images of {images}" if images else "Generated images of 400 x 400"
        steps = _steps(files, folder / "packed.npy", device)
        measured = [step for step in steps if not step.cannot]
        times = race(
            {step.name: step.work for step in measured},
            device,
            rounds,
            before={step.name: lambda step=step: _drop(step.cold) for step in measured},  # type: ignore[misc]
        )
        return Table(
            title=f"{title}: {len(files)} files of {_mean_size(files) / 1000:,.0f} kB on average",
            columns=("step", "images/s", "MB/s of what it reads"),
            rows=tuple(_row(step, times.get(step.name)) for step in steps),
        )


def _row(step: _Step, seconds: Sequence[float] | None) -> tuple[str, ...]:
    if seconds is None:
        return step.name, step.cannot, ""
    each = median(seconds)
    return step.name, f"{1 / each:,.0f}", f"{step.bytes_each / each / 1e6:,.0f}"


def _steps(files: tuple[Path, ...], path: Path, device: torch.device) -> list[_Step]:
    # With it comes PyTorch's compiler, for which no other part of the bench waits.
    from torchvision.io import ImageReadMode, decode_jpeg

    decoded = _decoded(files)
    some = files[: len(decoded)]
    squares = np.stack([np.asarray(square(image, _SIZE)) for image in decoded])
    packed = np.resize(squares, (_PACKED, *squares.shape[1:]))  # in turns, as often as it takes
    np.save(path, packed)
    whole = synthetic(n_train=_PACKED, n_test=1, size=8)
    data = DeviceData(
        replace(
            whole,
            train=replace(whole.train, images=packed),
            test=replace(whole.test, images=packed[:1]),
        ),
        device=device,
        inputs="centred",
        crop=_CROP,
        augment=("crop", "flip"),
        colour="deviations",
        held=False,
    )
    order = torch.from_numpy(np.random.default_rng(0).permutation(_PACKED)).to(device)
    rows = data.train.rows(order[:_BATCH])
    encoded, on_cpu = [file.read_bytes() for file in some], device.type == "cpu"

    def read() -> int:
        return sum(len(file.read_bytes()) > 0 for file in files)

    def decode() -> int:
        return sum(_open(content).width > 0 for content in encoded)

    def decode_there() -> int:
        content = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in encoded]
        return len(decode_jpeg(content, mode=ImageReadMode.RGB, device=device))

    def resize() -> int:
        return sum(square(image, _SIZE).width > 0 for image in decoded)

    def stream() -> int:
        # Mapped anew each time: the kernel forgets nothing that is mapped.
        split = replace(data.train, images=np.load(path, mmap_mode="r"))
        return sum(len(got) for got, _ in split.stream(torch.split(order, _BATCH)))

    def copy() -> int:
        return len(torch.from_numpy(packed).clone() if on_cpu else moved(packed, device))

    def crops() -> int:
        return len(data.training_inputs(rows, [torch.Generator().manual_seed(0)]))

    packed_bytes = _SIZE * _SIZE * 3
    decoded_bytes = sum(image.width * image.height * 3 for image in decoded) / len(decoded)
    jpeg = all(content.startswith(b"\xff\xd8") for content in encoded)
    return [
        _Step(
            name="files read from the disk",
            work=read,
            bytes_each=_mean_size(files),
            cold=files,
            cannot="" if all(map(can_evict, files)) else _KEPT,
        ),
        _Step(name="files read from memory", work=read, bytes_each=_mean_size(files)),
        _Step(name="decoded, one thread", work=decode, bytes_each=_mean_size(some)),
        _Step(
            name="decoded on the device, nvJPEG",
            work=decode_there,
            bytes_each=_mean_size(some),
            cannot="" if jpeg and device.type == "cuda" else _NO_NVJPEG,
        ),
        _Step(
            name=f"shorter side to {_SIZE}, central square, one thread",
            work=resize,
            bytes_each=decoded_bytes,
        ),
        _Step(
            name="packed images read at random from the disk, four threads",
            work=stream,
            bytes_each=packed_bytes,
            cold=(path,),
            cannot="" if can_evict(path) else _KEPT,
        ),
        _Step(name="the same from memory", work=stream, bytes_each=packed_bytes),
        _Step(name="copied to the device", work=copy, bytes_each=packed_bytes),
        _Step(name="crops, mirrors and colour there", work=crops, bytes_each=packed_bytes),
    ]


def image_files(folder: Path) -> tuple[Path, ...]:
    """At most 512 of those below the folder, evenly from all of them; DataError if there is none.

    Classes and splits do not matter.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    if not found:
        raise DataError(
            f"no images below {folder}", hint=f"their names end in {', '.join(_ENDINGS)}"
        )
    return tuple(found[:: -(-len(found) // _PACKED)])


def _generated(folder: Path) -> tuple[Path, ...]:
    """As many bytes as a photograph of ImageNet, more or less."""
    files = []
    images = np.asarray(synthetic(n_train=64, n_test=1, size=400, noise=8.0).train.images)
    for number, image in enumerate(images):
        files.append(folder / f"{number}.jpg")
        Image.fromarray(image).save(files[-1], quality=90)
    return tuple(files)


def _decoded(files: Sequence[Path]) -> list[Image.Image]:
    images: list[Image.Image] = []
    size = 0
    for file in files:
        try:
            images.append(_open(file.read_bytes()))
        # Pillow's readers raise whatever a broken file makes them raise, SyntaxError included.
        except Exception as error:
            raise DataError(f"{file} cannot be read: {error}", hint="remove it") from error
        size += images[-1].width * images[-1].height * 3
        if size > _DECODED:
            break
    return images


def _open(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return to_rgb(image)


def _mean_size(files: Sequence[Path]) -> float:
    return sum(file.stat().st_size for file in files) / len(files)


# The kernel's memory


def can_evict(file: Path) -> bool:
    """Whether the kernel forgets a file's content on request; False where nobody can tell.

    File systems in memory keep it, and so do some containers.
    """
    if not hasattr(os, "RWF_NOWAIT"):  # Linux alone
        return False
    _drop([file])
    try:
        with file.open("rb") as handle:
            os.preadv(handle.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)  # only what is in memory
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _drop(files: Sequence[Path]) -> None:
    for file in files if hasattr(os, "posix_fadvise") else ():
        with file.open("rb") as handle:
            os.fsync(handle)  # what is not yet on the disk cannot be forgotten
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
