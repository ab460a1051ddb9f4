"""Is the paper's net on two GPUs faster than its one-GPU net? `python benchmarks/two_gpus.py`.

"The two-GPU net takes slightly less time to train than the one-GPU net" (sec. 3.2), whose conv1 to
conv4 have half the kernels. Steps of training alternate, so that a machine that drifts drifts for
all. The grouped net on one GPU is beside them: what the second GPU gains and what crossing costs.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataclasses import dataclass
from statistics import median

import click
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.columns import TwoColumns
from repro.files import write_atomic
from repro.models import AlexNet, build
from repro.store.provenance import provenance
from repro.train.optim import PaperSGD

ONE, TWO, GROUPED = "one-GPU net, one GPU", "two-GPU net, two GPUs", "two-GPU net, one GPU"


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What all nets are trained with."""

    devices: tuple[torch.device, torch.device]
    batch: int
    size: int
    width: float
    bfloat16: bool


class Contestant:
    """A net in training on random images."""

    def __init__(self, world: World, *, split: str, columns: bool) -> None:
        net = build(
            "alexnet_2012",
            {"split": split, "width": world.width},
            classes=1000,
            size=world.size,
            initialisation="cuda_convnet",
            seed=0,
        ).to(memory_format=torch.channels_last)
        assert isinstance(net, AlexNet)
        first = world.devices[0]
        self.world = world
        self.model: nn.Module = TwoColumns(net, world.devices) if columns else net.to(first)
        self.optimizer = PaperSGD(self.model, rate=0.01, momentum=0.9, weight_decay=5e-4)
        shape = (world.batch, 3, world.size, world.size)
        self.images = torch.randn(shape, device=first).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(1000, (world.batch,), device=first)

    def step(self) -> None:
        self.model.zero_grad()
        kind = self.world.devices[0].type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.world.bfloat16):
            logits = self.model(self.images)
        F.cross_entropy(logits.float(), self.labels).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def seconds(self, steps: int) -> float:
        """Of one step, on average over `steps`."""
        self._wait()
        started = time.perf_counter()
        for _ in range(steps):
            self.step()
        self._wait()
        return (time.perf_counter() - started) / steps

    def _wait(self) -> None:
        for device in self.world.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)


def race(world: World, *, rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds of a step by net, one a round; one round before the first is not counted."""
    contestants = {
        ONE: Contestant(world, split="one_gpu", columns=False),
        TWO: Contestant(world, split="two_gpus", columns=True),
        GROUPED: Contestant(world, split="two_gpus", columns=False),
    }
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, one in contestants.items():
            found[name].append(one.seconds(steps))
    return {name: seconds[1:] for name, seconds in found.items()}


def table(times: dict[str, list[float]]) -> str:
    """Markdown: milliseconds a step, and how many times faster than the one-GPU net."""
    lines = [
        "| net | ms a step (median) | times as fast as the one-GPU net (median, range) |",
        "| --- | --- | --- |",
    ]
    for name, seconds in times.items():
        ratios = [one / this for one, this in zip(times[ONE], seconds, strict=True)]
        by = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        lines.append(f"| {name} | {1000 * median(seconds):.1f} | {by} |")
    return "\n".join(lines)


@click.command()
@click.option("--batch", default=128, type=click.IntRange(1), show_default=True)
@click.option("--rounds", default=9, type=click.IntRange(3), show_default=True)
@click.option("--float32", is_flag=True, help="Instead of bfloat16.")
@click.option("--rehearse", is_flag=True, help="Small, on the CPU: does it run at all?")
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/benchmarks"))
def main(batch: int, rounds: int, float32: bool, rehearse: bool, out: Path) -> None:
    """Time a training step of the paper's two nets, each on the GPUs that it was made for."""
    if rehearse:
        cpu = torch.device("cpu")
        small = World(devices=(cpu, cpu), batch=4, size=64, width=0.125, bfloat16=False)
        race(small, rounds=1, steps=1)
        click.echo("it runs; not measured: needs two GPUs")
        return
    if torch.cuda.device_count() < 2:
        click.echo(f"not measured: needs two GPUs, here are {torch.cuda.device_count()}")
        return
    devices = (torch.device("cuda:0"), torch.device("cuda:1"))
    world = World(devices=devices, batch=batch, size=224, width=1.0, bfloat16=not float32)
    where = provenance(torch.cuda.get_device_name(0))
    text = (
        "# Two GPUs against one\n\n"
        f"Steps of {batch} images of 224x224 in {'float32' if float32 else 'bfloat16'} on two "
        f"{where['device']}, torch {where['torch']}, code {where['code']}; {rounds} alternating "
        'rounds. Sec. 3.2: the two-GPU net takes "slightly less time".\n\n'
        f"{table(race(world, rounds=rounds, steps=20))}\n"
    )
    click.echo(text)
    write_atomic(out / "two_gpus.md", text)


if __name__ == "__main__":
    main()
