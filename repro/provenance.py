"""Where a result comes from: versions, code, machine. Never imports torch."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import repro

__all__ = ["code_version", "cpu_name", "provenance"]

_PACKAGES = ("torch", "torchvision", "timm", "numpy")


@cache
def code_version() -> str:
    """Package version, with the git commit where the package lies in a checkout."""
    folder = Path(repro.__file__).parent
    # A site-packages folder inside somebody else's checkout must not report their commit.
    if not (folder.parent / ".git").exists():
        return repro.__version__
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    commit = described.stdout.strip()
    return f"{repro.__version__}+{commit}" if commit else repro.__version__


def cpu_name() -> str:
    """The processor as the kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def provenance(device: str) -> dict[str, str]:
    """What a reader needs to repeat a result; `device` is the accelerator's name or 'cpu'."""
    name = f"{cpu_name()} ({os.cpu_count()} cores)" if device == "cpu" else device
    return {
        "device": name,
        "code": code_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{package: _version(package) for package in _PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
