"""Side by side in one run, alternating, as ratios: `python benchmarks/run.py`.

Each round trains a tenth of an epoch with every contestant in turn, so a machine that drifts
drifts for all; the median over rounds of each ratio is what counts. On a CPU every contestant
has one thread, as each of our workers has.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import time
from collections.abc import Sequence
from statistics import median

import click
import pandas as pd
import torch

from benchmarks.contestants import BareLoop, Contestant, OurTrainer, PlainLoop
from repro.data.embedded import synthetic
from repro.files import write_atomic
from repro.provenance import provenance


def seconds_of(contestant: Contestant, device: torch.device) -> float:
    """Seconds an image, of one tenth of an epoch."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    images = contestant.train_some()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / images


def race(contestants: Sequence[Contestant], device: torch.device, rounds: int) -> pd.DataFrame:
    """Seconds an image, a row a round; one round before the first is not counted."""
    rows = [{one.name: seconds_of(one, device) for one in contestants} for _ in range(rounds + 1)]
    return pd.DataFrame(rows[1:])


def table(times: pd.DataFrame, ours: str) -> str:
    """Markdown: images a second, and how many times faster ours is, median and range."""
    lines = [
        "| training loop | images/s (median) | ours is faster by (median, range) |",
        "| --- | --- | --- |",
    ]
    for name in times:
        ratio = times[name] / times[ours]
        by = "1" if name == ours else f"{median(ratio):.2f} ({ratio.min():.2f}-{ratio.max():.2f})"
        lines.append(f"| {name} | {1 / median(times[name]):,.0f} | {by} |")
    return "\n".join(lines)


@click.command()
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option("--rounds", default=9, type=click.IntRange(3), show_default=True)
@click.option("--images", default=12_800, type=click.IntRange(1280), show_default=True)
@click.option("--quick", is_flag=True, help="3 rounds of few images: does it run at all?")
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/benchmarks"))
def main(device: str, rounds: int, images: int, quick: bool, out: Path) -> None:
    """Compare the training loop with a plain one and with the bare limit."""
    if quick:
        rounds, images = 3, 1280
    target = torch.device(device)
    torch.set_num_threads(1)
    dataset = synthetic(n_train=images, n_test=100, size=32, classes=10, seed=0)
    contestants = [
        OurTrainer(dataset, target),
        BareLoop(dataset, target),
        PlainLoop(dataset, target),
    ]
    times = race(contestants, target, rounds)
    name = torch.cuda.get_device_name() if target.type == "cuda" else "cpu"
    where = provenance(name)
    text = (
        "# The training loop against others\n\n"
        f"Net cifar_80sec, batch 128, {images} synthetic images on {where['device']}, "
        f"torch {where['torch']}, code {where['code']}; {rounds} alternating rounds"
        f"{', one thread each' if name == 'cpu' else ''}.\n\n{table(times, OurTrainer.name)}\n"
    )
    click.echo(text)
    if not quick:
        write_atomic(out / f"training_loop_{target.type}.md", text)
        write_atomic(out / f"training_loop_{target.type}.csv", times.to_csv(index=False))


if __name__ == "__main__":
    main()
