"""Command that writes a trained net: weights."""

import re
from pathlib import Path

import click

from repro.cli.command import command
from repro.cli.names import ArmName, ClaimPath
from repro.cli.options import (
    FOLDER,
    SCALE,
    echo,
    load_claims,
    option_claims_dir,
    option_store,
    sound_store,
)


class ClaimOrTrial(ClaimPath):
    """A claim, or the sixteen digits of a trial."""

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """A trial's identity stays as it is."""
        if re.fullmatch(r"[0-9a-f]{16}", str(value)):
            return Path(value)
        return super().convert(value, param, ctx)


@command(
    short_help="Write a trained net as safetensors, with a model card.",
    examples="""
    repro weights headline_2010 out/alexnet             # of the recipe that decides, seed 0
    repro weights lrn out/lrn --arm with --scale proxy
    repro weights 1fe89513f41df436 out/net --store /data/runs
    """,
)
@click.argument("claim", metavar="CLAIM|TRIAL", type=ClaimOrTrial())
@click.argument("out", type=FOLDER)
@option_claims_dir
@option_store
@click.option("--scale", type=SCALE, help="Scale of the claim. Default: its best scale.")
@click.option("--recipe", help="Recipe of the claim. Default: the deciding one.")
@click.option("--arm", type=ArmName(), help="Arm of the claim; required if it has several.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed.")
def weights(
    claim: Path,
    out: Path,
    store: Path,
    scale: str | None,
    recipe: str | None,
    arm: str | None,
    seed: int,
) -> None:
    """Write a trained net as safetensors, with a model card, into the folder OUT.

    Needs a run with `repro run CLAIM --keep-weights`. The model card explains how to load the net
    with timm.create_model(..., checkpoint_path=...), and its inputs.
    """
    from repro.audit.weights import NetChoice, trial_of, write_weights

    facts = sound_store(store)
    name = str(claim)
    if not re.fullmatch(r"[0-9a-f]{16}", name):
        (loaded,) = load_claims((claim,))
        choice = NetChoice(scale=scale, recipe=recipe, arm=arm, seed=seed)
        name = trial_of(loaded, choice, facts)
    echo(write_weights(facts, name, out))
