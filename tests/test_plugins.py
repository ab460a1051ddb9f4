"""What other packages add: found by name, loaded when it is asked for, named when it fails."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from click.testing import Result as ClickResult

from repro.claim import KINDS, TrainedClaim, load
from repro.cli import main
from repro.errors import ClaimError, MachineError
from repro.models.build import builder
from repro.planning import next_cells
from repro.registry import DATASETS, MODELS, plugins
from repro.registry.plugins import versions
from repro.store import Store
from repro.text import rule_text
from repro.train.mixing import augment_batch
from repro.train.schedule import scheduled_rate
from repro.trial import Result
from repro.verdict.effects import Outcome, contrasts
from tests.shell import installed
from tests.worlds import quick_claim_file

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "dropout_paper"
KIND = ROOT / "examples" / "relative_kind"

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package on the path, as if it were installed: its module and its entry points."""

    def put(package: str, entries: dict[str, dict[str, str]], code: str | None = None) -> Path:
        folder = tmp_path / package
        module = installed(folder, package, entries, code)
        if code is not None:
            monkeypatch.delitem(sys.modules, module.stem, raising=False)
        monkeypatch.syspath_prepend(str(folder))
        plugins._entries.cache_clear()
        plugins._load.cache_clear()
        plugins._source.cache_clear()
        return module

    yield put
    monkeypatch.undo()
    plugins._entries.cache_clear()


def test_the_example_decides_a_claim_of_another_paper(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A YAML file, a net and an entry point; the package stands with each result."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    monkeypatch.syspath_prepend(str(EXAMPLE))
    install(project["name"], project["entry-points"])
    path = EXAMPLE / "claims" / "dropout_mlp.yaml"
    done = CliRunner().invoke(
        main,
        ["run", str(path), "--scale", "smoke", "--store", str(tmp_path / "r"), "--workers", "1"],
    )
    results = Store(tmp_path / "r").results()

    assert done.exit_code == 0, done.output
    assert "dropout_mlp, modern recipe, smoke scale (not evidence): " in done.stdout
    assert len(results) == 4
    assert {r.provenance["dropout-paper"] for r in results.values()} == {
        versions("dropout_mlp")["dropout-paper"]
    }


def test_the_example_s_net_is_as_large_as_it_says(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its default arguments."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    monkeypatch.syspath_prepend(str(EXAMPLE))
    install(project["name"], project["entry-points"])
    facts = MODELS["dropout_mlp"]
    net = builder("dropout_mlp")()

    assert sum(p.numel() for p in net.parameters()) == facts.parameters


def test_the_net_of_a_new_project_is_known_once_it_is_installed(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the project's name; it is as large as it says, and a claim is decided with it."""
    folder = tmp_path / "2014 Dropout"
    CliRunner().invoke(main, ["new", "mine", "--kind", "level", "--project", str(folder)])
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    monkeypatch.syspath_prepend(str(folder))
    install(project["name"], project["entry-points"])
    path = folder / "claims" / "mine.yaml"
    path.write_text(
        path.read_text().replace("name: cifar_80sec", "name: net_2014_dropout")
        .replace("epochs: 3", "epochs: 1")
    )  # fmt: skip
    run = ["run", str(path), "--scale", "smoke", "--store", str(tmp_path / "r"), "--workers", "1"]
    done = CliRunner().invoke(main, run)

    net = builder("net_2014_dropout")()
    assert sum(p.numel() for p in net.parameters()) == MODELS["net_2014_dropout"].parameters
    assert done.exit_code == 0, done.output
    for result in Store(tmp_path / "r").results().values():
        assert result.provenance["plugin-2014_dropout"].startswith("0.1+")


@pytest.fixture
def relative(install: Install, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example of a kind of claim, installed; a claim file of it."""
    project = tomllib.loads((KIND / "pyproject.toml").read_text())["project"]
    monkeypatch.syspath_prepend(str(KIND))
    install(project["name"], project["entry-points"])
    return KIND / "claims" / "momentum_percent.yaml"


@pytest.mark.process
def test_a_kind_of_claim_of_a_package_is_one_like_the_others(
    relative: Path, tmp_path: Path
) -> None:
    """Planned, run, judged and shown, for an epoch; the package stands beside its numbers."""
    path, store = tmp_path / "claims" / relative.name, str(tmp_path / "r")
    path.parent.mkdir()
    path.write_text(relative.read_text().replace("epochs: 2", "epochs: 1"))
    ran = CliRunner().invoke(
        main, ["run", str(path), "--scale", "smoke", "--store", store, "--workers", "1"]
    )
    out, claims = str(tmp_path / "report"), str(path.parent)
    CliRunner().invoke(main, ["report", "--claims", claims, "--store", store, "--out", out])
    page = (tmp_path / "report" / "report.html").read_text()

    assert ran.exit_code == 0, ran.output
    assert "momentum_percent, modern recipe, smoke scale (not evidence): " in ran.stdout
    assert "training error, how much less with has than without" in page
    assert "% of without&#39;s" in page
    assert f"of relative-kind {versions('relative')['relative-kind']}" in page


def test_a_kind_of_claim_estimates_what_it_says(relative: Path) -> None:
    """A quarter less at each seed is 25 percent, to which the verdict holds the region."""
    claim = load(relative)
    assert isinstance(claim, TrainedClaim)
    errors = {"without": (0.4, 0.2, 0.1), "with": (0.3, 0.15, 0.075)}
    outcomes = [
        Outcome(arm=arm, seed=seed, trial_id="", status="finished", epochs=2.0,
                metrics={"train_error": error})
        for arm, values in errors.items()
        for seed, error in enumerate(values)
    ]  # fmt: skip
    (effect,) = contrasts(claim, outcomes, 0.95)

    assert effect.estimate is not None
    assert effect.estimate.value == pytest.approx(25)
    assert effect.by_seed == pytest.approx({0: 25, 1: 25, 2: 25})
    assert "Seed by seed, by how many percent with has less training error" in rule_text(claim)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("low: 25", "low: 0", "wrong side of no effect: what is claimed lies above 0"),
        ("lower: with}", "lower: wit}", "'wit' is not an arm .did you mean 'with'"),
        ("lower: with}", "lover: with}", "contrast.lover: unknown key .did you mean 'lower'"),
        ("kind: relative", "kind: relativ", "'relativ' is not one of .* .did you mean 'relative'"),
    ],
)
def test_a_claim_of_such_a_kind_is_checked_like_the_others(
    relative: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    """Its contrast, its region and its keys, with suggestions."""
    path = tmp_path / relative.name
    path.write_text(relative.read_text().replace(old, new))

    with pytest.raises(ClaimError, match=message):
        load(path)


def test_a_kind_of_claim_that_estimates_nothing_is_named(install: Install, tmp_path: Path) -> None:
    """Its package forgot the one function that nothing stands in for."""
    code = (
        "from typing import Literal\nfrom repro.claim import TrainedClaim\n"
        'class Mute(TrainedClaim):\n    kind: Literal["mute"]\n'
    )
    install("mute-kind", {"repro.kinds": {"mute": "mute_kind:Mute"}}, code)
    path = tmp_path / "a_claim.yaml"
    CliRunner().invoke(main, ["new", path.stem, "--kind", "level", "--claims", str(tmp_path)])
    path.write_text(path.read_text().replace("kind: level", "kind: mute"))
    claim = load(path)
    assert isinstance(claim, TrainedClaim)

    with pytest.raises(MachineError, match="nothing says what a claim of the kind 'mute' estimat"):
        contrasts(claim, [], 0.95)


STRIPES = """
import numpy as np
from repro.data import Dataset, Split, content_fingerprint
from repro.registry import DatasetFacts

def load():
    labels = np.arange(640) % 2
    images = np.zeros((640, 16, 16, 3), np.uint8)
    images[labels == 1, ::2] = 255
    split = Split(images=images, labels=labels)
    names = ("plain", "striped")
    print_ = content_fingerprint(split, split, names)
    return Dataset(name="stripes", title="stripes", fingerprint=print_, train=split, test=split,
                   classes=names)

FACTS = DatasetFacts(title="stripes", classes=2, images=(640, 640), size=16, evidence=False,
                     load=load)
"""


def test_a_data_set_of_a_package_is_one_like_the_others(install: Install, tmp_path: Path) -> None:
    """By name in a claim file; changed code has results of its own."""
    module = install("stripes-data", {"repro.datasets": {"stripes": "stripes_data:FACTS"}}, STRIPES)
    path = tmp_path / "claims" / "striped.yaml"
    CliRunner().invoke(main, ["new", "striped", "--kind", "level", "--claims", str(path.parent)])
    path.write_text(
        path.read_text()
        .replace("data: digits", "data: stripes")
        .replace("cifar_80sec", "timm:test_vit")
        .replace("initialisation: he", "initialisation: framework")
    )
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    first = next_cells(claim, "smoke", "0" * 16, {})
    module.write_text(module.read_text() + "# changed\n")
    plugins._source.cache_clear()  # as another process begins
    second = next_cells(load(path), "smoke", "0" * 16, {})
    status = CliRunner().invoke(main, ["data", "status"])

    assert "stripes: stripes, 640 + 640 images; fingerprint " in status.stdout
    assert str(first[0].trial.numerics).startswith("1 stripes-data=0.1+")
    assert {cell.trial.id for cell in first}.isdisjoint({cell.trial.id for cell in second})


SIGNS = """
import torch
from repro.registry import OptimiserFacts

class Signs(torch.optim.Optimizer):
    def __init__(self, params, lr, weight_decay, sharpness=1.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "sharpness": sharpness})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for each in group["params"]:
                each.sub_(torch.tanh(each.grad * group["sharpness"]), alpha=group["lr"])

FACTS = OptimiserFacts(title="signs", module="sign_steps", builder="Signs",
                       arguments={"sharpness": 1.0})
"""


def test_an_optimiser_of_a_package_is_one_like_the_others(install: Install, tmp_path: Path) -> None:
    """By name in a claim file, its arguments checked; the package is part of each trial."""
    install("sign-steps", {"repro.optimisers": {"signs": "sign_steps:FACTS"}}, SIGNS)
    path = quick_claim_file(tmp_path)
    text = path.read_text()

    def asking(argument: str) -> None:
        keys = f"batch_size: 16, optimiser: {{name: signs, arguments: {{{argument}: 100.0}}}}"
        path.write_text(text.replace("batch_size: 16", keys))

    asking("sharpnes")
    with pytest.raises(ClaimError, match=r"signs takes no 'sharpnes' \(did you mean 'sharpness'\?"):
        load(path)
    asking("sharpness")
    done = CliRunner().invoke(
        main, ["run", str(path), "--store", str(tmp_path / "r"), "--workers", "1"]
    )
    store = Store(tmp_path / "r")

    assert done.exit_code == 0, done.output
    for name, result in store.results().items():
        assert str(store.trial(name).numerics).startswith("1 sign-steps=0.1+")
        assert result.provenance["sign-steps"].startswith("0.1+")


RECIPE = """
import torch
from repro.registry import AugmentationFacts, ScheduleFacts

def halved(epoch, epochs, share=0.5):
    return 1.0 if epoch < share * epochs else 0.5

def speckle(images, generator):
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + 0.1 * noise

HALVED = ScheduleFacts(title="the rate, then half of it", factor=halved, arguments={"share": 0.5})
SPECKLE = AugmentationFacts(title="speckle", augment=speckle)
"""
RECIPE_ENTRIES = {
    "repro.schedules": {"halved": "odd_recipe:HALVED"},
    "repro.augmentations": {"speckle": "odd_recipe:SPECKLE"},
}


def recipe_claim_file(folder: Path, **replaced: str) -> Path:
    """A claim whose recipe has that schedule and augmentation."""
    path = quick_claim_file(folder)
    keys = "batch_size: 16, augment: [speckle], schedule: {name: halved, arguments: {share: 0.2}}"
    for old, new in {"batch_size: 16": keys, **replaced}.items():
        path.write_text(path.read_text().replace(old, new))
    return path


def test_a_schedule_and_an_augmentation_of_a_package_are_used(
    install: Install, tmp_path: Path
) -> None:
    """By name in a claim file; the package is part of each trial, and its chance the trial's."""
    install("odd-recipe", RECIPE_ENTRIES, RECIPE)
    path = recipe_claim_file(tmp_path)

    def numbers(store: str) -> dict[str, str]:
        done = CliRunner().invoke(
            main, ["run", str(path), "--store", str(tmp_path / store), "--workers", "1"]
        )
        assert done.exit_code == 0, done.output
        trials = Store(tmp_path / store)
        for name, result in trials.results().items():
            assert str(trials.trial(name).numerics).startswith("1 odd-recipe=0.1+")
            assert result.provenance["odd-recipe"].startswith("0.1+")
        return {name: trials.numbers(name) for name in trials.results()}

    assert len(numbers("one")) == 2
    assert numbers("one") == numbers("two")
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    trial = next_cells(claim, "smoke", "0" * 16, {})[0].trial
    assert not trial.batches
    assert [scheduled_rate(trial, epoch) / trial.rate for epoch in (0.15, 0.25)] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"share: 0.2": "shar: 0.2"}, r"halved takes no 'shar' \(did you mean 'share'\? known"),
        ({"share: 0.2": "share: true"}, r"share of halved must be like 0.5, not True"),
        ({"arguments: {share: 0.2}": "gamma: 0.1"}, r"`gamma` has no effect in a halved schedule"),
        ({"[speckle]": "[speckles]"}, r"augmentation 'speckles' is unknown \(did you mean 'speck"),
    ],
)
def test_what_a_claim_asks_of_such_a_recipe_is_checked(
    install: Install, tmp_path: Path, replaced: dict[str, str], message: str
) -> None:
    """Names and arguments, with suggestions."""
    install("odd-recipe", RECIPE_ENTRIES, RECIPE)

    with pytest.raises(ClaimError, match=message):
        load(recipe_claim_file(tmp_path, **replaced))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("return epochs - 9", r"halved multiplies the rate by -6.0 at epoch 0"),
        ("return 1 / epoch", r"halved fails at epoch 0: ZeroDivisionError: "),
        ("return 1 / (round(epoch, 2) != 0.25)", r"halved fails at epoch 0.25: ZeroDivisionErr"),
    ],
)
def test_a_schedule_that_gives_no_rate_is_refused(
    install: Install, tmp_path: Path, code: str, message: str
) -> None:
    """Before anything is trained."""
    install("odd-recipe", RECIPE_ENTRIES, RECIPE.replace("return 1.0", code + " #"))

    with pytest.raises(ClaimError, match=message):
        load(recipe_claim_file(tmp_path, **{"epochs: 1": "epochs: 3"}))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("return images[:, :1]", r"ValueError: it made torch.Size\(\[4, 1, 8, 8\]\) of images"),
        ("return images.speckled", "AttributeError: 'Tensor' object has no attribute 'speckled'"),
    ],
)
def test_an_augmentation_that_fails_is_named(install: Install, code: str, why: str) -> None:
    """With what it raised, or made of the images."""
    install("odd-recipe", RECIPE_ENTRIES, RECIPE.replace("return images +", code + " #"))

    with pytest.raises(MachineError, match=f"the augmentation 'speckle' failed: {why}"):
        augment_batch(torch.zeros(4, 3, 8, 8), ["speckle"], seed=0)


SPREAD = """
from repro.registry import MetricFacts

def spread(net, data):
    rows = data.test.rows(__import__("torch").arange(20))
    return net(data.test.inputs(rows, data.centre)).std(0).mean()

FACTS = MetricFacts(title="spread of the logits", unit="nats", measure=spread)
"""


def of_level_claim(folder: Path, *, metric: str) -> tuple[ClickResult, list[Result]]:
    """A claim about a level of the metric, run on few images for an epoch."""
    path = folder / "claims" / "spreads.yaml"
    CliRunner().invoke(main, ["new", "spreads", "--kind", "level", "--claims", str(path.parent)])
    path.write_text(
        path.read_text().replace("metric: test_error", f"metric: {metric}")
        .replace("data: digits", "data: digits\n    images: 160")
        .replace("epochs: 3", "epochs: 1").replace("batch_size: 64", "batch_size: 16")
    )  # fmt: skip
    store = str(folder / "r")
    done = CliRunner().invoke(
        main, ["run", str(path), "--scale", "smoke", "--store", store, "--workers", "1"]
    )
    return done, [*Store(Path(store)).results().values()]


def test_a_metric_of_a_package_decides_a_claim(install: Install, tmp_path: Path) -> None:
    """It is measured of every net that is trained to its end, and read like ours."""
    install("logit-spread", {"repro.metrics": {"spread": "logit_spread:FACTS"}}, SPREAD)
    done, results = of_level_claim(tmp_path, metric="spread")

    assert done.exit_code == 0, done.output
    assert results
    assert all(result.metric("spread") > 0 for result in results)
    assert all(result.provenance["logit-spread"].startswith("0.1+") for result in results)
    assert "ours not measured" not in done.output


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("code", "why"),
    [
        (SPREAD.replace("(0).mean()", "(0)"), "spread: ValueError: only one element tensors can"),
        (SPREAD + "FACTS.forgotten", "spread: MachineError: the plug-in logit-spread .* cannot be"),
    ],
)
def test_a_metric_of_a_package_that_fails_costs_no_result(
    install: Install, tmp_path: Path, code: str, why: str
) -> None:
    """It is not measured, which a warning and the provenance say with the reason."""
    install("logit-spread", {"repro.metrics": {"spread": "logit_spread:FACTS"}}, code)
    done, results = of_level_claim(tmp_path, metric="test_error")

    assert done.exit_code == 0, done.output
    assert results
    for result in results:
        assert re.match(why, result.provenance["not measured"])
        assert result.provenance["logit-spread"].startswith("0.1+")
        assert "spread" not in result.metrics
    assert re.search(f"warning: not measured, a metric of logit-spread: {why}", done.output)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_na"),
        ("FACTS = 3", "is a int, not a ModelFacts"),
        ("", "AttributeError: module 'broken' has no attribute 'FACTS'"),
    ],
)
def test_a_plug_in_that_fails_is_named(install: Install, code: str, message: str) -> None:
    """Package, group, entry and reason; and only when it is asked for."""
    install("broken", {"repro.models": {"a_net": "broken:FACTS"}}, code)

    assert "a_net" in MODELS
    assert "a_net" in list(MODELS)
    with pytest.raises(
        MachineError, match=r"the plug-in broken \(repro.models: a_net = b"
    ) as caught:
        MODELS["a_net"]
    assert message in str(caught.value)
    assert caught.value.hint == "repair or uninstall broken"


def test_a_name_that_is_taken_is_refused(install: Install) -> None:
    """Which of two is meant cannot be guessed."""
    install("thief", {"repro.datasets": {"cifar10": "thief:FACTS"}})

    with pytest.raises(MachineError, match="has a name that repro itself uses: 'cifar10'"):
        list(DATASETS)


def test_a_kind_of_claim_is_a_class(install: Install) -> None:
    """Of those that trials decide: what else stands there is no kind."""
    install("no-kind", {"repro.kinds": {"odd": "no_kind:odd"}}, "odd = dict")

    with pytest.raises(MachineError, match="is a type, not a subclass of TrainedClaim"):
        KINDS["odd"]
