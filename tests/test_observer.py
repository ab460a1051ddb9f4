"""Whoever looks on: told in turn, left in turn, and unable to end a run by a fault of a logger."""

from pathlib import Path
from typing import Self

import pytest

from repro.execute.monitor.loggers import open_logger
from repro.execute.monitor.observer import Event, Observer, Observers

EVENT = Event(trial_id="x", epoch=0.1, error=0.5, images_per_second=1.0, images=10)


class Noting(Observer):
    """Writes down when it is entered and left; may fail at either, or at an event."""

    def __init__(self, notes: list[str], *, fails: str = "") -> None:
        self.notes = notes
        self.fails = fails

    def _note(self, what: str) -> None:
        self.notes.append(what)
        if what == self.fails:
            raise OSError(f"no {what}")

    def __enter__(self) -> Self:
        self._note("enter")
        return self

    def __exit__(self, *ended_by: object) -> None:
        self._note(f"leave for {ended_by[1]}" if any(ended_by) else "leave")

    def event(self, event: Event) -> None:
        self._note(f"event {event.trial_id}")


def test_those_that_were_entered_are_left_when_a_later_one_fails() -> None:
    """A live table would otherwise keep the terminal."""
    first: list[str] = []
    with (
        pytest.raises(OSError, match="no enter"),
        Observers([Noting(first), Noting([], fails="enter")]),
    ):
        pass

    assert first == ["enter", "leave for no enter"]


def test_observers_know_what_ended_the_run() -> None:
    """As any context manager does."""
    notes: list[str] = []
    with pytest.raises(RuntimeError, match="full"), Observers([Noting(notes)]):
        raise RuntimeError("full")

    assert notes == ["enter", "leave for full"]


@pytest.mark.parametrize("fails", ["event x", "leave"])
def test_a_logger_that_fails_ends_itself_and_not_the_run(
    fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once; it is told no more."""
    notes: list[str] = []
    mine = {"mine": lambda _folder: Noting(notes, fails=fails)}
    monkeypatch.setattr("repro.execute.monitor.loggers.LOGGERS", mine)
    with open_logger("mine", Path("unused")) as logger:
        logger.event(EVENT)
        logger.event(EVENT)

    said = capsys.readouterr().err
    assert said.count(f"--log mine has stopped, the run goes on: OSError: no {fails}") == 1
    assert notes.count(fails) == notes.count("leave") == 1
