"""Rules for a claim file with a command as trainer, in place of the rules for nets and recipes."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from repro.claim.raw_values import Finding, choices, mapping, name_rule, plain
from repro.claim.trainer import PLACEHOLDERS, placeholders_in
from repro.claim.yaml_source import KeyPath

_OF_CLAIM = ("recipes", "verdict_recipe", "crossing")
_OF_ARM = {"model", "net", "recipe", "share"}
_OF_SCALE = {"model", "images", "resample", "further_test", "recipe"}


def command_rules(data: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    yield from _idle_rules(data)
    trainer = mapping(data, "trainer")
    for name in _texts(trainer, "inputs"):
        yield from _input_rule(path.parent, name)
    for part in ("arms", "scales"):
        for name, spec in mapping(data, part).items():
            for key in mapping(spec, "arguments"):
                at: KeyPath = (part, name, "arguments", key)
                yield from name_rule(at, key)
                if key in PLACEHOLDERS:
                    yield at, "the command has this placeholder anyway"
    yield from _word_rules(data, trainer)
    yield from placeholder_rules(data)
    for at, metric in _metrics(data):
        if not metric.isidentifier():
            yield at, f"no program can write {metric!r}: a metric has letters, digits and '_'"


def _word_rules(data: Mapping[str, Any], trainer: Mapping[str, Any]) -> Iterator[Finding]:
    """What no system starts: words with a NUL, and a program without a name."""
    command = _texts(trainer, "command")
    if any("\0" in word for word in command):
        yield ("trainer", "command"), "a word has a NUL, with which no program can be started"
    placeholder = placeholders_in(command[0]) if command else []
    for part in ("arms", "scales"):
        for name, given in _arguments(data, part).items():
            for key, value in given.items():
                at: KeyPath = (part, name, "arguments", key)
                if isinstance(value, str) and "\0" in value:
                    yield at, "a NUL, with which no program can be started"
                if value == "" and placeholder == [key] and command[0] == f"{{{key}}}":
                    yield at, "empty, but it is the first word of the command, its program"


def _metrics(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Those of the claim, of its arms and of its further contrasts."""
    places: list[tuple[KeyPath, Any]] = [((), data)]
    for part in ("arms", "also"):
        places += [((part, name), spec) for name, spec in mapping(data, part).items()]
    for at, spec in places:
        metric = plain(spec, "metric")
        if isinstance(metric, str):
            yield (*at, "metric"), metric


def _idle_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    why = "has no effect: the command trains, and takes `arguments`"
    yield from (((key,), why) for key in _OF_CLAIM if key in data)
    for part, idle in (("arms", _OF_ARM), ("scales", _OF_SCALE)):
        for name, spec in mapping(data, part).items():
            keys = spec if isinstance(spec, Mapping) else {}
            yield from (((part, name, key), why) for key in keys if key in idle)


def _input_rule(home: Path, name: str) -> Iterator[Finding]:
    try:
        exists = (home / name).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        exists = False
    if not exists:
        yield ("trainer", "inputs"), f"there is no {name!r} in the claim file's folder"


def placeholder_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that every arm has a value for each placeholder at every scale."""
    command = _texts(mapping(data, "trainer"), "command")
    names = dict.fromkeys(name for word in command for name in placeholders_in(word))
    arms, scales = _arguments(data, "arms"), _arguments(data, "scales")
    for name in names if arms and scales else ():
        if name in PLACEHOLDERS or all(name in given for given in scales.values()):
            continue
        if any(name in given for given in arms.values()):
            yield from _value_rules("arms", arms, name, names)
        elif any(name in given for given in scales.values()):
            yield from _value_rules("scales", scales, name, names)
        else:
            known = {*PLACEHOLDERS}.union(*arms.values(), *scales.values())
            why = f"{{{name}}} has no value in any arm or scale{choices(name, known)}"
            yield ("trainer", "command"), why


def _value_rules(
    part: str, arguments: Mapping[str, Mapping[str, Any]], name: str, used: Iterable[str]
) -> Iterator[Finding]:
    """A placeholder's value lacks in some arms or scales; an argument may be its name misspelt."""
    for place, given in arguments.items():
        if name not in given:
            close = get_close_matches(name, [key for key in given if key not in used], n=1)
            instead = f", in place of {close[0]!r}" if close else ""
            why = f"{{{name}}} has no value: add `arguments: {{{name}: ...}}`{instead}"
            yield (part, place, "arguments"), why


def _arguments(data: Mapping[str, Any], part: str) -> dict[str, Mapping[str, Any]]:
    return {name: mapping(spec, "arguments") for name, spec in mapping(data, part).items()}


def _texts(value: Mapping[str, Any], key: str) -> list[str]:
    texts = value.get(key)
    return [text for text in texts if isinstance(text, str)] if isinstance(texts, tuple) else []
