"""Decode images to RGB pixels, in parallel. Faulty images are reported, never skipped.

Uses threads, since Pillow releases the GIL while it decodes. At 32x32 the Python around it takes
the time: neither threads nor processes are faster than one thread (10,000 JPEGs on two cores:
0.89 s in one thread, 0.90 s in two, 0.90 s in two forked processes).
"""

import io
import os
import re
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from repro.data.arrays import LARGEST_FILE, MOST_PIXELS, Images
from repro.data.sources.contents import Content, Item, Listing
from repro.errors import DataError
from repro.files import open_regular

Shape = tuple[int, int, int]  # height, width, 3

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # the default
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)  # not a warning


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """Some images of a split in the source's order, and a line for each faulty one."""

    images: list[Images]  # each (H, W, 3); those with a fault are left out, so check faults first
    faults: list[str]
    formats: set[str]  # as Pillow calls them: JPEG, PNG


def decode_listing(
    listing: Listing, start: int, *, shape: Shape, resize: bool
) -> Iterator[Decoded]:
    """Decode a split's images from `start` on, in order, with a thread for each core.

    `resize`: to the shape, which is a square; otherwise another shape is a fault.
    """
    size = shape[0] if resize else None
    workers = os.cpu_count() or 1
    waiting: deque[Future[Decoded]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for items in listing.chunks(start):
            waiting.append(pool.submit(_decode_chunk, items, shape, size))
            # Bound the queue, so that a large data set is not read into memory.
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def image_shape(listing: Listing) -> Shape:
    """The shape of the first readable image; all others must have it."""
    faults: list[str] = []
    for name, content in chain.from_iterable(listing.chunks(0)):
        try:
            return _pixels(content)[0].shape
        except Exception as error:  # noqa: BLE001 - as in `_decode_chunk`, see below
            faults.append(f"{name}: {error}")
    raise DataError(f"no image can be read; the first fault: {faults[0]}")


def _decode_chunk(items: list[Item], shape: Shape, size: int | None) -> Decoded:
    result = Decoded(images=[], faults=[], formats=set())
    for name, content in items:
        try:
            pixels, kind = _pixels(content, size)
        # Pillow's readers raise any error on a broken file, even SyntaxError.
        except Exception as error:  # noqa: BLE001
            result.faults.append(f"{name}: {error}")
            continue
        result.formats.add(kind)
        if pixels.shape != shape:
            result.faults.append(
                f"{name}: {pixels.shape[1]}x{pixels.shape[0]} pixels, not {shape[1]}x{shape[0]}"
            )
        else:
            result.images.append(pixels)
    return result


def _pixels(content: Content, size: int | None = None) -> tuple[Images, str]:
    """(H, W, 3) uint8, as they are or `size` pixels square, and the file's format."""
    if isinstance(content, np.ndarray):
        return content, ""
    with _open(content) as file, _image(file) as image:
        rgb = to_rgb(image)
        return np.asarray(rgb if size is None else square(rgb, size)), image.format or ""


def _open(content: bytes | Path) -> BinaryIO:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    return open_regular(content, most=LARGEST_FILE)


def _image(file: BinaryIO) -> Image.Image:
    """Open an image without decoding it; ValueError for too many pixels."""
    try:
        return Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        number = re.search(r"\d+", str(error))
        pixels = f"{int(number[0]):,}" if number else "too many"
        raise ValueError(f"{pixels} pixels, and at most {MOST_PIXELS:,} are read") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Grey is repeated, a palette looked up, CMYK converted by Pillow, transparency dropped."""
    if image.mode[0] in "IF":
        # Pillow would clip 16 bits to 8, and most of the image would be white.
        raise ValueError(f"pixels of mode {image.mode}; only 8 bits a channel are read")
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette may have transparency
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to `size`, and the central square (Krizhevsky 2012, sec. 2).

    The paper names no filter. Pillow's bicubic filter averages over the shrunk pixels, which
    avoids aliasing, and enlarges as the authors' later release does (cuda-convnet2, make-data:
    bicubic; area averages for shrinking). libjpeg's coarse decoding, `draft`, is not used: it
    changed 8 of 125 images of ImageNet, by up to 3.8 grey levels on average, and saved no time.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # The filter uses pixels beyond the box: the result equals a crop after resizing, but an image
    # of 16 by 60,000 pixels does not take the memory to enlarge all of it.
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)
