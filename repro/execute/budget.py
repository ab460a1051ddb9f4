"""What a budget of time can decide: from the time of an epoch and the scatter of seeds so far.

Both come from the trials in the store; the scatter of a claim of which there are none is the one
that its file expects. Where neither is known, nothing is forecast.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from repro.claim import TrainedClaim
from repro.plan import most_epochs_left
from repro.text import duration
from repro.trial import Result
from repro.verdict import decide, settles
from repro.verdict.analysis import Records, analyse
from repro.verdict.forecast import Outlook, outlook

__all__ = ["Forecast", "describe_forecast", "forecast", "forecast_fields"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a claim's deciding recipe could come to with the whole budget for itself.

    `seconds_an_epoch`: wall clock of its own trials, None where there is none. `seeds`: an arm, at
    the last look that fits; None when not even the next one does, or that is not known; `seconds`:
    until that look, at most. `measured`: seeds an arm so far. `word`: the verdict as it stands.
    `outlook`: by that look, or by the last one where no time is known.
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


def forecast(
    claim: TrainedClaim,
    scale: str,
    fingerprint: str | None,
    results: Mapping[str, Result],
    *,
    workers: int,
    seconds: float,
    records: Records | None = None,
) -> Forecast:
    """What `seconds` on this many workers can decide, going by what was measured."""
    evidence = analyse(claim, scale, fingerprint, results, settles=settles, records=records)
    found = evidence.recipes[claim.verdict_recipe]
    epochs = sum(results[name].epochs for name in evidence.trials)
    epoch = evidence.clocks.wall / epochs if epochs else None
    settled = found.look is not None and settles(claim, found)
    ahead = [n for n in claim.scales[scale].seeds if n > found.seeds]

    def until(n: int) -> float | None:
        if epoch is None or fingerprint is None:
            return None
        epochs = most_epochs_left(claim, scale, fingerprint, results, max_seeds=n)
        return epochs * epoch / workers

    costs = {n: until(n) for n in ahead}
    fitting = [n for n, cost in costs.items() if cost is not None and cost <= seconds]
    reached = max(fitting, default=None)
    return Forecast(
        claim_id=claim.id,
        scale=scale,
        word=decide(claim, evidence, claim.verdict_recipe).word,
        settled=settled,
        device=", ".join(evidence.provenance.get("device", ())),
        seconds_an_epoch=epoch,
        measured=found.look.seeds if found.look else found.seeds,
        next_look=ahead[0] if ahead else None,
        seconds_to_next=costs[ahead[0]] if ahead else None,
        seeds=reached,
        seconds=costs[reached] if reached is not None else None,
        unit=found.deciding.unit,
        outlook=outlook(claim, scale, found, seeds=(reached or 0) if epoch else None),
    )


def forecast_fields(found: Forecast) -> dict[str, Any]:
    """As JSON takes it: what is not known is null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(found).items()
    }


def describe_forecast(found: Forecast, seconds: float) -> str:
    """One claim in a few lines."""
    return "\n".join([_time(found, seconds), *(f"  {each}" for each in found.outlook.sentences)])


def _time(found: Forecast, seconds: float) -> str:
    head = f"{found.claim_id} at {found.scale} scale"
    if found.settled:
        decided = found.word not in ("inconclusive", "invalid")
        end = "decided already" if decided else "no more seeds can change it"
        return f"{head}: {end} ({found.word}, {found.measured} seeds an arm)"
    if found.seconds_an_epoch is None:
        return f"{head}: nothing of it was measured in this store, so no time is known"
    if found.next_look is None:
        return f"{head}: all looks are done ({found.word}); more seeds are not in its plan"
    time = f"{duration(found.seconds_an_epoch)} an epoch on {found.device}"
    if found.seeds is None or found.seconds is None:
        needed = duration(found.seconds_to_next or 0.0)
        return (
            f"{head}: not within {duration(seconds)}; the look at {found.next_look} seeds an arm "
            f"takes at most {needed} ({time})"
        )
    most = duration(found.seconds)
    return f"{head}: {found.seeds} seeds an arm, after at most {most} ({time})"
