"""The exception tree: one class for each way in which things go wrong.

ReproError
├── ClaimError        a claim file says something that cannot be meant      exit 2
├── DataError         images are missing, unreadable or not what they were  exit 5
├── MachineError      memory, disk, device, lock: run again, same seed      exit 5
├── StatisticsError   too little was measured to say anything               exit 4
└── IntegrityError    the store contradicts itself                          exit 5

A trial that diverges or never crosses is an outcome, not an error: it is a row of results.
"""

from typing import ClassVar

__all__ = [
    "ClaimError",
    "DataError",
    "IntegrityError",
    "MachineError",
    "ReproError",
    "StatisticsError",
]


class ReproError(Exception):
    """Something that the user can act on: `hint` is the next thing to do, often a command."""

    code: ClassVar[str] = "E000"
    exit_code: ClassVar[int] = 5

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send their errors home; the default would drop the hint.
        return (_rebuild, (type(self), str(self), self.hint))


class ClaimError(ReproError):
    """A claim file says something that cannot be meant."""

    code = "E100"
    exit_code = 2


class DataError(ReproError):
    """Images are missing, unreadable, or not the ones that they were."""

    code = "E200"


class MachineError(ReproError):
    """The machine failed, not the science: the same command may be run again."""

    code = "E300"


class StatisticsError(ReproError):
    """Too little was measured to say anything."""

    code = "E400"
    exit_code = 4


class IntegrityError(ReproError):
    """The store contradicts itself or was written by another version."""

    code = "E500"


def _rebuild(cls: type[ReproError], message: str, hint: str) -> ReproError:
    return cls(message, hint=hint)
