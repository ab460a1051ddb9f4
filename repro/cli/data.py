"""The images: found, downloaded, decoded, checked."""

from pathlib import Path

import click

from repro.cli.command import command, group
from repro.cli.options import (
    DATA,
    cache_dir_for,
    data_dirs_for,
    echo,
    options_data,
)
from repro.cli.settings import setting
from repro.files import Place

__all__ = ["data"]


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
def status(data_dir: Place | None, cache_dir: Path | None) -> None:
    """What is where, and what is missing."""
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
    type=DATA,
    envvar="REPRO_DATA",
    help="Folder of data sets to download into.",
)
def fetch(name: str, data_dir: Place | None) -> None:
    """Download a data set and check it by its hash."""
    from repro.data import fetch as fetch_dataset

    folder = data_dirs_for(data_dir)[0]
    if isinstance(folder, str):
        raise click.UsageError(f"{folder} is no folder: fetch into one, then `repro data pack`")
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
def prepare(name: str, data_dir: Place | None, cache_dir: Path | None) -> None:
    """Decode a data set into the cache, once; after a stop the same command continues.

    NAME is a registered data set, folder:NAME, or folder:NAME@SIZE for images of various sizes.
    """
    from repro.data import prepare as prepare_dataset
    from repro.execute.monitor.console import decoding_bar

    with decoding_bar() as progress:
        prepared = prepare_dataset(
            name, data_dirs_for(data_dir), cache_dir_for(cache_dir), progress=progress
        )
    echo(prepared)


@command(
    examples="""
    repro data pack ilsvrc2012 s3://lab/packs/ilsvrc2012
    repro data pack cifar10 /shared/packs/cifar10
    """
)
@click.argument("name")
@click.argument("place", type=DATA)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="In a file: as many as a block of the recipe's shuffle, or a part of it.",
)
@options_data
def pack(
    name: str, place: Place, images: int, data_dir: Place | None, cache_dir: Path | None
) -> None:
    """Write decoded images to PLACE, a folder or URL, as shards.

    Trials read these in a row. A folder of packs is a data folder: --data-dir s3://lab/packs.
    After a stop the same command continues.
    """
    from repro.data import open_dataset
    from repro.data.packing import write_pack
    from repro.execute.monitor.console import decoding_bar

    with decoding_bar() as progress:
        dataset = open_dataset(
            name, data_dirs_for(data_dir), cache_dir_for(cache_dir), progress=progress
        )
    with decoding_bar("packing") as progress:
        written = write_pack(dataset, str(place), each=images, progress=progress)
    echo(f"{dataset.title}: {written} files written to {place}; fingerprint {dataset.fingerprint}")


@command(
    examples="""
    repro data verify cifar10
    """
)
@click.argument("name")
@options_data
def verify(name: str, data_dir: Place | None, cache_dir: Path | None) -> None:
    """Check files and decoded images against their hashes."""
    from repro.report.describe import describe_verification

    echo(describe_verification(name, data_dirs_for(data_dir), cache_dir_for(cache_dir)))


for inner in (status, fetch, prepare, pack, verify):
    data.add_command(inner)
