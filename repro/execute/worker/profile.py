"""Profile trials: a Chrome trace of a few windows, and a table of the clocks."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from repro.files import write_atomic
from repro.trial import Clocks, Result, Trial


@contextmanager
def trace_windows(
    folder: Path | None, trial: Trial, device: torch.device
) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each tenth of an epoch; trace the third and fourth.

    One trace for each shape of trial, since a trace takes tens of megabytes. Without a folder
    nothing is traced.
    """
    name = f"{trial.model.replace(':', '-')}-{hashlib.sha256(trial.shape.encode()).hexdigest()[:8]}"
    if folder is None or (folder / f"{name}.json").exists():
        yield lambda: None
        return
    folder.mkdir(parents=True, exist_ok=True)

    def write(profiler: profile) -> None:
        part = folder / f".{name}-{os.getpid()}.json"
        profiler.export_chrome_trace(str(part))
        part.replace(folder / f"{name}.json")

    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(
        activities=activities,
        schedule=schedule(wait=1, warmup=1, active=2, repeat=1),
        on_trace_ready=write,
    ) as profiler:
        yield profiler.step


def write_times(folder: Path, results: Sequence[Result]) -> str:
    """Write the clocks of the trials as a table to `times.md`; return the table."""
    lines = [
        "| trial | training | of it waiting for data | measuring | saving | other |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_line(result.trial_id, result.seconds) for result in results),
        _line("all", sum((result.seconds for result in results), Clocks())),
    ]
    text = "\n".join(lines)
    write_atomic(folder / "times.md", f"{text}\n")
    return text


def _line(name: str, seconds: Clocks) -> str:
    waiting = seconds.waiting / seconds.train if seconds.train else 0.0
    remaining = seconds.other - seconds.saving
    return (
        f"| {name} | {seconds.train:.2f} s | {100 * waiting:.1f} % | {seconds.evaluate:.2f} s | "
        f"{seconds.saving:.2f} s | {remaining:.2f} s |"
    )
