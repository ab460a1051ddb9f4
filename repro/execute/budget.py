"""Forecast what a time budget can decide, from the time per epoch and the scatter over seeds.

Both come from the trials in the store. Without trials the scatter is the one that the claim file
expects, and the time is that of a few steps here. Without a scatter there is no forecast.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from repro.claim import Claim, TrainedClaim
from repro.errors import ClaimError
from repro.execute.epoch_time import EpochTime, time_epoch
from repro.execute.machine import Machine
from repro.execute.prepare import claims_with_scale
from repro.planning import most_epochs_left
from repro.store import Store
from repro.text import duration
from repro.trial import Result
from repro.verdict import NOT_JUDGED, decide, settles
from repro.verdict.analysis import Records, analyse
from repro.verdict.forecast import Outlook, outlook
from repro.verdict.judge import as_registered, default_scale


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What the deciding recipe of a claim can reach with the whole budget.

    `seconds_an_epoch`: wall clock of its own trials, else of a few steps; None without either,
    which `unknown` tells the cause of.
    `seeds`: per arm, at the last interim analysis within the budget; None if the next one is not,
    or if that is unknown; `seconds`: until then, at most. `measured`: seeds per arm so far.
    `word`: the current verdict. `outlook`: at that analysis, or at the last one where no time is
    known.
    """

    claim_id: str
    scale: str
    word: str
    settled: bool
    device: str
    seconds_an_epoch: float | None
    measured: int
    next_look: int | None
    seconds_to_next: float | None
    seeds: int | None
    seconds: float | None
    unit: str
    outlook: Outlook
    unknown: str = ""

    @property
    def chance_an_hour(self) -> float:
        """Of the right verdict, a mean over the assumed truths; 0 where nothing is forecast."""
        if not self.seconds or not self.outlook.chances:
            return 0.0
        return fmean(chance.value for chance in self.outlook.chances) / (self.seconds / 3600)


def forecasts(
    claims: Sequence[Claim], scale: str | None, machine: Machine, *, seconds: float
) -> list[Forecast]:
    """A forecast for each claim that needs training, from the trials in the store.

    The highest probability per hour comes first. Opens images only where a claim has no trials:
    plans in the store name their data set.
    """
    store = Store(machine.store)
    results = store.results()
    trained_claims = [
        claim for claim in claims_with_scale(claims, scale) if isinstance(claim, TrainedClaim)
    ]
    predictions = []
    for claim in trained_claims:
        claim_scale = scale or default_scale(claim)
        registered = as_registered(claim, claim_scale, store)
        plans = store.plans(claim.id, claim_scale)
        fingerprint = plans[-1].fingerprint if plans else None
        known = partial(
            forecast,
            registered,
            claim_scale,
            fingerprint,
            results,
            workers=machine.workers,
            seconds=seconds,
            records=store,
        )
        prediction = known()
        if prediction.seconds_an_epoch is None and not prediction.settled:
            prediction = _timed(known, registered, claim_scale, machine)
        predictions.append(prediction)
    return sorted(predictions, key=lambda one: -one.chance_an_hour)


def _timed(
    known: Callable[..., Forecast], claim: TrainedClaim, scale: str, machine: Machine
) -> Forecast:
    """By a few steps; of a claim that cannot be trained, with the cause."""
    try:
        timed = time_epoch(claim, scale, machine)
    except ClaimError as error:
        timed = f"unknown: {error}"
    return replace(known(), unknown=timed) if isinstance(timed, str) else known(timed=timed)


def forecast(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str | None,
    results: Mapping[str, Result],
    *,
    workers: int,
    seconds: float,
    records: Records | None = None,
    timed: EpochTime | None = None,
) -> Forecast:
    """What `seconds` on this many workers can decide. `timed`: for want of trials."""
    evidence = analyse(claim, scale, fingerprint, results, settles=settles, records=records)
    recipe = evidence.recipes[claim.verdict_recipe]
    epochs = sum(results[name].epochs for name in evidence.trials)
    epoch = evidence.clocks.wall / epochs if epochs else None
    device = ", ".join(evidence.provenance.get("device", ()))
    if timed is not None:
        epoch, device, fingerprint = timed.seconds, timed.device, timed.fingerprint
    is_settled = recipe.look is not None and settles(claim, recipe)
    ahead = [n for n in claim.scales[scale].seeds if n > recipe.seeds]

    def until(n: int) -> float | None:
        if epoch is None or fingerprint is None:
            return None
        epochs = most_epochs_left(claim, scale, fingerprint, results, max_seeds=n)
        return epochs * epoch / workers

    costs = {n: until(n) for n in ahead}
    fitting = [n for n, cost in costs.items() if cost is not None and cost <= seconds]
    seeds = max(fitting, default=None)
    return Forecast(
        claim_id=claim.id,
        scale=scale,
        word=decide(claim, evidence, claim.verdict_recipe).word,
        settled=is_settled,
        device=device,
        seconds_an_epoch=epoch,
        measured=recipe.look.seeds if recipe.look else recipe.seeds,
        next_look=ahead[0] if ahead else None,
        seconds_to_next=costs[ahead[0]] if ahead else None,
        seeds=seeds,
        seconds=costs[seeds] if seeds is not None else None,
        unit=recipe.deciding.unit,
        outlook=outlook(claim, scale, recipe, seeds=(seeds or 0) if epoch else None),
    )


def describe_forecast(prediction: Forecast, seconds: float) -> str:
    chances = (f"  {sentence}" for sentence in prediction.outlook.sentences)
    return "\n".join([_time_text(prediction, seconds), *chances])


def _time_text(prediction: Forecast, seconds: float) -> str:
    head = f"{prediction.claim_id} at {prediction.scale} scale"
    if prediction.settled:
        has_verdict = prediction.word not in {*NOT_JUDGED, "inconclusive"}
        end = "decided already" if has_verdict else "no more seeds can change it"
        return f"{head}: {end} ({prediction.word}, {prediction.measured} seeds an arm)"
    if prediction.seconds_an_epoch is None:
        return f"{head}: no trials in this store; the time is {prediction.unknown or 'unknown'}"
    if prediction.next_look is None:
        return f"{head}: all analyses are done ({prediction.word}); its plan has no more seeds"
    time = f"{duration(prediction.seconds_an_epoch)} an epoch on {prediction.device}"
    if prediction.seeds is None or prediction.seconds is None:
        time_needed = duration(prediction.seconds_to_next or 0.0)
        return (
            f"{head}: not within {duration(seconds)}; the analysis at {prediction.next_look} "
            f"seeds an arm takes at most {time_needed} ({time})"
        )
    most = duration(prediction.seconds)
    return f"{head}: {prediction.seeds} seeds an arm, after at most {most} ({time})"
