"""The reference part of the documentation, made of the code: commands, claim files, Python, errors.

`pages` gives Markdown by the page's place below docs/; tools/mkdocs_hooks.py puts it there when
the site is built, so nothing of it can become stale.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

import repro
from repro.claim import KINDS, json_schema
from repro.cli import main
from repro.cli.settings import Setting
from repro.errors import known_errors
from repro.registry import (
    ACTIVATIONS,
    DATASETS,
    METRICS,
    MODELS,
    OPTIMISERS,
    OWN_SCHEDULES,
    QUANTITIES,
)

__all__ = ["commands", "pages"]

WIDTH = 90  # characters of a line of help


def pages() -> dict[str, str]:
    """Every page by its place below docs/."""
    return {
        "reference/commands.md": _commands_page(),
        "reference/claim-file.md": _claim_file_page(),
        "reference/names.md": _names_page(),
        "reference/python.md": _python_page(),
        "reference/errors.md": _errors_page(),
        "reference/settings.md": _settings_page(),
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; cells are Markdown already, but for the stroke."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
                     for line in lines)  # fmt: skip


def code(value: object) -> str:
    """Set as code."""
    return f"`{value}`"


# Commands


def commands(
    command: click.Command = main, name: str = "repro"
) -> Iterator[tuple[str, click.Command]]:
    """Every command of the tree with the words that call it, the root first."""
    yield name, command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from commands(inner, f"{name} {inner.name}")


def _commands_page() -> str:
    parts = ["# Commands", "What `--help` prints, command by command."]
    for name, command in commands():
        parts += [f"## {name}", f"```text\n{_help(name, command)}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(name: str, command: click.Command) -> str:
    context = click.Context(
        command, info_name=name, terminal_width=WIDTH, help_option_names=["-h", "--help"]
    )
    return click.unstyle(command.get_help(context)).strip()


# Claim files

# What is said once for every field of a claim.
_PARTS = (
    "Paper", "TimeContrast", "Difference", "Arm", "Region", "Recipe", "Optimiser", "Schedule",
    "Model", "Scale", "Search", "Checks", "Fact",
)  # fmt: skip


def _claim_file_page() -> str:
    definitions: Mapping[str, Any] = json_schema()["$defs"]
    kinds = {kind.__name__: name for name, kind in KINDS.items()}
    known = set(_PARTS) | set(kinds)
    parts = [
        "# The claim file",
        "A claim is one YAML file. `repro schema` prints the JSON Schema that this page is made "
        "of; with `# yaml-language-server: $schema=schema.json` in its first line an editor "
        "checks a file while it is written. Unknown keys, other types and infinite numbers are "
        "errors, and so is what the keys have to do with each other: `repro validate` names every "
        "problem with its line.",
        "A file is of one of four kinds:",
        table(
            ("`kind`", "Decided by"),
            (
                (f"[`{kinds[name]}`](#kind-{kinds[name]})", _first(definitions[name]))
                for name in kinds
            ),
        ),
    ]
    for name, kind in kinds.items():
        bases = KINDS[kind].__mro__[1:-2]  # what they say of the fields that they share
        parts += [f"## {kind} {{#kind-{kind}}}", *_definition(definitions[name], known, bases)]
    for name in [*_PARTS, *sorted(definitions.keys() - known)]:
        parts += [f"## {name}", *_definition(definitions[name], known)]
    return "\n\n".join(parts) + "\n"


def _first(definition: Mapping[str, Any]) -> str:
    return " ".join(definition.get("description", "").split("\n\n")[0].split())


def _definition(
    definition: Mapping[str, Any], known: set[str], bases: Sequence[type] = ()
) -> Iterator[str]:
    whole = definition.get("description", "")
    told = _told(whole, *(inspect.getdoc(base) or "" for base in bases))
    for paragraph in whole.split("\n\n"):
        general = _FIELD.split(" ".join(paragraph.split()))[0]
        if general.strip():
            yield general.strip()
    required = definition.get("required", ())
    yield table(
        ("Key", "Value", "Default", "Meaning"),
        (
            (
                code(key),
                _type(field, known),
                _default(field, needed=key in required),
                field.get("description") or told.get(key, ""),
            )
            for key, field in definition["properties"].items()
        ),
    )


_FIELD = re.compile(r"(?:(?<=\s)|^)`(\w+)`: ")


def _told(*descriptions: str) -> dict[str, str]:
    """What classes say of their fields: sentences after "`field`: ", to the next of them."""
    found: dict[str, str] = {}
    for paragraph in "\n\n".join(descriptions).split("\n\n"):
        _, *pairs = _FIELD.split(" ".join(paragraph.split()))
        found |= {
            key: f"{text.strip()[:1].upper()}{text.strip()[1:]}"
            for key, text in zip(pairs[::2], pairs[1::2], strict=True)
        }
    return found


def _default(field: Mapping[str, Any], *, needed: bool) -> str:
    if needed:
        return "required"
    value = field.get("default")
    return "none" if value is None else code(json.dumps(value))


_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _type(field: Mapping[str, Any], known: set[str]) -> str:
    """A JSON Schema as a reader of YAML would say it."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name in known else name
    if "anyOf" in field:
        kinds = [_type(one, known) for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in field:
        return code(json.dumps(field["const"]))
    if "enum" in field:
        return ", ".join(code(value) for value in field["enum"])
    kind = str(field.get("type", "any"))
    if kind == "array":
        return f"list of {_type(field.get('items', {}), known)}"
    if kind == "object":
        inner = field.get("additionalProperties")
        return f"names to {_type(inner, known)}" if isinstance(inner, Mapping) else "mapping"
    plain = {"string": "text", "boolean": "true or false"}.get(kind, kind)
    limits = [f"{sign} {field[key]:g}" for key, sign in _LIMITS.items() if key in field]
    return f"{plain} {', '.join(limits)}".strip()


# Names


def _names_page() -> str:
    metrics = ((code(name), facts.title, facts.unit) for name, facts in METRICS.items())
    datasets = (
        (
            code(name),
            facts.title,
            str(facts.classes),
            f"{facts.images[0]:,} and {facts.images[1]:,}" if facts.images else "not checked",
            f"{facts.size} x {facts.size}{', resized' if facts.resize else ''}",
            facts.tested_on,
            "yes" if facts.evidence else "no: embedded",
        )
        for name, facts in DATASETS.items()
    )
    models = (
        (
            code(name),
            facts.title,
            f"{facts.parameters:,}",
            ", ".join(code(argument) for argument in facts.arguments),
        )
        for name, facts in MODELS.items()
    )
    optimisers = (
        (
            code(name),
            facts.title,
            ", ".join(f"`{key}` {json.dumps(value)}" for key, value in facts.arguments.items()),
        )
        for name, facts in OPTIMISERS.items()
    )
    schedules = (
        (code(name), ", ".join(code(key) for key in keys)) for name, keys in OWN_SCHEDULES.items()
    )
    return "\n\n".join(
        (
            "# Names",
            "What a claim file may name, from `repro/registry/facts.py`.",
            "## Metrics",
            "Measured at the end of a trial, on whole images or, where the recipe crops, on the "
            "central crop. Errors are stored as fractions and shown in the unit.",
            table(("`metric`", "What", "Unit"), metrics),
            "## Data sets",
            "Besides these, `folder:NAME` is a folder of yours, and `folder:NAME@256` one whose "
            "images have various sizes: see [bring your data](../how-to/data.md).",
            table(
                ("`data`", "What", "Classes", "Images, training and test", "Pixels", "Tested on",
                 "Evidence"),
                datasets,
            ),
            "## Models",
            "Besides these, `timm:NAME` is any net of timm.",
            table(("`model.name`", "What", "Parameters", "`model.arguments`"), models),
            "## Optimisers",
            "Besides these, `timm:NAME` is any of timm's that needs no further package. Rate and "
            "weight decay are keys of claim and recipe; the decay is 0 unless the recipe says one.",
            table(("`optimiser.name`", "What", "`optimiser.arguments` and defaults"), optimisers),
            "## Schedules",
            "`warmup` goes with each.",
            table(("`schedule.name`", "Its keys"), schedules),
            "## Activations",
            ", ".join(code(name) for name in ACTIVATIONS) + ".",
            "## Quantities",
            "What an `exact` claim can compute of a net without training it: "
            + ", ".join(code(name) for name in QUANTITIES)
            + ".",
        )
    ) + "\n"  # fmt: skip


# Python


def _python_page() -> str:
    empty = repro.results(".", [])  # of no claim
    tables = ("verdicts", "effects", "trials", "curves")
    parts = [
        "# Python",
        "What `import repro` offers, for [notebooks and scripts](../how-to/python.md). `Named` is "
        "a claim, its name, or the path of its file.",
    ]
    for name in repro.__all__:
        value = getattr(repro, name)
        if inspect.isfunction(value):
            parts += [f"## repro.{name}", *_function(value)]
    parts += [
        "## repro.Results",
        inspect.getdoc(repro.Results) or "",
        table(
            ("Table", "Columns"),
            ((code(name), ", ".join(map(code, getattr(empty, name)))) for name in tables),
        ),
    ]
    for name, method in inspect.getmembers(repro.Results, inspect.isfunction):
        if not name.startswith("_"):
            parts += [f"### Results.{name}", *_function(method)]
    parts += [
        "## repro.Claim, repro.ReproError",
        "What `load` returns, a frozen value with the [keys of its file](claim-file.md), and the "
        "class of [all errors](errors.md).",
    ]
    return "\n\n".join(parts) + "\n"


def _function(function: Callable[..., Any]) -> Iterator[str]:
    """Its signature, as it stands in the code, and its docstring."""
    signature = inspect.cleandoc(inspect.getsource(function).partition('    """')[0])
    yield f"```python\n{signature}\n```"
    yield inspect.getdoc(function) or ""


# Errors and exit codes


def _errors_page() -> str:
    return "\n\n".join(
        (
            "# Errors and exit codes",
            "An error is two lines: what is wrong and where, then the next thing to do.",
            "```text\nerror[E200]: cifar10: no files in ...\nnext: repro data fetch cifar10\n```",
            "The letter and number say of which kind it is:",
            table(
                ("Code", "Kind", "What it means", "Where to look", "Next", "Exit code"),
                (
                    (
                        code(kind.code),
                        code(kind.__name__),
                        _summary(kind),
                        kind.where,
                        kind.remedy,
                        str(kind.exit_code),
                    )
                    for kind in known_errors()
                ),
            ),
            "`repro explain CODE` says the same in a terminal.",
            "A trial that diverges, or never crosses the threshold, is no error: it is a result, "
            "and is reported as one.",
            "## Exit codes of `repro run`",
            f"```text\n{_exit_codes()}\n```",
        )
    ) + "\n"  # fmt: skip


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def _exit_codes() -> str:
    return inspect.cleandoc((main.epilog or "").replace("\b", "")).partition(":\n")[2]


# Settings


def _settings_page() -> str:
    rows: dict[str, tuple[Setting, list[str]]] = {}
    for name, command in commands():
        for option in command.params:
            if isinstance(option, Setting):
                rows.setdefault(option.key, (option, []))[1].append(code(name))
    return "\n\n".join(
        (
            "# Settings",
            "Options that describe the machine can be set in the environment, too; an option on "
            "the command line comes first. Several values are separated by spaces: "
            "`REPRO_FORMAT='html csv'`. The claim file defines the experiment.",
            table(
                ("Variable", "Option", "What", "Read by"),
                (
                    (code(option.envvar), code(f"--{key}"), option.help or "", ", ".join(readers))
                    for key, (option, readers) in sorted(rows.items())
                ),
            ),
            "`NO_COLOR` in the environment, or `--no-color`, gives plain text.",
        )
    ) + "\n"  # fmt: skip
