"""Which back-end trains the trials: what `--executor` and its flags mean.

A process that `torchrun` started is one of several that train each trial together.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro.cli.settings import setting
from repro.errors import MachineError

if TYPE_CHECKING:
    from repro.execute import Backend, Machine

F = TypeVar("F", bound=Callable[..., Any])


class SbatchOption(click.ParamType[tuple[str, str | int | bool]]):
    """`partition=gpu`, or `exclusive` for an option without a value; `time` becomes minutes."""

    name = "option"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | int | bool]:
        """Name and value; what the option means is sbatch's to say, but for the time."""
        if isinstance(value, tuple):
            return value
        name, equals, what = str(value).removeprefix("--").partition("=")
        if not re.fullmatch("[a-z][a-z-]*", name):
            self.fail(f"{value!r} is no option of sbatch; write partition=gpu", param, ctx)
        if name != "time":
            return name, what if equals else True
        if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", what):
            self.fail(f"{value!r} is no time; as for sbatch, write 90, 4:00:00 or 1-12", param, ctx)
        return name, _minutes(what)


def _minutes(time: str) -> int:
    """Of sbatch's forms: minutes[:seconds], hours:minutes:seconds, days-hours[:minutes[:..]]."""
    days, _, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:
        hours, minutes = [*parts, 0][:2]
    else:
        hours, minutes = parts[:2] if len(parts) == 3 else (0, parts[0])
    return max(1, 24 * 60 * int(days or 0) + 60 * hours + minutes)


def options_executor(command: F) -> F:
    for add in reversed(
        [
            setting(
                "--executor",
                type=click.Choice(["local", "ray", "slurm"]),
                default="local",
                show_default=True,
                help="Where trials run.",
            ),
            setting(
                "--address",
                help="Address of a Ray cluster; auto: of this node's. Default: start a new one.",
            ),
            setting(
                "--gpus-per-trial",
                type=click.FloatRange(0),
                help="Ray: share, such as 0.25. Default: by memory.",
            ),
            setting(
                "--slurm",
                type=SbatchOption(),
                multiple=True,
                metavar="OPTION[=VALUE]",
                help="Slurm: an option of sbatch, such as partition=gpu, gpus-per-node=1 or "
                "time=4:00:00 (default: jobs of 1 hour, resubmitted until done). May be repeated. "
                "here: try it out without Slurm.",
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
    slurm: dict[str, str | int | bool],
    by_command: bool,
) -> "Backend":
    """The back-end that the flags and the environment name; `workers` is None where nobody said.

    In all processes of `torchrun` but the first this does not return: they follow the first one.
    """
    flags_of: dict[str, dict[str, object]] = {
        "ray": {"--address": address, "--gpus-per-trial": gpus_per_trial},
        "slurm": {"--slurm": slurm},
    }
    for needed, flags in flags_of.items():
        if executor != needed and (idle := [flag for flag, value in flags.items() if value]):
            raise click.UsageError(f"{', '.join(idle)} needs --executor {needed}")
    together = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1
    if executor != "local" and together:
        raise click.UsageError(f"torchrun and --executor {executor} both start processes: use one")
    if by_command and together:
        raise click.UsageError(
            "torchrun trains each trial in several processes, and a claim's command is one: "
            "leave torchrun out"
        )
    if executor == "slurm":
        from repro.execute.backends.slurm import SlurmBackend

        here = bool(slurm.pop("here", False))
        return SlurmBackend(machine, options=slurm, workers=workers, here=here)
    if executor == "ray":
        from repro.execute.backends.ray import RayBackend

        return RayBackend(machine, address=address, gpus=gpus_per_trial, workers=workers)
    if together:
        return _torchrun_backend(machine)
    from repro.execute import Local

    return Local(machine)


def _own_card(device: str) -> str:
    """That of this process; MachineError where this machine has none for each that was started."""
    import torch

    cards, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > cards:
        raise MachineError(
            f"torchrun started {here} processes on this machine, which has {cards} GPUs: each "
            "process needs one of its own",
            hint=f"torchrun --nproc-per-node {cards} -m repro run ...",
        )
    if device != "cuda" and here > 1:
        raise MachineError(
            f"device {device!r} is one GPU, and torchrun started {here} processes here",
            hint="leave --device out: each process takes the GPU of its rank",
        )
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device


def _torchrun_backend(machine: "Machine") -> "Backend":
    from repro.execute.backends.torchrun import TorchrunBackend, follow, ignore_signals, join_group

    if machine.device.startswith("cuda"):
        machine = replace(machine, device=_own_card(machine.device))
    group = join_group()
    ignore_signals(group.ranks.rank)
    if group.ranks.rank == 0:
        return TorchrunBackend(machine, group)
    follow(machine, group)
    sys.exit(0)
