"""The command line. Results go to stdout, talk to stderr.

Every command imports what it needs when it runs, so that `repro --help` answers at once.
"""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro import __version__
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.claim import Claim
    from repro.execute import Machine
    from repro.session import Judged

__all__ = ["main"]

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES = """
\b
Exit codes:
  0    decided as claimed (at smoke scale: everything ran)
  2    usage or claim file
  3    not reproduced, or direction only
  4    inconclusive, or not run
  5    fault of data, machine or store
  130  interrupted; the same command continues
"""

BUDGET_UNITS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType[float]):
    """`90s`, `45m`, `2h`: seconds as a float."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds; a usage error says what is allowed."""
        if isinstance(value, float):
            return value
        number, unit = value[:-1], value[-1:]
        try:
            seconds = float(number) * BUDGET_UNITS[unit]
        except (KeyError, ValueError):
            self.fail(f"{value!r} is no duration; write 90s, 45m or 2h", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a positive duration", param, ctx)
        return seconds


def told(command: F) -> F:
    """Turn the errors that a user can act on into two lines and an exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except ReproError as error:
            click.echo(f"error[{error.code}]: {error}", err=True)
            if error.hint:
                click.echo(f"next: {error.hint}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted: left at once; the same command continues", err=True)
            sys.exit(130)

    return run  # type: ignore[return-value]


def option_store(command: F) -> F:
    return click.option(
        "--store",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        show_default=True,
        envvar="REPRO_STORE",
        help="Folder of results.",
    )(command)


def option_claims(command: F) -> F:
    return click.option(
        "--claims",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("claims"),
        show_default=True,
        help="Folder of claim files.",
    )(command)


def options_data(command: F) -> F:
    command = click.option(
        "--cache-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="REPRO_CACHE",
        help="Folder of decoded images.",
    )(command)
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="REPRO_DATA",
        help="Folder of data sets; looked into before the default folder.",
    )(command)


CLAIM = click.Path(path_type=Path, dir_okay=False)
SCALE = click.Choice(["paper", "proxy", "smoke"])


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="repro")
def main() -> None:
    """Decide, with statistics and on real hardware, which claims of the AlexNet paper hold.

    \b
    repro list                                         the claims
    repro run claims/relu_speedup.yaml --scale smoke   try the machinery, in a minute
    repro run claims/relu_speedup.yaml                 decide on real images
    repro report                                       HTML, Markdown, CSV and SVG
    """  # noqa: D301 - click wants the character itself


def options_run(command: F) -> F:
    """What `run` and `plan` share: the claims, and the machine."""
    for add in reversed(
        [
            click.argument("claims", nargs=-1, required=True, type=CLAIM),
            click.option("--scale", type=SCALE, help="Default: the claim's best evidence."),
            option_store,
            options_data,
            click.option(
                "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
            ),
            click.option(
                "--workers", type=click.IntRange(1), help="Trials at once. Default: by device."
            ),
            click.option(
                "--max-seeds",
                type=click.IntRange(1),
                help="Fewer confirming seeds than planned.",
            ),
        ]
    ):
        command = add(command)
    return command


@main.command()
@options_run
@click.option("--budget", type=Duration(), help="Save and stop after this time, such as 45m.")
@click.option("--checkpoint-every", type=Duration(), default="30s", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Verdicts as JSON on stdout.")
@told
def run(
    claims: tuple[Path, ...],
    scale: str | None,
    max_seeds: int | None,
    budget: float | None,
    checkpoint_every: float,
    as_json: bool,
    **machine: Any,
) -> None:
    """Run what is missing of each claim, and say what was found.

    The same command continues an interrupted run. One Ctrl-C saves and stops.
    """
    from repro.running import run_claims

    outcome = run_claims(
        _load(claims),
        scale=scale,
        machine=_machine(**machine, checkpoint_seconds=checkpoint_every),
        max_seeds=max_seeds,
        budget=budget,
    )
    _print_verdicts(outcome.judged, as_json=as_json)
    sys.exit(outcome.exit_code)


@main.command()
@options_run
@told
def plan(
    claims: tuple[Path, ...], scale: str | None, max_seeds: int | None, **machine: Any
) -> None:
    """Print the trials that come next, and what they cost on this device, measured briefly."""
    from repro.running import describe_plan

    for claim in _load(claims):
        click.echo(describe_plan(claim, scale, _machine(**machine), max_seeds=max_seeds))


@main.command()
@option_store
@option_claims
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("report"),
    show_default=True,
    help="Folder to write into.",
)
@told
def report(store: Path, claims: Path, out: Path) -> None:
    """Write what the store says as HTML, Markdown, CSV and SVG; also of a half-finished run."""
    from repro.report import write_report
    from repro.session import pages
    from repro.store import Store

    click.echo(write_report(pages(_load(_claims_in(claims)), Store(store)), out))


@main.command("list")
@option_claims
@click.option("--json", "as_json", is_flag=True)
@told
def list_(claims: Path, as_json: bool) -> None:
    """The claims, what the paper says, and the scales that each has."""
    loaded = _load(_claims_in(claims))
    if as_json:
        _print_json(
            [{"id": c.id, "kind": c.kind, "title": c.title, "scales": _scales(c)} for c in loaded]
        )
        return
    width = max(len(c.id) for c in loaded)
    for claim in loaded:
        click.echo(f"{claim.id:{width}}  {claim.title}  [{', '.join(_scales(claim))}]")


@main.command()
@click.argument("claim", type=CLAIM)
@click.option("--json", "as_json", is_flag=True)
@told
def show(claim: Path, as_json: bool) -> None:
    """One claim: what the paper states, what is compared, and how it is decided."""
    from repro.describe import describe_claim

    (loaded,) = _load((claim,))
    if as_json:
        _print_json(loaded.model_dump(mode="json"))
    else:
        click.echo(describe_claim(loaded))


@main.command()
@click.argument("claims", nargs=-1, required=True, type=CLAIM)
@told
def validate(claims: tuple[Path, ...]) -> None:
    """Check claim files; every problem of every file is printed."""
    for claim in _load(claims):
        click.echo(f"{claim.id}: valid")


@main.command()
@told
def schema() -> None:
    """The JSON Schema of claim files, for editors."""
    from repro.claim import json_schema

    _print_json(json_schema())


@main.command()
@option_store
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@told
def export(store: Path, out: Path) -> None:
    """Copy the evidence of a store, without checkpoints, small enough to keep with the code."""
    from repro.store import Store

    count = Store(store).export(out)
    click.echo(f"{count} trials to {out}")


@main.group()
def data() -> None:
    """Find, download, decode and check the data sets."""


@data.command()
@options_data
@told
def status(data_dir: Path | None, cache_dir: Path | None) -> None:
    """What is where, and what is missing."""
    from repro.describe import describe_data

    click.echo(describe_data(_data_dirs(data_dir), _cache_dir(cache_dir)))


@data.command()
@click.argument("name")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="REPRO_DATA",
    help="Folder of data sets to download into.",
)
@told
def fetch(name: str, data_dir: Path | None) -> None:
    """Download a data set and check it by its hash."""
    from repro.data import fetch as fetch_dataset

    click.echo(fetch_dataset(name, _data_dirs(data_dir)[0]))


@data.command()
@click.argument("name")
@options_data
@told
def prepare(name: str, data_dir: Path | None, cache_dir: Path | None) -> None:
    """Decode a data set into the cache, once; after a stop the same command continues.

    NAME is a registered data set, folder:NAME, or folder:NAME@SIZE for images of various sizes.
    """
    from repro.console import decoding_bar
    from repro.data import prepare as prepare_dataset

    with decoding_bar() as progress:
        prepared = prepare_dataset(
            name, _data_dirs(data_dir), _cache_dir(cache_dir), progress=progress
        )
    click.echo(prepared)


@data.command()
@click.argument("name")
@options_data
@told
def verify(name: str, data_dir: Path | None, cache_dir: Path | None) -> None:
    """Check files and decoded images against their hashes."""
    from repro.describe import describe_verification

    click.echo(describe_verification(name, _data_dirs(data_dir), _cache_dir(cache_dir)))


def _load(paths: "tuple[Path, ...] | list[Path]") -> "list[Claim]":
    from repro.claim import load_all

    return load_all(paths)


def _claims_in(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise click.UsageError(f"no claim files (*.yaml) in {folder}; give --claims")
    return paths


def _scales(claim: "Claim") -> list[str]:
    from repro.claim import TrainedClaim

    return list(claim.scales) if isinstance(claim, TrainedClaim) else ["no training"]


def _machine(
    *,
    store: Path,
    data_dir: Path | None,
    cache_dir: Path | None,
    device: str,
    workers: int | None,
    checkpoint_seconds: float = 30.0,
) -> "Machine":
    from repro.running import Machine, resolve_device, workers_for

    device = resolve_device(device)
    return Machine(
        device=device,
        workers=workers_for(device, workers),
        store=store,
        data_dirs=_data_dirs(data_dir),
        cache_dir=_cache_dir(cache_dir),
        checkpoint_seconds=checkpoint_seconds,
    )


def _data_dirs(asked: Path | None) -> tuple[Path, ...]:
    from platformdirs import user_data_path

    default = user_data_path("repro")
    return (asked, default) if asked else (default,)


def _cache_dir(asked: Path | None) -> Path:
    from platformdirs import user_cache_path

    return asked or user_cache_path("repro")


def _print_verdicts(judged: "list[Judged]", *, as_json: bool) -> None:
    from repro.describe import describe_verdict, verdict_fields

    if as_json:
        _print_json([verdict_fields(v) for one in judged for v in one.verdicts])
        return
    for one in judged:
        for verdict in one.verdicts:
            click.echo(describe_verdict(one.claim, verdict))


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2, sort_keys=False))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
