"""How often the verdicts are wrong: simulated results of known truth, judged by the real rules.

`python -m tests.calibration` (or `nox -s calibration`) prints a table and fails where the interval
that is shown does not hold the truth, or where a word is false, too often; with `--write` the table
goes into docs/explanation/verdicts.md, beside that of the rule before. With `--lines FILE` each
line is written to FILE as it is finished, and not computed again: another file for other rules. A
small part runs with the tests.

Each simulation draws the results of all looks, as trials would have left them, and gives them to
the analysis and the rule. That a plan which asks look by look comes to the same verdict is a test
of its own (tests/test_calibration.py).
"""

import argparse
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.claim import Analysis, Region, Search, TimeClaim, TrainedClaim, arms_of, load
from repro.files import write_atomic
from repro.planning import TUNING_SEEDS_FROM, Cell, cells_of, rate_search
from repro.trial import LAG, PASSES, Clocks, Result, Row
from repro.verdict import Word, decide, settles
from repro.verdict.analysis import analyse

PRINT = "0123456789abcdef"
LOOKS, OLDER_LOOKS = (5, 8, 12), (3, 5, 8, 12)
COVERAGE = 0.93
MOST_FALSE = 0.05
ENOUGH = 2000  # simulations, of which 5 % are known to half a point
WORDS: tuple[Word, ...] = ("reproduced", "direction only", "gap only", "not reproduced")

Values = npt.NDArray[np.float64]  # (arms, seeds)
Draw = Callable[[np.random.Generator, int], Values]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A known truth. `draw`: what each arm and seed gives, epochs or an error in points.

    `taken`: looks under the older rule. `late`: by which share each arm's crossings are seen late,
    the most of a range that differs from seed to seed; `budget`: where times are censored;
    `diverging`: the share of trials that diverge. `curves`: how a bracket is read off a simulated
    curve. `search`: how each arm's rate is searched, `draw` being results at the best one.
    `images`: of the test set, whose outcomes one by one give the error that `draw` has the mean of.
    `tested`: the test errors beside a gap, whose difference is `overfits`. `second`: the truth of a
    further contrast that has to hold as well. `limit`: why the case is
    not supported: it is shown, and may be out of bounds.
    """

    name: str
    kind: str
    truth: float
    draw: Draw
    looks: tuple[int, ...] = LOOKS
    taken: int = 0
    region: tuple[float, float | None]
    comparison: str | None = None
    budget: float = math.inf
    late: tuple[float, float] = (0.0, 0.0)
    diverging: float = 0.0
    curves: "Curves | None" = None
    search: Search | None = None
    images: int = 0
    tested: Draw | None = None
    overfits: float = 0.0
    second: float = math.inf
    limit: str = ""

    @property
    def false_words(self) -> tuple[Word, ...]:
        """What must not be said of this truth."""
        low, high = self.region
        if self.tested is not None and self.overfits <= 0:
            return ("reproduced", "direction only", "not reproduced")
        truth = min(self.truth, self.second)
        if low <= truth <= (math.inf if high is None else high):
            return ("direction only", "not reproduced")
        if self.kind == "level":
            return ("reproduced",)
        nothing = 1.0 if self.kind in ("time_to_threshold", "test_time") else 0.0
        return ("reproduced",) if truth > nothing else ("reproduced", "direction only")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Shares of the runs.

    `held`: the shown interval of the look that counts holds the truth; `said`: each word. `seeds`:
    an arm, on average.
    """

    runs: int
    held: float
    said: dict[Word, float]
    seeds: float


def faults(case: Case, found: Rates, *, slack: float = 0.0) -> list[str]:
    """What is out of bounds by more than `slack`, in words."""
    wrong = []
    if found.held < COVERAGE - slack:
        wrong.append(f"coverage {100 * found.held:.1f} %")
    return wrong + [
        f"falsely {word} {100 * found.said[word]:.1f} %"
        for word in case.false_words
        if found.said[word] > MOST_FALSE + slack
    ]


# Truths


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return generator.standard_normal(shape)


def _student(generator: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """Heavy tails: Student's t of three degrees of freedom, at unit variance."""
    return np.asarray(generator.standard_t(3, shape)) / math.sqrt(3)


def _skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return np.asarray(generator.exponential(1.0, shape)) - 1


def _failing(generator: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """One seed in ten is four standard deviations worse; at unit variance."""
    fails = (generator.random(shape) < 0.1) - 0.1
    noise = generator.standard_normal(shape)
    return np.asarray((noise + 4 * fails) / math.sqrt(1 + 16 * 0.09))


def _still(_generator: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return np.zeros(shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """Errors that fall as the inverse root of time, and when full passes are made of them.

    `images`: of the training set. `gap`: of each arm's online error above the full one. `jump`:
    standard deviation of full errors between tenths of an epoch. `near` and `crossing`: as in a
    claim file.
    """

    images: int
    gap: tuple[float, float]
    jump: float
    near: float
    crossing: str

    def trial(
        self, generator: np.random.Generator, crosses: float, arm: int
    ) -> tuple[list[Row], tuple[float, float] | None]:
        """The curve of a net whose error comes down to the threshold so late, and its bracket."""
        epochs = np.arange(1, round(20 * crosses) + 20) / 10
        smooth = np.minimum(THRESHOLD * np.sqrt(crosses / epochs), 0.9)
        full = np.clip(smooth + self.jump * generator.standard_normal(len(epochs)), 0, 1)
        window = self.images // 10
        online = generator.binomial(window, np.clip(smooth + self.gap[arm], 0, 1)) / window
        three = np.convolve(online, np.ones(3) / 3)[: len(online)]
        passed = three <= THRESHOLD + self.near
        passed[:2] = False
        if self.crossing == "median":
            least = three - 2 * np.sqrt(three * (1 - three) / (3 * window))
            passed = self._passed(online, least, full)
        seen = self._crossed(epochs, full, passed)
        rows = []
        for epoch, error, whole, has in zip(epochs, online, full, passed, strict=True):
            rows.append(Row(float(epoch), "online", float(error), 1.0, window, 0.0))
            if has:
                rows.append(Row(float(epoch), "train", float(whole), 1.0, self.images, 0.0))
            if seen is not None and epoch >= seen[1] + self._lag - 1e-9:
                break
        return rows, seen

    def _passed(self, online: Values, least: Values, full: Values) -> npt.NDArray[np.bool_]:
        """One an epoch from `near` on, each tenth an epoch before a quarter of it."""
        means = [float(online[max(0, end - 10) : end].mean()) for end in range(1, len(online) + 1)]
        pace = [math.inf] * 10 + [
            max(0.0, before - now) for before, now in zip(means, means[10:], strict=False)
        ]
        passed, last, lowest = np.zeros(len(full), dtype=bool), -1, math.inf
        for place in range(2, len(full)):
            if last < 0:
                is_due = bool(least[place] <= THRESHOLD + self.near)
            else:
                is_close = (
                    min(float(least[place]), lowest) - pace[place] <= THRESHOLD + self.near / 4
                )
                is_due = is_close or last <= place - 10
            if is_due:
                passed[place], last, lowest = True, place, min(lowest, float(full[place]))
        return passed

    @property
    def _lag(self) -> float:
        return LAG if self.crossing == "median" else 0.0

    def _crossed(
        self, epochs: Values, full: Values, passed: npt.NDArray[np.bool_]
    ) -> tuple[float, float] | None:
        """As a trial writes it down."""
        if self.crossing == "first":
            below = np.flatnonzero(passed & (full <= THRESHOLD))
            return None if not len(below) else (_tenth(epochs, below[0] - 1), epochs[below[0]])
        epoch_long = np.lib.stride_tricks.sliding_window_view
        known = epoch_long(passed, PASSES).all(axis=1)
        medians = np.median(epoch_long(full, PASSES), axis=1)
        below = np.flatnonzero(known & (medians <= THRESHOLD))
        if not len(below):
            return None
        above, middle = np.flatnonzero(known[: below[0]]), PASSES // 2
        lower = _tenth(epochs, above[-1] + middle) if len(above) else 0.0
        return lower, float(epochs[below[0] + middle])


def _tenth(epochs: Values, place: int) -> float:
    return float(epochs[place]) if place >= 0 else 0.0


Noise = Callable[[np.random.Generator, tuple[int, ...]], Values]


def _pairs(
    effect: float,
    *,
    sd: float = 1.2,
    correlated: float = 0.7,
    noise: Noise = _normal,
    first: Noise | None = None,
) -> Draw:
    """Errors in points of two arms that share part of what a seed does.

    `sd`: of the differences. `first`: the noise of the first arm, where it is another.
    """

    def draw(generator: np.random.Generator, n: int) -> Values:
        shared = generator.standard_normal(n) * math.sqrt(correlated)
        own = np.stack([(first or noise)(generator, (n,)), noise(generator, (n,))])
        each = sd / math.sqrt(2 * (1 - correlated))
        scattered = each * (shared + math.sqrt(1 - correlated) * own)
        return 40 + scattered + np.array([[effect], [0.0]])

    return draw


def _four(first: float, second: float, *, sd: float = 1.2) -> Draw:
    """Two such pairs."""
    draws = _pairs(first, sd=sd), _pairs(second, sd=sd)
    return lambda generator, n: np.concatenate([draw(generator, n) for draw in draws])


def _trend(step: float, *, sd: float = 1.2) -> Draw:
    """Four arms, each worse than the last by `step`; `sd`: of the mean step that a seed shows."""
    each = sd / math.sqrt(sum(weight**2 for weight in TREND))
    return lambda generator, n: (
        40 + step * np.arange(4)[:, np.newaxis] + generator.normal(0, each, (4, n))
    )


def _counted(draw: Draw, *, step: float) -> Draw:
    """The same, where a metric counts images of which one is `step` points."""
    return lambda generator, n: step * np.round(draw(generator, n) / step)


def _one(mean: float, *, sd: float = 1.2) -> Draw:
    return lambda generator, n: generator.normal(mean, sd, (1, n))


def _times(
    ratio: float,
    *,
    fast: float = 8.0,
    sd: tuple[float, float] = (0.1, 0.1),
    noise: Noise = _normal,
    first: Noise | None = None,
) -> Draw:
    """Epochs to the threshold, slow and fast; log-normal if not said otherwise."""

    def draw(generator: np.random.Generator, n: int) -> Values:
        drawn = np.stack([(first or noise)(generator, (n,)), noise(generator, (n,))])
        return np.asarray(np.exp(np.log([[fast * ratio], [fast]]) + drawn * np.array(sd)[:, None]))

    return draw


def _cost(rate: float, best: float) -> float:
    """How much worse a net is at that rate, in units of the cost of a factor of three."""
    return (math.log(rate / best) / math.log(3)) ** 2


LATER, WORSE = 0.14, 2.2  # at a factor of three: log epochs, points


THRESHOLD = 0.25
TREND = (-0.3, -0.1, 0.1, 0.3)  # the least-squares slope of four arms in order


def _rises(mean: float, *, sd: float = 0.06) -> Draw:
    """Nats by which the test loss rises after its least: of one arm; the other's never does."""

    def draw(generator: np.random.Generator, n: int) -> Values:
        return np.stack([np.maximum(generator.normal(mean, sd, n), 0), np.zeros(n)])

    return draw


ALONE = {"noise": _still, "correlated": 0.0, "sd": 1.2 * math.sqrt(2)}  # the other arm is still
BOUNDED = (3.0, 9.0)
POINTS = (0.5, 2.5)
SKEWED = "errors that are skewed in one arm: means of few seeds lie to one side"
FAILING = "seeds that fail in one arm: few seeds may show none of them"
SEARCHED = "that another rate may be the best is not in the interval of a search without `refine`"

# Just outside of the region, where `reproduced` is false most often, and just inside, where `not
# reproduced` and `direction only` are.
BELOW, ABOVE = 0.499, 2.501
LEAST, MOST = 0.501, 2.499


def _differences(name: str, *truths: float, limit: str = "", **noise: object) -> tuple[Case, ...]:
    return tuple(
        Case(
            name=f"difference, {name}", kind="difference", truth=truth, region=POINTS, limit=limit,
            draw=_pairs(truth, **noise),  # type: ignore[arg-type] # keywords of _pairs
        )
        for truth in truths
    )  # fmt: skip


def _ratios(name: str, *truths: float, limit: str = "", **of_times: object) -> tuple[Case, ...]:
    of_case = ("budget", "late", "region", "curves", "search")
    options = {key: of_times.pop(key) for key in of_case if key in of_times}
    return tuple(
        Case(
            name=f"times, {name}", kind="time_to_threshold", truth=truth, limit=limit,
            draw=_times(truth, **of_times),  # type: ignore[arg-type] # keywords of _times
            **{"region": BOUNDED, **options},  # type: ignore[arg-type] # of Case
        )
        for truth in truths
    )  # fmt: skip


def _grid(step: float, *, seeds: int, refine: float | None = None) -> Search:
    """Seven rates about 0.01, and the rungs at which the worse half of them goes."""
    rates = tuple(float(f"{0.01 * step**power:.2g}") for power in range(-3, 4))
    return Search(rates=rates, rungs=(4.0, 12.0), seeds=seeds, refine=refine)


CASES: tuple[Case, ...] = (
    *_differences("normal", 0.0, BELOW, LEAST, 1.4, MOST, ABOVE),
    *_differences("heavy tails", BELOW, LEAST, 1.4, noise=_student),
    *_differences("skewed alike", BELOW, LEAST, 1.4, noise=_skewed, correlated=0.0),
    *_differences("one arm skewed", BELOW, LEAST, 1.4, MOST, ABOVE, first=_skewed, correlated=0.0,
                  limit=SKEWED),
    *_differences("all scatter skewed", BELOW, LEAST, 1.4, MOST, ABOVE, **ALONE, first=_skewed,
                  limit=SKEWED),
    *_differences("a tenth fails, alike", BELOW, LEAST, 1.4, noise=_failing, correlated=0.0),
    *_differences("a tenth of one arm fails", BELOW, LEAST, 1.4, MOST, ABOVE, first=_failing,
                  correlated=0.0, limit=FAILING),
    *_differences("a tenth fails, all scatter", BELOW, LEAST, 1.4, MOST, ABOVE, **ALONE,
                  first=_failing, limit=FAILING),
    *_differences("arms not correlated", BELOW, 1.4, correlated=0.0),
    *_differences("arms correlated 0.95", BELOW, 1.4, correlated=0.95),
    *(
        replace(case, name="difference, Welch", comparison="welch")
        for case in _differences("", BELOW, LEAST, 1.4, correlated=0.0)
    ),
    *(
        replace(case, name="difference, a tenth diverges", diverging=0.1)
        for case in _differences("", BELOW)
    ),
    *(
        replace(case, name="difference, 200 test images", draw=_counted(case.draw, step=0.5))
        for case in _differences("", BELOW, 1.4)
    ),
    *(
        replace(case, name="difference, two looks taken", looks=OLDER_LOOKS, taken=2)
        for case in _differences("", 0.0, BELOW, 1.4)
    ),
    *(
        replace(case, name="no difference", region=(-1.5, 1.5))
        for case in _differences("", 0.0, 1.499, 1.501)
    ),
    *(
        replace(case, name=f"difference, region of {width:g}",
                region=(case.truth - width / 2, case.truth + width / 2))
        for width in (0.1,)
        for case in _differences("", 1.4)
    ),
    *(
        replace(case, name=f"no difference, within {half:g}", region=(-half, half))
        for half in (0.05, 0.25)
        for case in _differences("", 0.0)
    ),
    *(
        Case(name="interaction", kind="interaction", truth=truth, region=POINTS,
             draw=_four(truth, 0.0, sd=1.2 / math.sqrt(2)))
        for truth in (0.0, BELOW, 1.4)
    ),
    *(
        Case(name="trend of four arms", kind="trend", truth=truth, region=POINTS,
             draw=_trend(truth))
        for truth in (0.0, BELOW, LEAST, 1.4)
    ),
    *(
        Case(name=f"two contrasts, the second {second:g}", kind="both", truth=1.4, second=second,
             region=POINTS, draw=_four(1.4, second))
        for second in (0.0, BELOW, 1.4)
    ),
    *(
        Case(name="level, normal", kind="level", truth=truth, draw=_one(truth), region=(36.5, 38.5))
        for truth in (37.5, 38.49, 38.51)
    ),
    *_ratios("normal", 1.0, 2.99, 3.01, 6.0, 8.99),
    *_ratios("unequal spread", 2.99, 6.0, sd=(0.2, 0.05)),
    *_ratios("seen late, unequally", 2.9, 6.0, late=(0.16, 0.07)),
    *_ratios("half censored", 6.0, budget=48.0),
    *_ratios("censored", 2.99, budget=25.0, region=(3.0, None)),
    *_ratios("censored, one arm spreads", 2.99, budget=25.0, sd=(0.3, 0.05), region=(3.0, None)),
    *_ratios("slow all censored", 6.0, budget=46.0, sd=(0.02, 0.1)),
    *(
        replace(case, name="times, a tenth diverges", diverging=0.1)
        for case in _ratios("", 1.0)
    ),
    *_ratios("heavy tails", 2.99, 6.0, noise=_student),
    *_ratios("a tenth is slow, alike", 2.99, 6.0, noise=_failing),
    *_ratios("a tenth of one arm is slow", 2.99, 6.0, first=_failing, limit=FAILING),
    *_ratios("read off curves", 2.9, 6.0, fast=4.0,
             curves=Curves(images=20_000, gap=(0.015, 0.005), jump=0.002, near=0.01,
                           crossing="first")),
    *_ratios("read off curves that jump", 2.9, 6.0, fast=4.0,
             curves=Curves(images=5_000, gap=(0.015, 0.005), jump=0.012, near=0.01,
                           crossing="first")),
    *_ratios("read off curves that jump, median", 2.9, 6.0, fast=4.0,
             curves=Curves(images=20_000, gap=(0.015, 0.005), jump=0.01, near=0.05,
                           crossing="median")),
    *(
        replace(case, name=f"times to a test error, {case.budget:g} epochs", kind="test_time")
        for case in (*_ratios("", 1.0, 2.99, 6.0, budget=200.0), *_ratios("", 6.0, budget=48.0))
    ),
    *_ratios("rates searched by 3 seeds, steps of 1.8", 2.9, 6.0,
             search=_grid(1.8, seeds=3, refine=1.8)),
    *_ratios("rates searched by 3 seeds, steps of 3 refined", 2.9, 6.0,
             search=_grid(3.0, seeds=3, refine=1.8)),
    *_ratios("rates searched by 1 seed, steps of 3", 2.9, 6.0, limit=SEARCHED,
             search=_grid(3.0, seeds=1)),
    *(
        replace(case, name="difference, rates searched by 3 seeds, steps of 1.8",
                search=_grid(1.8, seeds=3, refine=1.8))
        for case in _differences("", 0.0, BELOW, 1.4)
    ),
    *(
        replace(case, name="difference, by 2,000 test images", images=2000,
                draw=_pairs(case.truth, sd=0.3))
        for case in _differences("", BELOW, 1.4)
    ),
    *(
        Case(name="rise of the test loss", kind="rise", truth=truth, region=(0.2, None),
             draw=_rises(truth))
        for truth in (0.199, 0.26)
    ),
    *(
        Case(name=f"gap, test error {said}", kind="gap", truth=3.0, region=(2.0, None),
             draw=_pairs(3.0), tested=_pairs(overfits), overfits=overfits)
        for said, overfits in (("the same", 0.0), ("higher", 1.4))
    ),
)  # fmt: skip


# The real claim, analysis and rule

CLAIM = """\
id: world
title: A known truth
kind: {kind}
paper: {{section: "sec. 0", states: It is., unit: one}}
question: Is it?
confounds: None.
metric: {metric}
{keys}
arms:
{arms}
region: {{low: 1.5}}
recipes:
  period: {{inputs: centred, initialisation: cuda_convnet}}
verdict_recipe: period
scales:
  paper:
    data: cifar10
    model: {{name: cifar_80sec}}
    epochs: 1000
    seeds: 3
    rate: {{period: 0.01}}
deviations: []
"""
FOUR = "\n".join(
    f"  {arm}: {{model: {{activation: {name}}}}}"
    for arm, name in zip(("one", "two", "three", "four"), ("tanh", "relu", "gelu", "sigmoid"),
                         strict=True)
)  # fmt: skip
TWO = "  one: {model: {activation: tanh}}\n  two: {model: {activation: relu}}"
PARTS = {
    "time_to_threshold": {
        "metric": "train_error",
        "keys": "threshold: 0.25\ndecided_by: full\nnear: 1.0\ncontrast: {slow: one, fast: two}",
        "arms": TWO,
    },
    "test_time": {
        "metric": "test_error",
        "keys": "threshold: 0.25\ncontrast: {slow: one, fast: two}",
        "arms": TWO,
    },
    "difference": {
        "metric": "test_error", "keys": "contrast: {higher: one, lower: two}", "arms": TWO,
    },
    "rise": {
        "metric": "test_loss_rise",
        "keys": "contrast: {higher: one, lower: two}",
        "arms": TWO,
    },
    "gap": {
        "metric": "gap", "keys": "contrast: {higher: one, lower: two}\n"
        "also: {tested: {higher: one, lower: two, metric: test_error}}", "arms": TWO,
    },
    "interaction": {
        "metric": "test_error",
        "keys": "contrast: {weights: {one: 1, two: -1, three: -1, four: 1}}", "arms": FOUR,
    },
    "trend": {
        "metric": "test_error",
        "keys": "contrast: {{weights: {{one: {}, two: {}, three: {}, four: {}}}}}".format(*TREND),
        "arms": FOUR,
    },
    "both": {
        "metric": "test_error", "keys": "contrast: {higher: one, lower: two}\n"
        "also: {second: {higher: three, lower: four, region: {low: 0.5, high: 2.5}}}",
        "arms": FOUR,
    },
    "level": {"metric": "test_error", "keys": "", "arms": "  one: {}"},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """What the trials of one run left: results, and what else is kept of them."""

    results: dict[str, Result] = field(default_factory=dict)
    curves: dict[str, list[Row]] = field(default_factory=dict)
    bits: dict[str, dict[str, npt.NDArray[np.generic]]] = field(default_factory=dict)

    def rows(self, trial_id: str) -> Sequence[Row]:
        """Its curve."""
        return self.curves.get(trial_id, [])

    def arrays(self, trial_id: str) -> Mapping[str, npt.NDArray[np.generic]]:
        """Which test images it had right."""
        return self.bits.get(trial_id, {})


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A claim of a case."""

    case: Case
    claim: TrainedClaim

    def trials(self, generator: np.random.Generator) -> Trials:
        """What all trials of one run gave, those of a search included."""
        case, arms, found = self.case, self._arms, Trials()
        drawn = case.draw(generator, case.looks[-1])
        tested = None if case.tested is None else case.tested(generator, case.looks[-1])
        diverged = generator.random(drawn.shape) < case.diverging
        late = generator.uniform(0.7, 1.0, drawn.shape)
        for arm, name in enumerate(arms):
            rate, cost = self._rate(generator, arm, name, found)
            for cell in cells_of(self.claim, "paper", "period", name, PRINT).confirming(rate):
                seed = cell.trial.seed
                value = self._at_rate(float(drawn[arm, seed]), cost)
                share = case.late[arm] if arm < len(case.late) else 0.0
                result = self._result(cell, value, share * float(late[arm, seed]))
                if diverged[arm, seed]:
                    result = replace(result, status="diverged", loss=math.nan, crossing_full=None)
                elif case.kind == "rise":
                    losses = (2.3, 1.6, 1.2, 1.2 + value)
                    found.curves[cell.trial.id] = [
                        Row(float(epoch), "test", 0.4, loss, 10_000, 0.0)
                        for epoch, loss in enumerate(losses, 1)
                    ]
                    result = replace(result, metrics={"test_error": 0.4, "initial_loss": 2.3})
                elif case.curves is not None:
                    result = self._read_off(generator, cell, value, arm, found)
                elif case.images:
                    result = self._by_images(generator, cell, value, found)
                elif tested is not None:
                    errors = {"gap": value / 100, "test_error": float(tested[arm, seed]) / 100}
                    result = replace(result, metrics={**result.metrics, **errors})
                found.results[cell.trial.id] = result
        return found

    @property
    def _arms(self) -> tuple[str, ...]:
        return arms_of(self.claim)

    def _rate(
        self, generator: np.random.Generator, arm: int, name: str, found: Trials
    ) -> tuple[float, float]:
        """The rate that the arm's own search chooses, and what it costs."""
        search = self.case.search
        if search is None:
            return 0.01, 0.0
        step = search.rates[1] / search.rates[0]
        best = 0.01 * step ** generator.uniform(-0.5, 0.5)
        place = self.claim, "paper", "period", name, PRINT
        shared = self.case.draw(generator, search.seeds)[arm]
        while (at := rate_search(*place, found.results)).pending:
            for cell in at.pending:
                value = float(shared[cell.trial.seed - TUNING_SEEDS_FROM])
                worse = self._at_rate(value, _cost(cell.trial.rate, best), generator)
                found.results[cell.trial.id] = self._tuning_result(cell, worse)
        chosen = at.chosen or math.nan
        return chosen, _cost(chosen, best)

    def _at_rate(
        self, value: float, cost: float, generator: np.random.Generator | None = None
    ) -> float:
        """What a trial gives there, by chance if there is a generator."""
        noise = float(generator.standard_normal()) if generator else 0.0
        if isinstance(self.claim, TimeClaim):
            return value * math.exp(LATER * cost + 0.1 * noise)
        return value + WORSE * cost + 0.85 * noise

    def _tuning_result(self, cell: Cell, value: float) -> Result:
        """With the errors by which rungs compare the rates."""
        result = self._result(cell, value, 0.0)
        if not isinstance(self.claim, TimeClaim):
            return replace(result, test_errors=(value / 100,) * 12)
        errors = THRESHOLD * np.sqrt(value / np.arange(1, 1 + math.ceil(value)))
        return replace(result, epoch_errors=tuple(np.minimum(errors, 0.9).tolist()))

    def _result(self, cell: Cell, value: float, late: float) -> Result:
        epochs = self.claim.scales["paper"].epochs
        result = replace(_BLANK, trial_id=cell.trial.id, epochs=epochs)
        if not isinstance(self.claim, TimeClaim):
            return replace(result, metrics={"test_error": value / 100, "initial_loss": 2.3})
        if self.claim.metric == "test_error":
            after = np.arange(1, 1 + epochs)  # each epoch the net is tested
            errors = np.where(after >= value, THRESHOLD, 0.9)
            return replace(result, test_errors=tuple(errors.tolist()))
        crossed = math.ceil(10 * value) / 10
        if crossed > epochs:
            return replace(result, status="censored")
        seen = crossed * (1 + late)
        return replace(result, status="crossed", crossing_full=(crossed - 0.1, seen), epochs=seen)

    def _read_off(
        self, generator: np.random.Generator, cell: Cell, value: float, arm: int, found: Trials
    ) -> Result:
        assert self.case.curves is not None
        rows, seen = self.case.curves.trial(generator, value, arm)
        found.curves[cell.trial.id] = rows
        result = replace(_BLANK, trial_id=cell.trial.id, epochs=rows[-1].epoch)
        return replace(result, status="censored" if seen is None else "crossed", crossing_full=seen)

    def _by_images(
        self, generator: np.random.Generator, cell: Cell, value: float, found: Trials
    ) -> Result:
        """Each image is wrong by a chance of its own, from none to twice the mean."""
        images = self.case.images
        wrong = generator.random(images) < np.linspace(0, 2 * value / 100, images)
        found.bits[cell.trial.id] = {
            "right_centre": np.packbits(~wrong), "test_images": np.array(images)
        }  # fmt: skip
        return self._result(cell, 100 * float(wrong.mean()), 0.0)


_BLANK = Result(
    trial_id="", status="finished", epochs=0.0, crossing_full=None, crossing_online=None,
    train_error=0.1, epoch_errors=(), loss=1.0, seconds=Clocks(),
)  # fmt: skip


def world(case: Case) -> World:
    """The case as a claim that was read from a file."""
    kinds = {"test_time": "time_to_threshold", "level": "level"}
    kind = case.kind if case.kind in kinds.values() else kinds.get(case.kind, "difference")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world.yaml"
        path.write_text(CLAIM.format(kind=kind, **PARTS[case.kind]))
        claim = load(path)
    assert isinstance(claim, TrainedClaim)
    low, high = case.region
    epochs = min(case.budget, 1000.0)
    changes = {"seeds": case.looks, "epochs": epochs, "taken": case.taken}
    if case.search is not None:
        changes |= {"search": {"period": case.search}, "rate": {}}
    scale = claim.scales["paper"].model_copy(update=changes)
    rule = {
        "region": Region(low=low, high=high),
        "analysis": Analysis.model_validate({"comparison": case.comparison}),
        "scales": {"paper": scale},
    }
    if case.curves is not None:
        rule |= {"near": case.curves.near, "crossing": case.curves.crossing}
    return World(case=case, claim=claim.model_copy(update=rule))


def _run(one: World, generator: np.random.Generator) -> tuple[bool, Word, int]:
    """Whether the shown interval holds the truth; the word; the seeds of the look that counts."""
    trials = one.trials(generator)
    evidence = analyse(
        one.claim, "paper", PRINT, trials.results, settles=settles, records=_records(one, trials)
    )
    verdict = decide(one.claim, evidence, "period")
    estimate = verdict.estimate
    held = estimate is not None and estimate.low <= one.case.truth <= estimate.high
    return held, verdict.word, verdict.seeds


def _records(one: World, trials: Trials) -> Trials | None:
    """Where nothing but results is simulated, brackets are those of the results."""
    measured = one.case.curves or one.case.images or one.case.kind == "rise"
    return trials if measured else None


def rates(case: Case, *, runs: int, seed: int = 0) -> Rates:
    """Judge so many simulated runs."""
    one = world(case)
    generator = np.random.default_rng([seed, *f"{case.name} {case.truth}".encode()])
    found = [_run(one, generator) for _ in range(runs)]
    return Rates(
        runs=runs,
        held=float(np.mean([held for held, _, _ in found])),
        said={word: float(np.mean([word == said for _, said, _ in found])) for word in WORDS},
        seeds=float(np.mean([seeds for _, _, seeds in found])),
    )


# The table


def older(case: Case) -> Case:
    """The case under the rule before: equal looks at 3, 5, 8 and 12, two-sided intervals.

    A search had one tuning seed, and the grid as it is.
    """
    search = case.search and case.search.model_copy(update={"seeds": 1, "refine": None})
    return replace(case, looks=OLDER_LOOKS, taken=len(OLDER_LOOKS), comparison=None, search=search)


def case_runs(case: Case, runs: int) -> int:
    """Fewer for a glance: censored likelihoods take twenty times as long as Student's t."""
    return max(runs // 4, 1) if _slow(case) and runs < ENOUGH else runs


def _slow(case: Case) -> bool:
    return case.budget < math.inf or case.diverging > 0 or case.curves is not None


Job = tuple[int, bool, int]  # a case's place, under the rule before or not, how many runs


def _work(job: Job) -> Rates:
    """By its place: another process makes its own cases."""
    place, before, runs = job
    return rates(older(CASES[place]) if before else CASES[place], runs=runs)


def _long(job: Job) -> tuple[bool, bool]:
    """The rule before, and what takes long, come last."""
    place, before, _ = job
    return before, _slow(CASES[place])


def _line(job: Job) -> str:
    place, before, _ = job
    case = CASES[place]
    return f"{case.name}, {case.truth:g}{', before' * before}"


def compute(jobs: Sequence[Job], lines: Path | None) -> list[Rates]:
    """What each job gives; those in the file, of as many runs or more, are not run again.

    The others are added to the file one by one.
    """
    kept: dict[str, Rates] = {}
    if lines is not None and lines.exists():
        kept = {name: Rates(**one) for name, one in json.loads(lines.read_text()).items()}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        left = [job for job in jobs if _line(job) not in kept or kept[_line(job)].runs < job[2]]
        running = {pool.submit(_work, job): job for job in sorted(left, key=_long)}
        for done in as_completed(running):
            kept[_line(running[done])] = done.result()
            if lines is not None:
                said = {name: asdict(one) for name, one in kept.items()}
                write_atomic(lines, json.dumps(said, indent=1).encode())
    return [kept[_line(job)] for job in jobs]


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def table(found: Sequence[tuple[Case, Rates]], *, runs: int, slack: float) -> str:
    """One line a case, shares in percent."""
    lines = [f"{'simulated':42} {'truth':>6} {'held':>6} {'repr.':>6} {'dir.':>6} {'gap':>6} "
             f"{'not':>6} {'seeds':>6}"]  # fmt: skip
    for case, one in found:
        words = " ".join(
            f"{_share(one.said[word]):>5}{'*' if word in case.false_words else ' '}"
            for word in WORDS
        )
        lines.append(
            f"{case.name:42} {case.truth:6g} {_share(one.held):>6} {words} {one.seeds:6.1f}"
        )
        wrong = faults(case, one, slack=slack * math.sqrt(runs / one.runs))
        lines += [f"  limit: {case.limit}"] * bool(case.limit)
        lines += [f"  OUT OF BOUNDS: {fault}" for fault in wrong if not case.limit]
    return "\n".join(lines)


LEGEND = """\
held: share of runs in which the 95 % interval that is shown holds the truth, %; at least 93
repr., dir., gap, not: `reproduced`, `direction only`, `gap only`, `not reproduced`; at most 5 %
where false (*)
seeds: an arm, on average, until a look settled it"""

PAGE = Path("docs/explanation/verdicts.md")
START, END = "<!-- calibration -->", "<!-- /calibration -->"


def page_table(found: Sequence[tuple[Case, Rates, Rates]]) -> str:
    """Before and after, for the page of the docs."""
    lines = [
        "| Simulated | Truth | Runs | Covered | Decided | False words | Seeds "
        "| Before: covered | decided | false |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, now, before in found:
        mark = " (limit)" if case.limit else ""
        cells = [
            case.name + mark, f"{case.truth:g}", f"{now.runs:,}", _share(now.held),
            _share(_decided(now)), _false(case, now), f"{now.seeds:.1f}", _share(before.held),
            _share(_decided(before)), _false(case, before),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    limits = dict.fromkeys(case.limit for case, _, _ in found if case.limit)
    least = min(before.runs for _, _, before in found)
    return "\n".join(
        [
            *lines,
            "",
            f"In percent. *Runs* is the number of simulations; *Before* has {least:,} or more. "
            f"Limits: {'; '.join(limits)}.",
            "",
        ]
    )


def _decided(one: Rates) -> float:
    return sum(one.said.values())


def _false(case: Case, one: Rates) -> str:
    """`reproduced 4.9`, those that were said in one run of a thousand or more."""
    said = [f"{word} {_share(one.said[word])}" for word in case.false_words]
    return ", ".join(said)


def main() -> int:
    """The whole table; 1 when a supported case is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        default=ENOUGH,
        help=f"simulations of each case; below {ENOUGH} a quarter of them where they take long",
    )
    parser.add_argument(
        "--write", action="store_true", help=f"the table, and that of the rule before, into {PAGE}"
    )
    parser.add_argument(
        "--lines",
        type=Path,
        help="a JSON file of lines that are finished: they are kept, and the others are added",
    )
    asked = parser.parse_args()
    runs = asked.runs
    error = math.sqrt(0.05 * 0.95 / runs)
    slack = 3 * error  # of some hundred shares one lies two errors off
    jobs = [
        (place, before, case_runs(CASES[place], runs))
        for before in ((False, True) if asked.write else (False,))
        for place in range(len(CASES))
    ]
    done = compute(jobs, asked.lines)
    found = list(zip(CASES, done, strict=False))
    sys.stdout.write(
        f"{table(found, runs=runs, slack=slack)}\n{LEGEND}\n"
        f"Monte Carlo error at 5 %: {100 * error:.2f} points; "
        f"let pass beyond the bounds: {100 * slack:.2f}\n"
    )
    if asked.write:
        both = list(zip(CASES, done, done[len(CASES) :], strict=False))
        marked = re.compile(f"(?<={START}\n).*?(?={END})", re.DOTALL)
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(marked.sub(lambda _: page_table(both), text, count=1), encoding="utf-8")
    return any(
        faults(case, one, slack=slack * math.sqrt(runs / one.runs))
        for case, one in found
        if not case.limit
    )


if __name__ == "__main__":
    sys.exit(main())
