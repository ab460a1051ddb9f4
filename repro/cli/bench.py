"""Command that measures this machine: bench."""

from pathlib import Path

import click

from repro.cli.command import command
from repro.cli.options import FOLDER, echo
from repro.cli.settings import setting

__all__ = ["bench"]

NAMES = ("steps", "populations", "lrn", "input")


@command(
    short_help="Benchmark training steps and data loading.",
    examples="""
    repro bench                # all, some minutes
    repro bench lrn --rounds 3
    repro bench steps populations --device cuda
    repro bench input --images /data/photographs    # a disk, a decoder and a bus, one by one
    """,
)
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@setting("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Repetitions.")
@click.option(
    "--images",
    type=FOLDER,
    help="input: use the images in this folder instead of generated ones.",
)
def bench(names: tuple[str, ...], device: str, rounds: int, images: Path | None) -> None:
    """Measure this machine: training steps, populations, response normalisation, data loading.

    Prints a table for each; medians over rounds in which the alternatives take turns. Packed images
    are written into the folder for temporary files, and read from there.
    """
    if images is not None and "input" not in (names or NAMES):
        raise click.UsageError("--images goes with the benchmark `input`")

    from repro.bench import measure
    from repro.execute import resolve_device

    for table in measure(names, resolve_device(device), rounds=rounds, images=images):
        echo(f"{table.markdown()}\n")
