"""Encoded images to RGB pixels, in parallel. What cannot be decoded is named, never skipped.

Threads, since Pillow lets other threads run while it decodes. At 32x32 the Python around it is
what takes time: there neither threads nor processes beat one thread beside a running training
(10,000 JPEGs on two cores: 0.89 s in one thread, 0.90 s in two, 0.90 s in two forked processes).
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

__all__ = ["Decoded", "decode_listing", "image_shape", "square", "to_rgb"]

Shape = tuple[int, int, int]  # height, width, 3

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # as it is by itself
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)  # and never a remark


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """Some images of a split in its source's order, and a line for each that cannot be used."""

    images: list[Images]  # each (H, W, 3); those with a fault are left out, so check faults first
    faults: list[str]
    formats: set[str]  # as Pillow calls them: JPEG, PNG


def decode_listing(
    listing: Listing, start: int, *, shape: Shape, resize: bool
) -> Iterator[Decoded]:
    """A split's images from `start` on, in order, by a thread for each core.

    `resize`: bring images to the shape, which is a square; otherwise another shape is a fault.
    """
    size = shape[0] if resize else None
    workers = os.cpu_count() or 1
    waiting: deque[Future[Decoded]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for items in listing.chunks(start):
            waiting.append(pool.submit(_decode_chunk, items, shape, size))
            # A window, lest all of a large data set is read before the first image is written.
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def image_shape(listing: Listing) -> Shape:
    """Of the first image that can be read; all others have to be alike."""
    faults: list[str] = []
    for name, content in chain.from_iterable(listing.chunks(0)):
        try:
            return _pixels(content)[0].shape
        except Exception as error:  # noqa: BLE001 - as of all others, see below
            faults.append(f"{name}: {error}")
    raise DataError(f"no image can be read; of the first: {faults[0]}")


def _decode_chunk(items: list[Item], shape: Shape, size: int | None) -> Decoded:
    result = Decoded(images=[], faults=[], formats=set())
    for name, content in items:
        try:
            pixels, kind = _pixels(content, size)
        # Pillow's readers raise whatever a broken file makes them raise, SyntaxError included.
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
    if callable(content):
        content = content()
    with _open(content) as file, _image(file) as image:
        rgb = to_rgb(image)
        return np.asarray(rgb if size is None else square(rgb, size)), image.format or ""


def _open(content: bytes | Path) -> BinaryIO:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    return open_regular(content, most=LARGEST_FILE)


def _image(file: BinaryIO) -> Image.Image:
    """Not decoded yet; ValueError for one that would take too much memory."""
    try:
        return Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        number = re.search(r"\d+", str(error))
        pixels = f"{int(number[0]):,}" if number else "too many"
        raise ValueError(f"{pixels} pixels, and at most {MOST_PIXELS:,} are read") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Grey is repeated, a palette looked up, CMYK converted by Pillow, transparency dropped."""
    if image.mode[0] in "IF":
        # Pillow would clip 16 bits to 8, and nearly all of the picture would be white.
        raise ValueError(f"pixels of mode {image.mode}; only 8 bits a channel are read")
    if image.mode == "P":
        image = image.convert("RGBA")  # a palette may hold transparency of its own
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to `size`, and the central square (Krizhevsky 2012, sec. 2).

    The paper names no filter. Pillow's bicubic one weighs all pixels that shrink into one, so
    that nothing aliases, and enlarges as the authors' later release does (cuda-convnet2,
    make-data: bicubic; an average of areas when shrinking). libjpeg's coarser decoding, `draft`,
    is left alone: it changed 8 of 125 images of ImageNet, by up to 3.8 grey levels on average,
    and saved no time.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # The filter sees beyond the box: the same pixels as those of a crop after resizing, while an
    # image of 16 by 60,000 pixels takes no memory to enlarge.
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)
