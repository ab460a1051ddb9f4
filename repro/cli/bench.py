"""How fast this machine is."""

import click

from repro.cli.command import command
from repro.cli.options import told
from repro.cli.settings import setting

__all__ = ["bench"]

NAMES = ("steps", "populations", "lrn", "input")


@command(
    examples="""
    repro bench                # all, some minutes
    repro bench lrn --rounds 3
    repro bench steps populations --device cuda
    """
)
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@setting("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Times each is measured."
)
@told
def bench(names: tuple[str, ...], device: str, rounds: int) -> None:
    """Measure this machine: training steps, populations, response normalisation, the input path.

    Prints a table each; medians over rounds in which all contestants take turns.
    """
    from repro.bench import measure
    from repro.running import resolve_device

    for table in measure(names, resolve_device(device), rounds=rounds):
        click.echo(f"{table.markdown()}\n")
