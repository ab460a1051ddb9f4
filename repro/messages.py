"""Terminal messages: lines to stderr, with control characters escaped."""

import os
import re
import sys
import tempfile
import unicodedata
import warnings
from collections.abc import Iterable
from textwrap import TextWrapper

from repro.errors import BugError, ClaimError, CommandError, ReproError, known_errors

# Control characters, which steer a terminal; format characters, which reorder or hide text; the
# separators of lines and paragraphs; halves of surrogate pairs, which cannot be encoded.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_NARROW = 40  # columns, below which a terminal breaks lines as well as we could


def printable(text: str) -> str:
    """The text with control characters escaped, except line ends and tabs."""
    return "".join(
        c
        if c in "\n\t" or unicodedata.category(c) not in _UNSAFE
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201 - the only place that prints


def say_warnings() -> None:
    """Print Python's warnings as messages, without file and source."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        say(f"warning: {message}")

    warnings.showwarning = show


def print_error(error: ReproError, *, more: int = 0) -> None:
    """Print an error and the next step; for a bug also the file with its traceback.

    `more`: how many other trials had the same error.
    """
    text = f"error[{error.code}]: {error}"
    say(_folded(text) if isinstance(error, ClaimError) else text)
    if more:
        say(f"the same error in {more} more trial{'s' * (more > 1)}")
    if isinstance(error, BugError):
        say(f"traceback: {_keep(error.traceback)}")
    say(f"next: {error.hint}")


def _folded(text: str) -> str:
    """Fold long lines between words on a terminal; in a file each problem is one line."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # no terminal
        return text
    if columns < _NARROW:
        return text
    fold = TextWrapper(
        columns, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(fold.fill(line) for line in text.split("\n"))


def print_errors(errors: Iterable[ReproError]) -> None:
    """Print each error once; errors that differ only in the trial are counted."""
    alike: dict[tuple[str, str], list[ReproError]] = {}
    for error in errors:
        cause = error.cause if isinstance(error, CommandError) else str(error)
        alike.setdefault((error.code, _TRIAL_ID.sub("", cause)), []).append(error)
    for first, *others in alike.values():
        print_error(first, more=len(others))


_TRIAL_ID = re.compile(r"\b[0-9a-f]{16}\b")


def _keep(traceback: str) -> str:
    """The file with the traceback; the traceback itself if no file can be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="repro-bug-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(traceback)
    except OSError:
        return f"\n{traceback}"
    return file.name


def explain_error(code: str) -> str:
    """The cause of an error, where to look, and the next step; ClaimError for an unknown code."""
    for error in known_errors():
        if error.code == code.upper():
            return (
                f"{error.code} {error.__name__}, exit code {error.exit_code}\n"
                f"cause: {' '.join((error.__doc__ or '').split())}\n"
                f"where: {error.where}\n"
                f"next:  {error.remedy}"
            )
    raise ClaimError(f"no error has the code {code!r}", hint="`repro explain` lists all codes")


def error_list() -> str:
    """A line for each code, with its cause."""
    return "\n".join(
        f"{error.code}  {(error.__doc__ or '').split('.')[0].split(chr(10))[0]}"
        for error in known_errors()
    )
