"""Images and labels in memory, and the size that one image may have."""

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]  # (N, H, W, 3), grey levels, RGB
Labels = npt.NDArray[np.int64]  # (N,), from 0

MOST_PIXELS = 89_478_485  # of an image; Pillow refuses larger ones as decompression bombs
LARGEST_FILE = 2**28  # bytes, of one encoded image
