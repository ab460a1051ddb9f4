"""What `auto` means for the device, and for how many trials at once, where it is asked."""

import ctypes
from pathlib import Path

from repro.errors import MachineError
from repro.store.provenance import cores

__all__ = ["resolve_device", "workers_for"]


def resolve_device(name: str) -> str:
    """`auto` is the accelerator when there is one; MachineError when the named one is missing."""
    if name == "cpu" or (name == "auto" and not _has_driver()):
        return "cpu"
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    here = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if here and not torch.cuda.is_available():
        raise MachineError(
            f"device {name!r} cannot be used: this PyTorch ({torch.__version__}) does not work "
            "with the driver that is installed",
            hint="install a newer driver, or a PyTorch for this one; --device cpu works",
        )
    if name not in (*here, *(["cuda"] if here else [])):
        raise MachineError(
            f"device {name!r} is not here (this machine has: {', '.join(['cpu', *here])})",
            hint="--device auto takes what there is",
        )
    return name


def _has_driver() -> bool:
    """Whether there is a driver of NVIDIA's or AMD's, without which torch finds no accelerator."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def workers_for(device: str, asked: int | None) -> int:
    """One trial at a time on an accelerator; on a CPU one for each core."""
    if asked is not None:
        return asked
    return 1 if device.startswith("cuda") else cores()
