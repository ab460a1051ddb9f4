"""Options that describe the machine can be set in the environment, too: REPRO_ and their name.

An option of the command line comes first. Science never stands here: it stands in the claim file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Setting(click.Option):
    """An option that an environment variable, REPRO_ and its name, may set, too."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **{"show_envvar": True, **attributes})
        if self.envvar is None:
            self.envvar = f"REPRO_{self.key.upper().replace('-', '_')}"

    @property
    def key(self) -> str:
        return max(self.opts, key=len).removeprefix("--")


def setting(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """As click.option, for an option that describes the machine."""
    return click.option(*declarations, **{"cls": Setting, **attributes})


def expanded(path: str | Path) -> Path:
    """With the home folder in place of `~`, which a shell leaves alone in a variable."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise click.UsageError(f"{path}: no such home folder is known; write it out") from error


def user_folder(kind: Literal["cache", "config", "data"]) -> Path:
    """The user's own; that of a user without a home, as in a container, is in the working folder.

    Only absolute paths count: what cannot expand `~` leaves it.
    """
    import platformdirs

    try:
        path: Path = getattr(platformdirs, f"user_{kind}_path")("repro")
    except RuntimeError:
        path = Path("~")
    return path if path.is_absolute() else Path(".repro") / kind
