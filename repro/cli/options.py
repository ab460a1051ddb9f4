"""What commands share: options, the words of durations, and how a result is printed.

Imports nothing heavy before a command runs, so that `repro --help` answers at once.
"""

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro.cli.names import ClaimPath, ClaimsFolder, ScaleName
from repro.cli.settings import expanded, setting, user_folder
from repro.messages import print_error, printable
from repro.registry.shipped import OWN, claim_files

if TYPE_CHECKING:
    from repro.claim import Claim
    from repro.errors import ClaimError
    from repro.execute import Machine
    from repro.store import Store

F = TypeVar("F", bound=Callable[..., Any])

BUDGET_UNITS = {"s": 1, "m": 60, "h": 3600}


class Folder(click.Path):
    """A folder, also below `~`."""

    def __init__(self, *, exists: bool = False) -> None:
        super().__init__(path_type=Path, file_okay=False, exists=exists)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(expanded(value), param, ctx)


class Duration(click.ParamType[float]):
    """`90s`, `45m`, `2h`: seconds as a float."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds; a usage error says what is allowed."""
        if isinstance(value, float):
            return value
        text = str(value)
        number, unit = text[:-1], text[-1:]
        try:
            seconds = float(number) * BUDGET_UNITS[unit]
        except (KeyError, ValueError):
            self.fail(f"{value!r} is no duration; write 90s, 45m or 2h", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a positive duration", param, ctx)
        return seconds


CLAIM = ClaimPath()
SCALE = ScaleName()
FOLDER = Folder()


def option_store(command: F) -> F:
    return setting(
        "--store",
        type=FOLDER,
        default=Path("runs"),
        show_default=True,
        help="Folder of results.",
    )(command)


def option_claims(command: F) -> F:
    """For a command that reads the whole folder."""
    return _option_claims("claims", "Folder of claim files.")(command)


def option_claims_dir(command: F) -> F:
    """For a command whose claims are named one by one."""
    text = "Folder in which claims are looked up by name."
    return _option_claims("claims_dir", text, expose_value=False)(command)


def _option_claims(name: str, text: str, **attributes: Any) -> Callable[[F], F]:
    return setting(
        "--claims",
        name,
        cls=ClaimsFolder,
        type=FOLDER,
        show_default="claims, then those that come with repro",
        help=text,
        **attributes,
    )


def options_data(command: F) -> F:
    command = setting(
        "--cache-dir",
        type=FOLDER,
        envvar="REPRO_CACHE",
        help="Folder of decoded images.",
    )(command)
    return setting(
        "--data-dir",
        type=FOLDER,
        envvar="REPRO_DATA",
        help="Folder of data sets; searched before the default folder.",
    )(command)


def options_run(command: F) -> F:
    """What `run` and `plan` share: the claims, and the machine."""
    for add in reversed(
        [
            click.argument("claims", nargs=-1, required=True, type=CLAIM),
            click.option("--scale", type=SCALE, help="Default: the largest of the claim file."),
            option_claims_dir,
            option_store,
            options_data,
            setting(
                "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
            ),
            setting(
                "--workers", type=click.IntRange(1), help="Parallel trials. Default: by device."
            ),
            setting(
                "--population",
                type=click.IntRange(1),
                help="Trials of equal shape trained together. Default: by device and memory.",
            ),
            click.option(
                "--max-seeds",
                type=click.IntRange(1),
                help="Stop after the last interim analysis that needs no more seeds than this.",
            ),
        ]
    ):
        command = add(command)
    return command


def load_claims(paths: "tuple[Path, ...] | list[Path]") -> "list[Claim]":
    from repro.claim import load_all

    return load_all(paths)


def sound_store(path: Path) -> "Store":
    """The store in the folder; IntegrityError where a file is not as its checksum says."""
    from repro.store import Store

    store = Store(path)
    store.check()
    return store


def claims_in(folder: Path | None) -> list[Path]:
    """The claim files of the folder that was given, or of all; a usage error without any."""
    paths = claim_files(folder)
    if not paths:
        raise click.UsageError(
            f"no claim files (*.yaml, *.yml) in {folder or OWN}; give --claims, or begin one by "
            "`repro new NAME`"
        )
    for one, other in pairwise(paths):
        if one.with_suffix("") == other.with_suffix(""):
            raise click.UsageError(f"{one} and {other} are of one name: move one of them away")
    return paths


def machine_from(
    *,
    store: Path,
    data_dir: Path | None,
    cache_dir: Path | None,
    device: str,
    workers: int | None,
    population: int | None = None,
    checkpoint_seconds: float = 30.0,
    stall_seconds: float = 3600.0,
    keep_weights: bool = False,
    elsewhere: bool = False,
) -> "Machine":
    """`elsewhere`: `--device auto` is what other machines have, and is found out there."""
    from repro.execute import Machine, resolve_device, workers_for

    device = device if elsewhere else resolve_device(device)
    return Machine(
        device=device,
        workers=workers_for(device, workers),
        store=store,
        data_dirs=data_dirs_for(data_dir),
        cache_dir=cache_dir_for(cache_dir),
        checkpoint_seconds=checkpoint_seconds,
        stall_seconds=stall_seconds,
        population=population,
        keep_weights=keep_weights,
    )


def data_dirs_for(folder: Path | None) -> tuple[Path, ...]:
    default = user_folder("data")
    return (folder, default) if folder else (default,)


def cache_dir_for(folder: Path | None) -> Path:
    return folder or user_folder("cache")


def echo(text: object) -> None:
    """A result to stdout, in letters that no terminal obeys, whoever wrote them."""
    print(printable(str(text)), flush=True)  # noqa: T201 - this is the place


def end_by_faults(faults: "Sequence[ClaimError]") -> None:
    """Once all else is done: the claim files that are not valid, and their exit code."""
    for fault in faults:
        print_error(fault)
    if faults:
        sys.exit(faults[0].exit_code)


def print_json(value: object) -> None:
    """The value as JSON, which knows neither NaN nor infinity: both are null."""
    import json

    from repro.trial.strict_json import finite

    echo(json.dumps(finite(value, lambda _odd: None), indent=2, allow_nan=False))
