"""The evidence of a store, small enough to keep with the code."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from repro.audit.merge import copy_file, disagreement
from repro.errors import ContradictionError, NothingMeasuredError
from repro.files import write_atomic
from repro.registry import DATASETS
from repro.store import Store, checksums, facts_in
from repro.store.arrays import Array, pack

__all__ = ["export"]


def export(store: Store, out: Path) -> tuple[int, int]:
    """Copy what is evidence: plans, facts, and finished trials without checkpoints and nets.

    `out` is sealed: one file has the checksums of all others.

    Returns how many trials were copied, and how many were left, since `out` has them trained
    further. Images in pictures stay behind, unless they are of a data set that anyone may pass
    on. Raises NothingMeasuredError for a store with no results and no facts, and
    ContradictionError, before anything is written, where `out` has other numbers of a trial.
    """
    results = store.results()
    facts = store.fact_files()
    if not results and not facts:
        raise NothingMeasuredError(f"{store.root} holds no finished trial and no facts")
    target = Store(out)
    for each in (store, target):
        each.check()
    for trial_id in results:
        why = disagreement(target, store, trial_id)
        if why is not None:
            raise ContradictionError(
                f"{store.folder(trial_id)} contradicts {target.folder(trial_id)} ({why}): nothing "
                "was exported",
                hint="`repro merge` keeps both; an export into another folder has this one alone",
            )
    target.prepare()
    target.unseal()
    for path in store.plan_files():
        target.register(store.plan(path))
    for path in facts:
        facts_in(path)
        copy_file(path, out / "facts" / path.name)
    copied = 0
    for trial_id, result in results.items():
        there = target.result(trial_id)
        if there is None or there.epochs <= result.epochs:
            if there is not None and there.epochs < result.epochs:
                target.drop_weights(trial_id)  # the net of less training
            _copy(store, target, trial_id)
            copied += 1
    checksums.seal(out)
    return copied, len(results) - copied


def _copy(store: Store, target: Store, trial_id: str) -> None:
    """One trial, its result last."""
    trial = store.trial(trial_id)
    target.begin(trial)
    known = DATASETS.get(trial.data)
    shared = known is not None and known.shared
    for name in ("curve.csv", "arrays.npz", "result.json"):
        path, copy = (each.folder(trial_id) / name for each in (store, target))
        if shared or name != "arrays.npz":
            copy_file(path, copy)
        elif path.exists():
            write_atomic(copy, pack(_imageless(store.arrays(trial_id))))


def _imageless(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """All but (..., H, W, 3) uint8; other bytes, such as bits by image, have one dimension."""
    return {
        name: array
        for name, array in arrays.items()
        if not (array.dtype == np.uint8 and array.ndim > 2)
    }
