"""What `import repro` offers notebooks and scripts: claims, runs and results as Python values.

Importing this imports no torch and no pandas; functions do when they need them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from repro.claim import Claim, TrainedClaim, load_all, load_valid
from repro.cli.options import cache_dir_for, data_dirs_for, machine_from
from repro.cli.settings import user_folder
from repro.errors import ClaimError, NothingMeasuredError, ReproError
from repro.registry.shipped import claim_files, find_claim, is_shipped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from repro.report.page import FactPage, Page

__all__ = ["Claim", "ReproError", "Results", "load", "plan", "results", "run", "validate"]

Named = Claim | str | Path  # a claim, its name, or the path of its file


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What a store says of claims, as tables whose rows carry claim, scale, recipe, arm and seed.

    `verdicts`: a row a claim, scale and recipe, with the `arms` that it compares. `effects`: each
    contrast with its arms, interval and values by seed. `trials`: each finished trial with its
    metrics, as stored: errors are fractions. `curves`: all that was measured on the way. `pages`:
    what figures are drawn from.
    """

    verdicts: "pd.DataFrame"
    effects: "pd.DataFrame"
    trials: "pd.DataFrame"
    curves: "pd.DataFrame"
    pages: "tuple[Page | FactPage, ...]" = field(default=(), repr=False)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdicts, with their numbers and what these stand on."""
        columns = ["claim", "scale", "recipe", "verdict", "estimate", "low", "high", "paper"]
        shown: str = self.verdicts[[*columns, "seeds", "reason"]].to_html(index=False, na_rep="")
        return shown

    def draw(
        self,
        ax: "Axes",
        figure: Literal["effect", "curves"] = "effect",
        *,
        claim: str | None = None,
        scale: str | None = None,
        recipe: str | None = None,
    ) -> "Axes":
        """Draw a claim's effect, or its learning curves, as the report does; returns `ax`.

        Of the first claim and its best scale that have one, unless they are named; curves are those
        of the recipe that decides. ValueError where there is nothing to draw.
        """
        from repro.report.drawings import drawings

        if figure not in ("effect", "curves"):
            raise ValueError(f"there is no figure {figure!r}: effect, curves")
        page = self._page(figure, claim, scale)
        recipes, chosen = [*page.claim.recipes], recipe or page.claim.verdict_recipe
        if chosen not in recipes:
            raise ValueError(f"{page.claim.id} has no recipe {chosen!r}: {', '.join(recipes)}")
        endings = {"effect": ("-effect", "-ratio"), "curves": ("-curves",)}[figure]
        panels = next(one.panels for one in drawings(page) if one.name.endswith(endings))
        _, draw = panels[recipes.index(chosen) if figure == "curves" else 0]
        return draw(ax)

    def _page(self, figure: str, claim: str | None, scale: str | None) -> "Page":
        from repro.report.page import Page

        trained = [page for page in self.pages if isinstance(page, Page) and page.measured]
        # The region and the paper's number are for evidence alone.
        shown = [page for page in trained if not (page.smoke and figure == "effect")]
        for page in shown:
            if claim in {None, page.claim.id} and scale in {None, page.evidence.scale}:
                return page
        there = ", ".join(f"{page.claim.id} at {page.evidence.scale} scale" for page in shown)
        raise ValueError(f"no {figure} of that claim and scale; there are {there or 'none'}")


def load(claim: str | Path) -> Claim:
    """The claim of a file or a name; ClaimError has a line for everything that is wrong with it.

    A name is found in `claims/` of the working folder, then among those that come with repro.
    """
    return load_all([find_claim(claim)])[0]


def validate(claim: str | Path) -> list[str]:
    """All that is wrong with a claim file, each with line and column; empty where it is valid."""
    _, faults = load_valid([find_claim(claim)])
    return [line for fault in faults for line in str(fault).splitlines()]


def plan(
    claim: Named,
    scale: str | None = None,
    *,
    store: str | Path = "runs",
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> "pd.DataFrame":
    """The trials that come next, a row each; nothing is trained.

    `scale`: by default the largest of the claim file. `store`: folder of results. `data_dir`:
    folder of data sets, searched before the default one. `cache_dir`: folder of decoded images.
    """
    import pandas as pd

    from repro.execute.prepare import fingerprint_at
    from repro.store import Store
    from repro.verdict.judge import as_registered, default_scale, next_trials

    target = _claim(claim)
    if not isinstance(target, TrainedClaim):
        raise ClaimError(f"{target.id} needs no trials", hint="repro run computes its facts")
    at = scale or default_scale(target)
    dirs, cache = data_dirs_for(_folder(data_dir)), cache_dir_for(_folder(cache_dir))
    images = fingerprint_at(target, at, dirs, cache)
    facts = Store(Path(store))
    rule = as_registered(target, at, facts)
    cells = next_trials(rule, at, images, facts.results(), records=facts)
    columns = ["claim", "scale", "recipe", "arm", "purpose", "rate", "seed", "epochs", "trial"]
    rows = [
        (target.id, at, c.recipe, c.arm, c.purpose, c.trial.rate, c.trial.seed, c.until, c.trial.id)
        for c in cells
    ]
    return pd.DataFrame(rows, columns=columns)


def run(
    claims: Named | Sequence[Named],
    scale: str | None = None,
    *,
    store: str | Path = "runs",
    device: str = "auto",
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    max_seeds: int | None = None,
    seconds: float | None = None,
    trust: bool = False,
) -> Results:
    """Run what is missing of the claims in this process; what the store says of them then.

    Ctrl-C saves and stops, and the same call continues. A fault of data or machine is raised once
    all else has run.

    `scale` to `cache_dir`: as `plan` takes them. `device`: `auto`, `cpu`, `cuda` or `cuda:N`.
    `max_seeds`: stop after the last interim analysis that needs no more. `seconds`: the budget.
    `trust`: run a claim file's own command, as `repro run --trust` does.
    """
    from repro.execute import Local
    from repro.execute.running import run_claims
    from repro.execute.trust import require_trust

    chosen = _claims(claims)
    if not trust:
        require_trust(chosen, user_folder("config"))
    machine = machine_from(
        store=Path(store),
        data_dir=_folder(data_dir),
        cache_dir=_folder(cache_dir),
        device=device,
        workers=1,
    )
    outcome = run_claims(
        chosen,
        scale=scale,
        machine=machine,
        backend=Local(machine),
        max_seeds=max_seeds,
        budget=seconds,
    )
    for fault in outcome.faults:
        raise fault
    return results(store, chosen)


def results(store: str | Path = "runs", claims: Named | Sequence[Named] | None = None) -> Results:
    """What the store says of the claims.

    Without any, of those that are found here, and of those that come with repro as far as it knows
    them. Raises NothingMeasuredError where there is no such folder.
    """
    from repro.report.frames import data_frames
    from repro.report.read_pages import pages
    from repro.store import Store

    chosen = load_all(claim_files(None)) if claims is None else _claims(claims)
    if not Path(store).is_dir():
        raise NothingMeasuredError(f"there is no folder {store}", hint="`store` names one")
    report_pages = [
        page
        for page in pages(chosen, Store(Path(store)))
        if claims is not None or page.measured or not is_shipped(page.claim.path)
    ]
    frames = data_frames(report_pages)
    trials, whose = frames["trials"], ["claim", "scale", "recipe", "arm", "purpose", "rate", "seed"]
    return Results(
        verdicts=frames["verdicts"],
        effects=frames["effects"],
        trials=trials,
        curves=trials[[*whose, "trial"]].merge(frames["curves"], on="trial"),
        pages=tuple(report_pages),
    )


def _folder(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _claims(named: Named | Iterable[Named]) -> list[Claim]:
    if isinstance(named, Claim | str | Path):
        return [_claim(named)]
    return [_claim(one) for one in named]


def _claim(named: Named) -> Claim:
    return named if isinstance(named, Claim) else load(named)
