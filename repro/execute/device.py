"""What `auto` means for the device, and for how many trials at once, where it is asked."""

import os

import torch

from repro.errors import MachineError

__all__ = ["resolve_device", "workers_for"]


def resolve_device(name: str) -> str:
    """`auto` is the accelerator when there is one; MachineError when the named one is missing."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name.startswith("cuda") and torch.cuda.is_available()):
        raise MachineError(
            f"device {name!r} is not here (this machine has: "
            f"cpu{', cuda' if torch.cuda.is_available() else ''})",
            hint="--device auto takes what there is",
        )
    return name


def workers_for(device: str, asked: int | None) -> int:
    """One trial at a time on an accelerator; on a CPU one for each core."""
    if asked is not None:
        return asked
    return 1 if device.startswith("cuda") else len(os.sched_getaffinity(0))
