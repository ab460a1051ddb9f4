"""The claim files: what there is, what one says, whether it is valid."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from repro.cli.command import command
from repro.cli.options import (
    CLAIM,
    claims_in,
    load_claims,
    option_claims,
    option_claims_dir,
    print_json,
    told,
)

if TYPE_CHECKING:
    from repro.claim import Claim

__all__ = ["list_", "schema", "show", "validate"]


@command(
    "list",
    examples="""
    repro list
    repro list --claims examples/dropout_paper/claims
    repro list --json    # id, kind, title and scales of each
    """,
)
@option_claims
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@told
def list_(claims: Path, as_json: bool) -> None:
    """The claims, what the paper says, and the scales that each has."""
    loaded = load_claims(claims_in(claims))
    if as_json:
        print_json(
            [{"id": c.id, "kind": c.kind, "title": c.title, "scales": _scales(c)} for c in loaded]
        )
        return
    width = max(len(c.id) for c in loaded)
    for claim in loaded:
        click.echo(f"{claim.id:{width}}  {claim.title}  [{', '.join(_scales(claim))}]")


@command(
    examples="""
    repro show relu_speedup
    repro show claims/relu_speedup.yaml --json
    """
)
@click.argument("claim", type=CLAIM)
@option_claims_dir
@click.option("--json", "as_json", is_flag=True, help="The whole file, for machines.")
@told
def show(claim: Path, as_json: bool) -> None:
    """One claim: what the paper states, what is compared, and how it is decided."""
    from repro.describe import describe_claim

    (loaded,) = load_claims((claim,))
    if as_json:
        print_json(loaded.model_dump(mode="json"))
    else:
        click.echo(describe_claim(loaded))


@command(
    examples="""
    repro validate relu_speedup
    repro validate claims/relu_speedup.yaml claims/lrn.yaml
    """
)
@click.argument("claims", nargs=-1, required=True, type=CLAIM)
@option_claims_dir
@told
def validate(claims: tuple[Path, ...]) -> None:
    """Check claim files; every problem of every file is printed."""
    for claim in load_claims(claims):
        click.echo(f"{claim.id}: valid")


@command(
    examples="""
    repro schema                          # to the terminal
    repro schema > claims/schema.json     # for an editor that checks YAML
    """
)
@told
def schema() -> None:
    """The JSON Schema of claim files, for editors."""
    from repro.claim import json_schema

    print_json(json_schema())


def _scales(claim: "Claim") -> list[str]:
    from repro.claim import TrainedClaim

    return list(claim.scales) if isinstance(claim, TrainedClaim) else ["no training"]
