"""Results as an RO-Crate 1.2: a folder that says in JSON-LD what it holds, for archives and others.

The folder is a store, with the claim files that it answers and the report of it beside it.
The library `rocrate` would describe files of which it knows no more than we do, by random names and
the second of writing, and bring an HTTP client: it would spare no line of `_entities`.
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from repro import __version__
from repro.claim import Claim, Paper
from repro.claim.trainer import files_beside
from repro.errors import ClaimError
from repro.files import read_bytes, reason_of, write_together
from repro.report.document import document
from repro.report.frames import csv_files
from repro.report.html import render_html
from repro.report.page import FactPage, Page
from repro.store import checksums
from repro.store.archive import archives
from repro.text import estimate_text
from repro.verdict import Verdict

_MOST_BYTES = 1 << 34

_Entity = dict[str, Any]


def write_crate(
    pages: Sequence[Page | FactPage],
    claims: Mapping[str, bytes],
    out: Path,
    refused: Sequence[str] = (),
    *,
    published: dt.date,
    licence: str | None = None,
) -> Path:
    """Make the store in `out` a crate, and seal it; returns its page.

    `pages`: what that store says. `claims`: files, as `claim_files` gives them. `refused`: as
    `write_report` takes it. `licence`: its address.
    """
    report = document(pages, refused)
    files: dict[str, Iterable[str | bytes]] = {
        "index.html": [render_html(report)],
        **{f"data/{name}": parts for name, parts in csv_files(pages).items()},
        **{f"figures/{name}": [svg] for name, svg in report.figures.items()},
        **{name: [content] for name, content in claims.items()},
    }
    parts = [*(path.name for path in archives(out)), checksums.TABLE, *sorted(files)]
    left_out = [f"Left out, since it is not valid: {problem}." for problem in refused]
    description = " ".join([report.summary, *left_out])
    metadata = {
        "@context": "https://w3id.org/ro/crate/1.2/context",
        "@graph": _entities(pages, parts, description, published, licence),
    }
    files[checksums.CRATE] = [json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"]
    write_together({out / name: content for name, content in files.items()})
    checksums.seal(out, files)
    return out / "index.html"


def claim_files(claims: Iterable[Claim]) -> dict[str, bytes]:
    """Claim files and what they name beside them, by their places in the crate.

    ClaimError for what lies elsewhere, or has a name that a list of checksums cannot hold.
    """
    files: dict[str, bytes] = {}
    for claim in claims:
        for name in (claim.path.name, *files_beside(claim)):
            content = _content(claim, name)
            if files.setdefault(f"claims/{name}", content) != content:
                raise ClaimError(f"{claim.path}: another claim has another file {name!r}")
    return files


def _content(claim: Claim, name: str) -> bytes:
    path, place = claim.path.parent / name, PurePosixPath(name)
    beside = path.resolve().is_relative_to(claim.path.parent.resolve())
    if place.is_absolute() or ".." in place.parts or not beside or not name.isprintable():
        raise ClaimError(
            f"{claim.path} names {name!r}: a crate holds files that lie beside it, by names that "
            "can be printed",
            hint="move it beside the claim file, and name it there as it lies",
        )
    try:
        return read_bytes(path, most=_MOST_BYTES)
    except OSError as error:
        raise ClaimError(f"{claim.path} names {path}: {reason_of(error)}") from error


def _entities(
    pages: Sequence[Page | FactPage],
    parts: Sequence[str],
    description: str,
    published: dt.date,
    licence: str | None,
) -> list[_Entity]:
    papers = {entity["@id"]: entity for page in pages for entity in [_paper(page.claim.paper)]}
    verdicts = [(page, verdict) for page in pages for verdict in _verdicts(page)]
    reviews = [_review(page, verdict) for page, verdict in verdicts]
    ratings = {entity["@id"]: entity for _, verdict in verdicts for entity in [_rating(verdict)]}
    return [
        {
            "@id": checksums.CRATE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.2"},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": "Measured claims of " + "; ".join(paper["name"] for paper in papers.values()),
            "description": description,
            "datePublished": published.isoformat(),
            "license": {"@id": licence} if licence else "not stated",
            "citation": _references(papers),
            "hasPart": _references(quote(name) for name in parts),
            "mentions": [*_references(review["@id"] for review in reviews), {"@id": "#repro"}],
        },
        {
            "@id": "#repro",
            "@type": "SoftwareApplication",
            "name": "repro-claims",
            "softwareVersion": __version__,
        },
        *({"@id": each, "@type": "CreativeWork", "name": each} for each in [licence] if each),
        *({"@id": quote(name), "@type": "File", "name": name} for name in parts),
        *papers.values(),
        *reviews,
        *ratings.values(),
    ]


def _references(ids: Iterable[str]) -> list[_Entity]:
    return [{"@id": each} for each in ids]


def _paper(paper: Paper) -> _Entity:
    title = paper.title or "a paper without a title"
    return {
        "@id": paper.link or f"#{quote(title)}",
        "@type": "ScholarlyArticle",
        "name": title,
        **({"author": paper.authors} if paper.authors else {}),
        **({"datePublished": str(paper.year)} if paper.year is not None else {}),
    }


def _verdicts(page: Page | FactPage) -> list[Verdict]:
    """Those of what was measured, smoke runs among them: the rating says what they are."""
    verdicts = page.verdicts if isinstance(page, Page) else (page.verdict,)
    return [verdict for verdict in verdicts if verdict.word != "not run"]


def _review(page: Page | FactPage, verdict: Verdict) -> _Entity:
    claim = page.claim
    estimate, unit = verdict.estimate, claim.paper.unit
    measured = f"{estimate_text(estimate)} {unit}; " if estimate else ""
    aspect = f"{verdict.scale} scale, {verdict.recipe} recipe"
    return {
        "@id": f"#{claim.id}-{verdict.scale}-{verdict.recipe}",
        "@type": "ClaimReview",
        "name": claim.title,
        "claimReviewed": claim.paper.states,
        "itemReviewed": {"@id": quote(f"claims/{claim.path.name}")},
        "reviewAspect": aspect if isinstance(page, Page) else "without training",
        "reviewBody": f"{measured}{verdict.reason}",
        "reviewRating": {"@id": _rating(verdict)["@id"]},
    }


def _rating(verdict: Verdict) -> _Entity:
    """Our word, and the community's."""
    return {
        "@id": f"#{quote(verdict.word)}-{verdict.community_word}",
        "@type": "Rating",
        "name": verdict.word,
        "alternateName": verdict.community_word,
    }
