"""After a change of code that trials reach: are the numbers the same? If so, write that down.

    python tools/numerics.py             compare with the last known commit, bit for bit, and record
    python tools/numerics.py --changed   the numbers are meant to differ: record a new generation

Both run the claims of tests/golden/claims on this machine's CPU, under two minutes. Lines of
repro/trial/numerics.txt have no order that matters: when two branches have added some, keep them
all.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from repro.registry import OWN_MODELS  # noqa: E402
from repro.store import Store  # noqa: E402
from repro.trial.numerics import TABLE, definitions, known  # noqa: E402 - after the path


def main() -> None:
    """Compare or not, then record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changed", action="store_true", help="the numbers are meant to differ")
    changed = parser.parse_args().changed
    new = unknown(ROOT / "repro")
    if not new:
        print("all code that trials reach is known: nothing to record")
        return
    print("not known yet: " + ", ".join(name for name, _ in new))
    if not changed:
        compare()
    generations: dict[str, int] = {}
    for (name, _), generation in known().items():
        generations[name] = max(generation, generations.get(name, 1))
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    lines += [f"{name} {generations.get(name, 1) + changed} {digest}" for name, digest in new]
    TABLE.write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    print(f"recorded in {TABLE.relative_to(ROOT)}: commit it with the change")


def reached(package: Path) -> set[tuple[str, str]]:
    """Every definition that a trial of any of our models reaches, with its hash."""
    return set().union(*(definitions(model, package) for model in OWN_MODELS))


def unknown(package: Path) -> list[tuple[str, str]]:
    """Those of them that the table does not have."""
    return sorted(reached(package) - known().keys())


def compare() -> None:
    """Run the golden claims under this code and under the last known; SystemExit if they differ."""
    with tempfile.TemporaryDirectory() as folder:
        commit, before = last_known(Path(folder))
        print(f"comparing with {commit[:12]}")
        one, two = (run(code, Path(folder) / name) for code, name in ((before, "a"), (ROOT, "b")))
    if one != two:
        different = [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
        sys.exit(
            f"the numbers of {len(different)} of {len(one)} trials differ, such as\n"
            f"{different[0]}\nIf they are meant to: python tools/numerics.py --changed"
        )
    print(f"{len(one)} trials give equal bits")


def last_known(folder: Path) -> tuple[str, Path]:
    """The newest commit of which all is known, and its code in `folder`."""
    for commit in git("rev-list", "--max-count=200", "HEAD").decode().split():
        place = folder / commit
        archive = git("archive", commit, "repro")
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(place, filter="data")
        if not unknown(place / "repro"):
            return commit, place
    sys.exit("no commit is known: record the first by hand")


def git(*arguments: str) -> bytes:
    """What git prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def run(code: Path, store: Path) -> dict[str, object]:
    """The golden claims' numbers under the code at a folder, by what each trial was to be."""
    claims = sorted(map(str, (ROOT / "tests/golden/claims").glob("*.yaml")))
    command = [sys.executable, "-m", "repro", "run", *claims, "--scale", "smoke", "--workers", "1"]
    subprocess.run(
        [*command, "--store", str(store)], cwd=code, check=False, stdout=subprocess.DEVNULL
    )
    return dict(_numbers(Store(store)))


def _numbers(store: Store) -> Iterator[tuple[str, object]]:
    for trial_id in store.results():
        trial = store.trial(trial_id).to_json()
        said = "\n".join(line for line in trial.splitlines() if '"numerics"' not in line)
        found = json.loads(store.numbers(trial_id))
        del found["trial_id"]
        yield said, found


if __name__ == "__main__":
    main()
