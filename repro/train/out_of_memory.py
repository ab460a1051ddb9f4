"""When memory runs out, and giving it back."""

import ctypes
import gc
from functools import cache

import torch

_LIBC = ctypes.CDLL(None)


def free(device: torch.device, *, short: bool = False) -> None:
    """Give back what a population took that nobody names any more: it refers to itself.

    On a CPU that is not `short` of memory Python does so in time; asking costs a tenth of a second.
    """
    if short or device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    if short and hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's, for `mallopt`


@cache
def keep_freed() -> None:
    """Memory of this process that is freed stays with it, up to a gigabyte, until `free`.

    A step's maps are megabytes each. glibc would give them back to the system, which fills the
    pages with zeros for the next: a quarter of the time of a small net.
    """
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(_MMAP_THRESHOLD, 2**25)  # the most that it takes
        _LIBC.mallopt(_TRIM_THRESHOLD, 2**30)


# What is said when memory is short, but not by torch's allocator of a GPU. oneDNN's words do not
# distinguish memory from its other wants, of which a shape that trains has none; a thread wants
# memory for its stack, and may exceed a limit that fewer workers keep.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "could not create a primitive",
    "can't start new thread",
    "CUDA error: out of memory",  # what torch's own allocator does not hand out, such as graphs
    "CUDA driver error: out of memory",  # of segments that grow
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",  # cuDNN 9
    "Cuda failure 2 'out of memory'",  # NCCL
    "Triton Error [CUDA]: out of memory",
)
# What is said when each way of computing wants more than there is, and also when there is no way.
_UNCLEAR = (
    "unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_NOT_INITIALIZED",
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; on a CPU only the words of a RuntimeError tell."""
    typed = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return typed or any(phrase in str(error) for phrase in _OUT_OF_MEMORY)


def may_be_out_of_memory(error: Exception) -> bool:
    """Whether half as much work may be possible; if not, the device cannot do it at all."""
    return any(phrase in str(error) for phrase in _UNCLEAR)
