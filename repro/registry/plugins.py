"""What other packages add, found by their entry points and loaded when it is asked for by name.

| group            | an entry's name            | its object                                      |
| ---------------- | -------------------------- | ----------------------------------------------- |
| `repro.models`   | a model's, in a claim file | `registry.ModelFacts`, which name the module of |
|                  |                            | the function that builds the net                |
| `repro.datasets` | a data set's, the same     | `registry.DatasetFacts`, with `load` or without |
| `repro.optimisers` | an optimiser's, the same | `registry.OptimiserFacts`, which name what      |
|                  |                            | builds it                                       |
| `repro.schedules` | a schedule's, the same    | `registry.ScheduleFacts` with `factor`          |
| `repro.augmentations` | an augmentation's,    | `registry.AugmentationFacts` with `augment`     |
|                  | the same                   |                                                 |
| `repro.metrics`  | a metric's, the same       | `registry.MetricFacts` with `measure`           |
| `repro.loggers`  | what `--log` is given      | a callable: folder to `observer.Observer`       |
| `repro.kinds`    | a kind of claim, the same  | a subclass of `claim.TrainedClaim`, whose       |
|                  |                            | effects `effects.contrasts` knows               |

Without `load`, a data set's files are looked for in the data folders like those of any other.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from repro.errors import MachineError

T = TypeVar("T")


class Plugins(Mapping[str, T]):
    """What there is of a kind by name: our own first, then what entry points add.

    Names are known without importing anything. MachineError names the package that is at fault.
    """

    groups: ClassVar[list["Plugins[Any]"]] = []  # all that there are

    def __init__(
        self, group: str, own: Mapping[str, T], *, kind: type[Any] = object, classes: bool = False
    ) -> None:
        self.groups.append(self)
        self.group = group
        self.own = own
        self.kind = kind  # of what entry points may name: a value of it, or a class below it
        self.classes = classes

    def __getitem__(self, name: str) -> T:
        if name in self.own:
            return self.own[name]
        entry = self._entries()[name]
        loaded: T = _load(entry)
        if self.classes:
            fits = isinstance(loaded, type) and issubclass(loaded, self.kind)
        else:
            fits = isinstance(loaded, self.kind)
        if not fits:
            expected = f"{'subclass of ' * self.classes}{self.kind.__name__}"
            raise MachineError(
                f"{_said(entry)} is a {type(loaded).__name__}, not a {expected}",
                hint=f"repair or uninstall {_package(entry)}",
            )
        return loaded

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._entries()

    def __iter__(self) -> Iterator[str]:
        return iter([*self.own, *self._entries()])

    def __len__(self) -> int:
        return len(self.own) + len(self._entries())

    def _entries(self) -> Mapping[str, EntryPoint]:
        entries = _entries(self.group)
        for name in self.own.keys() & entries.keys():
            raise MachineError(
                f"{_said(entries[name])} has a name that repro itself uses: {name!r}",
                hint=f"rename it there, or uninstall {_package(entries[name])}",
            )
        return entries


def versions(*names: str) -> dict[str, str]:
    """Packages that what is called so comes from; empty for what is repro's own.

    Each with its version and the first digits of a hash of its sources, as this process found them:
    a package that is being written changes without a new version.
    """
    packages = {}
    for plugins in Plugins.groups:
        for name, entry in _entries(plugins.group).items():
            if name in names:
                version = entry.dist.version if entry.dist is not None else "unknown"
                packages[_package(entry)] = f"{version}+{_source(entry)}"
    return dict(sorted(packages.items()))


@cache
def _source(entry: EntryPoint) -> str:
    spec = find_spec(entry.module.partition(".")[0])
    if spec is None or spec.origin is None:
        return "no source"
    folders = spec.submodule_search_locations or ()
    inside = [path for folder in folders for path in Path(folder).rglob("*.py")]
    digest = sha256()
    for path in sorted(inside) or [Path(spec.origin)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _entries(group: str) -> Mapping[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.value):
        first = entries.setdefault(entry.name, entry)
        if first.value != entry.value:
            raise MachineError(
                f"{_said(first)} and {_said(entry)} have the same name, {entry.name!r}",
                hint=f"uninstall {_package(first)} or {_package(entry)}",
            )
    return entries


@cache
def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:  # whatever the package does when it is imported
        raise MachineError(
            f"{_said(entry)} cannot be loaded: {type(error).__name__}: {error}",
            hint=f"repair or uninstall {_package(entry)}",
        ) from error


def _said(entry: EntryPoint) -> str:
    return f"the plug-in {_package(entry)} ({entry.group}: {entry.name} = {entry.value})"


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module
