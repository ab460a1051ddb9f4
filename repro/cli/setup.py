"""Commands about the machine and the store at hand: doctor, and `repro` alone."""

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

    from repro.claim import load_valid
    from repro.cli.doctor import checks, possible, possible_lines

    dirs, cache = data_dirs_for(data_dir), cache_dir_for(cache_dir)
    paths = claim_files(claims)
    check_list = list(checks(paths, store, dirs, cache))
    valid, _ = load_valid(paths)  # the others are among the checks
    can = list(possible(valid, dirs, cache))
    if as_json:
        print_json({"checks": [asdict(c) for c in check_list], "claims": [asdict(p) for p in can]})
    else:
        for check in check_list:
            echo(f"{check.state:8} {check.name:18} {check.text}")
        echo("\n" + "\n".join(possible_lines(can)))
    sys.exit(EXIT_BROKEN if any(check.state == "broken" for check in check_list) else 0)
