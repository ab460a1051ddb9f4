"""The help of every command: what it does, what each option means, and examples that parse."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from repro.cli import main
from repro.cli.command import Command

ROOT = Path(__file__).parents[1]


def commands(
    command: click.Command = main, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by the words that call it."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*names, name))
    else:
        yield names, command


COMMANDS = dict(commands())


def words(example: str) -> list[str]:
    """As a shell would split it: no remark, no redirection, patterns expanded."""
    split = shlex.split(example, comments=True)
    split = split[: split.index(">")] if ">" in split else split
    found: list[str] = []
    for word in split:
        found += (
            sorted(str(p.relative_to(ROOT)) for p in ROOT.glob(word)) if "*" in word else [word]
        )
    return found


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples(names: tuple[str, ...]) -> None:
    """And every option of it says what it is for (a new command: see repro/cli/command.py)."""
    command = COMMANDS[names]
    done = CliRunner().invoke(main, [*names, "--help"])

    assert done.exit_code == 0
    assert command.help
    assert "\nExamples:\n  repro " in done.output
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_example_parses(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the claims and a script; each begins with the command that it is an example of."""
    (tmp_path / "train.py").touch()
    for name in ("claims", "examples", "reports"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    command = COMMANDS[names]
    assert isinstance(command, Command)
    for example in command.examples:
        prog, *given = words(example)
        assert (prog, *given[: len(names)]) == ("repro", *names)
        ctx = main.make_context("repro", given)
        for name in names:
            parent = ctx.command
            assert isinstance(parent, click.Group)
            _, inner, rest = parent.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
            assert inner is not None
            ctx = inner.make_context(name, rest, parent=ctx)


@pytest.mark.parametrize("names", [(), ("data",)], ids=" ".join)
def test_a_list_of_commands_says_of_each_what_it_does(names: tuple[str, ...]) -> None:
    """In whole sentences, each on its line of eighty letters."""
    listed = CliRunner().invoke(main, [*names, "--help"]).output.partition("--help")[2]

    assert listed.strip()
    assert "..." not in listed.partition("Exit codes")[0]


def test_a_command_that_is_misspelled_is_guessed() -> None:
    """As git does."""
    done = CliRunner().invoke(main, ["reprot"])

    assert done.exit_code == 2
    assert "No such command 'reprot'" in done.output
    assert "'report'" in done.output
