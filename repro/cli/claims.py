"""Commands for claim files: list, show, new, validate, trust, schema."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from repro.cli.command import command
from repro.cli.names import ClaimPath
from repro.cli.options import (
    CLAIM,
    FOLDER,
    SCALE,
    cache_dir_for,
    claims_in,
    data_dirs_for,
    echo,
    load_claims,
    option_claims,
    option_claims_dir,
    option_store,
    options_data,
    print_json,
)
from repro.cli.settings import user_folder
from repro.messages import say
from repro.registry.shipped import OWN

if TYPE_CHECKING:
    from repro.claim import Claim


@command(
    "list",
    examples="""
    repro list
    repro list --claims examples/dropout_paper/claims
    repro list --json    # id, kind, title and scales of each
    """,
)
@option_claims
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(claims: Path | None, as_json: bool) -> None:
    """List the claims, by paper: name, statement and scales of each."""
    loaded = load_claims(claims_in(claims))
    if as_json:
        print_json(
            [{"id": c.id, "kind": c.kind, "title": c.title, "scales": _scales(c)} for c in loaded]
        )
        return
    width = max(len(c.id) for c in loaded)
    by_paper: dict[str, list[Claim]] = {}
    for claim in loaded:
        by_paper.setdefault(claim.paper.reference, []).append(claim)
    indent = "  " if len(by_paper) > 1 else ""
    for reference, claims_of_paper in by_paper.items():
        if indent:
            echo(reference or "A paper without a title")
        for claim in claims_of_paper:
            echo(f"{indent}{claim.id:{width}}  {claim.title}  [{', '.join(_scales(claim))}]")


@command(
    short_help="What a claim says, compares, and how it is decided.",
    examples="""
    repro show relu_speedup
    repro show claims/relu_speedup.yaml --json
    repro show lrn --resolved --scale smoke    # as it will run, with the source of each value
    """,
)
@click.argument("claim", type=CLAIM)
@option_claims_dir
@click.option(
    "--resolved", is_flag=True, help="Print every arm, recipe and trial in full, as YAML."
)
@click.option("--scale", type=SCALE, help="With --resolved: only this scale.")
@option_store
@options_data
@click.option("--json", "as_json", is_flag=True, help="Print the whole file as JSON.")
def show(
    claim: Path,
    resolved: bool,
    scale: str | None,
    store: Path,
    data_dir: Path | None,
    cache_dir: Path | None,
    as_json: bool,
) -> None:
    """Show a claim: the paper's statement, the comparison, and the decision rule."""
    from repro.report.describe import describe_claim
    from repro.report.resolved import describe_resolved

    (loaded,) = load_claims((claim,))
    if as_json:
        print_json(loaded.model_dump(mode="json"))
    elif resolved:
        dirs, cache = data_dirs_for(data_dir), cache_dir_for(cache_dir)
        echo(describe_resolved(loaded, scale, store, dirs, cache))
    else:
        echo(describe_claim(loaded))


KIND = click.Choice(["time_to_threshold", "difference", "level", "exact"])


@command(
    short_help="Begin a claim file that is valid and runs as it stands.",
    examples="""
    repro new gelu_speedup                        # two arms, times to a training error
    repro new wd_cifar --kind difference          # of nets that repro trains
    repro new smoothing --command train.py        # of a script of yours: also a difference
    repro new my_lrn --from lrn                   # a copy of a claim, under its own name
    repro new gelu_speedup --project my_paper     # a folder for a paper of your own
    """,
)
@click.argument("name")
@click.option(
    "--kind", type=KIND, default="time_to_threshold", show_default=True, help="Kind of claim."
)
@click.option(
    "--from", "source", type=ClaimPath(template=True), help="Copy this claim instead of a template."
)
@click.option(
    "--command",
    "script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Train by this script: a difference of two arms, from what it writes.",
)
@click.option(
    "--project",
    type=FOLDER,
    help="Create a folder for a paper: claims/, README, plug-in, CI workflow.",
)
@option_claims
def new(
    name: str,
    kind: str,
    source: Path | None,
    script: Path | None,
    project: Path | None,
    claims: Path | None,
) -> None:
    """Create a claim file: commented, valid, and with a smoke scale that runs.

    Existing files are not changed. With --command, the options in the file's command are an
    example: write those of the script. With --project, too, the script is copied beside the claim.

    The script is started in the claim file's folder, once for each arm, rate and seed. In its
    command {arm}, {rate}, {seed}, {epochs}, {threshold}, {device}, {folder}, {metrics} and
    {python} are filled in; its environment has them as REPRO_ARM and so on. For each metric of
    each epoch it appends a line to the file {metrics}:

    \b
    {"epoch": 1, "name": "test_error", "value": 0.31}

    After an interruption it is started again with the same {folder}, where it may keep a
    checkpoint.
    """  # noqa: D301 - click wants the character itself
    from repro.claim.scaffold import scaffold, scaffold_project

    source_of = click.get_current_context().get_parameter_source
    given = {name for name in ("kind", "claims") if source_of(name) is ParameterSource.COMMANDLINE}
    if source is not None and "kind" in given:
        raise click.UsageError("--from copies the kind, too: give it or --kind")
    if script is not None and (source is not None or ("kind" in given and kind != "difference")):
        raise click.UsageError(
            "--command begins a claim of the kind difference, and copies none: give it without "
            "--from and another --kind, and change the file; `repro new NAME --kind KIND` shows "
            "the keys of a kind"
        )
    if project is not None and "claims" in given:
        raise click.UsageError("--project has a folder of claims: give it or --claims")
    folder = project / OWN if project else claims or OWN
    claim = scaffold(
        name, folder, kind=kind, source=source, script=script, copy_script=project is not None
    )
    echo(claim.path)
    scale = " --scale smoke" if _scales(claim) != ["no training"] else ""
    where = f" --claims {shlex.quote(str(claims))}" if claims and not project else ""
    steps = [f"repro run {name}{where}{scale}"]
    if script is not None:
        steps.insert(0, f"repro trust {name}{where}")
    if project:
        for path in scaffold_project(project):
            echo(path)
        steps = [f"cd {shlex.quote(str(project))}", "repro validate", *steps]
    edit = "" if script is None else "give its command the options of your script, then "
    if project and script:
        copy = folder / script.name
        edit = f"put what {copy} imports beside it, its packages into pyproject.toml, {edit}"
    say(f"next: {edit}{' && '.join(steps)}")


@command(
    short_help="Check claim files, all problems at once.",
    examples="""
    repro validate                  # every claim that `repro list` shows
    repro validate relu_speedup
    repro validate claims/relu_speedup.yaml claims/lrn.yaml
    """,
)
@click.argument("names", metavar="[CLAIMS]...", nargs=-1, type=CLAIM)
@option_claims
def validate(names: tuple[Path, ...], claims: Path | None) -> None:
    """Check claim files, and print all problems, each with its line and column.

    Without names: check all claims of `repro list`.

    \b
    text      plain YAML: no tags, aliases or duplicate keys
    keys      no unknown and no missing ones
    values    types, ranges, order of lists
    names     models, data sets, metrics, activations, arms and recipes exist
    files     tables are readable, in the folder of the claim file
    arms      differ in the one factor under test, and are compared
    region    on the claimed side of no effect
    rates     each recipe has a rate, or a search within the budget
    seeds     enough for a verdict at the first interim analysis
    evidence  embedded images only at smoke scale, real ones at the others

    A warning, with which a claim stays valid, says which word its runs can hardly come to: where
    the paper's number lies on an edge of the region or outside, and where the seeds planned are
    too few for the `scatter` that the file expects; what of a schedule has no effect; or a file of
    a command that is not there, and a seed, rate or argument that it is not given; or texts of a
    template.

    Nets are not built here: `repro plan` builds each and trains it a step.
    """  # noqa: D301 - click wants the character itself
    from repro.claim import TrainedClaim
    from repro.claim.recipe_rules import idle_keys
    from repro.claim.scaffold import template_keys
    from repro.claim.trainer import command_warnings
    from repro.verdict.forecast import warnings

    for claim in load_claims(names or claims_in(claims)):
        echo(f"{claim.id}: valid")
        if keys := template_keys(claim):
            say(f"{claim.path}: warning: still as in the template: {', '.join(keys)}")
        if isinstance(claim, TrainedClaim):
            for sentence in (*idle_keys(claim), *command_warnings(claim), *warnings(claim)):
                say(f"{claim.path}: warning: {sentence}")


@command(
    short_help="Let the commands of claim files run, as the files stand now.",
    examples="""
    repro trust examples/own_script/label_smoothing.yaml    # prints what may run
    """,
)
@click.argument("names", metavar="CLAIMS...", nargs=-1, required=True, type=CLAIM)
@option_claims_dir
def trust(names: tuple[Path, ...]) -> None:
    """Say that the commands of these claim files may run on this machine, by you.

    A claim file whose `trainer` is a command runs it with your rights. Read it, and what it runs.
    Trust is of the file's content and place: once either changes you are asked again.
    """
    from repro.claim import TrainedClaim
    from repro.claim.trainer import command_warnings, hashed_text
    from repro.execute.trust import commands_of, trust

    for claim in load_claims(names):
        commands = commands_of(claim)
        if commands:
            trust(claim, user_folder("config"))
        may = (
            f"trusted, and may run {commands}\n  {hashed_text(claim)}"
            if isinstance(claim, TrainedClaim) and commands
            else "runs no command, and needs no trust"
        )
        echo(f"{claim.id}: {may}")
        for sentence in command_warnings(claim) if isinstance(claim, TrainedClaim) else ():
            say(f"{claim.path}: warning: {sentence}")


@command(
    examples="""
    repro schema                          # to the terminal
    repro schema > claims/schema.json     # for an editor that checks YAML
    """
)
def schema() -> None:
    """The JSON Schema of claim files, for editors."""
    from repro.claim import json_schema

    print_json(json_schema())


def _scales(claim: "Claim") -> list[str]:
    from repro.claim import TrainedClaim

    return list(claim.scales) if isinstance(claim, TrainedClaim) else ["no training"]
