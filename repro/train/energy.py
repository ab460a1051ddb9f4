"""What training takes from the socket, as far as a driver counts it."""

import math
from collections.abc import Callable

import torch


class Meter:
    """Joules of a device since it was last asked; NaN where no driver counts them.

    NVIDIA's cards count since Volta (NVML, which is asked through nvidia-ml-py); CPUs and slices of
    a card (MIG) do not. The count is of the whole card, whoever uses it.
    """

    def __init__(self, device: torch.device) -> None:
        self._count = _counter(device)
        self._last = self._count()

    def read(self) -> float:
        """Joules since the last call, or since the beginning."""
        before, self._last = self._last, self._count()
        return self._last - before


def _counter(device: torch.device) -> Callable[[], float]:
    """The device's count so far, in joules."""
    if device.type != "cuda":
        return _unknown
    try:
        import pynvml
    except ImportError:
        return _unknown
    try:
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:  # no such counter, or no NVML at all
        return _unknown

    def joules() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)  # millijoules
        except pynvml.NVMLError:  # the driver may be busy, or was restarted
            return math.nan

    return joules


def _unknown() -> float:
    return math.nan
