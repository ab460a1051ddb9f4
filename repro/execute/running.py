"""Run claims on a back-end.

Torch is imported only where it is needed: on a CPU each worker process imports it, and the main
process would only wait for the import.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from repro.claim import Claim, ExactClaim, TrainedClaim
from repro.errors import CommandError, ReproError, StatisticsError
from repro.execute import Backend, Machine, Outcome, run_cells
from repro.execute.monitor.console import ConsoleObserver
from repro.execute.monitor.observer import Observer, Observers
from repro.execute.monitor.progress import Pace, ProgressFiles
from repro.execute.prepare import Work, claims_with_scale, prepare
from repro.messages import print_error, print_errors, say
from repro.planning import Cell, merge_cells, most_epochs_left
from repro.registry import CHAINS
from repro.store import Store
from repro.trial import Result
from repro.verdict.judge import Judgement, default_scale, judge, next_trials

EXIT_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOutcome:
    """The result of `repro run`; faults come before verdicts in the exit code."""

    judged: list[Judgement]
    interrupted: bool
    faults: tuple[ReproError, ...]

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.faults:
            return max(fault.exit_code for fault in self.faults)
        return max((_exit_code(verdicts) for verdicts in self.judged), default=0)


def _exit_code(judged: Judgement) -> int:
    # A smoke run shows that the code works; it is never evidence.
    if judged.evidence is not None and judged.evidence.scale == "smoke":
        complete = all(r.missing == 0 for r in judged.evidence.recipes.values())
        return 0 if complete else 4
    return judged.deciding.exit_code


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
    """Run the missing trials of all claims, in the order of the claims, each trial once.

    A fault of one claim, such as missing images, does not stop the others. `command` continues a
    run that was stopped.
    """
    store = Store(machine.store)
    selected = claims_with_scale(claims, scale)
    for claim in selected:
        if isinstance(claim, ExactClaim):
            from repro.models.facts import compute

            store.keep_facts(claim.id, claim.digest(), compute(claim))
    trained_claims = [claim for claim in selected if isinstance(claim, TrainedClaim)]
    work, faults = prepare(trained_claims, scale, machine)
    work, refused = _check_nets(work, machine, store, max_seeds)
    outcome = _train(work, machine, backend, store, max_seeds, budget, loggers)
    judged = [judge(claim, scale or default_scale(claim), store) for claim in selected]
    unwritten = [fault for one in judged for fault in _unwritten_faults(one)]
    all_faults: list[ReproError] = [*faults, *refused, *outcome.failures.values(), *unwritten]
    for path in sorted(outcome.gave_up):
        say(f"{path}: three trials of its command failed in a row: the others were not begun")
    print_errors(all_faults)
    if outcome.interrupted or outcome.out_of_time:
        why = "interrupted" if outcome.interrupted else "budget used up"
        note = (
            "what was saved is kept"
            if outcome.worker_losses or outcome.failures
            else "all is saved"
        )
        say(f"{why}: {note}; to go on:\n  {command}")
    run_outcome = RunOutcome(
        judged=judged,
        interrupted=outcome.interrupted,
        faults=tuple(all_faults),
    )
    if machine.keep_weights:
        _report_missing_weights(run_outcome, store)
    unmeasured = [line for one in judged for line in _unmeasured_lines(one)]
    if unmeasured and run_outcome.exit_code == StatisticsError.exit_code:
        print_error(StatisticsError("\n  ".join(["no number yet:", *unmeasured]), hint=command))
    return run_outcome


def _check_nets(
    work: Sequence[Work], machine: Machine, store: Store, max_seeds: int | None
) -> tuple[list[Work], list[ReproError]]:
    """The work whose nets can be trained, and the faults of the other work.

    The claim file's checks cover the shipped nets; all other nets are built and tried here.
    """
    valid: list[Work] = []
    faults: list[ReproError] = []
    unbatched: list[str] = []
    for item in work:
        cells = _next_cells(item, store.results(), store, max_seeds)
        foreign = [cell for cell in cells if cell.trial.model not in CHAINS]
        if foreign or not all(cell.trial.batches for cell in cells):
            unbatched.append(item.claim.id)
        try:
            if foreign and item.dataset is not None:
                from repro.execute.worker.probe import check_nets

                check_nets(item.claim, item.scale, foreign, item.dataset, machine)
            valid.append(item)
        except ReproError as error:
            faults.append(error)
    if unbatched and (machine.population or 1) > 1:
        say(
            f"trained one by one, whatever --population says: trials of {', '.join(unbatched)}, "
            "whose net or recipe does not batch"
        )
    return valid, faults


def _next_cells(
    item: Work, results: Mapping[str, Result], store: Store, max_seeds: int | None
) -> list[Cell]:
    place = item.claim, item.scale, item.fingerprint
    return next_trials(*place, results, max_seeds=max_seeds, records=store)


def _report_missing_weights(outcome: RunOutcome, store: Store) -> None:
    trials = {
        name for judged in outcome.judged if judged.evidence for name in judged.evidence.trials
    }
    count = sum(not store.has_weights(name) for name in trials)
    if count:
        say(
            f"{count} trials were finished earlier without --keep-weights, and have no weights; "
            "to train them again, use another --store"
        )


def _unwritten_faults(judged: Judgement) -> Iterator[CommandError]:
    """That no more was trained, since the command does not write what the claim asks."""
    for recipe in judged.evidence.recipes.values() if judged.evidence else ():
        if recipe.unwritten and recipe.missing:
            yield CommandError(
                f"{judged.claim.id} at {judged.deciding.scale} scale: {recipe.unwritten}",
                hint=f"mend the program or {judged.claim.path} (`repro trust` it again), and run "
                "again, into another --store unless a hashed file of it changed; nothing more is "
                "trained before",
            )


def _unmeasured_lines(judged: Judgement) -> Iterator[str]:
    """The progress of a claim whose run has ended without an estimate."""
    if judged.evidence is None or judged.deciding.estimate is not None:
        return
    recipe = judged.evidence.recipes[judged.deciding.recipe]
    if recipe.missing:
        finished = recipe.planned - recipe.missing
        yield (
            f"{judged.claim.id} at {judged.deciding.scale} scale: {finished} of {recipe.planned} "
            "evaluation trials are finished"
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
    """Train all trials in one pool of workers: a pool for each claim would cost seconds each."""

    def plan() -> list[Cell]:
        results = store.results()
        return merge_cells(
            cell for item in work for cell in _next_cells(item, results, store, max_seeds)
        )

    def epochs_left() -> float:
        results = store.results()
        return sum(
            most_epochs_left(item.claim, item.scale, item.fingerprint, results, max_seeds=max_seeds)
            for item in work
        )

    if not plan():
        return Outcome()
    pace = Pace(epochs_left=epochs_left, workers=machine.workers)
    all_observers = [
        pace,
        ConsoleObserver(pace=pace),
        ProgressFiles(store=store, pace=pace),
        *loggers,
    ]
    with Observers(all_observers) as observers:
        return run_cells(plan, backend, observer=observers, seconds=budget)
