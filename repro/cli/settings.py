"""Options that describe the machine can stand in a file or in the environment, too.

An option of the command line comes before the environment, that before `repro.toml` in the
working directory (or `[tool.repro]` in `pyproject.toml` where there is no `repro.toml`), that
before `config.toml` in the user's configuration folder. In a file, a table named after a command
comes before what stands at the top. Science never stands here: it stands in the claim file.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from repro.files import read_bytes

F = TypeVar("F", bound=Callable[..., Any])


class Setting(click.Option):
    """An option that files and one environment variable, REPRO_ and its name, may set, too."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **{"show_envvar": True, **attributes})
        if self.envvar is None:
            self.envvar = f"REPRO_{self.key.upper().replace('-', '_')}"

    @property
    def key(self) -> str:
        """Its name in a file: that of the option without dashes."""
        return max(self.opts, key=len).removeprefix("--")


def setting(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """As click.option, for an option that describes the machine."""
    return click.option(*declarations, **{"cls": Setting, **attributes})


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """A setting of one command as it stands now, and where it comes from."""

    command: str
    key: str
    envvar: str
    value: Any
    source: str


def expanded(path: str | Path) -> Path:
    """With the home folder in place of `~`, which a shell leaves alone in a variable."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise click.UsageError(f"{path}: no such home folder is known; write it out") from error


def user_folder(kind: Literal["cache", "config", "data"]) -> Path:
    """The user's own; that of a user without a home, as in a container, is in the working folder.

    Only absolute paths count: what cannot expand `~` leaves it.
    """
    import platformdirs

    try:
        path: Path = getattr(platformdirs, f"user_{kind}_path")("repro")
    except RuntimeError:
        path = Path("~")
    return path if path.is_absolute() else Path(".repro") / kind


def config_files() -> tuple[Path, ...]:
    """Where settings are looked for, the strongest first."""
    project, shared = Path("repro.toml"), Path("pyproject.toml")
    if not is_there(project) and is_there(shared) and b"[tool.repro" in _bytes(shared):
        project = shared
    return project, user_folder("config") / "config.toml"


def is_there(path: Path) -> bool:
    """Whether a file of settings can be seen."""
    return os.path.exists(path)  # noqa: PTH110 - False, too, where nobody may look


def defaults(root: click.Group) -> dict[str, Any]:
    """What the files say, as click's `default_map`; UsageError for what they cannot mean."""
    layers = [_read(path, root) for path in config_files() if is_there(path)]
    values: dict[str, Any] = {}
    for names, param in _settings(root):
        setting = _given(layers, names, param)
        if setting is not None:
            inner = values
            for name in names:
                inner = inner.setdefault(name, {})
            inner[str(param.name)] = setting[0]
    return values


def effective(root: click.Group) -> list[Effective]:
    """Every setting of every command, by key."""
    layers = [_read(path, root) for path in config_files() if is_there(path)]
    settings = []
    for names, param in _settings(root):
        envvar = str(param.envvar)
        setting = _given(layers, names, param)
        if os.environ.get(envvar):
            value, source = os.environ[envvar], f"environment, {envvar}"
        elif setting is not None:
            value, source = setting[0], str(setting[1])
        else:
            value, source = param.to_info_dict()["default"], "default"
        settings.append(
            Effective(
                command=" ".join(names), key=param.key, envvar=envvar, value=value, source=source
            )
        )
    return sorted(settings, key=lambda one: (one.key, one.command))


def _settings(
    command: click.Command, names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Setting]]:
    """Every setting of the command tree, with the names that lead to its command."""
    for param in command.params:
        if isinstance(param, Setting):
            yield names, param
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _settings(inner, (*names, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    path: Path
    values: Mapping[str, Any]


def _given(
    layers: Iterable[_Layer], names: tuple[str, ...], param: Setting
) -> tuple[Any, Path] | None:
    """The strongest layer's value, a command's table before the top."""
    for layer in layers:
        table = layer.values.get(names[0], {}) if names else {}
        for values in (table, layer.values):
            if isinstance(values, Mapping) and not isinstance(values.get(param.key, {}), Mapping):
                return _value(layer, param, values[param.key]), layer.path
    return None


def _value(layer: _Layer, param: Setting, value: Any) -> Any:
    """Checked; a folder is meant from where the file lies."""
    if isinstance(param.type, click.Path) and isinstance(value, str):
        value = str(layer.path.parent / expanded(value))
    if param.multiple and isinstance(value, str):
        value = [value]
    try:
        param.type_cast_value(click.Context(click.Command("config")), value)
    except click.BadParameter as error:
        raise click.UsageError(f"{layer.path}: {param.key}: {error.message}") from error
    except (AttributeError, OSError, TypeError, ValueError) as error:  # of types made for text
        raise click.UsageError(
            f"{layer.path}: {param.key}: {value!r} is no {param.type.name}"
        ) from error
    return value


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise click.UsageError(f"{path}: cannot be read: {error}") from error


def _read(path: Path, root: click.Group) -> _Layer:
    """One file, every key of which is known."""
    values = _table(path)
    keys: dict[str, set[str]] = {}
    for names, param in _settings(root):
        keys.setdefault(names[0], set()).add(param.key)
    everywhere = set().union(*keys.values())
    for key, value in values.items():
        if isinstance(value, Mapping):
            if key not in keys:
                raise _unknown(path, f"[{key}]", key, keys)
            for inner in value:
                if inner not in keys[key]:
                    raise _unknown(path, f"{key}.{inner}", inner, keys[key])
        elif key not in everywhere:
            raise _unknown(path, key, key, everywhere)
    return _Layer(path=path, values=values)


def _table(path: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        values: object = tomllib.loads(_bytes(path).decode("utf-8-sig"))
    except (RecursionError, ValueError) as error:
        raise click.UsageError(f"{path}: cannot be read: {error}") from error
    for name in ("tool", "repro") if path.name == "pyproject.toml" else ():
        values = values.get(name, {}) if isinstance(values, Mapping) else values
    if not isinstance(values, Mapping):
        raise click.UsageError(f"{path}: tool.repro is no table; write [tool.repro]")
    return values


def _unknown(path: Path, label: str, key: str, keys: Iterable[str]) -> click.UsageError:
    names = sorted(keys)
    close = difflib.get_close_matches(key, names, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
    return click.UsageError(f"{path}: unknown key {label} ({meant})")
