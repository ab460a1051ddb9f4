"""The tool's commands, called in this process."""

from pathlib import Path

from click.testing import CliRunner, Result

from repro.cli import main


def repro(*arguments: str | Path) -> Result:
    """What a command of `repro` has printed, and its exit code."""
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(main, words, prog_name="repro")
