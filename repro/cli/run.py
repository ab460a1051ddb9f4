"""Commands that run claims: run, plan, status."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repro.cli.command import command
from repro.cli.executors import backend_from, options_executor
from repro.cli.names import LogTarget
from repro.cli.options import (
    Duration,
    echo,
    load_claims,
    machine_from,
    option_store,
    options_run,
    print_json,
    sound_store,
)
from repro.cli.settings import setting, user_folder
from repro.cli.store import opened

if TYPE_CHECKING:
    from repro.claim import Claim
    from repro.execute import Machine
    from repro.verdict.judge import Judgement


@command(
    examples="""
    repro run architecture                           # no training: seconds
    repro run relu_speedup --scale smoke             # embedded data: does it work here?
    repro run relu_speedup --scale paper --budget 45m
    repro run claims/*.yaml --scale proxy            # all claims with this scale
    repro run lrn --device cuda:1 --store /data/runs --json
    repro run examples/own_script/label_smoothing.yaml --trust   # trained by a script of yours
    repro run claims/*.yaml --executor ray --address auto --gpus-per-trial 0.25
    repro run claims/*.yaml --executor slurm --slurm partition=gpu --slurm gpus-per-node=1
    """
)
@options_run
@options_executor
@setting("--budget", type=Duration(), help="Save and stop after this time, such as 45m.")
@setting(
    "--checkpoint-every",
    type=Duration(),
    default="30s",
    show_default=True,
    help="Time between checkpoints.",
)
@setting(
    "--log",
    "log",
    type=LogTarget(),
    multiple=True,
    metavar="NAME[:FOLDER]",
    help="Log curves for tensorboard or a plug-in; may be repeated. Default folder: logs/NAME.",
)
@setting(
    "--stall-after",
    type=Duration(),
    default="1h",
    show_default=True,
    help="Stop a claim's command after this time without a new metric.",
)
@click.option("--trust", is_flag=True, help="Trust the claim files' commands for this run.")
@setting(
    "--keep-weights", is_flag=True, help="Keep every trained net, as safetensors beside its trial."
)
@click.option("--json", "as_json", is_flag=True, help="Verdicts as JSON on stdout.")
def run(
    claims: tuple[Path, ...],
    scale: str | None,
    max_seeds: int | None,
    budget: float | None,
    checkpoint_every: float,
    log: tuple[tuple[str, Path], ...],
    stall_after: float,
    trust: bool,
    keep_weights: bool,
    as_json: bool,
    executor: str,
    address: str | None,
    gpus_per_trial: float | None,
    slurm: tuple[tuple[str, str | int | bool], ...],
    **flags: Any,
) -> None:
    """Run the missing trials of each claim, and print the verdicts.

    The same command continues an interrupted run: Ctrl-C saves each trial at its next tenth of an
    epoch and stops; a second Ctrl-C exits at once. On a terminal each running trial has a line;
    elsewhere plain lines begin with a keyword (start, train, done, saved). `repro status --watch`
    shows the progress in a second terminal.
    """
    from repro.execute.monitor.loggers import open_logger
    from repro.execute.running import run_claims
    from repro.execute.trust import commands_of, require_trust

    words = click.get_current_context().meta["repro.words"]
    loaded = load_claims(claims)
    if not trust:
        require_trust(loaded, user_folder("config"))
    machine = machine_from(
        **flags,
        checkpoint_seconds=checkpoint_every,
        stall_seconds=stall_after,
        keep_weights=keep_weights,
        elsewhere=executor != "local",
    )
    outcome = run_claims(
        loaded,
        scale=scale,
        machine=machine,
        backend=backend_from(
            machine,
            workers=flags["workers"],
            executor=executor,
            address=address,
            gpus_per_trial=gpus_per_trial,
            slurm=dict(slurm),
            by_command=any(map(commands_of, loaded)),
        ),
        max_seeds=max_seeds,
        budget=budget,
        loggers=[open_logger(name, folder) for name, folder in log],
        command=shlex.join(words),
    )
    sound_store(machine.store)
    _print_verdicts(outcome.judged, as_json=as_json)
    sys.exit(outcome.exit_code)


@command(
    short_help="Print the trials that come next, and what they cost.",
    examples="""
    repro plan relu_speedup --scale smoke
    repro plan lrn --scale paper --device cuda
    repro plan claims/*.yaml --scale proxy --budget 45m    # what so much time can decide
    repro plan claims/*.yaml --scale proxy --register      # after a change of the claim files
    """,
)
@options_run
@click.option("--budget", type=Duration(), help="Say what so much time can decide, such as 45m.")
@click.option("--json", "as_json", is_flag=True, help="With --budget: as JSON on stdout.")
@click.option("--register", is_flag=True, help="Write the plan down as it stands, and run nothing.")
def plan(
    claims: tuple[Path, ...],
    scale: str | None,
    max_seeds: int | None,
    budget: float | None,
    as_json: bool,
    register: bool,
    **flags: Any,
) -> None:
    """Print the next trials, and an estimate of their time on this device.

    Builds each arm's net and times a few training steps, so it also finds nets that cannot be
    trained.

    With --budget: which claims this time could decide, if each had all of it; by the training times
    and the scatter between seeds in the store. The claims with the highest probability per hour
    come first.
    """
    loaded = load_claims(claims)
    if register:
        from repro.execute.prepare import register_plans

        register_plans(loaded, scale, machine_from(**flags, elsewhere=True))
        return

    from repro.execute.plan_text import describe_plan
    from repro.execute.prepare import claims_with_scale

    machine = machine_from(**flags)
    if budget is not None:
        _print_forecasts(loaded, scale, machine, budget, as_json=as_json)
    elif as_json:
        raise click.UsageError("--json goes with --budget")
    else:
        for claim in claims_with_scale(loaded, scale):
            echo(describe_plan(claim, scale, machine, max_seeds=max_seeds))


def _print_forecasts(
    claims: "list[Claim]", scale: str | None, machine: "Machine", seconds: float, *, as_json: bool
) -> None:
    from dataclasses import asdict

    from repro.execute.budget import describe_forecast, forecasts

    lines = forecasts(claims, scale, machine, seconds=seconds)
    if as_json:
        print_json([asdict(one) for one in lines])
        return
    for one in lines:
        echo(describe_forecast(one, seconds))


@command(
    short_help="Show the progress of a run in another process, and what failed.",
    examples="""
    repro status                  # of runs/: running trials, their progress and speed
    repro status --watch          # until the run ends
    repro status --store /data/runs --json
    """,
)
@option_store
@click.option("--watch", is_flag=True, help="Update until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, once.")
def status(store: Path, watch: bool, as_json: bool) -> None:
    """Show the progress of a run in another process.

    Only reads files in the store; the run is not affected. A trial whose process was killed does
    not count as running. A failed trial is listed with its error until it starts again. A trial
    that diverged or never crossed has a result, and has not failed.
    """
    from dataclasses import asdict

    from repro.execute.monitor.console import overview_lines, watch_store
    from repro.execute.monitor.progress import overview
    from repro.store import Store

    facts = Store(store) if watch else opened(store)  # a run that is watched may begin later
    if as_json:
        print_json(asdict(overview(facts)))
    elif watch:
        watch_store(lambda: overview(facts))
    else:
        echo("\n".join(overview_lines(overview(facts))))


def _print_verdicts(judged: "list[Judgement]", *, as_json: bool) -> None:
    from repro.report.describe import describe_family, describe_verdict, verdict_fields
    from repro.verdict import family

    if as_json:
        print_json([verdict_fields(v) for one in judged for v in one.verdicts])
        return
    for one in judged:
        for verdict in one.verdicts:
            echo(describe_verdict(one.claim, verdict))
    together = describe_family(family(one.deciding for one in judged))
    if together:
        echo(together)
