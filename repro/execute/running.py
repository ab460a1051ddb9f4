"""Running claims, by whatever back-end.

Torch is imported when it is first needed: on a CPU each worker is a process that imports it by
itself, and the one that starts them would only wait for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from repro.claim import Claim, ExactClaim, TrainedClaim
from repro.errors import ReproError, StatisticsError
from repro.execute import Backend, Machine, Outcome, run_cells
from repro.execute.monitor.console import Watcher
from repro.execute.monitor.observer import Observer, Observers
from repro.execute.monitor.progress import Pace, StandingFiles
from repro.execute.prepare import Work, having, prepare
from repro.plan import Cell, merged, most_epochs_left
from repro.registry import OWN_MODELS
from repro.store import Store
from repro.talk import say, tell, tell_all
from repro.verdict.session import Judged, default_scale, judge, judge_exact, next_trials

__all__ = [
    "RunOutcome",
    "run_claims",
]

EXIT_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOutcome:
    """What a run of the command came to; faults come before verdicts in the exit code."""

    judged: list[Judged]
    interrupted: bool
    faults: tuple[ReproError, ...]

    @property
    def exit_code(self) -> int:
        """As documented in `repro --help`."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.faults:
            return max(fault.exit_code for fault in self.faults)
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
            from repro.models.facts import compute

            store.keep_facts(claim.id, claim.digest(), compute(claim))
    trained = [claim for claim in chosen if isinstance(claim, TrainedClaim)]
    work, faults = prepare(trained, scale, store, machine.data_dirs, machine.cache_dir)
    work, refused = _checked(work, machine, store, max_seeds)
    outcome = _train(work, machine, backend, store, max_seeds, budget, loggers)
    told: list[ReproError] = [*faults, *refused, *outcome.failures.values()]
    tell_all(told)
    if outcome.interrupted or outcome.out_of_time:
        why = "interrupted" if outcome.interrupted else "budget used up"
        kept = "what was saved is kept" if outcome.lost or outcome.failures else "all is saved"
        say(f"{why}: {kept}; to go on:\n  {command}")
    found = RunOutcome(
        judged=[
            judge_exact(claim, store)
            if isinstance(claim, ExactClaim)
            else judge(claim, scale or default_scale(claim), store)
            for claim in chosen
            if isinstance(claim, ExactClaim | TrainedClaim)
        ],
        interrupted=outcome.interrupted,
        faults=tuple(told),
    )
    if machine.keep_weights:
        _tell_of_lost_nets(found, store)
    unmeasured = [line for one in found.judged for line in _unmeasured(one)]
    if unmeasured and found.exit_code == StatisticsError.exit_code:
        tell(StatisticsError("\n  ".join(["no number yet:", *unmeasured]), hint=command))
    return found


def _checked(
    work: Sequence[Work], machine: Machine, store: Store, max_seeds: int | None
) -> tuple[list[Work], list[ReproError]]:
    """The work whose nets can be trained, and what is wrong with the others.

    Our own nets take what the claim file was checked for; others want torch to be asked.
    """
    fit: list[Work] = []
    faults: list[ReproError] = []
    alone: list[str] = []
    for one in work:
        cells = next_trials(
            one.claim,
            one.scale,
            one.fingerprint,
            store.results(),
            max_seeds=max_seeds,
            records=store,
        )
        foreign = [cell for cell in cells if cell.trial.model not in OWN_MODELS]
        if foreign or not all(cell.trial.batches for cell in cells):
            alone.append(one.claim.id)
        try:
            if foreign and one.dataset is not None:
                from repro.execute.worker.probe import check_nets

                check_nets(one.claim, one.scale, foreign, one.dataset, machine)
            fit.append(one)
        except ReproError as error:
            faults.append(error)
    if alone and (machine.population or 1) > 1:
        say(
            f"trained one by one, whatever --population says: trials of {', '.join(alone)}, whose "
            "net or recipe does not batch"
        )
    return fit, faults


def _tell_of_lost_nets(found: RunOutcome, store: Store) -> None:
    trials = {name for one in found.judged if one.evidence for name in one.evidence.trials}
    lost = sum(not store.has_weights(name) for name in trials)
    if lost:
        say(
            f"{lost} trials had ended before, without --keep-weights: their nets are gone, and "
            "another --store trains them again"
        )


def _unmeasured(one: Judged) -> Iterator[str]:
    """Of a claim whose run has ended before there was a number."""
    if one.evidence is None or one.deciding.estimate is not None:
        return
    recipe = one.evidence.recipes[one.deciding.recipe]
    if recipe.missing:
        ran = recipe.planned - recipe.missing
        yield (
            f"{one.claim.id} at {one.deciding.scale} scale: {ran} of {recipe.planned} evaluation "
            "trials are finished"
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
                one.claim,
                one.scale,
                one.fingerprint,
                results,
                max_seeds=max_seeds,
                records=store,
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
    pace = Pace(epochs_left=epochs_left, workers=machine.workers)
    watching = [pace, Watcher(pace=pace), StandingFiles(store=store, pace=pace), *loggers]
    with Observers(watching) as observers:
        outcome = run_cells(plan, backend, observer=observers, seconds=budget)
    if machine.profile is not None:
        from repro.execute.worker.profile import keep_times

        say(f"{keep_times(machine.profile, outcome.results)}\ntraces: {machine.profile}")
    return outcome
