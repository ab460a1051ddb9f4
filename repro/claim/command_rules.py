"""Rules of a claim file whose trainer is a command, in place of those of nets and recipes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repro.claim.raw import Finding, choices, mapping, name_rule
from repro.claim.trainer import PLACEHOLDERS, named_in
from repro.claim.yaml_source import KeyPath

__all__ = ["command_rules"]

_OF_CLAIM = ("recipes", "verdict_recipe", "crossing")
_OF_ARM = {"model", "net", "recipe", "share"}
_OF_SCALE = {"model", "images", "resample", "further_test", "recipe"}


def command_rules(data: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    """What the command is told, what it reads, and which keys have no effect on it."""
    yield from _idle_rules(data)
    trainer = mapping(data, "trainer")
    for name in _texts(trainer, "inputs"):
        yield from _input_rule(path.parent, name)
    for part in ("arms", "scales"):
        for name, each in mapping(data, part).items():
            for key in mapping(each, "arguments"):
                at: KeyPath = (part, name, "arguments", key)
                yield from name_rule(at, key)
                if key in PLACEHOLDERS:
                    yield at, "the command is told this anyway"
    yield from _placeholder_rules(data, _texts(trainer, "command"))


def _idle_rules(data: Mapping[str, Any]) -> Iterator[Finding]:
    why = "has no effect: the command trains, and is given `arguments`"
    yield from (((key,), why) for key in _OF_CLAIM if key in data)
    for part, idle in (("arms", _OF_ARM), ("scales", _OF_SCALE)):
        for name, each in mapping(data, part).items():
            given = each if isinstance(each, Mapping) else {}
            yield from (((part, name, key), why) for key in given if key in idle)


def _input_rule(home: Path, name: str) -> Iterator[Finding]:
    try:
        there = (home / name).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        there = False
    if not there:
        yield ("trainer", "inputs"), f"there is no {name!r} in the claim file's folder"


def _placeholder_rules(data: Mapping[str, Any], command: list[str]) -> Iterator[Finding]:
    """Every arm at every scale has a value for each."""
    named = dict.fromkeys(name for word in command for name in named_in(word))
    for name in named:
        if name in PLACEHOLDERS:
            continue
        without = [
            f"arm {arm} at {scale} scale"
            for scale, at in mapping(data, "scales").items()
            for arm, each in mapping(data, "arms").items()
            if name not in {*mapping(at, "arguments"), *mapping(each, "arguments")}
        ]
        if without:
            known = [*PLACEHOLDERS, *_arguments(data)]
            yield (
                ("trainer", "command"),
                f"{{{name}}} has no value for {without[0]}{choices(name, known)}",
            )


def _arguments(data: Mapping[str, Any]) -> list[str]:
    parts = [*mapping(data, "arms").values(), *mapping(data, "scales").values()]
    return list(dict.fromkeys(key for each in parts for key in mapping(each, "arguments")))


def _texts(value: Mapping[str, Any], key: str) -> list[str]:
    given = value.get(key)
    return [each for each in given if isinstance(each, str)] if isinstance(given, tuple) else []
