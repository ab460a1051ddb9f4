"""Commands for the set-up: doctor, config, completion."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repro.cli.command import command
from repro.cli.options import (
    cache_dir_for,
    data_dirs_for,
    echo,
    option_claims,
    option_store,
    options_data,
    print_json,
)
from repro.cli.settings import config_files, effective, is_there
from repro.registry.shipped import claim_files, is_shipped

if TYPE_CHECKING:
    from repro.execute.monitor.progress import Overview

EXIT_BROKEN = 5


@command(hidden=True, short_help="What `repro` alone prints.", examples="repro")
@option_store
@option_claims
def here(store: Path, claims: Path | None) -> None:
    """Print what lies in the store, how many claims there are, and what could come next."""
    from repro.execute.monitor.progress import overview
    from repro.store import Store

    paths = claim_files(claims)
    shipped = sum(map(is_shipped, paths))
    state = overview(Store(store))
    runs = f"{state.finished} training runs finished, {state.unfinished} unfinished"
    echo(f"store   {store}: {runs}, {len(state.running)} running now")
    echo(f"claims  {len(paths) - shipped} of your own, {shipped} that come with repro: repro list")
    echo(f"next    {_next_step(state)}")
    echo("help    repro --help")


def _next_step(state: "Overview") -> str:
    if state.running:
        return "repro status --watch    # follow what runs"
    if state.faults or state.unfinished:
        return "repro status            # what was stopped, and what continues it"
    if state.finished:
        return "repro report            # the page of what was measured"
    return "repro run architecture  # an exact claim, decided in seconds"


@command(
    short_help="Check this machine: what works, and what can run here.",
    examples="""
    repro doctor                       # in a minute: what works, what is missing, what can run
    repro doctor --data-dir /data
    repro doctor --json
    """,
)
@option_store
@option_claims
@options_data
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(
    store: Path,
    claims: Path | None,
    data_dir: Path | None,
    cache_dir: Path | None,
    as_json: bool,
) -> None:
    """Check device, versions, data, disk and plug-ins, and list what can run here.

    Exit code 5 if something is broken, 0 if something is only missing: without a GPU or ImageNet
    you can still run claims that need neither.
    """
    from dataclasses import asdict

    from repro.claim import load
    from repro.cli.doctor import checks, possible, possible_lines
    from repro.errors import ClaimError

    dirs, cache = data_dirs_for(data_dir), cache_dir_for(cache_dir)
    paths = claim_files(claims)
    found = list(checks(paths, store, dirs, cache))
    valid = []
    for path in paths:
        try:
            valid.append(load(path))
        except ClaimError:
            continue  # among the checks already
    can = list(possible(valid, dirs, cache))
    if as_json:
        print_json({"checks": [asdict(c) for c in found], "claims": [asdict(p) for p in can]})
    else:
        for check in found:
            echo(f"{check.state:8} {check.name:18} {check.found}")
        echo("\n" + "\n".join(possible_lines(can)))
    sys.exit(EXIT_BROKEN if any(check.state == "broken" for check in found) else 0)


@command(
    "config",
    examples="""
    repro config          # every setting, its value, and where that comes from
    repro config --json
    """,
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def config(ctx: click.Context, as_json: bool) -> None:
    """Print every setting with its value, and the source of the value.

    The first of these counts: the command line; the environment variable; `repro.toml` in the
    working directory (or `[tool.repro]` in `pyproject.toml`); `config.toml` in your configuration
    folder; the default. A key is an option without its dashes; a table named after a command, such
    as `[run]`, applies only to that command. Settings describe the machine: the claim file defines
    the experiment.
    """
    root = ctx.find_root().command
    assert isinstance(root, click.Group)
    settings = effective(root)
    if as_json:
        print_json(
            [
                {
                    "command": one.command,
                    "key": one.key,
                    "environment": one.envvar,
                    "value": None if one.value is None else str(one.value),
                    "source": one.source,
                }
                for one in settings
            ]
        )
        return
    for path in config_files():
        echo(f"# {path}: {'read' if is_there(path) else 'not there'}")
    for key in dict.fromkeys(one.key for one in settings):
        mine = [one for one in settings if one.key == key]
        if len({(str(one.value), one.source) for one in mine}) == 1:
            echo(_line(key, mine[0].value, mine[0].source, mine[0].envvar))
            continue
        for one in mine:
            echo(_line(f"{one.command}.{key}", one.value, one.source, one.envvar))


def _line(name: str, value: object, source: str, envvar: str) -> str:
    text = "not set" if value is None else value
    return f"{name:18} {text!s:22} {source} ({envvar})"


SHELLS = ("bash", "zsh", "fish")


@command(
    short_help="Print a script for completion in a shell.",
    examples="""
    repro completion bash   # add to ~/.bashrc:  eval "$(repro completion bash)"
    repro completion zsh    # add to ~/.zshrc:   eval "$(repro completion zsh)"
    repro completion fish   # save as ~/.config/fish/completions/repro.fish
    """,
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell script that completes commands, options, claims, scales and arms."""
    from click.shell_completion import get_completion_class

    shell_class = get_completion_class(shell)
    assert shell_class is not None
    echo(shell_class(ctx.find_root().command, {}, "repro", "_REPRO_COMPLETE").source())
