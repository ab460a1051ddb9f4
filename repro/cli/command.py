"""What every command has: examples under its help, `--no-color`, and errors in our words.

Knows nothing of claims.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import cleandoc
from itertools import chain
from typing import Any, TypeVar

import click

from repro.cli.streams import standard_streams
from repro.errors import BugError, MachineError, ReproError, machine_fault
from repro.messages import print_error, printable, say, say_warnings

F = TypeVar("F", bound=Callable[..., Any])


def _report_errors(act: F) -> F:
    """Turn the errors that a user can act on into two lines and an exit code."""

    @wraps(act)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return act(*args, **kwargs)
        except ReproError as error:
            fault = error
        except KeyboardInterrupt:
            say("interrupted: left at once; the same command continues")
            _leave(130)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if os.environ.get("REPRO_DEBUG"):
                raise
            fault = machine_fault(error) or BugError(
                f"{type(error).__name__}: {error}", traceback=traceback.format_exc()
            )
        print_error(fault)
        sys.exit(fault.exit_code)

    return run  # type: ignore[return-value]


def _check_working_folder() -> None:
    """Libraries ask for it when they are loaded, and one ends the process where it is gone."""
    try:
        os.getcwd()  # noqa: PTH109 - the question itself
    except OSError as error:
        raise MachineError(
            f"the working folder is gone or cannot be read: {error.strerror}",
            hint="cd into a folder that is there, and run the same command again",
        ) from error


@contextmanager
def _threads_watched() -> Iterator[None]:
    """One line, where a full disk or the like ends a thread of another package, as a logger's."""
    before = threading.excepthook

    def say_end(ended: threading.ExceptHookArgs) -> None:
        fault = isinstance(ended.exc_value, Exception) and machine_fault(ended.exc_value)
        if fault and not os.environ.get("REPRO_DEBUG"):
            say(f"a thread has ended early: {fault}")
        else:
            before(ended)

    threading.excepthook = say_end
    try:
        yield
    finally:
        threading.excepthook = before


def _leave(exit_code: int) -> None:
    """Exit, also where a thread still trains, for which the interpreter would wait."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if all(thread.daemon for thread in others):
        sys.exit(exit_code)
    sys.stdout.flush()
    os._exit(exit_code)


def _uncoloured(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        os.environ["NO_COLOR"] = "1"  # the one switch that every library and worker looks at


NO_COLOR = click.Option(
    ["--no-color"],
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_uncoloured,
    help="Plain text, as NO_COLOR in the environment does.",
)


class Command(click.Command):
    """A command whose help ends with examples; each is a line that can be run as it stands."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = cleandoc(examples).splitlines()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own, `--no-color`, and `--help` last."""
        *own, last = super().get_params(ctx)
        return [*own, NO_COLOR, last]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, then what else was to stand at the end."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n")
        super().format_epilog(ctx, formatter)


class Group(click.Group):
    """Commands by task. `tasks`: its commands by what they are for, in the order of the help."""

    def __init__(
        self, *args: Any, tasks: Mapping[str, Sequence[click.Command]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.tasks = tasks
        for command in chain.from_iterable((tasks or {}).values()):
            self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By task, where there are many."""
        if self.tasks is None:
            super().format_commands(ctx, formatter)
            return
        for task, commands in self.tasks.items():
            with formatter.section(task):
                formatter.write_dl(
                    [(str(command.name), command.get_short_help_str(100)) for command in commands]
                )

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own, `--no-color`, and `--help` last."""
        *own, last = super().get_params(ctx)
        return [*own, NO_COLOR, last]

    def main(self, *args: Any, **extra: Any) -> Any:
        """Whatever goes wrong is told, also of what click prints by itself."""
        say_warnings()
        with standard_streams(), _threads_watched():
            try:
                return _report_errors(super().main)(*args, **extra)
            finally:
                _report_errors(sys.stdout.flush)()

    @_report_errors
    def invoke(self, ctx: click.Context) -> Any:
        """A usage error may repeat what a file says, which is nothing that a terminal obeys."""
        _check_working_folder()
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            # click calls it final, and has no other place where all of them pass.
            error.message = printable(error.message)  # type: ignore[misc]
            raise

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Keeps the words of the command, to say how it is continued."""
        words = [info_name or "repro", *args]
        ctx = super().make_context(info_name, args, parent, **extra)
        if parent is None:
            ctx.meta["repro.words"] = words
        return ctx


def command(
    name: str | None = None, *, examples: str, **attributes: Any
) -> Callable[[Callable[..., Any]], Command]:
    """As click.command, with examples: lines that begin with `repro`, `#` before a remark."""
    return click.command(name, cls=Command, examples=examples, **attributes)


def group(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Group]:
    return click.group(name, cls=Group, **attributes)
