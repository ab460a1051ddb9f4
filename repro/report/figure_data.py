"""Curves, crossings and rates of a page, as input of the figures."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np

from repro.claim import metric_of, read_figure
from repro.planning import RateOutcome
from repro.report.figures import (
    ArmCurves,
    ArmErrors,
    ArmRates,
    Band,
    CrossingRow,
    Floats,
    MetricRow,
    PaperCurve,
    RatePoint,
    Seeds,
)
from repro.report.page import Page
from repro.trial import WINDOWS, Result, Row, Trial
from repro.verdict.effects import Outcome, values_of


def evaluation_outcomes(page: Page, recipe: str, arm: str) -> list[Outcome]:
    return sorted((o for o in page.recipe(recipe).outcomes if o.arm == arm), key=lambda o: o.seed)


def tuning_trials(page: Page, recipe: str, arm: str) -> list[tuple[Trial, Result]]:
    trial_ids = page.recipe(recipe).rates[arm].trials
    pairs = [(page.trials[name], page.results[name]) for name in trial_ids if name in page.results]
    return sorted(pairs, key=lambda pair: (pair[0].rate, pair[0].seed))


def first_excluded_seed(page: Page, recipe: str) -> float:
    """The first seed after the stopping point; infinite where all seeds count."""
    look = page.recipe(recipe).look
    return look.seeds if look else math.inf


def _seeds(values: Iterable[tuple[int, float]], first_excluded: float) -> Seeds:
    """values: (seed, value) pairs; `first_excluded`: the first that does not count."""
    finite = [(seed, value) for seed, value in values if math.isfinite(value)]
    return Seeds(
        counted=tuple(value for seed, value in finite if seed < first_excluded),
        excluded=tuple(value for seed, value in finite if seed >= first_excluded),
    )


def ending(outcome: Outcome) -> str:
    """`crossed`, `censored` or `diverged`, of a trial with a threshold."""
    if math.isfinite(outcome.upper):
        return "crossed"
    return "diverged" if outcome.status == "diverged" else "censored"


# Learning curves

_DRAWN = 50  # points along an axis, or one an epoch where that is more


def rolling_error(curve: Sequence[Row]) -> tuple[Floats, Floats]:
    """Online error of the epoch that ends at each window: epochs (n,), fractions (n,).

    Empty before the first whole epoch; ends before the first error that is not a number.
    """
    online = [row for row in curve if row.source == "online"]
    images = np.array([row.images for row in online], dtype=float)
    wrong = np.array([row.error for row in online]) * images
    bad = np.flatnonzero(~np.isfinite(wrong))
    end = bad[0] if len(bad) else len(wrong)
    if end < WINDOWS:
        return np.empty(0), np.empty(0)
    ones = np.ones(WINDOWS)
    errors = np.convolve(wrong[:end], ones, "valid") / np.convolve(images[:end], ones, "valid")
    return np.array([row.epoch for row in online[WINDOWS - 1 : end]]), errors


def arm_curves(page: Page, recipe: str, arm: str, *, until: float) -> ArmCurves:
    """The evaluation seeds of one arm, as dense as an axis of `until` epochs can show.

    A band past the first stop would be of fewer seeds, the slow ones: it ends there, and the
    others go on as lines of their own.
    """
    crossings = evaluation_outcomes(page, recipe, arm)
    curves = [rolling_error(page.curves[c.trial_id]) for c in crossings]
    pairs = list(zip(crossings, curves, strict=True))
    nonempty = [curve for curve in curves if len(curve[0])]
    first_excluded = first_excluded_seed(page, recipe)
    counted_seeds = sum(c.seed < first_excluded for c, (epochs, _) in pairs if len(epochs))
    common = min((len(epochs) for epochs, _ in nonempty), default=0)
    step = min(WINDOWS, math.ceil(until * WINDOWS / _DRAWN))
    return ArmCurves(
        arm=arm,
        seeds=len(crossings),
        band=_band(nonempty, common, counted=counted_seeds, step=step) if common else None,
        tails=tuple(
            (_thin(e[common - 1 :], step), _thin(y[common - 1 :], step))
            for e, y in nonempty
            if len(e) > common
        ),
        crossed=tuple(c.upper for c in crossings if ending(c) == "crossed"),
        censored=_ends((c, y) for c, (_, y) in pairs if ending(c) == "censored"),
        diverged=_ends((c, y) for c, (_, y) in pairs if ending(c) == "diverged"),
    )


def _band(
    curves: Sequence[tuple[Floats, Floats]], common: int, *, counted: int, step: int = 1
) -> Band:
    errors = np.stack([errors[:common] for _, errors in curves])  # (seeds, windows)
    return Band(
        seeds=len(curves),
        counted=counted,
        epochs=_thin(curves[0][0][:common], step),
        median=_thin(np.median(errors, axis=0), step),
        low=_thin(errors.min(axis=0), step),
        high=_thin(errors.max(axis=0), step),
    )


def _thin(values: Floats, step: int) -> Floats:
    """(n,) -> the first and the last of them, and every `step`th between."""
    return np.append(values[:-1:step], values[-1])


def _ends(pairs: Iterable[tuple[Outcome, Floats]]) -> tuple[tuple[float, float], ...]:
    """Where trials stopped, (epochs, error); those shorter than an epoch have no error to show."""
    return tuple((c.epochs, float(errors[-1])) for c, errors in pairs if len(errors))


def paper_curves(page: Page) -> tuple[PaperCurve, ...]:
    """The points of the paper's figure, for the arms of the claim.

    Empty at smoke scale, which has other images, and on fewer images than the paper's, where
    epochs are shorter.
    """
    if page.claim.paper.figure is None or page.smoke or page.scale.images is not None:
        return ()
    points = read_figure(page.claim.path.parent / page.claim.paper.figure)
    curves = {arm: [point for point in points if point.arm == arm] for arm in page.claim.arms}
    return tuple(
        PaperCurve(
            arm=arm,
            epochs=np.array([point.epoch for point in curve]),
            errors=np.array([point.train_error for point in curve]),
        )
        for arm, curve in curves.items()
        if curve
    )


def error_series(page: Page, recipe: str) -> tuple[ArmErrors, ...]:
    """Test error after each epoch, and the batches' error of that epoch, over evaluation seeds.

    One an arm, in their order. Arms that are read from the same trials have one curve, the first's
    with all their names; the others have none.
    """
    trials = {
        arm: tuple(o.trial_id for o in evaluation_outcomes(page, recipe, arm))
        for arm in page.claim.arms
    }
    return tuple(
        _arm_errors(page, recipe, [a for a, ids in trials.items() if ids == of_arm], of_arm)
        if arm == next(first for first, ids in trials.items() if ids == of_arm) or not of_arm
        else ArmErrors(arm=arm, test=None, train=None)
        for arm, of_arm in trials.items()
    )


def _arm_errors(page: Page, recipe: str, names: Sequence[str], trials: Iterable[str]) -> ArmErrors:
    # A band is as long as its shortest curve: one that diverged would end it for all.
    results = [r for name in trials if (r := page.results[name]).status != "diverged"]
    first_excluded = first_excluded_seed(page, recipe)
    counts = [page.trials[r.trial_id].seed < first_excluded for r in results]
    return ArmErrors(
        arm="all arms, one net" if len(names) == len(page.claim.arms) > 1 else ", ".join(names),
        test=_epoch_band([r.test_errors for r in results], counts),
        train=_epoch_band([r.epoch_errors for r in results], counts),
    )


def _epoch_band(errors: Sequence[Sequence[float]], counts: Sequence[bool]) -> Band | None:
    curves = [(np.arange(1.0, len(e) + 1), np.array(e)) for e in errors if e]
    counted_seeds = sum(counts_here for counts_here, e in zip(counts, errors, strict=True) if e)
    common = min((len(epochs) for epochs, _ in curves), default=0)
    return _band(curves, common, counted=counted_seeds) if common else None


# Metrics


def metrics_shown(page: Page) -> dict[str, tuple[str, ...]]:
    """The metrics that a contrast reads, the deciding one first, and the arms of each."""
    arms_by_metric: dict[str, dict[str, None]] = {}
    for contrast in page.contrasts:
        for metric, arm in zip(contrast.metrics, contrast.arms, strict=True):
            arms_by_metric.setdefault(metric, {})[arm] = None
    return {metric: tuple(arms) for metric, arms in arms_by_metric.items()}


def metric_rows(page: Page, recipe: str) -> list[MetricRow]:
    """The deciding metric under one recipe, a row for each arm, with those that were not run."""
    claim = page.claim
    rows = []
    for mark, arm in enumerate(claim.arms):
        outcomes = evaluation_outcomes(page, recipe, arm)
        values = values_of(outcomes, arm, metric_of(claim, arm))
        rows.append(
            MetricRow(
                label=f"{recipe} {arm}",
                mark=mark,
                values=_seeds(values.items(), first_excluded_seed(page, recipe)),
                diverged=sum(o.status == "diverged" for o in outcomes),
            )
        )
    return rows


# Crossings


def crossing_rows(page: Page, recipe: str) -> list[CrossingRow]:
    """A row for each arm under one recipe, with those that were not run."""
    first_excluded = first_excluded_seed(page, recipe)
    rows = []
    for mark, arm in enumerate(page.claim.arms):
        crossings = evaluation_outcomes(page, recipe, arm)
        times = {
            status: _seeds(
                (
                    (c.seed, {"crossed": c.upper, "censored": c.lower}.get(status, c.epochs))
                    for c in crossings
                    if ending(c) == status
                ),
                first_excluded,
            )
            for status in ("crossed", "censored", "diverged")
        }
        rows.append(CrossingRow(label=f"{recipe} {arm}", mark=mark, **times))
    return rows


# Rates


def common_age(page: Page, recipe: str) -> int | None:
    """Whole epochs to which every rate of all arms was trained; None before the first."""
    epochs = [
        result.epochs
        for arm in page.claim.arms
        for _, result in tuning_trials(page, recipe, arm)
        if result.status != "diverged"
    ]
    return math.floor(min(epochs)) if epochs else None


def arm_rates(page: Page, recipe: str, arm: str, *, age: int) -> ArmRates:
    """The search of one arm: for each rate the median error over tuning seeds at `age` epochs.

    At age 0, before a whole epoch, the last error of each.
    """
    search = page.recipe(recipe).rates[arm]
    results = tuning_trials(page, recipe, arm)
    return ArmRates(
        arm=arm,
        points=tuple(
            _rate_point(
                outcome, [r for t, r in results if t.rate == outcome.rate], age, search.chosen
            )
            for outcome in search.outcomes
        ),
    )


def _rate_point(
    outcome: RateOutcome, results: Sequence[Result], age: int, chosen: float | None
) -> RatePoint:
    errors = [
        _errors(r)[age - 1] if age else r.train_error
        for r in results
        if age <= len(_errors(r)) and r.status != "diverged"
    ]
    return RatePoint(
        rate=outcome.rate,
        error=median(errors) if errors else math.nan,
        diverged="diverged" in outcome.status,
        chosen=outcome.rate == chosen,
    )


def _errors(result: Result) -> tuple[float, ...]:
    """Of each epoch, as the search judges it: test errors where there are any."""
    return result.test_errors or result.epoch_errors
