"""The images: found, downloaded, decoded, checked."""

from pathlib import Path

import click

from repro.cli.options import FOLDER, cache_dir_for, data_dirs_for, options_data, told

__all__ = ["data"]


@click.group()
def data() -> None:
    """Find, download, decode and check the data sets."""


@data.command()
@options_data
@told
def status(data_dir: Path | None, cache_dir: Path | None) -> None:
    """What is where, and what is missing."""
    from repro.describe import describe_data

    click.echo(describe_data(data_dirs_for(data_dir), cache_dir_for(cache_dir)))


@data.command()
@click.argument("name")
@click.option(
    "--data-dir",
    type=FOLDER,
    envvar="REPRO_DATA",
    help="Folder of data sets to download into.",
)
@told
def fetch(name: str, data_dir: Path | None) -> None:
    """Download a data set and check it by its hash."""
    from repro.data import fetch as fetch_dataset

    click.echo(fetch_dataset(name, data_dirs_for(data_dir)[0]))


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
            name, data_dirs_for(data_dir), cache_dir_for(cache_dir), progress=progress
        )
    click.echo(prepared)


@data.command()
@click.argument("name")
@options_data
@told
def verify(name: str, data_dir: Path | None, cache_dir: Path | None) -> None:
    """Check files and decoded images against their hashes."""
    from repro.describe import describe_verification

    click.echo(describe_verification(name, data_dirs_for(data_dir), cache_dir_for(cache_dir)))
