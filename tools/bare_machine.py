"""Everything that wants a GPU, on a machine that is lent for a short while.

    python tools/bare_machine.py --limit 9m --out OUT --data-dir DATA [--wheels FOLDER]

Needs nothing from a package registry: missing packages come as wheels in a folder. Claims that the
kept evidence has not decided come first, each going on from its trials there; then GPU tests and
benchmarks. Before it begins it prints which stage has which minutes. The same command goes on with
what is not done. What is worth keeping lies in OUT as one small archive, which
`repro export --store store reports/store` joins with the kept evidence once unpacked. `--rehearse`
runs every stage small, on the CPU, and kills one midway.
"""

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "reports"
RESERVE = 20.0  # seconds kept to save, export and pack
LEAST = 15.0  # seconds under which no stage is begun

# By value for the time: name, scale, minutes at most in one turn, and claims, which share workers.
CLAIMS = (
    ("relu_speedup", "paper", 4.0, ["relu_speedup"]),
    ("paper_grids", "paper", 8.0, ["relu_speedup_grid", "relu_speedup_grid_19pct"]),
    ("large_proxies", "large_proxy", 8.0,
     ["two_gpu_split", "dropout", "lrn", "depth", "overlapping_pooling", "color_pca",
      "conv1_specialisation", "retrieval", "lrn_grid"]),
    ("proxies", "proxy", 6.0,
     ["two_gpu_split", "ten_crop", "overlapping_pooling", "depth", "color_pca", "weight_decay",
      "weight_decay_tuned", "lrn", "dropout", "crop_flip", "lrn_cifar", "lrn_cifar_steps",
      "conv1_specialisation", "retrieval", "bias_init", "lrn_grid"]),
    ("relu_grids", "proxy", 4.0, ["relu_speedup_grid", "relu_speedup_grid_19pct"]),
)  # fmt: skip
OPEN = {"not run", "inconclusive", "invalid"}  # words that more trials may change
# By name: collecting all tests would import what a bare machine lacks.
GPU_TESTS = ["tests/test_gpu.py", "tests/test_columns.py", "tests/test_bench.py"]
TABLES = ("steps", "populations", "lrn", "loops", "input", "startup", "growth", "memory")


@dataclass(frozen=True)
class Stage:
    """`command` gets the seconds of its turn, `minutes` at most; `done` are exit codes.

    Those of `done_early` mean that it is done where its turn was not over.
    """

    name: str
    minutes: float
    command: Callable[[float], list[str]]
    done: tuple[int, ...] = (0,)
    done_early: tuple[int, ...] = ()


def main() -> int:
    """Run what is not done yet, pack what there is; 0 when all stages are done, else 75."""
    arguments = parse()
    begun = time.monotonic()
    work = arguments.work / ("rehearsal" if arguments.rehearse else "lease")
    work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    environment = install(arguments.wheels, work)
    for name in missing(work / "site"):
        print(f"{name} is missing here: carry its wheel (--wheels)", flush=True)
    if arguments.data_dir:
        join_parts(arguments.data_dir, work / "data")
    if not arguments.rehearse and KEPT.exists() and not (work / "store").exists():
        shutil.copytree(KEPT / "store", work / "store")
    every = stages(arguments, work, undecided(kept_verdicts()))
    left = [stage for stage in every if stage.name not in read(work / "finished.json")]
    print("\n".join(schedule(left, arguments.limit - RESERVE)), flush=True)
    if arguments.rehearse and left:
        kill_midway(left[0], work, environment)
    go_on(left, begun + arguments.limit - RESERVE, work, environment)
    pack(work, arguments.out, environment)
    return 0 if len(read(work / "finished.json")) == len(every) else 75


def go_on(left: Iterable[Stage], deadline: float, work: Path, environment: dict[str, str]) -> None:
    """A turn for each in order, then another for those that time alone has ended."""
    waiting = deque(left)
    while waiting and (seconds_left := deadline - time.monotonic()) >= LEAST:
        stage = waiting.popleft()
        turn = min(seconds_left, 60 * stage.minutes)
        started = time.monotonic()
        code = run(stage, turn, work, environment)
        used = time.monotonic() - started
        print(f"{stage.name}: exit code {code} after {used:.0f} s", flush=True)
        if complete(stage, code, used=used, turn=turn):
            write(work / "finished.json", read(work / "finished.json") | {stage.name: code})
        elif used >= turn:
            waiting.append(stage)


def complete(stage: Stage, code: int, *, used: float, turn: float) -> bool:
    """Whether another turn could add nothing."""
    return code in stage.done or (code in stage.done_early and used < turn)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--limit", type=seconds, default=540.0, help="such as 9m or 540s")
    parser.add_argument("--out", type=Path, required=True, help="what comes home lies here")
    parser.add_argument("--work", type=Path, default=ROOT / "runs", help="kept between calls")
    parser.add_argument("--data-dir", type=Path, help="folder with cifar10/ and tiny-imagenet/")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that are missing there")
    parser.add_argument("--rehearse", action="store_true", help="small, on the CPU")
    parser.add_argument(
        "--brief", action="store_true", help="two tables of the benchmarks, not all"
    )
    return parser.parse_args()


def seconds(text: str) -> float:
    """`9m` or `540s`."""
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


# What is to be done


def schedule(left: Sequence[Stage], limit: float) -> Iterator[str]:
    """Which stage has which minutes of this call, if each takes all of its turn."""
    minute = 0.0
    for stage in left:
        end = min(minute + stage.minutes, limit / 60)
        if 60 * (end - minute) < LEAST:
            yield f"{stage.name}: when another ends early, or in a later call"
        else:
            yield f"minute {minute:.1f} to {end:.1f} at most: {stage.name}"
            minute = end


def kept_verdicts() -> list[dict[str, str]]:
    """The rows of the kept report; none without one."""
    path = KEPT / "report" / "verdicts.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def undecided(rows: Iterable[dict[str, str]]) -> Callable[[str, str], bool]:
    """Whether more trials may change the word of a claim at a scale, by the kept verdicts."""
    decided = {
        (row["claim"], row["scale"])
        for row in rows
        if row["decides"] == "True" and row["verdict"] not in OPEN
    }
    return lambda claim, scale: (claim, scale) not in decided


def stages(
    arguments: argparse.Namespace, work: Path, is_open: Callable[[str, str], bool]
) -> list[Stage]:
    """In order of value: the first claim, whether all works, other claims, benchmarks, the rest."""
    chosen = [
        claims(name, scale, minutes, members, arguments, work)
        for name, scale, minutes, every in CLAIMS
        if (members := [claim for claim in every if arguments.rehearse or is_open(claim, scale)])
    ]
    tables = [table(n, arguments, work) for n in (TABLES[:2] if arguments.brief else TABLES)]
    return [*chosen[:1], tests(arguments), *chosen[1:4], *tables, *chosen[4:]]


def claims(
    name: str,
    scale: str,
    minutes: float,
    members: list[str],
    arguments: argparse.Namespace,
    work: Path,
) -> Stage:
    """Stops by itself at the end of its turn, with all saved; a rehearsal takes one at smoke."""
    small = arguments.rehearse
    where = ["--store", str(work / "store"), "--device", "cpu" if small else "cuda"]
    if arguments.data_dir:
        where += ["--data-dir", str(work / "data")]
    files = [f"claims/{member}.yaml" for member in (members[:1] if small else members)]

    def command(turn: float) -> list[str]:
        how = ["--scale", "smoke", "--max-seeds", "1"] if small else ["--scale", scale]
        budget = ["--budget", f"{turn:.0f}s"]
        return [sys.executable, "-m", "repro", "run", *files, *how, *budget, *where]

    # Inconclusive (4) may mean that time ran out.
    return Stage(
        name=f"claims-{name}", minutes=minutes, command=command, done=(0, 3), done_early=(4,)
    )


def tests(arguments: argparse.Namespace) -> Stage:
    """Those that need a GPU; a rehearsal skips them one by one, and runs those of the kernels."""
    which = [*GPU_TESTS, "-m", "gpu"]
    if arguments.rehearse:
        which = ["tests/test_gpu.py", "tests/test_lrn_kernel.py", "tests/test_crop_kernel.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *which]
    return Stage(name="tests", minutes=3.0, command=lambda _: command)


def table(name: str, arguments: argparse.Namespace, work: Path) -> Stage:
    """One table of the benchmarks, so that one that fails or lasts keeps none of the others."""
    how = ["--device", "cuda", "--rounds", "3"]
    if arguments.rehearse:
        how = ["--device", "cpu", "--quick"]
    out = ["--out", str(work / "benchmarks")]
    command = [sys.executable, "benchmarks/run.py", name, *how, *out]
    minutes = 4.0 if name == "memory" else 2.0  # whose every figure is a process of its own
    return Stage(name=f"table-{name}", minutes=minutes, command=lambda _: command)


# What a bare machine lacks


def install(wheels: Path | None, work: Path) -> dict[str, str]:
    """The environment of all stages: the project's own packages first, then carried wheels."""
    site = work / "site"
    if wheels is not None and not site.exists():
        files = sorted(map(str, wheels.glob("*.whl")))
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
             "--no-compile", "--target", str(site), *files],
            check=True,
        )  # fmt: skip
    path = os.pathsep.join([str(ROOT), str(site), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def missing(site: Path) -> list[str]:
    """What the package wants and is neither here nor among what was carried."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    here = {plain(one.name) for one in distributions(path=[str(site), *sys.path])}
    names = [re.split(r"[^\w.-]", one)[0] for one in [*wanted, "pytest", "hypothesis"]]
    return [name for name in names if plain(name) not in here]


def plain(name: str) -> str:
    """As registries compare names of packages."""
    return re.sub(r"[-_.]+", "-", name).lower()


def join_parts(carried: Path, data: Path) -> None:
    """Keep what was carried in this call beside what earlier ones brought.

    Files too large for one call come as parts, FILE.part-1-of-3 and so on, each in a call of its
    own, and are put together once all are here.
    """
    shutil.copytree(carried, data, dirs_exist_ok=True)
    for first in sorted(data.rglob("*.part-1-of-*")):
        stem, count = re.fullmatch(r"(.*)\.part-1-of-(\d+)", first.name).groups()  # type: ignore[union-attr]
        parts = [first.with_name(f"{stem}.part-{k}-of-{count}") for k in range(1, int(count) + 1)]
        if not all(part.exists() for part in parts):
            print(f"{stem}: not all of its {count} parts are here yet", flush=True)
            continue
        with first.with_name(f"{stem}.new").open("wb") as whole:
            for part in parts:
                whole.write(part.read_bytes())
        first.with_name(f"{stem}.new").replace(first.with_name(stem))
        for part in parts:
            part.unlink()


# Running a stage


def run(stage: Stage, turn: float, work: Path, environment: dict[str, str]) -> int:
    """One turn, killed when it is over; its output is appended to a log. 124 when it ran over."""
    log = work / f"{stage.name}.log"
    process = start(stage, turn, log, environment)
    try:
        # A claim saves by itself at its budget; the rest is for its last window.
        code = process.wait(turn + RESERVE / 2)
    except subprocess.TimeoutExpired:
        kill(process)
        return 124
    print(log.read_text()[-2000:])
    return code


def start(
    stage: Stage, turn: float, log: Path, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    with log.open("a") as file:
        return subprocess.Popen(
            stage.command(turn),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # with the processes that it starts
        )


def kill(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill_midway(stage: Stage, work: Path, environment: dict[str, str]) -> None:
    """Kill a stage of claims once its first trial has ended, while others are under way."""
    process = start(stage, 60 * stage.minutes, work / f"{stage.name}.log", environment)
    while process.poll() is None and not any(work.glob("store/trials/*/result.json")):
        time.sleep(0.02)
    if process.poll() is not None:
        sys.exit(f"{stage.name} ended with {process.returncode} before it could be killed")
    kill(process)
    print(f"{stage.name}: killed midway; it goes on", flush=True)


# What comes home


def pack(work: Path, out: Path, environment: dict[str, str]) -> None:
    """Rows, curves, tables and logs without checkpoints, in one archive."""
    export = work / "export"
    if (work / "store").exists():
        done = subprocess.run(
            [sys.executable, "-m", "repro", "export", "--store", str(work / "store"), str(export)],
            cwd=ROOT,
            env=environment,
            check=False,
        )
        if done.returncode:  # nothing was measured: the logs are then what is wanted
            print(f"repro export ended with {done.returncode}", file=sys.stderr)
    names = {export: "store"}
    with tarfile.open(out / "results.tar.gz", "w:gz") as archive:
        for path in [export, work / "benchmarks", work / "finished.json", *work.glob("*.log")]:
            if path.exists():
                archive.add(path, arcname=names.get(path, path.name))


def read(path: Path) -> dict[str, int]:
    """Stages that are done, with their exit codes."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write(path: Path, value: dict[str, int]) -> None:
    """In one step, so that a kill leaves the old file."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value))
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main())
