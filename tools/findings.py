"""The findings, a page a claim, of the evidence in reports/store and words in docs/findings.yaml.

`python tools/evidence.py` writes them with everything else that is said of the evidence.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import jinja2
import yaml
from reference import table

from repro.claim import SCALES, arms_of, metric_of
from repro.registry import DATASETS
from repro.report.drawings import Drawing, drawings
from repro.report.page import FactPage, Page
from repro.report.tables import grid_table
from repro.report.verdict_table import Row, rows
from repro.stats import Estimate
from repro.store import Store
from repro.text import duration, effect_text, energy_text, estimate_text, p_text
from repro.trial import Result, Trial
from repro.verdict import EXACT, NOT_JUDGED, Member, family
from repro.verdict.effects import DECIDING, Contrast
from repro.verdict.forecast import LIKELY, outlook

__all__ = ["WORDS", "claims", "filled", "needed", "render", "summary", "unit_of"]

WORDS = Path(__file__).parents[1] / "docs" / "findings.yaml"

# Sec. 1 and 5: about 90 passes over 1.2 million images in five to six days, on two GTX 580.
PAPER_IMAGES = 90 * 1.2e6
PAPER_SECONDS = 5.5 * 24 * 3600
MULTIPLY_ADDS = 724_406_816  # of AlexNet for one image, forward

UNKNOWN = "not measured"
BEST_FIRST = (EXACT, *reversed(SCALES))

INTRODUCTION = """\
# Findings

Which of AlexNet's choices mattered, by our evidence, which did not, and what is not settled.
Each claim has a page; all numbers are of the evidence in
[`reports/`](../../reports/README.md), written by `python tools/evidence.py`.
[How a verdict is reached](../explanation/verdicts.md) and
[what a proxy can say](../explanation/scales.md) say how far to trust them;
[what was not measured, and what it cost](coverage.md) is a page of its own."""


PICTURE = """\
![Every measured claim about AlexNet: its effect, interval, range, verdict and scale][picture]

[picture]: ../../reports/report/figures/claims.svg

*Each effect in units of the paper's; where the paper reports no number, of the smallest effect that
counts as reproduced. Ratios are compared on a log scale. Residual nets are in the table below.*"""

COVERAGE = """\
# What was not measured, and what it cost

How many trials were there when the plan that now stands was registered:
[claim by claim](../../reports/README.md)."""

# The parts of the story.
AS_CLAIMED = "What had an effect as claimed, at least in its direction"
SIZE_OPEN = "The interval leaves out no effect, but the size is open"
ALONE = "What had an effect by its own test, and none that is shown among all claims"
OTHER_WAY = "What made it worse here"
TOO_SMALL = "What had no effect of the size that is claimed"
OPEN = "What is not settled"
STORY = (AS_CLAIMED, ALONE, SIZE_OPEN, OTHER_WAY, TOO_SMALL, OPEN)
UNTOLD = """\
## What takes more seeds than we had time for

The plan said so beforehand, and the arms without were not run:"""


def claims(words: Path = WORDS) -> list[str]:
    """Names of the paper's claims, beside which a person's own may lie."""
    return sorted(yaml.safe_load(words.read_text(encoding="utf-8"))["readings"])


def render(found: Sequence[Page | FactPage], store: Store) -> dict[str, str]:
    """Pages in Markdown, by the names of their files; `found`: those of the report of `store`."""
    said = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    measured = [page for page in found if isinstance(page, Page) and _row(page) is not None]
    best = _best(found)
    index = [
        INTRODUCTION,
        PICTURE,
        *_story(best, found, said["choices"]),
        *_untold(found, best, said["choices"]),
        "## All claims",
        summary(found),
    ]
    coverage = [
        COVERAGE,
        "## What was not measured",
        *_unmeasured(found, said["needs"], said["left_out"]),
        "## What it cost",
        *_cost(measured, store),
    ]
    pages: dict[str, Iterable[str]] = {
        f"{page.claim.id}.md": _claim(page, said["readings"][page.claim.id], found) for page in best
    }
    whole = {"index.md": index, "coverage.md": coverage} | pages
    return {name: "\n\n".join(parts) + "\n" for name, parts in whole.items()}


def _story(
    best: Sequence[Page | FactPage],
    found: Sequence[Page | FactPage],
    choices: Mapping[str, str],
) -> Iterator[str]:
    """What is known of each choice, in the order of the file, by what became of its claim."""
    lines: dict[str, list[str]] = {heading: [] for heading in STORY}
    pages = {page.claim.id: page for page in best}
    for name, choice in choices.items():
        page = pages.get(name)
        row = None if page is None else _row(page)
        if page is not None and row is not None:
            beside = _beside_gap(page)
            errors = f", of the test error alone {effect_text(beside)}" if beside else ""
            lines[ALONE if _only_alone(row, found) else _part(page, row)].append(
                f"- [{filled(choice, page)}]({name}.md): {row.word}. {unit_of(row).capitalize()}: "
                f"{row.effect}{errors} (paper: {row.paper}); {row.scale} scale."
            )
    for heading, listed in lines.items():
        if listed:
            yield f"## {heading}"
            yield "\n".join(listed)


def _untold(
    found: Sequence[Page | FactPage],
    best: Sequence[Page | FactPage],
    choices: Mapping[str, str],
) -> Iterator[str]:
    """The choices without any measurement, since the plan of their proxy is unlikely to decide."""
    measured = {page.claim.id for page in best}
    unlikely = {
        page.claim.id: "; ".join(said)
        for page in found
        if isinstance(page, Page)
        and page.evidence.scale == "proxy"
        and page.claim.id in choices.keys() - measured
        and (said := _unlikely(page))
    }
    if unlikely:
        yield UNTOLD
        yield "\n".join(
            f"- {choices[name]}: {unlikely[name]}." for name in choices if name in unlikely
        )


def _part(page: Page | FactPage, row: Row) -> str:
    """The heading of the story: by the word, and by where the intervals lie about no effect."""
    if row.word in ("reproduced", "direction only"):
        return AS_CLAIMED
    assert isinstance(page, Page)
    (verdict,) = (one for one in page.verdicts if one.decides)
    no_effect = page.claim.no_effect
    low, high = (verdict.basis.low, verdict.basis.high) if verdict.basis else (-math.inf, math.inf)
    beside = _beside_gap(page)
    if row.word in ("gap only", "not reproduced") and no_effect is not None:
        worse = high < no_effect or (beside is not None and beside.high < no_effect)
        return OTHER_WAY if worse else TOO_SMALL
    is_open = row.word == "inconclusive" and no_effect is not None and low > no_effect
    return SIZE_OPEN if is_open else OPEN


def _beside_gap(page: Page | FactPage) -> Estimate | None:
    """The effect on the test error of the same arms, of a claim about the gap to it."""
    if not isinstance(page, Page):
        return None
    found = page.evidence.recipes[page.claim.verdict_recipe]
    if set(found.deciding.metrics) != {"gap"}:
        return None
    return next(
        one.estimate
        for one in found.contrasts
        if one.terms == found.deciding.terms and set(one.metrics) == {"test_error"}
    )


def unit_of(row: Row) -> str:
    """Of what the points are; a ratio's shorter one."""
    return row.unit if row.unit.startswith("ratio") else row.measure


def _theirs(row: Row) -> str:
    return f"has {row.paper}" if not math.isnan(row.printed) else "gives no number"


def _row(page: Page | FactPage) -> Row | None:
    """The verdict that decides; None at smoke scale and where nothing was measured."""
    return next((row for row in rows(page) if row.decides and row.measured), None)


def _best(found: Iterable[Page | FactPage]) -> list[Page | FactPage]:
    """Of each claim the best scale that can be judged, else that was measured; facts first."""
    best: dict[str, Page | FactPage] = {}
    measured = [(row, page) for page in found if (row := _row(page)) is not None]
    for _, page in sorted(
        measured, key=lambda one: (one[0].word in NOT_JUDGED, BEST_FIRST.index(one[0].scale))
    ):
        best.setdefault(page.claim.id, page)
    return list(best.values())


def summary(found: Sequence[Page | FactPage]) -> str:
    """A row for each claim, at its best scale, which leads to its page."""
    best = _best(found)
    if not best:
        return "Nothing was measured yet."
    return table(
        ("Claim", "Verdict", "Effect [CI]", "Unit", "Paper", "Scale"),
        (
            (
                f"[{page.claim.title}]({page.claim.id}.md)",
                f"**{row.word}**",
                row.effect,
                unit_of(row) if row.has_number else "",
                row.paper,
                row.scale,
            )
            for page in best
            if (row := _row(page)) is not None
        ),
    )


# A claim


def _claim(page: Page | FactPage, reading: str, found: Sequence[Page | FactPage]) -> Iterator[str]:
    row = _row(page)
    assert row is not None
    claim = page.claim
    yield f"# {claim.title}"
    yield f"**{row.word}** at {row.scale} scale."
    yield f"**The paper** ({claim.paper.section}). {' '.join(claim.paper.states.split())}"
    yield f"**What we found.** {_found(page, row)}"
    others = [one for one in found if one.claim.id == claim.id and one is not page and _row(one)]
    for other in others:
        its = _row(other)
        assert its is not None
        why = f", since {its.reason}" if its.word in NOT_JUDGED else ""
        yield f"*At {its.scale} scale, {its.word}{why}.* {_found(other, its)}"
    drawn = _drawing(page)
    if drawn is not None:
        yield f"![{drawn.alt}](../../reports/report/figures/{drawn.name}.svg)"
        yield "*[How to read the figure](../how-to/figures.md)*"
    if isinstance(page, Page):
        alone = _only_alone(row, found)
        tested = (
            f" Among all claims (Holm) not significant: p {p_text(alone.adjusted)}, alone "
            f"{p_text(alone.p)}."
            if alone
            else ""
        )
        yield f"**How sure.** {row.reason[0].upper()}{row.reason[1:]}.{tested}"
    yield _read(reading, [page, *others])
    yield f"**What would change our mind.** {' '.join(claim.reconsidered_if.split())}"
    yield (
        f"*Cost:* {_spent(row)} To repeat it: `{row.command}`. Deviations from the paper: "
        f"[claim file](../../claims/{claim.id}.yaml); all else: "
        f"[report](../../reports/report/report.html#{claim.id})."
    )


def _only_alone(row: Row, found: Iterable[Page | FactPage]) -> Member | None:
    """The claim in the test of all claims, where that does not show the effect of its own test."""
    if row.word not in ("reproduced", "direction only"):
        return None
    verdicts = [one for page in found if isinstance(page, Page) for one in page.verdicts]
    members = (one for one in family(verdicts) if one.verdict.claim_id == row.claim)
    return next((one for one in members if one.conclusion == "not shown"), None)


def _read(reading: str, scales: Sequence[Page | FactPage]) -> str:
    """With the numbers of the first scale that has them all, which is said where it is another."""
    for page in scales:
        text = filled(reading, page)
        row = _row(page)
        if UNKNOWN not in text and row is not None:
            where = "" if page is scales[0] else f" (by the numbers at {row.scale} scale)"
            return f"**What it means{where}.** {text}"
    return f"**What it means.** {filled(reading, scales[0])}"


def _found(page: Page | FactPage, row: Row) -> str:
    if isinstance(page, FactPage):
        return f"Computed from the layers, {row.estimate} hold."
    (verdict,) = (one for one in page.verdicts if one.decides)
    return (
        f"On {row.data}, with {verdict.seeds} seed{'s' * (verdict.seeds != 1)} an arm, "
        f"{_estimate(verdict.estimate, unit_of(row))}; the paper {_theirs(row)}.{_errors(page)}"
    )


def _errors(page: Page) -> str:
    """Mean test error of each arm that decides, beside that of guessing.

    Where an arm is judged by another test error, that of ten crops, it is that one. Arms that read
    one metric of the same nets have one number.
    """
    found = page.evidence.recipes[page.claim.verdict_recipe]
    last = found.look.seeds if found.look else found.seeds
    means: dict[tuple[str, ...], list[str]] = {}
    average = ""
    for arm in arms_of(page.claim):
        metric = metric_of(page.claim, arm)
        metric = metric if metric.startswith("test_error") else "test_error"
        errors = {
            outcome.trial_id: outcome.metrics[metric]
            for outcome in found.outcomes
            if outcome.arm == arm and outcome.seed < last and metric in outcome.metrics
        }
        if errors:
            crops = ", ten crops" * (metric != "test_error")
            mean = f"{100 * sum(errors.values()) / len(errors):.1f} %{crops}"
            means.setdefault((mean, *errors), []).append(arm)
            average = ", on average" if len(errors) > 1 else average
    if not means:
        return ""
    listed = ", ".join(f"{mean} ({' and '.join(arms)})" for (mean, *_), arms in means.items())
    guessing = 100 * (1 - 1 / DATASETS[page.scale.data].classes)
    return f" Test errors{average}: {listed}; chance level: {guessing:.1f} %."


def _estimate(estimate: Estimate | None, unit: str) -> str:
    if estimate is None:
        return UNKNOWN
    text = estimate_text(estimate)
    return f"a {unit} of {text}" if unit.startswith("ratio") else f"{text} {unit}"


def _drawing(page: Page | FactPage) -> Drawing | None:
    """The paper's own figure for times; for what many recipes are asked, and all else, effects."""
    if isinstance(page, FactPage):
        return None
    found = drawings(page)
    endings = ("-effect", "-ratio") if grid_table(page) else ("-effect",)
    effects = [one for one in found if one.name.endswith(endings)]
    return next(iter([*effects, *found]), None)


def _spent(row: Row) -> str:
    return f"{row.time} of trials on {row.device}." if row.time else "a second, without training."


def filled(text: str, page: Page | FactPage) -> str:
    """A sentence with its numbers; an unknown contrast or recipe is an error."""
    values: dict[str, dict[str, str]] = {"also": {}, "recipe": {}}
    if isinstance(page, Page):
        recipes = page.evidence.recipes
        found = recipes[page.claim.verdict_recipe]
        values["also"] = {
            contrast.name: _short(contrast, found.seeds)
            for contrast in found.contrasts
            if contrast.name != DECIDING
        }
        values["recipe"] = {
            name: _short(one.deciding, found.seeds) for name, one in recipes.items()
        }
    return _WORDS.from_string(" ".join(text.split())).render(**values)


def _short(contrast: Contrast, deciding: int) -> str:
    """`0.84 [0.62, 1.08]`, with a difference's unit, and fewer seeds than those that decide."""
    estimate = contrast.estimate
    if estimate is None:
        return UNKNOWN
    unit = "" if contrast.unit.startswith("ratio") else f" {contrast.unit}"
    few = f" ({estimate.seeds} seeds)" if estimate.seeds < deciding else ""
    return f"{effect_text(estimate)}{unit}{few}"


_WORDS = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)


# What was not measured


def _unmeasured(
    found: Iterable[Page | FactPage],
    needs: Mapping[str, str],
    left_out: Sequence[Mapping[str, str]],
) -> Iterator[str]:
    yield "Scales of claims that nothing was run for:"
    yield table(
        ("Claim", "Scale", "What it needs"),
        (
            (page.claim.title, page.evidence.scale, needed(page, needs[page.scale.data]))
            for page in found
            if isinstance(page, Page) and not page.smoke and _row(page) is None
        ),
    )
    yield "Statements of Krizhevsky et al. (2012) that no claim file asks:"
    yield table(
        ("The paper says", "Where", "Why not"),
        ((one["states"], one["section"], one["why"]) for one in left_out),
    )


def needed(page: Page, images: str) -> str:
    """What a claim needs to be run, and the words that its plan makes unlikely."""
    return "; ".join([images, *_unlikely(page)])


def _unlikely(page: Page) -> list[str]:
    ahead = outlook(
        page.claim, page.evidence.scale, page.evidence.recipes[page.claim.verdict_recipe]
    )
    seldom = [chance for chance in ahead.chances if chance.value < LIKELY]
    return [f"{chance.sentence}; {chance.power}" for chance in seldom]


# What it cost


def _cost(measured: Sequence[Page], store: Store) -> Iterator[str]:
    rate = PAPER_IMAGES / PAPER_SECONDS
    yield (
        "Time is that of all trials, training, evaluation and the rest; on a CPU a trial has one "
        "core. Many trials shared the machine with other work, and took up to several times as "
        "long as they had to ([which](../../reports/README.md)). Trials that several claims share "
        "count in each row, once in the total. Energy is the device's, where its driver counts it; "
        "those of CPUs do not."
    )
    lines: list[tuple[str, ...]] = []
    every: dict[str, tuple[Trial, Result]] = {}
    for page in measured:
        trials = {name: (page.trials[name], page.results[name]) for name in page.trials}
        every |= trials
        lines.append((page.claim.id, page.evidence.scale, *_sums(trials.values())))
    earlier = {
        name: (store.trial(name), result)
        for name, result in store.results().items()
        if name not in every
    }
    every |= earlier
    lines.append(("earlier trials, which count no longer", "", *_sums(earlier.values())))
    yield table(
        (
            "Claim",
            "Scale",
            "Trials",
            "Time here",
            "Energy",
            "The same on two GTX 580, by conversion",
        ),
        [*lines, ("all of them", "", *_sums(every.values()))],
    )
    yield (
        "The last column is a conversion and no measurement: the paper trained about 90 passes "
        "over 1.2 million images in five to six days (sec. 1, 5), which is about "
        f"{rate:.0f} images a second of AlexNet's {MULTIPLY_ADDS:,} "
        "multiply-adds; images that our trials trained on are converted by the multiply-adds of "
        "their nets, forward. Small nets would have kept those cards less busy, so it errs to the "
        "short side."
    )


def _sums(trials: Iterable[tuple[Trial, Result]]) -> tuple[str, ...]:
    known = list(trials)
    here = sum(result.seconds.wall for _, result in known)
    then = sum(_seconds_then(trial, result) for trial, result in known)
    return (
        str(len(known)),
        duration(here),
        energy_text([result.metric("energy") for _, result in known]),
        duration(then) if math.isfinite(then) else "not known",
    )


def _seconds_then(trial: Trial, result: Result) -> float:
    """On the paper's two cards, in proportion to the multiply-adds; NaN where nobody knows them."""
    from repro.models.facts import epoch_work  # torch is imported for this alone

    return result.epochs * epoch_work(trial) / MULTIPLY_ADDS * PAPER_SECONDS / PAPER_IMAGES
