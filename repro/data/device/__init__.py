"""Images on the device: batches of tensors, in the order of an epoch.

May import `sources`, for packs; knows no files of images.
"""

from repro.data.device.images import Augment, DeviceData, DeviceSplit, Inputs, View, moved, ten_crop
from repro.data.device.statistics import (
    Colour,
    colour_components,
    colour_covariance,
    pixel_statistics,
    statistics_file,
)

__all__ = [
    "Augment",
    "Colour",
    "DeviceData",
    "DeviceSplit",
    "Inputs",
    "View",
    "colour_components",
    "colour_covariance",
    "moved",
    "pixel_statistics",
    "statistics_file",
    "ten_crop",
]
