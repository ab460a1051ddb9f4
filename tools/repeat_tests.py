"""Runs the tests again and again, each time under another condition that must change nothing.

    nox -s tests --install-only && python tools/repeat_tests.py --runs 20 --log runs.log

A line a run goes into the log: condition, outcome, seconds, commit, what failed. The same command
goes on after the last line; with more --runs it adds some.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from noxfile import ABREAST, PLAIN, environment_python  # noqa: E402 - after the path

CORES = sorted(os.sched_getaffinity(0))
# Without nox, which would take some of the conditions away.
TESTS = [str(ROOT / environment_python()), "-m", "pytest", *ABREAST, "-m", PLAIN]

# By name: what is put before the command, and what is set in its environment.
CONDITIONS: dict[str, tuple[list[str], dict[str, str]]] = {
    "plain": ([], {}),
    "one core": (["taskset", "-c", str(CORES[0])], {}),
    "busy cores": ([], {}),
    "nohup": (["nohup"], {}),
    "no compiled files": ([], {"PYTHONDONTWRITEBYTECODE": "1"}),
    "nice": (["nice", "-n", "19"], {}),
    "LANG=C": ([], {"LANG": "C", "LC_ALL": "C"}),
    "read-only home": ([], {"HOME": "/proc"}),
    "older processor": ([], {"OPENBLAS_CORETYPE": "Nehalem", "ATEN_CPU_CAPABILITY": "default"}),
    "terminal's settings": ([], {"NO_COLOR": "1", "COLUMNS": "20", "TERM": "dumb"}),
}


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """So many processes that do nothing else, and end with this one."""
    code = f"import os\nwhile os.getppid() == {os.getpid()}: pass"
    loops = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(cores)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def commit() -> str:
    """Of the checkout, whose tests are run."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def run(condition: str) -> str:
    """The line of one run; the tests' order is drawn anew each time."""
    before, changes = CONDITIONS[condition]
    begun = time.monotonic()
    with busy(len(CORES) if condition == "busy cores" else 0):
        done = subprocess.run(
            [*before, *TESTS], cwd=ROOT, env=os.environ | changes, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    failed = re.findall(r"(?m)^(?:FAILED|ERROR) (\S+)", done.stdout)
    seeds = " ".join(["seeds", *re.findall(r"--randomly-seed=(\d+)", done.stdout)])
    seconds = f"{time.monotonic() - begun:.0f} s"
    return "; ".join([condition, f"exit {done.returncode}", seconds, commit(), seeds, *failed])


def main() -> int:
    """0 when every run in the log has passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--log", type=Path, default=Path("repeat_tests.log"))
    arguments = parser.parse_args()
    log: Path = arguments.log
    done = log.read_text().splitlines() if log.exists() else []
    names = list(CONDITIONS)
    for number in range(len(done), arguments.runs):
        done.append(run(names[number % len(names)]))
        print(done[-1], flush=True)
        log.write_text("\n".join(done) + "\n")
    return int(any("; exit 0; " not in line for line in done))


if __name__ == "__main__":
    sys.exit(main())
