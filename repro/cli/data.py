"""Commands for data sets: fetch, prepare, status, verify."""

from pathlib import Path

import click

from repro.cli.command import command, group
from repro.cli.options import (
    FOLDER,
    cache_dir_for,
    data_dirs_for,
    echo,
    options_data,
)
from repro.cli.settings import setting


@group()
def data() -> None:
    """Find, download, decode and check the data sets."""


@command(
    examples="""
    repro data status
    repro data status --data-dir /data
    """
)
@options_data
def status(data_dir: Path | None, cache_dir: Path | None) -> None:
    """List the data sets: their folders, or that they are missing."""
    from repro.report.describe import describe_data

    echo(describe_data(data_dirs_for(data_dir), cache_dir_for(cache_dir)))


@command(
    examples="""
    repro data fetch cifar10
    repro data fetch tiny-imagenet --data-dir /data
    """
)
@click.argument("name")
@setting(
    "--data-dir",
    type=FOLDER,
    envvar="REPRO_DATA",
    help="Folder of data sets to download into.",
)
def fetch(name: str, data_dir: Path | None) -> None:
    """Download a data set and check its hash."""
    from repro.data import fetch as fetch_dataset

    folder = data_dirs_for(data_dir)[0]
    echo(fetch_dataset(name, folder))


@command(
    short_help="Decode a data set into the cache, once.",
    examples="""
    repro data prepare ilsvrc2012
    repro data prepare folder:birds@256 --data-dir /data
    """,
)
@click.argument("name")
@options_data
def prepare(name: str, data_dir: Path | None, cache_dir: Path | None) -> None:
    """Decode a data set into the cache; the same command continues after an interruption.

    NAME is a registered data set, folder:NAME, or folder:NAME@SIZE for images of various sizes.
    """
    from repro.data import prepare as prepare_dataset
    from repro.execute.monitor.console import decoding_bar

    with decoding_bar() as progress:
        status = prepare_dataset(
            name, data_dirs_for(data_dir), cache_dir_for(cache_dir), progress=progress
        )
    echo(status)


@command(
    examples="""
    repro data verify cifar10
    """
)
@click.argument("name")
@options_data
def verify(name: str, data_dir: Path | None, cache_dir: Path | None) -> None:
    """Check the decoded images against their hash.

    Files are checked by `sha256sum -c`; the original CIFAR-10 also whenever it is decoded.
    """
    from repro.data import verify as verify_dataset

    dataset = verify_dataset(name, data_dirs_for(data_dir), cache_dir_for(cache_dir))
    echo(f"{dataset.title}: images match their fingerprint {dataset.fingerprint}")


for inner in (status, fetch, prepare, verify):
    data.add_command(inner)
