"""Stores of several machines joined into one: no trial is lost, none counted twice.

A trial in both with equal numbers becomes one; the one that was trained further is kept. Numbers
that disagree are never chosen between: the other store's trial lies below `apart/` and is told.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from repro.errors import IntegrityError, MachineError, NothingMeasuredError
from repro.files import write_atomic
from repro.store import WEIGHTS, PlanRecord, Store, facts_in

__all__ = ["APART", "Merged", "disagreement", "merge"]

APART = "apart"  # what contradicts the store, kept beside it

_FILES = ("trial.json", "arrays.npz", "curve.csv", "checkpoint.pt", "result.json")


@dataclass(kw_only=True, slots=True)
class Merged:
    """How many trials came in, were the same, or went further; and what could not be joined."""

    added: int = 0
    same: int = 0
    further: int = 0
    plans: int = 0
    apart: list[str] = field(default_factory=list)


def merge(into: Store, sources: Sequence[Store]) -> Merged:
    """Join `sources` into `into`; each file in one step, so that a cut leaves a store that works.

    Raises NothingMeasuredError when a source is empty, MachineError when a trial is being trained
    in one of them: both before anything is written.
    """
    for source in sources:
        _check(source)
    merged = Merged()
    for source in sources:
        into.prepare()
        for path in source.plan_files():
            with _leaving(merged):
                merged.plans += _plan(into, source.plan(path))
        for path in _fact_files(source):
            with _leaving(merged):
                _facts(into, path, merged)
        for name in _names(source):
            with _leaving(merged):
                _trial(into, source, name, merged)
        merged.apart += [
            f"{path}: kept apart in the source: left where it is"
            for path in sorted(source.root.glob(f"{APART}/*"))
        ]
    return merged


def _names(store: Store) -> list[str]:
    try:
        return sorted(path.name for path in (store.root / "trials").iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise IntegrityError(f"cannot read {store.root / 'trials'}: {error.strerror}") from error


def _fact_files(store: Store) -> list[Path]:
    return sorted(store.root.glob("facts/*.json"))


def _check(source: Store) -> None:
    if not _names(source) and not _fact_files(source):
        raise NothingMeasuredError(f"{source.root} holds no trial and no facts")
    for name in _names(source):
        if source.held(name):  # what is copied would be of several moments
            raise MachineError(f"trial {name} is being trained in {source.root} just now")


@contextmanager
def _leaving(merged: Merged) -> Iterator[None]:
    """What cannot be read is told and left where it is."""
    try:
        yield
    except (IntegrityError, PermissionError) as error:
        merged.apart.append(f"{error}: left where it is")


def _plan(into: Store, record: PlanRecord) -> bool:
    """The earlier of two equal plans stands; whether it is the source's."""
    new = not into.plan_path(record).exists()
    standing = into.register(record)
    if record.registered < standing.registered:
        write_atomic(into.plan_path(record), json.dumps(asdict(record), indent=1))
        return True
    return new


def _facts(into: Store, path: Path, merged: Merged) -> None:
    facts_in(path)  # readable, before anything is written
    place, content = into.root / "facts" / path.name, path.read_bytes()
    if not place.exists():
        write_atomic(place, content)
    elif place.read_bytes() != content:
        apart = into.root / APART / f"{path.stem}-{_short(content)}.json"
        write_atomic(apart, content)
        merged.apart.append(f"{path} differs from {place}: kept apart in {apart}")


def _trial(into: Store, source: Store, name: str, merged: Merged) -> None:
    if not (source.folder(name) / "trial.json").exists():
        return  # killed before it began
    if source.held(name):
        raise MachineError(f"trial {name} is being trained in {source.root} since a moment ago")
    source.trial(name)  # the folder's name is the trial's identity, or nothing is read of it
    with into.lock(name) as mine:
        if not mine:
            raise MachineError(f"trial {name} is being trained in {into.root} just now")
        if not (into.folder(name) / "trial.json").exists():
            source.numbers(name)  # readable, before anything is written
            _copy(source.folder(name), into.folder(name), (*_FILES, *WEIGHTS))
            merged.added += 1
            return
        into.trial(name)
        why = disagreement(into, source, name)
        if why is None:
            further = _take_over(into, source, name)
            merged.further += further
            merged.same += not further
            return
        apart = into.root / APART / f"{name}-{_short(source.numbers(name).encode())}"
        _copy(source.folder(name), apart, (*_FILES, *WEIGHTS))
        merged.apart.append(
            f"{source.folder(name)} contradicts {into.folder(name)} ({why}): kept apart in {apart}"
        )


def disagreement(into: Store, source: Store, name: str) -> str | None:
    """Where the two have different numbers of one moment; None when they agree."""
    one, two = _measured(into, name), _measured(source, name)
    for epoch, kind in one:
        if (epoch, kind) in two and one[epoch, kind] != two[epoch, kind]:
            return f"{kind} error at epoch {epoch:g}"
    mine, theirs = into.result(name), source.result(name)
    if mine and theirs and mine.epochs == theirs.epochs:
        ours, others = (json.loads(store.numbers(name)) for store in (into, source))
        for key in sorted(ours.keys() - {"curve"}):
            if repr(ours[key]) != repr(others[key]):  # NaN equals NaN
                return str(key)
    return None


def _measured(store: Store, name: str) -> dict[tuple[float, str], str]:
    rows = store.curve(name).itertuples(index=False, name=None)
    return {(row[0], row[1]): repr(row[2:5]) for row in rows}


def _take_over(into: Store, source: Store, name: str) -> bool:
    """Whatever the source has of more training; whether it had any.

    A curve goes with its result: another one, of more training, has not the test at that epoch.
    """
    mine, theirs = into.result(name), source.result(name)
    here, there = into.folder(name), source.folder(name)
    wins = theirs is not None and (mine is None or theirs.epochs > mine.epochs)
    ahead = (there / "checkpoint.pt").is_file() and _reach(source, name) > _reach(into, name)
    if ahead:
        _copy(there, here, ("checkpoint.pt",))
    if wins or (ahead and mine is None):
        _copy(there, here, ("curve.csv",))
    if wins:
        into.drop_weights(name)
        _copy(there, here, ("arrays.npz", "result.json"))
    ended = into.result(name)
    if ended and theirs and ended.epochs == theirs.epochs and not into.has_weights(name):
        _copy(there, here, WEIGHTS)  # a net that only the source kept
    if ended is not None and ended.ended:
        (here / "checkpoint.pt").unlink(missing_ok=True)
    return wins or ahead


def _reach(store: Store, name: str) -> float:
    """The last epoch of the curve; the tests of pauses make no longer training."""
    return max(store.curve(name)["epoch"], default=0.0)


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    """In the order of the names: the result, which says that all is there, comes last."""
    for name in names:
        path = source / name
        if path.is_file() and not path.is_symlink():
            write_atomic(target / name, path.read_bytes())


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
