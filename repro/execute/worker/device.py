"""Resolve `auto`: the device, and the number of parallel trials."""

import ctypes
from pathlib import Path

from repro.errors import MachineError
from repro.store.provenance import cores


def resolve_device(name: str) -> str:
    """`auto` is the GPU if there is one; MachineError if the named device is missing."""
    if name == "cpu" or (name == "auto" and not _has_driver()):
        return "cpu"
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    cards = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if cards and not torch.cuda.is_available():
        raise MachineError(
            f"device {name!r} cannot be used: this PyTorch ({torch.__version__}) does not work "
            "with the driver that is installed",
            hint="install a newer driver, or a PyTorch for this one; --device cpu works",
        )
    if name not in (*cards, *(["cuda"] if cards else [])):
        raise MachineError(
            f"device {name!r} is not here (this machine has: {', '.join(['cpu', *cards])})",
            hint="--device auto uses the GPU if there is one",
        )
    return name


def _has_driver() -> bool:
    """Whether an NVIDIA or AMD driver is installed, without which torch finds no GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def workers_for(device: str, requested: int | None) -> int:
    """One trial at a time on a GPU; on a CPU one for each core."""
    if requested is not None:
        return requested
    return 1 if device.startswith("cuda") else cores()
