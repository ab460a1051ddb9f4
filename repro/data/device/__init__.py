"""Images on the device: batches of tensors, in the order of an epoch.

Knows no files of images.
"""

from repro.data.device.images import (
    Augment,
    Crop,
    DeviceData,
    DeviceSplit,
    Inputs,
    View,
    moved,
    ten_crop,
)
from repro.data.device.statistics import (
    Colour,
    colour_components,
    colour_covariance,
    pixel_statistics,
)
