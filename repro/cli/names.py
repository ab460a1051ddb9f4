"""Claims, scales and arms as arguments: by name, with what a shell may complete."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from repro.cli.settings import Setting, expanded
from repro.errors import ClaimError
from repro.registry.shipped import claim_files, find_claim

if TYPE_CHECKING:
    from repro.claim import Claim


class ClaimsFolder(Setting):
    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes, is_eager=True)

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Kept with the context, also while a shell completes a line."""
        value, rest = super().handle_parse_result(ctx, opts, args)
        ctx.meta["repro.claims_dir"] = value if isinstance(value, Path) else None  # not given
        return value, rest


class ClaimPath(click.ParamType[Path]):
    """A claim file, or the name of one in the folder of claims.

    `template`: one to copy into that folder, which may lie where names are found without it.
    """

    name = "claim"

    def __init__(self, *, template: bool = False) -> None:
        self.template = template

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The file; a usage error says what was meant."""
        try:
            return find_claim(value, _claims_dir(ctx), template=self.template)
        except ClaimError as error:
            raise click.BadParameter(str(error), ctx=ctx, param=param) from error

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """Names of claims; files where a path was begun."""
        del param
        names = sorted({path.stem for path in claim_files(_claims_dir(ctx))})
        matches = [name for name in names if name.startswith(incomplete)]
        if matches:
            return [CompletionItem(name) for name in matches]
        return [CompletionItem(incomplete, type="file")]


class ScaleName(click.Choice[str]):
    """A scale; a shell is offered those that the claims on the line have."""

    def __init__(self) -> None:
        super().__init__(["paper", "large_proxy", "proxy", "smoke"])

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """Best evidence first."""
        del param
        having = {scale for claim in _claims_of(ctx) for scale in getattr(claim, "scales", ())}
        return [
            CompletionItem(scale)
            for scale in self.choices
            if scale.startswith(incomplete) and (not having or scale in having)
        ]


class LogTarget(click.ParamType[tuple[str, Path]]):
    """`tensorboard` or `tensorboard:FOLDER`: a logger, and where it writes."""

    name = "logger"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        """Name and folder; a usage error says which names there are."""
        from repro.registry import LOGGERS

        if isinstance(value, tuple):
            return value
        name, colon, folder = str(value).partition(":")
        if name not in LOGGERS or (colon and not folder):
            known = ", ".join(LOGGERS)
            close = difflib.get_close_matches(name, LOGGERS, n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"known: {known}"
            raise click.BadParameter(f"no logger {value!r} ({meant})", ctx=ctx, param=param)
        return name, expanded(folder or f"logs/{name}")

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """Names, also those of other packages."""
        from repro.registry import LOGGERS

        del ctx, param
        return [CompletionItem(name) for name in LOGGERS if name.startswith(incomplete)]


def _claims_dir(ctx: click.Context | None) -> Path | None:
    return ctx.meta.get("repro.claims_dir") if ctx else None


def _claims_of(ctx: click.Context) -> "list[Claim]":
    """Those on the line; none where a file cannot be read, since nobody is there to be told."""
    from repro.claim import load_all

    one, several = ctx.params.get("claim"), ctx.params.get("claims")
    paths = [one] if isinstance(one, Path) else list(several or [])
    try:
        # Before an option whose value is still to come, click has not looked at arguments yet.
        paths = paths or [ClaimPath().convert(word, None, ctx) for word in ctx.args]
        return load_all(paths)
    except (ClaimError, click.UsageError):
        return []
