"""Side by side in one run, alternating, as ratios: `python benchmarks/run.py`.

Training steps, batched training, response normalisation and the path of images; the training loop
beside others'; how costs grow; and the goals beside what was measured. Contestants take turns, so a
machine that drifts drifts for all; the median over rounds of each ratio is what counts. On a CPU
every contestant has one thread, as each of our workers has.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import click
import torch

from benchmarks.arithmetic import arithmetic
from benchmarks.contestants import BareLoop, OurTrainer, PlainLoop, TimmLoop, TorchvisionLoop
from benchmarks.goals import goals
from benchmarks.growth import growth, memory
from benchmarks.images import input_path
from benchmarks.race import Table, race, ratio_text
from benchmarks.stores import stores
from benchmarks.training import populations, response_normalisation, steps
from repro.data.sources.embedded import synthetic
from repro.files import write_atomic
from repro.store.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
LOOPS = (OurTrainer, BareLoop, PlainLoop, TimmLoop, TorchvisionLoop)


def training_loops(device: torch.device, rounds: int) -> Table:
    """Each trains a tenth of an epoch in turn."""
    dataset = synthetic(n_train=12_800 if rounds > 2 else 1280, n_test=100, classes=10, seed=0)
    contestants = [loop(dataset, device) for loop in LOOPS]
    times = race({one.name: one.train_some for one in contestants}, device, rounds)
    return Table(
        title="Training loops, cifar_80sec, batch 128",
        columns=("training loop", "images/s", "as long as ours (median, range)"),
        rows=tuple(
            (name, f"{1 / median(each):,.0f}", ratio_text(times, name, OurTrainer.name))
            for name, each in times.items()
        ),
    )


def start_up(_device: torch.device, rounds: int) -> Table:
    """From the command to the end of the first step, and to the help."""
    step = (
        "import torch; import repro.execute.running;"
        "from benchmarks.training import benchmark_trial, population;"
        "from repro.data.sources.embedded import synthetic; torch.set_num_threads(1);"
        "s = synthetic(n_train=1280, n_test=10);"
        "trial = benchmark_trial(s, 'cifar_80sec', batch=128);"
        "population(s, trial, torch.device('cpu')).train_window()"
    )
    commands = {
        "`repro --help`": ["-m", "repro", "--help"],
        "imports of `repro run`": ["-c", "import repro.execute.running"],
        "imports, a net, and its first step": ["-c", step],
        "`import torch` alone": ["-c", "import torch"],
    }

    def started(arguments: list[str]) -> Callable[[], int]:
        def work() -> int:
            subprocess.run(
                [sys.executable, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
            )
            return 1

        return work

    times = race(
        {name: started(arguments) for name, arguments in commands.items()},
        torch.device("cpu"),
        rounds,
    )
    return Table(
        title="Start-up, files in the kernel's memory",
        columns=("command", "seconds", "as long as `import torch` (median, range)"),
        rows=tuple(
            (name, f"{median(each):.1f}", ratio_text(times, name, "`import torch` alone"))
            for name, each in times.items()
        ),
    )


ALL: dict[str, Callable[[torch.device, int], Table]] = {
    "loops": training_loops,
    "steps": steps,
    "populations": populations,
    "lrn": response_normalisation,
    "input": input_path,
    "growth": growth,
    "memory": memory,
    "stores": stores,
    "startup": start_up,
    "arithmetic": arithmetic,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(ALL)))
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option("--rounds", default=5, type=click.IntRange(1), show_default=True)
@click.option("--quick", is_flag=True, help="One round, the quick ones, nothing kept: does it run?")
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/benchmarks"))
@click.option("--images", type=click.Path(path_type=Path), help="input: a folder of your images.")
def main(
    names: tuple[str, ...], device: str, rounds: int, quick: bool, out: Path, images: Path | None
) -> None:
    """Run the benchmarks of these NAMES, or all, and write their tables and that of the goals."""
    torch.set_num_threads(1)
    target = torch.device(device)
    if quick:
        rounds, names = 1, names or ("loops", "lrn")
    name = torch.cuda.get_device_name() if target.type == "cuda" else "cpu"
    where = provenance(name)
    benches = ALL | {"input": partial(input_path, images=images)}
    for one in names or benches:
        started, load = time.time(), os.getloadavg()[0]
        table = benches[one](target, rounds)
        text = (
            f"{table.markdown()}\n\n"
            f"On {where['device']} ({os.cpu_count()} cores, load {load:.1f} when it began), torch "
            f"{where['torch']}, code {where['code']}, "
            f"{time.strftime('%Y-%m-%d', time.gmtime(started))}: {rounds} alternating rounds; "
            f"`python benchmarks/run.py {one}`.\n"
        )
        click.echo(text)
        if not quick:
            write_atomic(out / f"{one}_{target.type}.md", text)
    if not quick:
        write_atomic(out / "goals.md", goals(out))


if __name__ == "__main__":
    main()
