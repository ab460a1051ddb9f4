"""Load claim files, and report all problems: each with line, column, key path and suggestion."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from repro.claim.raw_values import closest, quoted, suggestion
from repro.claim.rules import (
    amount_rule,
    contrast_rules,
    length_rule,
    resolved_rules,
    rules,
    sameness_rule,
    sentence,
)
from repro.claim.spec import KINDS, OWN_KINDS, Claim, TrainedClaim
from repro.claim.yaml_source import KeyPath, Problem, Source, read_yaml
from repro.errors import ClaimError

HINT = "`repro schema` prints the schema of claim files; `repro show lrn` explains a valid one"


def load(path: Path) -> Claim:
    """The claim of one file; ClaimError with a line for each problem."""
    return load_all([path])[0]


def load_all(paths: Iterable[Path]) -> list[Claim]:
    """The claims of several files; one ClaimError for the problems of all of them."""
    claims, faults = load_valid(paths)
    if faults:
        raise ClaimError("\n".join(map(str, faults)), hint=HINT)
    return claims


def load_valid(paths: Iterable[Path]) -> tuple[list[Claim], list[ClaimError]]:
    """The claims of the valid files, and an error for each of the others."""
    claims: list[Claim] = []
    faults: list[ClaimError] = []
    for path in paths:
        claim, problems = _check(Path(path))
        if problems or claim is None:
            lines = (f"{path}:{problem}" for problem in sorted(problems))
            faults.append(ClaimError("\n".join(lines), hint=HINT))
        else:
            claims.append(claim)
    return claims, faults


def json_schema() -> dict[str, Any]:
    references, schema = models_json_schema(
        [(kind, "validation") for kind in KINDS.values()],
        ref_template="#/$defs/{model}",
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "oneOf": [references[kind, "validation"] for kind in KINDS.values()],
        **schema,
    }


def _check(path: Path) -> tuple[Claim | None, list[Problem]]:
    try:
        source = read_yaml(path)
    except OSError as error:
        return None, [Problem(line=1, column=1, path="", sentence=f"cannot read: {error.strerror}")]
    if source.problems:
        return None, source.problems
    if not isinstance(source.data, dict):
        return None, [source.problem((), "a claim file holds a mapping of keys to values")]
    kind = _kind(source.data)
    if kind is None:
        return None, [source.problem(("kind",), _kind_sentence(source.data["kind"]))]
    claim, problems = None, []
    try:
        claim = kind.model_validate(source.data)
        claim._path = path  # noqa: SLF001 - only here it is known
    except ValidationError as error:
        problems = [
            _problem(kind, source, details)
            for details in error.errors()
            # Not "too short" of a list whose members were all refused one by one.
            if details["type"] != "too_short" or not details["input"]
        ]
    findings = list(rules(kind, source.data, path))
    problems += [source.problem(key_path, message) for key_path, message in findings]
    if isinstance(claim, TrainedClaim) and not problems:
        later_rules = (amount_rule, resolved_rules, contrast_rules, sameness_rule, length_rule)
        findings = next(filter(None, (list(rule(claim)) for rule in later_rules)), [])
        problems = [source.problem(key_path, message) for key_path, message in findings]
    return claim, _causes(problems)


def _kind(data: Mapping[str, Any]) -> type[Claim] | None:
    """The class of the kind; for a misspelled kind the closest, so that all else is checked.

    For a missing kind the one whose keys are nearest. None for a kind that is none of ours:
    whichever was chosen, the file's keys would be unknown.
    """
    if "kind" not in data:
        return min(OWN_KINDS.values(), key=lambda kind: len(data.keys() ^ kind.model_fields.keys()))
    close = closest(str(data["kind"]), KINDS)
    return KINDS[close] if close else None


def _kind_sentence(value: object) -> str:
    kinds = ", ".join(map(repr, KINDS))
    return f"{quoted(value)} is not one of {kinds}{suggestion(str(value), KINDS)}"


_MISSPELLED = re.compile(r"unknown key \(did you mean '(\w+)'\?")


def _causes(problems: Sequence[Problem]) -> list[Problem]:
    """The problems without duplicates; a misspelled key is not reported as missing, too."""
    misspelled = {
        ".".join([*problem.path.split(".")[:-1], match[1]])
        for problem in problems
        if (match := _MISSPELLED.match(problem.sentence))
    }
    return [
        problem
        for problem in dict.fromkeys(problems)
        if problem.sentence != "missing key" or problem.path not in misspelled
    ]


_UNION = {"bool", "int", "float", "str"}  # pydantic adds these to the path of a Scalar


def _problem(kind: type[Claim], source: Source, details: Any) -> Problem:
    """An error of pydantic, at its place in the file."""
    path: KeyPath = details["loc"]
    if path not in source.positions and path[-1] in _UNION and path[:-1] in source.positions:
        value = quoted(details["input"])
        return source.problem(
            path[:-1], f"must be true, false, a finite number or a text, not {value}"
        )
    if path == ("kind",) and details["type"] == "literal_error":
        return source.problem(path, _kind_sentence(details["input"]))
    return source.problem(path, sentence(details, _names_at(kind, path[:-1])))


def _names_at(kind: type[Claim], path: KeyPath) -> list[str]:
    """The keys that the mapping at a path may have."""
    annotation: Any = kind
    for key in path:
        if get_origin(annotation) is dict:  # by names that the file chooses
            annotation = get_args(annotation)[1]
        else:
            field = _fields_of(annotation).get(str(key))
            annotation = field and field.annotation
    return list(_fields_of(annotation))


def _fields_of(annotation: Any) -> Mapping[str, FieldInfo]:
    """Those of a model, or of one that may be missing; none of anything else."""
    for choice in (annotation, *get_args(annotation)):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice.model_fields
    return {}
