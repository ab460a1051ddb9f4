"""Stores of several machines joined into one: no trial is lost, none counted twice.

A trial in both with equal numbers becomes one; the one that was trained further is kept. Numbers
that disagree are never chosen between: the other store's trial lies below `apart/` and is told.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from repro.errors import IntegrityError, MachineError, NothingMeasuredError
from repro.files import write_atomic
from repro.store import WEIGHTS, PlanRecord, Store

__all__ = ["APART", "Merged", "merge"]

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

    Raises NothingMeasuredError when a source is empty, MachineError when a trial is being trained.
    """
    merged = Merged()
    for source in sources:
        names = sorted(path.name for path in source.root.glob("trials/*") if path.is_dir())
        facts = sorted(source.root.glob("facts/*.json"))
        if not names and not facts:
            raise NothingMeasuredError(f"{source.root} holds no trial and no facts")
        into.prepare()
        for path in source.plan_files():
            merged.plans += _plan(into, source.plan(path))
        for path in facts:
            _facts(into, path, merged)
        for name in names:
            try:
                _trial(into, source, name, merged)
            except IntegrityError as error:
                merged.apart.append(f"{error}: left where it is")
    return merged


def _plan(into: Store, record: PlanRecord) -> bool:
    """The earlier of two equal plans stands."""
    standing = into.register(record)
    if record.registered < standing.registered:
        write_atomic(into.plan_path(record), json.dumps(asdict(record), indent=1))
    return standing == record


def _facts(into: Store, path: Path, merged: Merged) -> None:
    place, content = into.root / "facts" / path.name, path.read_bytes()
    if not place.exists():
        write_atomic(place, content)
    elif place.read_bytes() != content:
        apart = into.root / APART / f"{path.stem}-{_short(content.decode())}.json"
        write_atomic(apart, content)
        merged.apart.append(f"{path} differs from {place}: kept apart in {apart}")


def _trial(into: Store, source: Store, name: str, merged: Merged) -> None:
    if not (source.folder(name) / "trial.json").exists():
        return  # killed before it began
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
        why = _disagreement(into, source, name)
        if why is None:
            further = _take_over(into, source, name)
            merged.further += further
            merged.same += not further
            return
        apart = into.root / APART / f"{name}-{_short(source.numbers(name))}"
        _copy(source.folder(name), apart, (*_FILES, *WEIGHTS))
        merged.apart.append(
            f"{source.folder(name)} contradicts {into.folder(name)} ({why}): kept apart in {apart}"
        )


def _disagreement(into: Store, source: Store, name: str) -> str | None:
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
    """Whatever the source has of more training; whether it had any."""
    mine, theirs = into.result(name), source.result(name)
    longer = len(source.curve(name)) > len(into.curve(name))
    wins = theirs is not None and (mine is None or theirs.epochs > mine.epochs)
    if longer:
        _copy(source.folder(name), into.folder(name), ("curve.csv", "checkpoint.pt"))
    if wins:
        into.drop_weights(name)
        _copy(source.folder(name), into.folder(name), ("arrays.npz", "result.json"))
    ended = into.result(name)
    if ended and theirs and ended.epochs == theirs.epochs and not into.weights(name):
        _copy(source.folder(name), into.folder(name), WEIGHTS)  # a net that only the source kept
    if ended is not None and ended.ended:
        (into.folder(name) / "checkpoint.pt").unlink(missing_ok=True)
    return longer or wins


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    """In the order of the names: the result, which says that all is there, comes last."""
    for name in names:
        path = source / name
        if path.is_file() and not path.is_symlink():
            write_atomic(target / name, path.read_bytes())


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
