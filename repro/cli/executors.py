"""Which back-end trains the trials: what `--executor` and its flags mean.

A process that `torchrun` started is one of several that train each trial together.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro.cli.settings import setting

if TYPE_CHECKING:
    from repro.execute import Backend, Machine

__all__ = ["backend_from", "options_executor"]

F = TypeVar("F", bound=Callable[..., Any])


def options_executor(command: F) -> F:
    """Where trials run, and what that place needs to know."""
    for add in reversed(
        [
            setting(
                "--executor",
                type=click.Choice(["local", "ray"]),
                default="local",
                show_default=True,
                help="Where trials run.",
            ),
            setting(
                "--address", help="Ray: the cluster's; auto: that of this node. Default: one here."
            ),
            setting(
                "--gpus-per-trial",
                type=click.FloatRange(0),
                help="Ray: such as 0.25. Default: 1 where there are any.",
            ),
            setting(
                "--stream-home",
                is_flag=True,
                help="Ray: write through the driver, even where workers see its store.",
            ),
        ]
    ):
        command = add(command)
    return command


def backend_from(
    machine: "Machine",
    *,
    workers: int | None,
    executor: str,
    address: str | None,
    gpus_per_trial: float | None,
    stream_home: bool,
) -> "Backend":
    """The back-end that the flags and the environment name; `workers` is None where nobody said.

    In all processes of `torchrun` but the first this does not return: they follow the first one.
    """
    told = {"--address": address, "--gpus-per-trial": gpus_per_trial, "--stream-home": stream_home}
    if executor != "ray" and (idle := [flag for flag, value in told.items() if value]):
        raise click.UsageError(f"{', '.join(idle)} needs --executor ray")
    together = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1
    if executor == "ray":
        if together:
            raise click.UsageError("torchrun starts processes on its own: use one of them and Ray")
        from repro.execute.ray import OnRay

        return OnRay(
            machine,
            address=address,
            gpus=gpus_per_trial,
            workers=workers,
            stream_home=stream_home,
        )
    if together:
        return _together(machine)
    from repro.execute import Local

    return Local(machine)


def _together(machine: "Machine") -> "Backend":
    from repro.execute.ranks import AllRanks, follow, join

    if machine.device == "cuda":
        machine = replace(machine, device=f"cuda:{os.environ['LOCAL_RANK']}")
    group = join()
    if group.ranks.rank == 0:
        return AllRanks(machine, group)
    follow(machine, group)
    sys.exit(0)
