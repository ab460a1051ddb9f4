"""Everything that wants a GPU, on a machine that is lent for a short while.

    python tools/bare_machine.py --limit 9m --out OUT --data-dir DATA [--wheels FOLDER]

Needs nothing from a package registry: missing packages come as wheels in a folder. Stages run in
order of value (GPU tests, the first claim, benchmarks, other claims); each is done once and is
resumed by the same command, which stops by itself before the limit. What is worth keeping lies in
OUT as one small archive and a log a stage. `--rehearse` runs every stage small, on the CPU, as CI
does.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESERVE = 20.0  # seconds kept to save, export and pack
LEAST = 15.0  # seconds under which no stage is begun

# The claims whose outcome says most, first; those of one stage share workers and trials.
CLAIMS = {
    "relu_speedup": ("paper", ["relu_speedup"]),
    "relu_grid": ("proxy", ["relu_speedup_grid", "relu_speedup_grid_19pct"]),
    "proxies": (
        "proxy",
        ["dropout", "ten_crop", "crop_flip", "depth", "two_gpu_split", "lrn", "lrn_cifar",
         "conv1_specialisation", "retrieval", "weight_decay", "color_pca", "bias_init",
         "overlapping_pooling", "lrn_grid", "lrn_cifar_steps"],
    ),
    "large_proxies": (
        "large_proxy",
        ["two_gpu_split", "dropout", "lrn", "depth", "overlapping_pooling", "color_pca",
         "conv1_specialisation", "retrieval", "lrn_grid"],
    ),
    "relu_grids": ("paper", ["relu_speedup_grid", "relu_speedup_grid_19pct"]),
}  # fmt: skip
REHEARSED = 1  # claims of a stage, when every stage runs small


@dataclass(frozen=True)
class Stage:
    """`command` gets the seconds left; `done` are the exit codes that mean it is complete."""

    name: str
    command: Callable[[float], list[str]]
    done: tuple[int, ...]


def main() -> int:
    """Run what is not done yet, pack what there is; 0 when all stages are done, else 75."""
    arguments = parse()
    deadline = time.monotonic() + arguments.limit - RESERVE
    work = arguments.work / ("rehearsal" if arguments.rehearse else "lease")
    work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    environment = install(arguments.wheels, work)
    finished = read(work / "finished.json")
    for stage in stages(arguments, work):
        left = deadline - time.monotonic()
        if stage.name in finished:
            print(f"{stage.name}: done before")
        elif left < LEAST:
            print(f"{stage.name}: no time left; the same command continues")
        else:
            code = run(stage, left, work, environment)
            print(f"{stage.name}: exit code {code}", flush=True)
            if code in stage.done:
                finished[stage.name] = code
                write(work / "finished.json", finished)
    pack(work, arguments.out, environment)
    complete = len(finished) == len(stages(arguments, work))
    return 0 if complete else 75


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--limit", type=seconds, default=540.0, help="such as 9m or 540s")
    parser.add_argument("--out", type=Path, required=True, help="what comes home lies here")
    parser.add_argument("--work", type=Path, default=ROOT / "runs", help="kept between calls")
    parser.add_argument("--data-dir", type=Path, help="folder with cifar10/ and tiny-imagenet/")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that are missing there")
    parser.add_argument("--rehearse", action="store_true", help="small, on the CPU")
    return parser.parse_args()


def seconds(text: str) -> float:
    """`9m` or `540s`."""
    return float(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def stages(arguments: argparse.Namespace, work: Path) -> list[Stage]:
    """In order of value."""
    python = sys.executable
    device = "cpu" if arguments.rehearse else "cuda"
    store = ["--store", str(work / "store")]
    data = ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else []

    def claims(name: str, scale: str, members: list[str]) -> Stage:
        chosen = members[:REHEARSED] if arguments.rehearse else members
        return Stage(
            name=f"claims-{name}",
            command=lambda left: [
                python,
                "-m",
                "repro",
                "run",
                *(f"claims/{member}.yaml" for member in chosen),
                "--scale",
                "smoke" if arguments.rehearse else scale,
                "--device",
                device,
                "--budget",
                f"{left:.0f}s",
                *store,
                *data,
            ],  # fmt: skip
            # Inconclusive (4) may mean that time ran out: another call takes it further.
            done=(0, 3),
        )

    first, *rest = CLAIMS.items()
    selection = ["tests/test_optim.py"] if arguments.rehearse else ["-m", "gpu"]
    sizes = ["--quick"] if arguments.rehearse else []
    return [
        Stage(
            name="tests",
            command=lambda _: [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *selection],
            done=(0,),
        ),
        claims(first[0], *first[1]),
        Stage(
            name="benchmarks",
            command=lambda _: [
                python,
                "benchmarks/run.py",
                "--device",
                device,
                "--out",
                str(work / "benchmarks"),
                *sizes,
            ],  # fmt: skip
            done=(0,),
        ),
        *(claims(name, scale, members) for name, (scale, members) in rest),
    ]


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


def run(stage: Stage, left: float, work: Path, environment: dict[str, str]) -> int:
    """One stage, killed at its limit; its output is appended to a log. 124 when it ran over."""
    log = work / f"{stage.name}.log"
    with log.open("a") as file:
        try:
            done = subprocess.run(
                stage.command(left),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # A claim saves by itself at its budget; the rest is for its last window.
                timeout=left + RESERVE / 2,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 124
    print(log.read_text()[-2000:])
    return done.returncode


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
    with tarfile.open(out / "results.tar.gz", "w:gz") as archive:
        for path in [export, work / "benchmarks", work / "finished.json", *work.glob("*.log")]:
            if path.exists():
                archive.add(path, arcname=path.name)


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
