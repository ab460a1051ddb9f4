"""Facts on disk: one folder a trial, every write in one step. Knows no statistics, no torch.

A store that was exported has the same files in one archive for each claim instead. What is written
into it lies in folders beside them; a trial that is begun again is unpacked first.

    STORE/
      store.json                     the format's version
      plans/CLAIM-SCALE-DIGEST.json  what was planned, written before the first trial
      facts/CLAIM-DIGEST.json        what needs no training, computed
      plans/NAME.sha256              the checksum of that plan; facts have one as well
      trials/ID/trial.json           what was to be trained
      trials/ID/lock                 held by the process that trains it
      trials/ID/checkpoint.pt        where training stands (gone once it can go no further)
      trials/ID/checkpoint.corrupt   one that could not be read, set aside
      trials/ID/curve.csv            what was measured on the way
      trials/ID/arrays.npz           what pictures need, where there is anything
      trials/ID/weights.safetensors  the trained net, where asked for; with it inputs.safetensors
                                     and weights.json
      trials/ID/program/             the folder of the command that trains it, where one does
      trials/ID/progress.json        how far it is, while a process trains it
      trials/ID/fault.json           what kept it from its end, until it is begun again
      trials/ID/result.json          what came out, written last but for the checksums
      trials/ID/SHA256SUMS           of a finished trial's files
      CLAIM.tar                      plans, facts and trials of a claim that was exported
      SHA256SUMS                     of all files of a store that was exported
      apart/                         what another store had otherwise (`repro merge`)

A trial without `result.json` is unfinished. NaN stays NaN.
"""

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import secrets
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Generic, TypeVar

from pydantic import ConfigDict, Field

from repro.claim import Scalar
from repro.errors import IntegrityError, LockLostError, OtherFormatError, WriteError
from repro.files import (
    File,
    Part,
    exists,
    open_handle,
    read_bytes,
    reason_of,
    write_atomic,
)
from repro.store import checksums
from repro.store.archive import TRIAL_FILES, Contents, contents
from repro.store.arrays import Array, pack, unpack
from repro.store.curves import curve_text, rows_in
from repro.trial import FactOutcome, Result, Row, Trial
from repro.trial.strict_json import STRICT, Amount, Moment, read_file, read_record

# Written by this version, and read by it: a new format keeps reading the old ones, of which
# tests/golden has a store each.
FORMAT = 1
ARCHIVED = 2  # as `repro export` writes it
READABLE = (FORMAT, ARCHIVED)

# A trained net; the last of them says that there is one.
WEIGHTS = ("weights.safetensors", "inputs.safetensors", "weights.json")

# What only the process writes that holds the trial.
_OF_TRAINING = (
    "checkpoint.pt", "curve.csv", "arrays.npz", "result.json", checksums.SUMS, *WEIGHTS
)  # fmt: skip

# What the registry has that a clock or a meter decides.
CLOCK_METRICS = {"days_for_90_epochs", "energy"}

MOST_BYTES = 1 << 34  # of a net, or of a checkpoint

# Kept in memory of what was read: about 32 MB each.
_MOST_ROWS = 1 << 17
_MOST_ARRAY_BYTES = 1 << 25
_MOST_CURVE_BYTES = 1 << 27  # compressed: those of some fifty thousand trials

_CURVE = "curve.csv"

_State = Part | tuple[int, ...]  # of a file: what changes when it does

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRecord:
    """What stood in the claim file before the first trial ran. `registered`: UTC, ISO 8601.

    `finished_before`: evaluation trials of this plan that were already there, run for another
    claim or under an earlier plan. `sha256`: of all else, which the store adds. Both are None in
    records of older versions.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    claim_id: str
    scale: str
    digest: str
    fingerprint: str
    data_title: str
    registered: Moment
    finished_before: Annotated[int, Field(ge=0)] | None = None
    sha256: str | None = dataclasses.field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """The square of `size` pixels that a net sees of an image."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    top: int
    left: int
    size: int
    mirrored: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NetRecord:
    """What builds a kept net, and which pixels it sees; nets of early versions have no `epochs`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    architecture: str
    arguments: Mapping[str, Scalar]
    crop: Crop | None
    image_side: int
    epochs: Amount | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Format:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    format: int


class Store:
    """The facts under one folder. Reading needs no lock; training a trial takes the trial's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[_State, Result]] = {}
        self._curves: dict[str, tuple[_State, bytes]] = {}
        self._curve_size = 0  # bytes
        self._rows: _Latest[tuple[Row, ...]] = _Latest(_MOST_ROWS)
        self._arrays: _Latest[dict[str, Array]] = _Latest(_MOST_ARRAY_BYTES)
        self._tokens: dict[str, bytes] = {}
        self._check_format()

    def _check_format(self) -> None:
        path = self.root / "store.json"
        if os.path.lexists(path):
            hint = f"remove {path} and run the claim again"
            version = read_record(_Format, path, "a store's format", hint=hint).format
            if version not in READABLE:
                read = ", ".join(map(str, READABLE))
                raise OtherFormatError(
                    f"{path}: store format {version!r}, this version reads {read}"
                )

    def prepare(self, version: int = FORMAT) -> None:
        """Write down the format, before anything else is written."""
        path = self.root / "store.json"
        if not path.exists():
            write_atomic(path, json.dumps({"format": version}))

    def is_covered(self, trial_id: str) -> bool:
        return checksums.is_sealed(self.root) or exists(self.file(trial_id, checksums.SUMS))

    def is_record_covered(self, file: File) -> bool:
        path = file.archive if isinstance(file, Part) else file
        return checksums.is_sealed(self.root) or checksums.beside(path).exists()

    def damaged_files(self) -> dict[Path, str]:
        """What is wrong with each file that is not as its checksum says."""
        return checksums.damage(self.root, self._digest)

    def _digest(self, file: File) -> str:
        if file.name != _CURVE:
            return checksums.file_digest(file)
        try:
            return checksums.sha256(self._read_curve(file))  # anew: it may have been changed
        except OSError as error:
            raise IntegrityError(f"cannot read {file}: {error.strerror}") from error

    def check(self) -> None:
        """IntegrityError when a file is not as its checksum says."""
        wrong = list(self.damaged_files().values())
        if wrong:
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise IntegrityError(
                f"{wrong[0]}{more}",
                hint=f"`repro verify {self.root}` lists all; copy the store anew, or remove the "
                "trials that are damaged and run their claims again",
            )

    @cached_property
    def archived(self) -> Contents:
        """What lies in archives, whether or not there is something newer in folders."""
        return contents(self.root)

    def folder(self, trial_id: str) -> Path:
        """Where the facts of one trial lie, unless they are in an archive."""
        return self.root / "trials" / trial_id

    def file(self, trial_id: str, name: str) -> File:
        """Where one of its files lies: in the folder once the trial was begun there."""
        folder = self.folder(trial_id)
        part = self.archived.trials.get(trial_id, {}).get(name)
        return folder / name if part is None or (folder / "trial.json").exists() else part

    def _record(self, path: Path) -> File:
        part = self.archived.records.get(f"{path.parent.name}/{path.name}")
        return path if part is None or path.exists() else part

    def _records(self, room: str) -> list[File]:
        files: dict[str, File] = {
            name: part
            for name, part in self.archived.records.items()
            if name.startswith(f"{room}/")
        }
        files |= {f"{room}/{path.name}": path for path in self.root.glob(f"{room}/*.json")}
        return [files[name] for name in sorted(files)]

    # Plans

    def register(self, record: PlanRecord) -> PlanRecord:
        """Keep what was planned, once; returns the record that stands (the first)."""
        self.prepare()
        path, summed = self._plan_path(record), replace(record, sha256=_plan_digest(record))
        if not exists(self._record(path)):
            self.keep_record(path, json.dumps(asdict(summed), indent=1), replacing=False)
        return self.plan(self._record(path))

    def plan(self, path: File) -> PlanRecord:
        """One plan's file; IntegrityError when its name is not that of what it holds."""
        record = read_record(PlanRecord, path, "a plan", hint=f"remove {path}")
        if path.name != _plan_name(record) or path.name.startswith("."):
            raise IntegrityError(
                f"{path}: holds the plan of {record.claim_id!r} at {record.scale!r} scale with "
                f"digest {record.digest!r}, which belongs into a file of another name"
            )
        if record.sha256 not in (None, _plan_digest(record)):
            raise IntegrityError(f"{path}: changed since it was written", hint=f"remove {path}")
        return record

    def plan_files(self) -> list[File]:
        """Where plans lie, sorted by their names."""
        return self._records("plans")

    def plans(self, claim_id: str, scale: str) -> list[PlanRecord]:
        """All that was ever registered for the claim at the scale, oldest first."""
        start = f"{claim_id}-{scale}-"
        records = [self.plan(file) for file in self.plan_files() if file.name.startswith(start)]
        return sorted(records, key=lambda r: (r.registered, r.digest))

    def plan_file(self, record: PlanRecord) -> File:
        """Where the plan lies, or would: what it is of stands in the name."""
        return self._record(self._plan_path(record))

    def _plan_path(self, record: PlanRecord) -> Path:
        return self.root / "plans" / _plan_name(record)

    def keep_record(self, path: Path, content: str | bytes, *, replacing: bool = True) -> None:
        """Write a plan or facts, and their checksum. `replacing`: what another process has written.

        A kill in between leaves no checksum, as in stores of earlier versions.
        """
        checksums.unseal(self.root)
        with os.fdopen(_take_lock(path.parent)):
            if replacing or not path.exists():
                checksums.drop_beside(path)
                write_atomic(path, content)
                checksums.write_beside(path)

    # Facts

    def keep_facts(self, claim_id: str, digest: str, facts: Sequence[FactOutcome]) -> None:
        self.prepare()
        path = self._facts_path(claim_id, digest)
        text = json.dumps([asdict(fact) for fact in facts], indent=1)
        file = self._record(path)
        if not exists(file) or read_file(file) != text:
            self.keep_record(path, text)

    def facts(self, claim_id: str, digest: str) -> list[FactOutcome]:
        """What was computed for the claim as it stands; empty when nothing was."""
        file = self._record(self._facts_path(claim_id, digest))
        return facts_in(file) if exists(file) else []

    def fact_files(self) -> list[File]:
        return self._records("facts")

    def _facts_path(self, claim_id: str, digest: str) -> Path:
        return self.root / "facts" / f"{claim_id}-{digest[:12]}.json"

    # Trials

    def ids(self) -> list[str]:
        """All trials that were ever begun, sorted."""
        return sorted({*self._having("trial.json"), *self.archived.trials})

    def names(self) -> list[str]:
        """All that lies where trials do, sorted: one may have been killed before it began."""
        return sorted(self._folders() | self.archived.trials.keys())

    def _folders(self) -> set[str]:
        folder = self.root / "trials"
        try:
            with os.scandir(folder) as entries:  # of thousands, whose kind it knows already
                return {entry.name for entry in entries if entry.is_dir()}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise IntegrityError(f"cannot read {folder}: {error.strerror}") from error

    def _having(self, name: str) -> Iterator[str]:
        root = f"{self.root}/trials"
        return (each for each in self._folders() if os.path.exists(f"{root}/{each}/{name}"))  # noqa: PTH110 - as for results

    def trial(self, trial_id: str) -> Trial:
        """What was to be trained; IntegrityError when the folder holds another trial's."""
        file = self.file(trial_id, "trial.json")
        trial = read_record(Trial, file, "a trial's description")
        if trial.id != trial_id:
            raise IntegrityError(
                f"{file}: describes trial {trial.id}, not {trial_id}",
                hint="remove what was changed and run the claim again",
            )
        return trial

    def results(self) -> dict[str, Result]:
        """Finished trials by identity; a file that has not changed is not read again.

        The driver asks after every trial, and there may be thousands.
        """
        results = {name: self.result(name) for name in self.names()}
        return {name: result for name, result in results.items() if result is not None}

    def result(self, trial_id: str) -> Result | None:
        """What one trial gave; None while it is unfinished."""
        path = f"{self.root}/trials/{trial_id}/result.json"
        state: _State
        try:
            state = _state(path)
        except (FileNotFoundError, NotADirectoryError):
            file = self.file(trial_id, "result.json")
            if isinstance(file, Path):
                return None
            state = file
        except OSError as error:
            raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
        cached = self._known.get(trial_id)
        if cached is not None and cached[0] == state:
            return cached[1]
        file = state if isinstance(state, Part) else Path(path)
        result = read_record(Result, file, "a trial's result")
        if result.trial_id != trial_id:
            raise IntegrityError(f"{file}: holds the result of trial {result.trial_id!r}")
        self._known[trial_id] = state, result
        return result

    def rows(self, trial_id: str) -> tuple[Row, ...]:
        """All measurements of one trial so far; empty when none.

        Of finished trials the latest are kept until their results change.
        """
        result = self.result(trial_id)
        rows = self._rows.get(trial_id, result)
        if rows is None:
            rows = self._read_rows(trial_id)
            self._rows.keep(trial_id, result, rows, size=len(rows))
        return rows

    def curve_csv(self, trial_id: str) -> str:
        """The same as a file has it, its columns CURVE_COLUMNS; empty when there is none."""
        path = self.file(trial_id, _CURVE)
        return read_file(path, self._curve_bytes) if self.rows(trial_id) else ""

    def _read_rows(self, trial_id: str) -> tuple[Row, ...]:
        path = self.file(trial_id, _CURVE)
        if not exists(path):
            return ()
        try:
            return rows_in(read_file(path, self._curve_bytes))
        except ValueError as error:
            raise IntegrityError(f"{path}: not a curve: {error}") from error

    def _curve_bytes(self, file: File) -> bytes:
        """What is in the file of a curve; the file is not read twice for it."""
        kept = self._curves.get(str(file))
        if kept is not None and kept[0] == (file if isinstance(file, Part) else _state(file)):
            return zlib.decompress(kept[1])
        return self._read_curve(file)

    def _read_curve(self, file: File) -> bytes:
        """From the file; kept compressed, as long as all of them take little memory."""
        state = file if isinstance(file, Part) else _state(file)
        content = read_bytes(file)
        before = self._curves.pop(str(file), None)
        compressed = zlib.compress(content, 1)
        self._curve_size += len(compressed) - (len(before[1]) if before else 0)
        if self._curve_size <= _MOST_CURVE_BYTES:
            self._curves[str(file)] = state, compressed
        else:
            self._curve_size -= len(compressed)
        return content

    def numbers(self, trial_id: str) -> str:
        """All that the trial's code and seed decide, as text: no clock, no machine.

        Equal texts are equal numbers, NaN included.
        """
        result = self.result(trial_id)
        fields = {} if result is None else json.loads(result.to_json())
        for clock in ("seconds", "provenance"):
            fields.pop(clock, None)
        fields["metrics"] = {
            name: value
            for name, value in fields.get("metrics", {}).items()
            if name not in CLOCK_METRICS
        }
        curve = self.rows(trial_id)
        if result is not None:  # one that is being trained further has a longer curve already
            curve = tuple(row for row in curve if row.epoch <= result.epochs + 1e-9)
        if self.trial(trial_id).threshold is not None and result is not None:
            # Such a trial is tested where it pauses, and a pause decides no number.
            curve = tuple(r for r in curve if r.source != "test" or r.epoch >= result.epochs)
        without_clock = [row[:-1] for row in curve]
        return json.dumps({**fields, "curve": without_clock}, sort_keys=True, indent=1)

    def arrays(self, trial_id: str) -> dict[str, Array]:
        """What pictures of one trial need; empty when there is nothing. Kept as `rows` are."""
        result = self.result(trial_id)
        arrays = self._arrays.get(trial_id, result)
        if arrays is None:
            arrays = self._unpacked(trial_id)
            size = sum(array.nbytes for array in arrays.values())
            self._arrays.keep(trial_id, result, arrays, size=size)
        return arrays

    def _unpacked(self, trial_id: str) -> dict[str, Array]:
        path = self.file(trial_id, "arrays.npz")
        if not exists(path):
            return {}
        try:
            return unpack(read_bytes(path))
        except (OSError, ValueError) as error:
            raise IntegrityError(
                f"cannot read {path}: {reason_of(error)}",
                hint=f"remove {path}: pictures need it, numbers not",
            ) from error

    def begin(self, trial: Trial) -> None:
        """Write what is to be trained, before it is; its files are about to change."""
        self.prepare()
        checksums.unseal(self.root)
        path = self.folder(trial.id) / "trial.json"
        if not path.exists():
            self._unpack(trial.id)
        checksums.drop(self.folder(trial.id))
        if not path.exists():
            write_atomic(path, trial.to_json())

    def _unpack(self, trial_id: str) -> None:
        """What an archive has of the trial, into its folder; that it was begun there comes last.

        Without its checksums, which would not hold of the half that a kill may leave.
        """
        parts = self.archived.trials.get(trial_id, {})
        for name in TRIAL_FILES:
            if name in parts and name != checksums.SUMS:
                write_atomic(self.folder(trial_id) / name, read_bytes(parts[name]))

    def save(self, trial_id: str, *, checkpoint: bytes, curve: Sequence[Row]) -> None:
        """Write how far training has come. The checkpoint alone decides where it goes on."""
        self._check_lock(trial_id)
        path = self.folder(trial_id) / "checkpoint.pt"
        write_atomic(path, _checkpoint_head(checkpoint), checkpoint)
        result = self.result(trial_id)
        # Begun anew, for want of a checkpoint, a trial leaves the curve of its result alone until
        # it has come as far.
        if result is None or (curve and curve[-1][0] >= result.epochs):
            write_atomic(self.folder(trial_id) / "curve.csv", curve_text(curve))

    def finish(self, result: Result, arrays: Mapping[str, Array] | None = None) -> None:
        """Write what came out; the checkpoint goes when the trial can be trained no further."""
        self._check_lock(result.trial_id)
        folder = self.folder(result.trial_id)
        if arrays:
            write_atomic(folder / "arrays.npz", pack(arrays))
        write_atomic(folder / "result.json", result.to_json())
        checksums.write(folder)
        if result.ended:
            (folder / "checkpoint.pt").unlink(missing_ok=True)

    # Trained nets

    def keep_weights(self, trial_id: str, files: Mapping[str, bytes]) -> None:
        """Write a trained net, the last file last: it alone says that there is one."""
        self.drop_weights(trial_id)
        for name in WEIGHTS:
            write_atomic(self.folder(trial_id) / name, files[name])

    def drop_weights(self, trial_id: str) -> None:
        """Remove what was kept of a net that was trained further since."""
        self._check_lock(trial_id)
        for name in reversed(WEIGHTS):
            (self.folder(trial_id) / name).unlink(missing_ok=True)

    def has_weights(self, trial_id: str) -> bool:
        """Whether a trained net was kept; none of it is read."""
        return (self.folder(trial_id) / WEIGHTS[-1]).exists()

    def weights(self, trial_id: str) -> dict[str, bytes]:
        """What `keep_weights` got; empty when there is none.

        IntegrityError when it is damaged, or of another moment than the trial's result.
        """
        from safetensors import SafetensorError, safe_open

        folder, result = self.folder(trial_id), self.result(trial_id)
        if not self.has_weights(trial_id):
            return {}
        epochs = self.net(trial_id).epochs
        if result is not None and epochs not in (None, result.epochs):
            raise IntegrityError(
                f"{folder}: the net was kept after {epochs} epochs, the result is of "
                f"{result.epochs:g}",
                hint="run its claim again with --keep-weights",
            )
        try:
            files = {name: read_bytes(folder / name, most=MOST_BYTES) for name in WEIGHTS}
            for name in WEIGHTS[:-1]:
                with safe_open(folder / name, framework="np"):
                    pass  # its header and its length agree
        except (OSError, SafetensorError) as error:
            raise IntegrityError(
                f"cannot read the net of {folder}: {error}",
                hint="run its claim with --keep-weights into another --store",
            ) from error
        return files

    def net(self, trial_id: str) -> NetRecord:
        path = self.folder(trial_id) / WEIGHTS[-1]
        return read_record(NetRecord, path, "the description of a net")

    # What is said of a trial while it runs (`progress.json`), or that has failed (`fault.json`)

    def keep_report(self, trial_id: str, name: str, text: str) -> None:
        write_atomic(self.folder(trial_id) / name, text)

    def forget_report(self, trial_id: str, name: str) -> None:
        (self.folder(trial_id) / name).unlink(missing_ok=True)

    def reports(self, name: str) -> list[Path]:
        """Every one of that name, also of processes that were killed since."""
        return sorted(self.folder(trial_id) / name for trial_id in self._having(name))

    def finished(self) -> set[str]:
        """Identities of the trials that have a result; none of them is read."""
        return {*self._having("result.json")} | {
            name for name, parts in self.archived.trials.items() if "result.json" in parts
        }

    def held(self, trial_id: str) -> bool:
        """Whether a process trains the trial now."""
        path = self.folder(trial_id) / "lock"
        try:
            handle = open_handle(path, os.O_RDONLY)
        except (FileNotFoundError, PermissionError):
            return False
        except OSError as error:
            raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
        with os.fdopen(handle):
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def checkpoint(self, trial_id: str) -> bytes | None:
        """Where training stands, as `save` got it; None when there is none.

        IntegrityError when it is not the bytes of which it has the checksum. OSError where the
        machine cannot read it now, which says nothing against it.
        """
        path = self.folder(trial_id) / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            content = read_bytes(path, most=MOST_BYTES)
        except OSError as error:
            if error.errno not in {0, errno.ENXIO}:  # else no regular file; ENXIO: a socket
                raise
            raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
        head, state = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
        if head != _checkpoint_head(state):
            raise IntegrityError("its bytes are not those of its checksum")
        return state

    def set_aside(self, trial_id: str) -> Path:
        """Move a checkpoint that cannot be read out of the way; returns where it lies now."""
        path = self.folder(trial_id) / "checkpoint.pt"
        aside = path.with_suffix(".corrupt")
        path.replace(aside)
        return aside

    @contextmanager
    def lock(self, trial_id: str) -> Iterator[bool]:
        """Hold the trial against other processes; False when another one holds it.

        The kernel lets go of the lock when its process dies, however it dies. Where the file system
        forgets locks, the last who took it goes on: its token in the file keeps the others from
        writing (a fencing token), so that curve and result of a trial are of one process.
        """
        folder = self.folder(trial_id)
        token = secrets.token_hex(8).encode()
        with ExitStack() as held:
            try:
                handle = _take_lock(folder, fcntl.LOCK_NB, token)
            except BlockingIOError:
                yield False
                return
            held.callback(os.close, handle)
            self._tokens[trial_id] = token
            held.callback(self._tokens.pop, trial_id)
            for name in _OF_TRAINING:
                for remnant in folder.glob(f".{name}.*"):  # of a write that was cut off
                    remnant.unlink(missing_ok=True)
            yield True

    def _check_lock(self, trial_id: str) -> None:
        """LockLostError when another process has locked the trial since this one did."""
        token = self._tokens.get(trial_id)  # None where it was not locked here
        path = self.folder(trial_id) / "lock"
        if token is not None and not (path.exists() and read_bytes(path) == token):
            if not path.exists():
                raise LockLostError(
                    f"{path} was removed while trial {trial_id} was trained",
                    hint="what removed it? Run the same command again: trials whose folders are "
                    "gone begin anew",
                )
            raise LockLostError(
                f"another process trains trial {trial_id}: the lock {path} was lost"
            )


def _take_lock(folder: Path, flags: int = 0, token: bytes = b"") -> int:
    """The lock of a folder as an open file, with the token in it.

    Waits for another process that has it, or raises BlockingIOError with `fcntl.LOCK_NB`.
    """
    path = folder / "lock"
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = open_handle(path, os.O_RDWR | os.O_CREAT)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | flags)
            os.pwrite(handle, token, 0)
        except BlockingIOError:
            raise
        except OSError as error:
            raise WriteError(
                f"cannot lock {path}: {error.strerror}",
                hint="choose a folder that can be written with --store",
            ) from error
        held.pop_all()
    return handle


def _plan_name(record: PlanRecord) -> str:
    """With the data's fingerprint: the same claim on other images is another plan."""
    return f"{record.claim_id}-{record.scale}-{record.digest[:12]}-{record.fingerprint}.json"


def _plan_digest(record: PlanRecord) -> str:
    fields = asdict(replace(record, sha256=None))
    return checksums.sha256(json.dumps(fields, sort_keys=True))


def facts_in(path: File) -> list[FactOutcome]:
    """What one file of facts holds; IntegrityError when it holds none."""
    return read_record(list[FactOutcome], path, "a list of facts", hint=f"remove {path}, run again")


def _state(path: Path | str) -> tuple[int, ...]:
    """Another one once the file was replaced."""
    about = os.stat(path)  # noqa: PTH116 - of thousands: a Path takes longer than the file
    return about.st_ino, about.st_mtime_ns, about.st_size


_HEAD_BYTES = len("sha256 \n") + 64


def _checkpoint_head(state: bytes) -> bytes:
    """The line before the bytes of a checkpoint."""
    return f"sha256 {hashlib.sha256(state).hexdigest()}\n".encode()


class _Latest(Generic[T]):
    """What was read of finished trials, the latest first, of at most so much in all.

    A store may have many times what fits into memory.
    """

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self._kept: OrderedDict[str, tuple[Result, T, int]] = OrderedDict()

    def get(self, trial_id: str, result: Result | None) -> T | None:
        """What was kept with that very result; None otherwise."""
        kept = self._kept.get(trial_id)
        if kept is None or kept[0] is not result:
            return None
        self._kept.move_to_end(trial_id)
        return kept[1]

    def keep(self, trial_id: str, result: Result | None, value: T, *, size: int) -> None:
        """In place of what was kept of the trial, and of the oldest, if it takes too much."""
        if trial_id in self._kept:
            self.size -= self._kept.pop(trial_id)[2]
        if result is not None:
            self._kept[trial_id] = result, value, size
            self.size += size
        while self.size > self.most:
            self.size -= self._kept.popitem(last=False)[1][2]
