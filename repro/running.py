"""Running claims on this machine, and saying beforehand what that will cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from repro.budget import Forecast, forecast
from repro.claim import Claim, ExactClaim, TrainedClaim
from repro.console import Watcher
from repro.data import Dataset
from repro.execute import Backend, Machine, Outcome, keep_times, run_cells
from repro.facts import compute
from repro.observer import Observer, Observers, TrainedCell
from repro.plan import Cell, merged, most_epochs_left
from repro.prepare import Work, having, open_images, prepare
from repro.session import Judged, default_scale, judge, judge_exact, next_trials
from repro.standing import Pace, StandingFiles
from repro.store import Store
from repro.talk import say, tell
from repro.text import duration
from repro.train import Population, Run, device_data
from repro.trial import WINDOWS, Result

__all__ = [
    "Machine",
    "RunOutcome",
    "describe_plan",
    "forecasts",
    "run_claims",
    "seconds_an_epoch",
]

EXIT_INTERRUPTED = 130
EXIT_FAULT = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOutcome:
    """What a run of the command came to; faults come before verdicts in the exit code."""

    judged: list[Judged]
    interrupted: bool
    failed: bool

    @property
    def exit_code(self) -> int:
        """As documented in `repro --help`."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.failed:
            return EXIT_FAULT
        return max((_exit_code(one) for one in self.judged), default=0)


def _exit_code(one: Judged) -> int:
    # Smoke shows that the machinery works and can never be evidence, for or against.
    if one.evidence is not None and one.evidence.scale == "smoke":
        complete = all(r.missing == 0 for r in one.evidence.recipes.values())
        return 0 if complete else 4
    return one.deciding.exit_code


def run_claims(
    claims: Sequence[Claim],
    *,
    scale: str | None,
    machine: Machine,
    backend: Backend,
    max_seeds: int | None,
    budget: float | None,
    loggers: Sequence[Observer] = (),
    command: str = "the same command",
) -> RunOutcome:
    """Run what is missing of all claims, the first one's trials first, each trial once.

    A fault in one, such as missing images, does not keep the others. `command` is what a person
    types to continue a run that was stopped.
    """
    store = Store(machine.store)
    chosen = having(claims, scale)
    for claim in chosen:
        if isinstance(claim, ExactClaim):
            store.keep_facts(claim.id, claim.digest(), compute(claim))
    trained = [claim for claim in chosen if isinstance(claim, TrainedClaim)]
    work, faults = prepare(trained, scale, store, machine.data_dirs, machine.cache_dir)
    outcome = _train(work, machine, backend, store, max_seeds, budget, loggers)
    for error in (*faults, *outcome.failures.values()):
        tell(error)
    if outcome.interrupted or outcome.out_of_time:
        why = "interrupted" if outcome.interrupted else "budget used up"
        say(f"{why}: all is saved; to go on:\n  {command}")
    return RunOutcome(
        judged=[
            judge_exact(claim, store)
            if isinstance(claim, ExactClaim)
            else judge(claim, scale or default_scale(claim), store)
            for claim in chosen
            if isinstance(claim, ExactClaim | TrainedClaim)
        ],
        interrupted=outcome.interrupted,
        failed=bool(faults or outcome.failures),
    )


def _train(
    work: Sequence[Work],
    machine: Machine,
    backend: Backend,
    store: Store,
    max_seeds: int | None,
    budget: float | None,
    loggers: Sequence[Observer],
) -> Outcome:
    """All trials in one pool of workers: starting one for each claim costs seconds every time."""

    def plan() -> list[Cell]:
        results = store.results()
        return merged(
            cell
            for one in work
            for cell in next_trials(
                one.claim, one.scale, one.fingerprint, results, max_seeds=max_seeds
            )
        )

    def epochs_left() -> float:
        results = store.results()
        return sum(
            most_epochs_left(one.claim, one.scale, one.fingerprint, results, max_seeds=max_seeds)
            for one in work
        )

    if not plan():
        return Outcome()
    finished: list[Result] = []

    def finish(cell: Cell, ended: TrainedCell) -> None:
        observers.finish(cell, ended)
        if ended.result is not None:
            finished.append(ended.result)

    pace = Pace(epochs_left=epochs_left, workers=machine.workers)
    watching = [pace, Watcher(pace=pace), StandingFiles(store=store, pace=pace), *loggers]
    with Observers(watching) as observers:
        outcome = run_cells(
            plan,
            backend,
            seconds=budget,
            on_ready=lambda where: say(f"training on {where}"),
            on_start=observers.start,
            on_event=observers.event,
            on_finish=finish,
            on_stop=observers.stop,
        )
    if machine.profile is not None:
        say(f"{keep_times(machine.profile, finished)}\ntraces: {machine.profile}")
    return outcome


def describe_plan(
    claim: Claim, scale: str | None, machine: Machine, *, max_seeds: int | None
) -> str:
    """The trials that can run now, with the time that each takes on this device at most."""
    if not isinstance(claim, TrainedClaim):
        return f"{claim.id}: nothing to train, a second at most"
    having([claim], scale)
    at = scale or default_scale(claim)
    dataset = open_images(claim, at, machine.data_dirs, machine.cache_dir)
    results = Store(machine.store).results()
    cells = next_trials(claim, at, dataset.fingerprint, results, max_seeds=max_seeds)
    if not cells:
        return f"{claim.id} at {at} scale: nothing left to run"
    epoch = seconds_an_epoch(cells[0], dataset, machine.device)
    lines = [f"{claim.id} at {at} scale on {dataset.title}: {len(cells)} trials can run now"]
    total = 0.0
    for cell in cells:
        known = results.get(cell.trial.id)
        seconds = (cell.until - (known.epochs if known else 0.0)) * epoch
        total += seconds
        lines.append(
            f"  {cell.recipe}/{cell.arm} {cell.purpose} rate {cell.trial.rate:g} "
            f"seed {cell.trial.seed} to epoch {cell.until:g}: at most {duration(seconds)}  "
            f"{cell.trial.id}"
        )
    epochs = most_epochs_left(claim, at, dataset.fingerprint, {}, max_seeds=max_seeds)
    everything = epochs * epoch / machine.workers
    lines.append(
        f"{duration(epoch)} an epoch on {machine.device}, {machine.workers} at a time: these take "
        f"at most {duration(total / machine.workers)}, the whole claim {duration(everything)}; "
        "less where arms cross the threshold early, or a look settles it"
    )
    return "\n".join(lines)


def forecasts(
    claims: Sequence[Claim], scale: str | None, machine: Machine, *, seconds: float
) -> list[Forecast]:
    """What each claim that needs training could come to in so much time, by what is in the store.

    No image is opened: the store's own plans say on which data set trials were run.
    """
    store = Store(machine.store)
    results = store.results()
    trained = [claim for claim in having(claims, scale) if isinstance(claim, TrainedClaim)]
    found = []
    for claim in trained:
        at = scale or default_scale(claim)
        plans = store.plans(claim.id, at)
        fingerprint = plans[-1].fingerprint if plans else None
        found.append(
            forecast(claim, at, fingerprint, results, workers=machine.workers, seconds=seconds)
        )
    return found


def seconds_an_epoch(cell: Cell, dataset: Dataset, device: str) -> float:
    """Time of one epoch of training, from one short window of the cell's own trial."""
    short = 20 * cell.trial.recipe.batch_size * WINDOWS
    trial = replace(cell.trial, images=min(short, len(dataset.train.labels)))
    run = Run(trial, device_data(trial, dataset, torch.device(device)), until=cell.until)
    population = Population([run])
    population.train_window()  # the first window pays for start-up
    before = run.progress.seconds.train
    population.train_window()
    window = run.progress.seconds.train - before
    epoch = len(dataset.train.labels[: cell.trial.images])
    return window * WINDOWS * epoch / run.images
