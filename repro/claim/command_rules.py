"""Rules for a claim file with a command as trainer, in place of the rules for nets and recipes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repro.claim.raw_values import Finding, choices, mapping, name_rule
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
    yield from _placeholder_rules(data, _texts(trainer, "command"))


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


def _placeholder_rules(data: Mapping[str, Any], command: list[str]) -> Iterator[Finding]:
    """Check that every arm has a value for each placeholder at every scale."""
    placeholders = dict.fromkeys(name for word in command for name in placeholders_in(word))
    for name in placeholders:
        if name in PLACEHOLDERS:
            continue
        unset = [
            f"arm {arm} at {scale} scale"
            for scale, scale_spec in mapping(data, "scales").items()
            for arm, arm_spec in mapping(data, "arms").items()
            if name not in {*mapping(scale_spec, "arguments"), *mapping(arm_spec, "arguments")}
        ]
        if unset:
            parts = [*mapping(data, "arms").values(), *mapping(data, "scales").values()]
            allowed = set(PLACEHOLDERS).union(*(mapping(part, "arguments") for part in parts))
            yield (
                ("trainer", "command"),
                f"{{{name}}} has no value for {unset[0]}{choices(name, allowed)}",
            )


def _texts(value: Mapping[str, Any], key: str) -> list[str]:
    texts = value.get(key)
    return [text for text in texts if isinstance(text, str)] if isinstance(texts, tuple) else []
