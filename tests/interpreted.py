"""Triton's kernels on the CPU, by its interpreter."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import pytest


@contextmanager
def interpreted(name: str) -> Iterator[ModuleType]:
    """The module, imported anew: whether a kernel is interpreted is decided when it is defined."""
    package, _, own = name.rpartition(".")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.delitem(sys.modules, name, raising=False)
        yield import_module(name)
        del sys.modules[name]
        delattr(sys.modules[package], own)  # by which `from package import own` would find it
