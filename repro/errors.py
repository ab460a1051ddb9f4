"""The exception tree: one class for each way in which things go wrong, by what is at fault.

ReproError
├── ClaimError                 E100  a claim file says what cannot be meant      exit 2
│   └── UntrustedError         E101  a claim file's command may not run yet
├── DataError                  E200  images are missing, unreadable or others    exit 5
├── MachineError               E300  the machine: run again, same seed           exit 5
│   ├── WriteError             E301  a file cannot be written
│   ├── OutOfMemoryError       E302  memory of the device or of the machine
│   ├── WorkerKilledError      E303  a worker process was killed
│   ├── SourcesMissingError    E304  the package's own sources are not those that run
│   ├── LockLostError          E305  another process took a trial over
│   └── CommandError           E306  the command that trains a trial failed
├── StatisticsError            E400  too little was measured to say anything     exit 4
├── IntegrityError             E500  the store contradicts itself                exit 5
│   ├── OtherFormatError       E501  a store of another version
│   └── ContradictionError     E502  what must agree does not
├── NothingMeasuredError       E600  there is nothing to say anything about      exit 4
└── BugError                   E900  what nobody foresaw                         exit 5

A trial that diverges or never crosses is an outcome, not an error: it is a row of results, and is
never run again with another seed. A docstring is the cause; `repro explain CODE` shows it with
where to look and what to do next.
"""

import errno
import os
from collections.abc import Iterator
from typing import ClassVar


class ReproError(Exception):
    """Something that the user can act on.

    `hint` is the next thing to do, often a command; where none is given, the class's `remedy`.
    """

    code: ClassVar[str]
    exit_code: ClassVar[int] = 5
    where: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or self.remedy

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send their errors home; the default would drop the hint.
        return (_rebuild, (type(self), str(self), self.__dict__))


class ClaimError(ReproError):
    """A claim file, or what was asked of it, says something that cannot be meant."""

    code = "E100"
    exit_code = 2
    where = "the file, line and column that the message names"
    remedy = "`repro validate FILE` shows all problems; `repro schema` prints what a file may hold"


class UntrustedError(ClaimError):
    """A claim file runs a command, and nobody has said yet that it may."""

    code = "E101"
    where = "`trainer` in the file that the message names"
    remedy = "read the command and what it runs, then `repro trust FILE`; `--trust` for one run"


class DataError(ReproError):
    """Images are missing, unreadable, or not the ones that they were."""

    code = "E200"
    where = "the folders that `repro data status` prints"
    remedy = "repro data status"


class MachineError(ReproError):
    """The machine failed, not the science: nothing became a result, and no seed is used up."""

    code = "E300"
    where = "the device, memory, disk or folder that the message names"
    remedy = (
        "run the same command again: it continues from the last checkpoint, with the same seeds"
    )


class WriteError(MachineError):
    """A file cannot be written: the disk is full, or the folder is read-only or another user's."""

    code = "E301"
    where = "the path that the message names; `df` shows free space, `ls -ld` who may write"
    remedy = "free some space or choose another folder, then run the same command again"


class OutOfMemoryError(MachineError):
    """Memory ran out while a trial was trained: on the device, or of the machine."""

    code = "E302"
    where = "`nvidia-smi` for a GPU, `free` for the machine: what else uses it?"
    remedy = "run again with fewer --workers; what was finished is kept"


class WorkerKilledError(MachineError):
    """A worker process was killed: by hand, by the system for memory, or by a cluster's limit."""

    code = "E303"
    where = "the system's log (`dmesg`, or the cluster's) says who killed it"
    remedy = (
        "the same command continues from the last checkpoint; if memory ran out, "
        "give fewer --workers"
    )


class SourcesMissingError(MachineError):
    """The sources, which say whose numbers a trial has, are missing or changed during the run."""

    code = "E304"
    where = "the folder of the package: `python -c 'import repro; print(repro.__path__)'`"
    remedy = "install the wheel or a checkout; compiled files (.pyc) alone are not enough"


class LockLostError(MachineError):
    """The lock of a trial was lost, removed or taken over by another process: this one let go."""

    code = "E305"
    where = "the store's file system: does it keep locks (flock) for all machines that write there?"
    remedy = (
        "nothing is lost, the other process goes on; give each machine a store of its own, "
        "and join them with `repro merge`"
    )


class CommandError(MachineError):
    """The command that trains a trial failed, said what makes no sense, or said nothing."""

    code = "E306"
    where = "the last lines that it wrote, in the message, which names the file with more of them"
    remedy = (
        "mend the program, its packages, or `trainer.command` in the claim file (`repro trust` it "
        "again), and run again: after a change of the command, of a file that it names or of an "
        "input its trials start anew, else the program finds its folder as it left it"
    )

    def __init__(self, message: str, *, hint: str = "", cause: str = "") -> None:
        """`cause`: what the errors of several trials may have in common."""
        super().__init__(message, hint=hint)
        self.cause = cause or message


class StatisticsError(ReproError):
    """Too little was measured to say anything."""

    code = "E400"
    exit_code = 4
    where = "the claim's seeds and budget; `repro plan FILE` shows what is left to run"
    remedy = "repro run FILE"


class IntegrityError(ReproError):
    """The store contradicts itself: a file was damaged, cut off, or changed by hand."""

    code = "E500"
    where = "the file that the message names"
    remedy = "`repro verify STORE` lists everything that is wrong with the store"


class OtherFormatError(IntegrityError):
    """The store was written by another version of repro, in a format that this one cannot read."""

    code = "E501"
    where = "store.json in the store's folder holds the format"
    remedy = "use another --store folder, or the version of repro that wrote it"


class ContradictionError(IntegrityError):
    """What must agree does not: results of one trial, a result and its curve, a file and a name."""

    code = "E502"
    where = "the files and folders that were listed; none was changed or removed"
    remedy = (
        "`repro diff A B` shows how they differ; remove what you do not trust and run the claim "
        "again: equal code on equal machines gives equal bits"
    )


class NothingMeasuredError(ReproError):
    """There is nothing to say anything about: an empty store, or one with other claims' trials."""

    code = "E600"
    exit_code = 4
    where = "the store's folder: is it the one that you mean?"
    remedy = "`repro run FILE` measures; --store names the folder"


class BugError(ReproError):
    """What nobody foresaw: a fault of repro itself, or of what it stands on."""

    code = "E900"
    where = "the file with the traceback, which the message names"
    remedy = (
        "run again with REPRO_DEBUG=1 to see the traceback at once, and report it; what was "
        "finished is kept"
    )

    def __init__(self, message: str, *, hint: str = "", traceback: str = "") -> None:
        super().__init__(message, hint=hint)
        self.traceback = traceback


def known_errors(base: type[ReproError] = ReproError) -> Iterator[type[ReproError]]:
    """Every class that has a code, by its code."""
    for each in sorted(base.__subclasses__(), key=lambda one: one.code):
        yield each
        yield from known_errors(each)


_UNWRITABLE = {errno.EDQUOT, errno.EFBIG, errno.ENOSPC, errno.EROFS}


def machine_fault(error: Exception, during: str = "") -> MachineError | None:
    """What the system says by an error that nobody caught: of a file, a process, or memory.

    None where it says nothing, as of most errors, or that a call makes no sense: a bug. `during`:
    what was done, such as `"in trial X: "`.
    """
    if isinstance(error, MemoryError):
        return OutOfMemoryError(f"{during}out of memory")
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return MachineError(
            f"{during}the system starts no more threads",
            hint="`ulimit -u` and `ulimit -v` show its limits; fewer --workers need fewer threads",
        )
    if not isinstance(error, OSError) or error.errno in {None, errno.EBADF, errno.EINVAL}:
        return None
    path = isinstance(error.filename, str | bytes) and f"{os.fsdecode(error.filename)}: "
    kind = WriteError if error.errno in _UNWRITABLE else MachineError
    return kind(f"{during}{path or ''}{error.strerror}")


def _rebuild(cls: type[ReproError], message: str, state: dict[str, object]) -> ReproError:
    error = cls(message)
    error.__dict__.update(state)
    return error
