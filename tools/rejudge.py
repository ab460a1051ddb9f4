"""Judge the kept evidence by the claim files as they stand, without training, and say what changed.

    python tools/rejudge.py COMMIT [COMMIT...]

Registers a plan for each claim file that has changed since its trials were run, with how many of
them were there; then writes docs/rejudged.md: the words of the reports that were kept at the
commits, oldest first, and those of today. `python tools/evidence.py` writes everything else.
"""

import argparse
import csv
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import findings
import numpy as np

from repro.claim import TimeClaim, TrainedClaim, load_all
from repro.report.markdown import markdown_table
from repro.report.tables import Table
from repro.store import Store, checksums
from repro.verdict import Verdict
from repro.verdict.judge import judge, register, registered_plan

CLAIMS, STORE, PAGE = Path("claims"), Path("reports/store"), Path("docs/rejudged.md")
HEAD = """\
# Kept verdicts, judged again

The rules by which verdicts are reached changed on 29 November 2026, after all trials of then had
been run; on the day after it the proxies changed, and the search of `relu_speedup`. A row has the
words of the reports that were kept at the commits that name its columns, and that of today. Where
the claim file asks for other trials by now, today's word is that of these; elsewhere the same
curves were judged again, and nothing was trained.
Looks that were taken before the rules changed keep their level (`taken` in the claim file);
[how a verdict is reached](explanation/verdicts.md) says why.
"""


def main() -> None:
    """Register, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commits", nargs="+", help="whose kept reports have the old words")
    commits = parser.parse_args().commits
    claims = [
        claim
        for claim in load_all(CLAIMS / f"{name}.yaml" for name in findings.claims())
        if isinstance(claim, TrainedClaim)
    ]
    store = Store(STORE)
    for claim in claims:
        for scale in claim.scales:
            plan_again(claim, scale, store)
    checksums.seal(STORE)
    table = Table(
        caption="Every verdict that was kept",
        columns=("Claim", "Scale", "Recipe", *(f"At {one[:7]}" for one in commits), "Today", "Why"),
        rows=tuple(rows(claims, store, [kept(one) for one in commits])),
    )
    PAGE.write_text("\n".join([HEAD, *markdown_table(table)]) + "\n", encoding="utf-8")


def plan_again(claim: TrainedClaim, scale: str, store: Store) -> None:
    """Write the plan of today down, on the images of the last one."""
    earlier = store.plans(claim.id, scale)
    if earlier and registered_plan(claim, scale, store) is None:
        last = earlier[-1]
        register(claim, scale, fingerprint=last.fingerprint, title=last.data_title, store=store)


class Kept(NamedTuple):
    """The report of then: its rows by claim, scale and recipe, and all its trials."""

    words: dict[tuple[str, str, str], dict[str, str]]
    trials: frozenset[str]


def kept(commit: str) -> Kept:
    def table(name: str) -> Iterator[dict[str, str]]:
        command = ["git", "show", f"{commit}:reports/report/{name}"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return csv.DictReader(io.StringIO(text))

    return Kept(
        words={(row["claim"], row["scale"], row["recipe"]): row for row in table("verdicts.csv")},
        trials=frozenset(row["trial"] for row in table("trials.csv")),
    )


def rows(
    claims: list[TrainedClaim], store: Store, reports: list[Kept]
) -> Iterator[tuple[str, ...]]:
    """Those of which anything was measured at the first commit, with the words of all of them."""
    old = reports[0]
    for claim in claims:
        for scale in claim.scales:
            for new in judge(claim, scale, store).verdicts:
                asked = claim.id, scale, new.recipe
                before = old.words.get(asked)
                if before is not None and before["verdict"] != "not run":
                    words = [one.words.get(asked, {}).get("verdict", "") for one in reports]
                    is_new = new.trials.isdisjoint(old.trials)
                    yield (*asked, *words, new.word, why(claim, before, new, is_new))


def why(claim: TrainedClaim, before: dict[str, str], new: Verdict, is_new: bool) -> str:
    """The reason of the new word; of the same word, only where its interval is another."""
    if is_new:
        others = "other trials by now, as the claim file says under `amended`"
        return f"{others}: {new.reason}" if new.word != "not run" else f"{others}: none was run"
    cause = ""
    if moved(before, new):
        times = "crossings have wider, measured brackets: "
        cause = times if isinstance(claim, TimeClaim) else "images set a floor to the scatter: "
    elif before["verdict"] == new.word:
        return "the same"
    return cause + new.reason


def moved(before: dict[str, str], new: Verdict) -> bool:
    """Whether an end of the interval is another number."""
    ends = [] if new.estimate is None else [new.estimate.low, new.estimate.high]
    then = [float(before[name]) for name in ("low", "high") if before[name]]
    return len(ends) != len(then) or not np.allclose(ends, then, rtol=1e-9)


if __name__ == "__main__":
    main()
