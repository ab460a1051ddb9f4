"""Read a YAML file as plain values, with the line and column of every key path.

Safe and strict: no tags, no aliases (a small file could expand without limit), no duplicate keys.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

from repro.files import read_bytes

MOST_BYTES = 1_000_000

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Problem:
    """A problem and its place. Lines and columns count from 1."""

    line: int
    column: int
    path: str  # dotted
    sentence: str

    def __str__(self) -> str:
        prefix = f"{self.path}: " if self.path else ""
        return f"{self.line}:{self.column}: {_printable(prefix + self.sentence)}"


@dataclass(kw_only=True, slots=True)
class Source:
    """The content of a file. `positions`: of the key, or of the value in a list, by path."""

    data: Any = None
    positions: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(
        self, path: KeyPath, sentence: str, place: tuple[int, int] | None = None
    ) -> Problem:
        """A problem at `path`: at its `place`, or at that of its closest parent in the file."""
        closest = path
        while closest and closest not in self.positions:
            closest = closest[:-1]
        line, column = place or self.positions.get(closest, (1, 1))
        return Problem(line=line, column=column, path=".".join(map(str, path)), sentence=sentence)


class _NoAliases(Composer):
    """A composer that refuses aliases: their expansion could exceed the memory."""

    check_event: Any  # of the parser beside it
    peek_event: Any

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML, but an alias is an error."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"aliases (*{event.anchor}) are not allowed; repeat the value",
                problem_mark=event.start_mark,
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


class _Loader(_NoAliases, yaml.SafeLoader):
    """No aliases, and scalars as in YAML 1.2 and in editors.

    PyYAML follows YAML 1.1, in which 1e-3 is a text, 060 is 48, 1:30 is 90 and `no` is false:
    each would silently change an experiment.
    """


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern in (
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?(0|[1-9][0-9]*)"),
    ("float", r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    ("merge", r"<<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), None
    )

if yaml.__with_libyaml__:

    class _FastLoader(_NoAliases, yaml.CSafeLoader):
        """The same with libyaml, four times as fast."""

        yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)


# What libyaml reads otherwise than PyYAML's own parser, which machines without it have.
_ODD = re.compile(r"[\t!\ufeff]|\?\s*[,:\]}]|[\[{,]\s*\?")


def _compose(text: str) -> yaml.Node | None:
    if yaml.__with_libyaml__ and not _ODD.search(text):
        with suppress(yaml.YAMLError):  # PyYAML's own parser has clearer messages
            return yaml.compose(text, Loader=_FastLoader)
    return yaml.compose(text, Loader=_Loader)


_SCALARS = {
    "tag:yaml.org,2002:str": "a text",
    "tag:yaml.org,2002:int": "a whole number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
}


def is_text(word: str) -> bool:
    """Whether a plain word is a text in YAML: `2012`, `1e5`, `null` and `true` are not."""
    tag: str = _Loader("").resolve(yaml.ScalarNode, word, (True, False))  # type: ignore[no-untyped-call]
    return tag == "tag:yaml.org,2002:str"


def read_yaml(path: Path) -> Source:
    """The values of the file, and all problems of its YAML. OSError if it cannot be read."""
    raw = read_bytes(path, most=MOST_BYTES)
    source = Source()
    try:
        node = _compose(raw.decode())
        source.data = None if node is None else _value(node, (), source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        source.problems.append(source.problem((), f"YAML: {error.problem}", place))
    except yaml.reader.ReaderError as error:
        before = raw.decode()[: error.position]
        place = before.count("\n") + 1, len(before) - before.rfind("\n")
        sentence = f"not YAML: the character {chr(error.character)!r} is not allowed"
        source.problems.append(source.problem((), sentence, place))
    except (ValueError, RecursionError) as error:  # of bytes, and of escapes, that are no character
        source.problems.append(source.problem((), f"not YAML: {error}"))
    return source


def _value(node: yaml.Node, path: KeyPath, source: Source) -> Any:
    source.positions.setdefault(path, _place(node))
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return _mapping(node, path, source)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return tuple(_value(item, (*path, i), source) for i, item in enumerate(node.value))
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
        try:
            node.value.encode()  # a lone surrogate cannot be printed
            return _Loader("").construct_object(node)
        except (ValueError, LookupError, yaml.YAMLError):  # for example !!int "" and !!bool maybe
            sentence = f"cannot be read as {_SCALARS[node.tag]}"
            source.problems.append(source.problem(path, sentence))
            return None
    source.problems.append(
        source.problem(path, f"the tag {node.tag} is not allowed; only plain values are")
    )
    return None


def _mapping(node: yaml.MappingNode, path: KeyPath, source: Source) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        plain = isinstance(key, str) and key.isprintable()
        if not plain or key_node.tag == "tag:yaml.org,2002:merge":
            sentence = "keys must be plain names"
            source.problems.append(source.problem(path, sentence, _place(key_node)))
            continue
        inner = (*path, key)
        if key in values:
            sentence = f"duplicate key, first in line {source.positions[inner][0]}"
            source.problems.append(source.problem(inner, sentence, _place(key_node)))
            continue
        source.positions[inner] = _place(key_node)
        values[key] = _value(value_node, inner, source)
    return values


def _printable(text: str) -> str:
    """Escape control characters, which could steer a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
