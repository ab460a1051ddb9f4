"""The tool as a shell starts it, and packages as if they were installed beside it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def started(
    *arguments: str | Path, path: str = str(ROOT), group: bool = False, **environment: str
) -> subprocess.Popen[str]:
    """`repro`, begun in a process of its own that nobody answers.

    `path`: PYTHONPATH. `group`: in a group of its own, to which a test sends a signal.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "repro", *map(str, arguments)],
        cwd=Path(path.partition(os.pathsep)[0]), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=group,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )  # fmt: skip


def repro(
    *arguments: str | Path, path: str = str(ROOT), **environment: str
) -> subprocess.CompletedProcess[str]:
    """The same, run to its end."""
    process = started(*arguments, path=path, **environment)
    out, talk = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, talk)


def wait_for(event: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until it has come; an error where the process has ended without it."""
    while not event():
        if process.poll() is not None and not event():
            raise AssertionError(process.communicate())
        time.sleep(0.02)


def codes(talk: str) -> set[str]:
    """Of the errors that were told."""
    return set(re.findall(r"(?m)^error\[(E\d+)\]: ", talk))


def paths(*folders: Path) -> str:
    """As PYTHONPATH has them."""
    return os.pathsep.join(map(str, folders))


def installed(
    folder: Path, package: str, entries: Mapping[str, Mapping[str, str]], code: str | None = None
) -> Path:
    """Writes a package into the folder: its entry points, and its module, whose path it gives."""
    about = folder / f"{package.replace('-', '_')}-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    text = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for group, names in entries.items()
    )
    (about / "entry_points.txt").write_text(text)
    module = folder / f"{package.replace('-', '_')}.py"
    if code is not None:
        module.write_text(code)
    return module
