"""What the time of trials goes on: a Chrome trace of a few windows, and the clocks as a table."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from repro.files import write_atomic
from repro.trial import Clocks, Result, Trial

__all__ = ["keep_times", "traced"]


@contextmanager
def traced(folder: Path | None, trial: Trial, device: torch.device) -> Iterator[Callable[[], None]]:
    """Call what is given after each tenth of an epoch; the third and fourth are traced.

    One trace for each shape of trial, since a tenth of an epoch takes tens of megabytes. Without a
    folder nothing is done.
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


def keep_times(folder: Path, results: Sequence[Result]) -> str:
    """The clocks of the trials as a table, which is also written to `times.md` in the folder."""
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
    other = seconds.other - seconds.saving
    return (
        f"| {name} | {seconds.train:.2f} s | {100 * waiting:.1f} % | {seconds.evaluate:.2f} s | "
        f"{seconds.saving:.2f} s | {other:.2f} s |"
    )
