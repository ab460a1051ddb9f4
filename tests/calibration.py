"""How often the verdicts are wrong: simulated results of known truth, judged by the real rules.

`python -m tests.calibration` (or `nox -s calibration`) prints a table and fails where the interval
that is shown does not hold the truth, or where a word is false, too often; with `--write` the table
goes into docs/explanation/verdicts.md, beside that of the rule before. A small part runs with the
tests.

Each simulation draws the results of all looks, as trials would have left them, and gives them to
the analysis and the rule. That a plan which asks look by look comes to the same verdict is a test
of its own (tests/test_calibration.py).
"""

import argparse
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.claim import Analysis, LevelClaim, Region, TimeClaim, TrainedClaim, arms_of, load
from repro.plan import confirm_cells
from repro.trial import Clocks, Result
from repro.verdict import Word, decide, settles
from repro.verdict.analysis import analyse

__all__ = ["CASES", "Case", "Rates", "faults", "rates", "world"]

PRINT = "0123456789abcdef"
LOOKS, OLDER_LOOKS = (5, 8, 12), (3, 5, 8, 12)
COVERAGE = 0.93
MOST_FALSE = 0.05
ENOUGH = 2000  # simulations, of which 5 % are known to half a point
WORDS: tuple[Word, ...] = ("reproduced", "direction only", "not reproduced")

Values = npt.NDArray[np.float64]  # (arms, seeds)
Draw = Callable[[np.random.Generator, int], Values]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A known truth. `draw`: what each arm and seed gives, epochs or an error in points.

    `taken`: looks under the older rule. `late`: by which share each arm's crossings are seen late,
    the most of a range that differs from seed to seed; `budget`: where times are censored;
    `diverging`: the share of trials that diverge. `limit`: why the case is not supported: it is
    shown, and may be out of bounds.
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
    limit: str = ""

    @property
    def false_words(self) -> tuple[Word, ...]:
        """What must not be said of this truth."""
        low, high = self.region
        if low <= self.truth <= (math.inf if high is None else high):
            return ("direction only", "not reproduced")
        if self.kind == "level":
            return ("reproduced",)
        nothing = 1.0 if self.kind == "time_to_threshold" else 0.0
        return ("reproduced",) if self.truth > nothing else ("reproduced", "direction only")


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


def _counted(draw: Draw, *, step: float) -> Draw:
    """The same, where a metric counts images of which one is `step` points."""
    return lambda generator, n: step * np.round(draw(generator, n) / step)


def _one(mean: float, *, sd: float = 1.2) -> Draw:
    return lambda generator, n: generator.normal(mean, sd, (1, n))


def _times(ratio: float, *, fast: float = 8.0, sd: tuple[float, float] = (0.1, 0.1)) -> Draw:
    """Log-normal epochs to the threshold, slow and fast."""

    def draw(generator: np.random.Generator, n: int) -> Values:
        spread = generator.normal(size=(2, n)) * np.array(sd)[:, None]
        return np.exp(np.log([[fast * ratio], [fast]]) + spread)

    return draw


def _searched(ratio: float, *, seeds: int, step: float, sd: float = 0.1) -> Draw:
    """Each arm at the rate whose median over tuning seeds is least, of a grid of that step.

    Log times are a parabola in the log rate, 15 % above the least at a factor of three; the least
    lies anywhere between two rates of the grid. The truth is the ratio at the best rates.
    """
    rates = math.log(step) * np.arange(-3, 4)

    def draw(generator: np.random.Generator, n: int) -> Values:
        best = generator.uniform(-0.5, 0.5, (2, 1)) * math.log(step)
        cost = 0.14 * ((rates - best) / math.log(3)) ** 2  # (2, rates)
        tuned = cost[..., None] + sd * generator.standard_normal((2, len(rates), seeds))
        chosen = np.median(tuned, axis=2).argmin(1)
        return _times(ratio, sd=(sd, sd))(generator, n) * np.exp(cost[[0, 1], chosen])[:, None]

    return draw


ALONE = {"noise": _still, "correlated": 0.0, "sd": 1.2 * math.sqrt(2)}  # the other arm is still
BOUNDED = (3.0, 9.0)
POINTS = (0.5, 2.5)
SKEWED = "errors that are skewed in one arm: means of few seeds lie to one side"
FAILING = "seeds that fail in one arm: few seeds may show none of them"
SEARCHED = "that another rate may be the best is not in the interval, least of all in a rough grid"

# Just outside of the region, where words are false most often.
BELOW, ABOVE = 0.499, 2.501


def _differences(name: str, *truths: float, limit: str = "", **noise: object) -> tuple[Case, ...]:
    return tuple(
        Case(
            name=f"difference, {name}", kind="difference", truth=truth, region=POINTS, limit=limit,
            draw=_pairs(truth, **noise),  # type: ignore[arg-type] # keywords of _pairs
        )
        for truth in truths
    )  # fmt: skip


def _ratios(name: str, *truths: float, limit: str = "", **of_times: object) -> tuple[Case, ...]:
    options = {key: of_times.pop(key) for key in ("budget", "late", "region") if key in of_times}
    return tuple(
        Case(
            name=f"times, {name}", kind="time_to_threshold", truth=truth, limit=limit,
            draw=_times(truth, **of_times),  # type: ignore[arg-type] # keywords of _times
            **{"region": BOUNDED, **options},  # type: ignore[arg-type] # of Case
        )
        for truth in truths
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    *_differences("normal", 0.0, BELOW, 1.4, ABOVE),
    *_differences("heavy tails", BELOW, 1.4, noise=_student),
    *_differences("skewed alike", BELOW, 1.4, noise=_skewed, correlated=0.0),
    *_differences("one arm skewed", BELOW, 1.4, ABOVE, first=_skewed, correlated=0.0, limit=SKEWED),
    *_differences("all scatter skewed", BELOW, 1.4, ABOVE, **ALONE, first=_skewed, limit=SKEWED),
    *_differences("a tenth fails, alike", BELOW, 1.4, noise=_failing, correlated=0.0),
    *_differences("a tenth of one arm fails", BELOW, 1.4, ABOVE, first=_failing, correlated=0.0,
                  limit=FAILING),
    *_differences("a tenth fails, all scatter", BELOW, 1.4, ABOVE, **ALONE, first=_failing,
                  limit=FAILING),
    *_differences("arms not correlated", BELOW, 1.4, correlated=0.0),
    *_differences("arms correlated 0.95", BELOW, 1.4, correlated=0.95),
    *(
        replace(case, name="difference, Welch", comparison="welch")
        for case in _differences("", BELOW, 1.4, correlated=0.0)
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
    Case(name="level, normal", kind="level", truth=37.5, draw=_one(37.5), region=(36.5, 38.5)),
    Case(name="level, normal", kind="level", truth=38.51, draw=_one(38.51), region=(36.5, 38.5)),
    *_ratios("normal", 1.0, 2.99, 6.0),
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
    *(
        Case(name=f"times, rates searched{name}", kind="time_to_threshold", truth=truth,
             draw=_searched(truth, seeds=seeds, step=step), region=BOUNDED, limit=SEARCHED)
        for name, seeds, step in (
            (" by 3 seeds, steps of 1.8", 3, 1.8),
            (" by 1 seed, steps of 3", 1, 3.0),
        )
        for truth in (2.9, 6.0)
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
TWO = "  one: {model: {activation: tanh}}\n  two: {model: {activation: relu}}"
PARTS = {
    "time_to_threshold": {
        "metric": "train_error",
        "keys": "threshold: 0.25\ndecided_by: full\nnear: 1.0\ncontrast: {slow: one, fast: two}",
        "arms": TWO,
    },
    "difference": {
        "metric": "test_error", "keys": "contrast: {higher: one, lower: two}", "arms": TWO,
    },
    "level": {"metric": "test_error", "keys": "", "arms": "  one: {}"},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A claim, and the trials of its arms by seed."""

    case: Case
    claim: TrainedClaim
    trials: tuple[tuple[str, ...], ...]

    def results(self, generator: np.random.Generator) -> dict[str, Result]:
        """What all trials of one run gave."""
        drawn = self.case.draw(generator, self.case.looks[-1])
        diverged = generator.random(drawn.shape) < self.case.diverging
        late = generator.uniform(0.7, 1.0, drawn.shape)
        return {
            trial: self._result(
                trial,
                arm,
                float(drawn[arm, seed]),
                diverged=bool(diverged[arm, seed]),
                late=float(late[arm, seed]),
            )
            for arm, trials in enumerate(self.trials)
            for seed, trial in enumerate(trials)
        }

    def _result(self, trial: str, arm: int, value: float, *, diverged: bool, late: float) -> Result:
        result = replace(_BLANK, trial_id=trial, epochs=self.claim.scales["paper"].epochs)
        if diverged:
            return replace(result, status="diverged", loss=math.nan)
        if not isinstance(self.claim, TimeClaim):
            return replace(result, metrics={"test_error": value / 100, "initial_loss": 2.3})
        crossed = math.ceil(10 * value) / 10
        if crossed > self.claim.scales["paper"].epochs:
            return replace(result, status="censored")
        seen = crossed * (1 + self.case.late[arm] * late)
        return replace(result, status="crossed", crossing_full=(crossed - 0.1, seen), epochs=seen)


_BLANK = Result(
    trial_id="", status="finished", epochs=0.0, crossing_full=None, crossing_online=None,
    train_error=0.1, epoch_errors=(), loss=1.0, seconds=Clocks(),
)  # fmt: skip


def world(case: Case) -> World:
    """The case as a claim that was read from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world.yaml"
        path.write_text(CLAIM.format(kind=case.kind, **PARTS[case.kind]))
        claim = load(path)
    assert isinstance(claim, TrainedClaim)
    low, high = case.region
    epochs = min(case.budget, 1000.0)
    changes = {"seeds": case.looks, "epochs": epochs, "taken": case.taken}
    scale = claim.scales["paper"].model_copy(update=changes)
    claim = claim.model_copy(
        update={
            "region": Region(low=low, high=high),
            "analysis": Analysis.model_validate({"comparison": case.comparison}),
            "scales": {"paper": scale},
        }
    )
    arms = arms_of(claim) if not isinstance(claim, LevelClaim) else tuple(claim.arms)
    trials = tuple(
        tuple(c.trial.id for c in confirm_cells(claim, "paper", "period", arm, PRINT, 0.01))
        for arm in arms
    )
    return World(case=case, claim=claim, trials=trials)


def _run(one: World, generator: np.random.Generator) -> tuple[bool, Word, int]:
    """Whether the shown interval holds the truth; the word; the seeds of the look that counts."""
    results = one.results(generator)
    evidence = analyse(one.claim, "paper", PRINT, results, settles=settles)
    verdict = decide(one.claim, evidence, "period")
    estimate = verdict.estimate
    held = estimate is not None and estimate.low <= one.case.truth <= estimate.high
    return held, verdict.word, verdict.seeds


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
    """The case under the rule before: equal looks at 3, 5, 8 and 12, and two-sided intervals."""
    return replace(case, looks=OLDER_LOOKS, taken=len(OLDER_LOOKS), comparison=None)


def case_runs(case: Case, runs: int) -> int:
    """Likelihoods of censored times take twenty times as long as Student's t."""
    return runs if case.budget == math.inf and case.diverging == 0 else max(runs // 4, 1)


def _work(job: tuple[int, bool, int]) -> Rates:
    """By its place: another process makes its own cases."""
    place, before, runs = job
    return rates(older(CASES[place]) if before else CASES[place], runs=runs)


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def table(found: Sequence[tuple[Case, Rates]], *, runs: int, slack: float) -> str:
    """One line a case, shares in percent."""
    lines = [f"{'simulated':42} {'truth':>6} {'held':>6} {'repr.':>6} {'dir.':>6} {'not':>6} "
             f"{'seeds':>6}"]  # fmt: skip
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
repr., dir., not: `reproduced`, `direction only`, `not reproduced`; at most 5 % where false (*)
seeds: an arm, on average, until a look settled it"""

PAGE = Path("docs/explanation/verdicts.md")
START, END = "<!-- calibration -->", "<!-- /calibration -->"


def page_table(found: Sequence[tuple[Case, Rates, Rates]]) -> str:
    """Before and after, for the page of the docs."""
    lines = [
        "| Simulated | Truth | Covered | Decided | False words | Seeds "
        "| Before: covered | decided | false |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, now, before in found:
        mark = " (limit)" if case.limit else ""
        cells = [case.name + mark, f"{case.truth:g}", _share(now.held), _share(_decided(now)),
                 _false(case, now), f"{now.seeds:.1f}", _share(before.held),
                 _share(_decided(before)), _false(case, before)]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    limits = dict.fromkeys(case.limit for case, _, _ in found if case.limit)
    runs = found[0][1].runs
    return "\n".join(
        [
            *lines,
            "",
            f"In percent, of {runs:,} simulations a line. Limits: {'; '.join(limits)}.",
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
        help="simulations of each case, a quarter of them where times may be censored",
    )
    parser.add_argument(
        "--write", action="store_true", help=f"the table, and that of the rule before, into {PAGE}"
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
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        done = list(pool.map(_work, jobs))
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
