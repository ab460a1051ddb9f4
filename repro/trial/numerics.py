"""Which code the numbers of a trial come from: known code keeps its results, changed code its own.

From `train` and the model's builder on, every name that is used is followed through the package,
and each definition that is reached is hashed as a syntax tree: comments, docstrings, layout and
everything that is not reached leave no trace. `numerics.txt` lists the hashes that are known, each
with the generation of its numbers:

    train.Run 1 0f3a5b7c9d1e

A definition may have several hashes of one generation: they gave equal bits on a CPU (but how many
full passes a trial makes, which are measurements of the same nets, may differ). With all that a
trial reaches at generation 1 its `numerics` is 1; otherwise it says what differs, so
that results of changed code never pass for those of released code, and differing changes never
for one another. `python tools/numerics.py` compares and records.

The sources are needed at run time; they are part of the wheel.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from repro.errors import SourcesMissingError

PACKAGE = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("numerics.txt")

ROOT = ("repro.train", "train")

# Reached, but unable to change a number of a trial; a name ends in a dot for all that is below it.
HARMLESS = {
    "repro.claim.": "what a claim says is hashed as part of the trial",
    "repro.data.arrays.": "types, and limits of what is read",
    "repro.data.catalogue.": "images are known by the fingerprint of their pixels",
    "repro.data.dataset.": "images are known by the fingerprint of their pixels",
    "repro.errors.": "messages",
    "repro.files.": "how a file is written",
    "repro.registry.": "names, and the words for them",
    "repro.trial.curve.CURVE_COLUMNS": "names of columns",
    "repro.trial.curve.Row": "holds what came out",
    "repro.trial.trial.Clocks": "holds what came out",
    "repro.trial.trial.Result": "holds what came out",
    "repro.trial.trial.Trial": "what was planned is hashed as part of the trial",
}

Symbol = tuple[str, str]  # module, and a name at its top level


@dataclass(frozen=True, kw_only=True, slots=True)
class _Module:
    """A source file: what its top level defines, and what each name stands for elsewhere."""

    defined: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imported: dict[str, Symbol] = field(default_factory=dict)


def numerics(model: str, package: Path = PACKAGE, table: Path = TABLE) -> int | str:
    """What a trial's identity holds of the code: 1, or what differs from generation 1.

    `Run=2` is a later generation, `Run=0f3a5b7c9d1e` code that no generation has.
    """
    generations = known(table)
    differs = [
        f"{name}={generation or digest}"
        for name, digest in sorted(definitions(model, package))
        if (generation := generations.get((name, digest))) != 1
    ]
    return " ".join(differs) or 1


Definition = tuple[str, str]  # its own name, and its hash
Known = dict[Definition, int]


@cache
def known(table: Path = TABLE) -> Known:
    """Generations by definition, as the table has them."""
    try:
        lines = (line.split() for line in table.read_text(encoding="utf-8").splitlines())
        return {(name, digest): int(generation) for name, generation, digest in lines}
    except (OSError, ValueError) as error:
        raise _damaged(table, error) from error


def definitions(model: str, package: Path = PACKAGE) -> set[Definition]:
    """Every definition that a trial of the model reaches, wherever it stands."""
    return {(name.rpartition(".")[2], digest) for name, digest in digests(model, package).items()}


@cache
def digests(model: str, package: Path = PACKAGE) -> dict[str, str]:
    """Twelve hex digits for every definition that a trial reaches, by module and name."""
    reached: dict[Symbol, list[ast.stmt]] = {}
    queue = [ROOT, *_builders(model, package)]
    while queue:
        symbol = _home(*queue.pop(), package)
        if symbol is None or symbol in reached or _harmless(symbol):
            continue
        module = _parsed(symbol[0], package)
        reached[symbol] = module.defined[symbol[1]]
        queue += _used(reached[symbol], symbol[0], module)
        queue += [(symbol[0], _TOP)] * (_TOP in module.defined)
    return {
        f"{module.removeprefix('repro.')}.{name}": hashlib.sha256(
            _canonical(reached[module, name]).encode()
        ).hexdigest()[:12]
        for module, name in sorted(reached)
    }


def _builders(model: str, package: Path) -> Iterator[Symbol]:
    """Where the function of the model's name stands; timm's own models are in no file of ours."""
    for path in sorted((package / "models").glob("*.py")):
        name = f"repro.models.{path.stem}"
        if model in _parsed(name, package).defined:
            yield name, model


def _home(module: str, name: str, package: Path) -> Symbol | None:
    """Where the name is defined, through as many imports as it takes; None outside the package."""
    while module.partition(".")[0] == "repro":
        known = _parsed(module, package)
        if name in known.defined:
            return module, name
        if name not in known.imported:
            return None
        module, name = known.imported[name]
    return None


def _harmless(symbol: Symbol) -> bool:
    name = ".".join(symbol)
    return any(name == each or (each[-1] == "." and name.startswith(each)) for each in HARMLESS)


_TOP = "<module>"  # statements that define nothing and run when the module is imported


@cache
def _parsed(module: str, package: Path) -> _Module:
    parsed = _Module()
    tree = _tree(module, package)
    for node in ast.walk(tree):
        parsed.imported.update(_imports(node))
    for statement in tree.body:
        match statement:
            case ast.Import() | ast.ImportFrom():
                continue
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = list(_names(targets))
            case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
                names = list(_names([target]))
            case ast.Expr(value=ast.Constant()):
                continue
            case _:
                names = [_TOP]
        for name in names:
            parsed.defined.setdefault(name, []).append(statement)
    return parsed


def _tree(module: str, package: Path) -> ast.Module:
    base = package.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            try:
                return ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError) as error:  # as in the middle of an update
                raise _damaged(path, error) from error
    raise SourcesMissingError(
        f"no source of {module} below {package}: results are known by the code that made them"
    )


def _damaged(path: Path, error: Exception) -> SourcesMissingError:
    return SourcesMissingError(f"{path} cannot be read: {error}")


def _imports(node: ast.AST) -> Iterator[tuple[str, Symbol]]:
    if isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            yield alias.asname or alias.name, (node.module, alias.name)


def _names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _used(statements: list[ast.stmt], module: str, parsed: _Module) -> Iterator[Symbol]:
    """What the statements name, but for what they name as types alone."""
    for node in _without_annotations(statements):
        if isinstance(node, ast.Name):
            yield parsed.imported.get(node.id, (module, node.id))


def _without_annotations(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                continue
            inner = value if isinstance(value, list) else [value]
            yield from _without_annotations(each for each in inner if isinstance(each, ast.AST))


_NO_MEANING = {"ctx", "kind", "type_comment"}


def _canonical(value: object) -> str:
    """The tree as text, equal on every version of Python: empty fields and docstrings left out."""
    if isinstance(value, ast.Expr) and isinstance(value.value, ast.Constant):
        return ""
    if isinstance(value, ast.AST):
        fields = (
            f"{name}={_canonical(inner)}"
            for name, inner in ast.iter_fields(value)
            if name not in _NO_MEANING and inner is not None and inner != []
        )
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, list):
        return f"[{','.join(filter(None, map(_canonical, value)))}]"
    return ascii(value)
