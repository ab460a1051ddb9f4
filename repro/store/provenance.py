"""Where a result comes from: versions, code, machine. Never imports torch."""

import hashlib
import os
import platform
import signal
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import repro
from repro.errors import SourcesMissingError

_PACKAGES = ("torch", "torchvision", "timm", "numpy")


_GIT_SECONDS = 10.0
_ELSEWHERE = {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"}  # set in hooks, of another repository


class Commit(NamedTuple):
    """What git says of the package's checkout, or why it says nothing; both empty without one."""

    name: str
    problem: str = ""


@cache
def code_commit() -> Commit:
    folder = Path(repro.__file__).parent
    # A site-packages folder inside somebody else's checkout must not report their commit.
    if not (folder.parent / ".git").exists():
        return Commit("")
    words = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        git = subprocess.Popen(  # noqa: S603 - a fixed command
            words,
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name not in _ELSEWHERE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # with no terminal to ask at
        )
    except OSError as error:
        return Commit("", f"git cannot be run: {error.strerror}")
    with git:
        try:
            name, message = git.communicate(timeout=_GIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(git.pid, signal.SIGKILL)  # also what git has started, which holds its output
            return Commit("", f"git does not answer within {_GIT_SECONDS:g} s")
    if git.returncode != 0:
        return Commit("", f"git refuses: {(message.strip() or 'no reason given').splitlines()[0]}")
    return Commit(name.strip())


def code_version() -> str:
    """Package version, with the git commit where there is one."""
    commit = code_commit().name
    return f"{repro.__version__}+{commit}" if commit else repro.__version__


@cache
def sources(package: Path = Path(repro.__file__).parent) -> str:
    """Twelve hex digits of the package's own files; a commit of what lies beside them is no change.

    Raises SourcesMissingError where one cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0")
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:  # as in the middle of an update
            raise SourcesMissingError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:12]


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """The processor as the kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def provenance(device: str, packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """What a reader needs to repeat a result; `device` is the accelerator's name or 'cpu'.

    `packages`: those of this environment that trained; a command may have its own.
    """
    name = f"{cpu_name()} ({os.cpu_count()} cores)" if device == "cpu" else device
    return {
        "device": name,
        "code": code_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{package: _version(package) for package in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
