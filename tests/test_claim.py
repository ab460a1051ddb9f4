"""Claim files: strict, every problem at once, each with its place and a suggestion."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given, settings

from repro.claim import (
    OWN_KINDS,
    Claim,
    FigurePoint,
    TrainedClaim,
    json_schema,
    load,
    load_all,
    model_for,
    read_figure,
    recipe_for,
)
from repro.claim.yaml_source import read_yaml
from repro.errors import ClaimError
from repro.planning import cells, next_cells
from tests.commands import repro
from tests.worlds import claim_file

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "claims" / "relu_speedup.yaml"
TEXT = SHIPPED.read_text()
LOOKS = "seeds: [5, 8, 12]"


def with_figure(folder: Path) -> Path:
    """The shipped claim's place in another folder, where its figure lies already."""
    shutil.copytree(SHIPPED.parent / "paper_data", folder / "paper_data", dirs_exist_ok=True)
    return folder / SHIPPED.name


def broken(folder: Path, *changes: tuple[str, str]) -> str:
    """The message for the shipped claim with some of its text replaced, all of it."""
    with pytest.raises(ClaimError) as caught:
        load(copied(folder, *changes))
    return str(caught.value)


def copied(folder: Path, *changes: tuple[str, str]) -> Path:
    """The shipped claim with some of its text replaced."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = with_figure(folder)
    path.write_text(text)
    return path


def written(folder: Path, data: object) -> Path:
    """A claim file of these values, with its figure."""
    path = with_figure(folder)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def line_of(part: str) -> int:
    """The line of the shipped file in which the text first stands."""
    return TEXT[: TEXT.index(part)].count("\n") + 1


@pytest.mark.parametrize(
    "text", ["a:\t1", "b: [1,\t2]", "a: 1\t", "a: [1, 2?]", "a: [! , e]", "b: !", "a: {? : d}"]
)
def test_what_the_parsers_read_otherwise_is_read_by_one(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that every machine has."""
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    fast = read_yaml(path)
    monkeypatch.setattr(yaml, "__with_libyaml__", False)

    assert read_yaml(path) == fast


def test_an_escape_that_is_no_character_is_told(tmp_path: Path) -> None:
    """As bytes that are none."""
    path = tmp_path / "odd.yaml"
    path.write_text('a: "\\U0011ffff"')

    assert "not YAML: " in str(read_yaml(path).problems[0])


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML without libyaml has one parser")
@pytest.mark.parametrize("path", sorted(SHIPPED.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_both_parsers_read_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and their places, whether or not PyYAML was built with libyaml."""
    fast = read_yaml(path)
    monkeypatch.setattr(yaml, "__with_libyaml__", False)

    assert read_yaml(path) == fast
    assert fast.data["id"] == path.stem


def test_the_shipped_claim_is_the_papers() -> None:
    """Six times, at 25 % training error, region 3 to 9 (paper, sec. 3.1)."""
    claim = load(SHIPPED)

    assert (claim.paper.value, claim.threshold) == (6.0, 0.25)
    assert (claim.region.low, claim.region.high) == (3.0, 9.0)
    assert claim.path == SHIPPED
    assert TEXT.startswith("# yaml-language-server: $schema=schema.json\n")


def test_the_schema_beside_the_claims_is_the_code_s() -> None:
    """Otherwise: repro schema > claims/schema.json."""
    assert json.loads((ROOT / "claims" / "schema.json").read_text()) == json_schema()


def recipe(*keys: str) -> tuple[str, str]:
    """The change that gives the recipe these keys in place of those of its update rule."""
    old = ("momentum: 0.9", "weight_decay: 0.0", "bias_rate: 2.0")
    return ("\n    ".join(old), "\n    ".join(keys))


def arguments(keys: str) -> tuple[str, str]:
    """The change that makes it one of Adam with arguments."""
    return recipe(f"optimiser: {{name: adam, arguments: {{{keys}}}}}")


RULES = [
    (("threshold: 0.25", "treshold: 0.25"), r"treshold: unknown key \(did you mean 'threshold'\?"),
    (("threshold: 0.25", "threshold: often"), r"threshold: input should be a valid number, not '"),
    (("threshold: 0.25", "threshold: true"), r"threshold: input should be a valid number, not Tr"),
    (("threshold: 0.25", "threshold: .nan"), r"threshold: input should be "),
    (("threshold: 0.25", "threshold: 25"), r"threshold: input should be less than 1, not 25"),
    (("rates: [0.0003, 0.001, 0.003],", "rates: [],"), r"search.period.rates: must not be empty"),
    (("[0.0003, 0.001, 0.003],", "[0.003, 0.001],"), r"period.rates: must increase from one value"),
    (("low: 3.0", "low: 0.9"), r"region.low: 0.9 is on the wrong side of no effect"),
    (("high: 9.0", "high: 2.0"), r"region.high: 2.0 must be above low, 3.0"),
    (("activation: tanh", "activation: relu"), r"arms: the arms do not differ"),
    (
        ("tanh: {model: {activation: tanh}}", "tanh: {model: {activation: tanh}, recipe: "
         "{momentum: 0.5}}"),
        r"arms: the arms differ in more than the one factor under test: model.activation, recipe.",
    ),
    (("fast: relu}", "fast: rely}"), r"contrast.fast: 'rely' is not an arm \(did you mean 'relu'"),
    (("slow: tanh", "slow: relu"), r"contrast: slow and fast are the same arm"),
    (("verdict_recipe: period", "verdict_recipe: perio"), r"'perio' is not a recipe \(did you me"),
    (("name: cifar_80sec", "name: cifar_80s"), r"model 'cifar_80s' is unknown \(did you mean 'ci"),
    (("name: cifar_80sec", "name: timm:resnet5O"), r"timm has no model 'resnet5O' \(did you mean"),
    (("activation: tanh", "activation: tahn"), r"activation 'tahn' is unknown \(did you mean 'ta"),
    (("activation: tanh", "activatoin: tanh"), r"takes no 'activatoin' \(did you mean 'activatio"),
    (("data: cifar10", "data: cifar-10"), r"data set 'cifar-10' is unknown \(did you mean 'cifar"),
    (("data: cifar10", "data: digits"), r"'digits' is embedded data; the paper scale wants real "),
    (("data: digits", "data: cifar10"), r"'cifar10' is real data; the smoke scale wants embedded"),
    (("data: cifar10", "data: folder:../x"), r"a folder's name has letters, digits"),
    (("data: cifar10", "data: folder:..@64"), r"a folder's name has letters, digits"),
    (("data: cifar10", "data: folder:x@8"), r"the size after @ is a whole number from 16 to 1024"),
    (("batch_size: 32}", "batchsize: 64}"), r"smoke.recipe.batchsize: unknown key \(did you mean"),
    (("  smoke:", "  smok:"), r"scales.smok: unknown scale \(did you mean 'smoke'\? known: lar"),
    (("rungs: [4, 12]", "rungs: [4, 90]"), r"the last rung, 90, is beyond the budget of 60 epochs"),
    ((LOOKS, "seeds: 1"), r"scales.paper.seeds: the first interim analysis has 1; a verdict needs"),
    ((LOOKS, "seeds: 0"), r"scales.paper.seeds: must be a number of seeds, or the numbers of"),
    ((LOOKS, "seeds: [5, 3]"), r"scales.paper.seeds: must be .*, each above the one before"),
    ((LOOKS, "seeds: [2, 5]"), r"scales.paper.seeds: the first interim analysis has 2; a verdict"),
    (("figure: paper_data/", "figure: ../../"), r"paper.figure: '../../fig1.csv' leaves the fold"),
    (("figure: paper_data/", "figure: paper/"), r"paper.figure: there is no file 'paper/fig1.csv'"),
    (("id: relu_speedup", "id: relu"), r"id: 'relu' must be the file's name, 'relu_speedup'"),
    (("title: ReLUs", "id: again\ntitle: ReLUs"), r"id: duplicate key, first in line 3"),
    (("kind: time", "kind: tim"), r"kind: 'tim_to_threshold' is not one of 'time_to_threshold', "),
    (("version: 1", "version: !!python/object:os.system 1"), r"version: the tag .* is not allowed"),
    (("version: 1", "version: !!int ''"), r"version: cannot be read as a whole number"),
    (("version: 1", "version: !!bool maybe"), r"version: cannot be read as true or false"),
    (("title: ReLUs", r'title: "\ud800" #'), r"4:1: title: cannot be read as a text"),
    (("title: ReLUs", "title: \x00ReLUs"), r":4:8: not YAML: the character '.x00' is not allowed"),
    (("title: ReLUs", r'"a\nb\e[2J": 1' + "\ntitle: ReLUs"), r":4:1: keys must be plain names$"),
    (("high: 9.0", "high: .inf"), r"region.high: input should be a finite number, not inf"),
    (("rates: [0.0003, 0.001, 0.003],", "rates: 1,"), r"period.rates: must be a list, not 1"),
    (("[0.0003, 0.001, 0.003],", "[-1, 0.1],"), r"period.rates.0: input should be greater than 0"),
    (("[0.0003, 0.001, 0.003],", "[0.1, 1.0e+39],"), r"rates.1: input should be less than or equ"),
    (("model: {name: cifar_80sec}", "model: it"), r"model: must be a mapping of keys to values,"),
    (("precision: float32,", "precision: float23,"), r"precision: 'float23' is not one of .*'floa"),
    (("rungs: [4, 12]", "rungs: [12, 4]"), r"paper.search.period.rungs: must increase from one v"),
    (("figure: paper_data/fig1.csv", r'figure: "a\0b"'), r"figure: 'a.x00b' cannot be the name of"),
    (("activation: tanh}", "activation: tanh, initialisation: he}"), r"is a field of the recipe$"),
    (("activation: tanh}", "num_classes: 3}"), r"model.num_classes: the number of classes is the"),
    (("activation: tanh}", "pretrained: true}"), r"model.pretrained: a trial starts from weights"),
    (("activation: tanh}", "width: 3}"), r"cifar_80sec takes no 'width' \(known: activation\)$"),
    (("epochs: 60", "epochs: 060"), r"paper.epochs: input should be a valid number, not '060'"),
    (("epochs: 60", "epochs: 1:30"), r"paper.epochs: input should be a valid number, not '1:30'"),
    (("epochs: 60", "epochs: 1.25"), r"paper.epochs: must be in tenths of an epoch, in which err"),
    ((LOOKS, "seeds: 1001"), r"scales.paper.seeds: must be .*, and none above 1000"),
    ((LOOKS, f"seeds: {list(range(3, 24))}"), r"paper.seeds: must be .*; 20 at most"),
    (("epochs: 60", "epochs: 100001"), r"paper.epochs: input should be less than or equal to 1000"),
    (("batch_size: 32}", "batch_size: 100}"), r"320 images in batches of 100 .* make 4 steps an"),
    (("batch_size: 32}", "crop: 40, batch_size: 32}"), r"crops of 40 pixels do not fit into digi"),
    (
        ("{model: {activation: tanh}}", "{metric: colour_split, model: {activation: relu}}"),
        r"colour_split is measured of alexnet_2012 alone, not of cifar_80sec \(arm tanh\)$",
    ),
    (recipe("optimiser: adamm"), r"optimiser 'adamm' is unknown \(did you mean 'adam.?'\? known: "),
    (recipe("optimiser: AdamW"), r"optimiser 'AdamW' is unknown \(did you mean 'adamw'\? known: "),
    (recipe("optimiser: timm:lam"), r"optimiser 'timm:lam' is unknown .*; timm's are timm:NAME \("),
    (recipe("optimiser: timm:adahessian"), r"optimiser 'timm:adahessian' is unknown"),
    (recipe("optimiser: {nam: adamw}"), r"optimiser.nam: unknown key \(did you mean 'name'\? know"),
    (arguments("beta: 0.5"), r"adam takes no 'beta' \(did you mean 'betas'\? known: amsgrad, b"),
    (arguments("betas: 0.5"), r"betas of adam must be like \[0.9, 0.999\], not 0.5 \(recipe perio"),
    (arguments("betas: [0.5]"), r"betas of adam must be like \[0.9, 0.999\], not \[0.5\]"),
    (arguments("betas: [0.9, 1.5]"), r"adam refuses its `arguments`: Invalid beta parameter at i"),
    (arguments("eps: -1.0"), r"adam refuses its `arguments`: Invalid epsilon value: -1.0"),
    (
        recipe("optimiser: timm:nesterov"),
        r"timm:nesterov refuses its `arguments`: Nesterov momentum requires a momentum",
    ),
    (arguments("eps: true"), r"eps of adam must be like 1e-08, not True"),
    (arguments("lr: 0.1"), r"adam takes no 'lr': the rate is the scale's: `rate` or `search`"),
    (arguments("weight_decay: 1"), r"adam takes no 'weight_decay': `weight_decay` is a key of the"),
    (recipe("optimiser: adam", "momentum: 0.9"), r"`momentum` has no effect: it is that of sgd, a"),
    (
        recipe("optimiser: {name: sgd, arguments: {nesterov: true}}", "momentum: 0.0"),
        r"`nesterov` has no effect without momentum",
    ),
    (recipe("schedule: cosin"), r"schedule 'cosin' is unknown \(did you mean 'cosine'\? known: "),
    (recipe("schedule: {name: cosin, eta_min: 0.1}"), r"schedule 'cosin' is unknown \(did you me"),
    (recipe("augment: [randaugment]"), r"augmentation 'randaugment' is unknown \(known: crop, fl"),
    (recipe("augment: [flip, flip]"), r"`augment` has 'flip' twice"),
    (recipe("schedule: {name: cosine, T_max: 3}"), r"schedule.T_max: unknown key \(known: argume"),
    (recipe("schedule: {name: cosine, gamma: 0.2}"), r"`gamma` has no effect in a cosine schedule"),
    (recipe("schedule: step"), r"recipes.period.schedule: a step schedule needs `step_size`"),
    (recipe("schedule: {name: cosine, epochs: 9}"), r"the schedule ends at epoch 9, and the scale"),
    (recipe("schedule: {name: step, step_size: 1, warmup: 0.25}"), r"warmup: must be in tenths of"),
    (recipe("schedule: {name: constant, warmup: 9}"), r"a warm-up of 9 epochs takes all 8 of the "),
    (recipe("schedule: cosine", "drops: [1.0]"), r"the recipe has both `drops` and `schedule`: th"),
    (recipe("label_smoothing: 1"), r"label_smoothing: input should be less than 1, not 1"),
    (recipe("clip_norm: 0"), r"period.clip_norm: input should be greater than 0, not 0"),
    (recipe("padding: 4"), r"`padding` has no effect: `augment` has no random crops \("),
    (recipe("mixup: 0.2"), r"`mixup` does not go with times: training errors are then not of"),
    (recipe("ema: 0.9"), r"`ema` does not go with times: training errors are then not of the net"),
    (("tanh: {model: {activation: tanh}}", ""), r"a comparison has at least two arms, not 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), RULES)
def test_each_rule_has_its_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    """A line names the file, the line and column, the key path, and what is wrong."""
    message = broken(tmp_path, change)

    assert re.search(sentence, message, re.MULTILINE), message
    for line in message.splitlines():
        assert re.match(rf"{re.escape(str(tmp_path))}/relu_speedup\.yaml:\d+:\d+: ", line)


def test_one_cause_is_told_once(tmp_path: Path) -> None:
    """Not for each arm, recipe and scale: where it is not in all of them, those are named."""
    everywhere = broken(tmp_path, ("bias_rate: 2.0", "augment: [crop]"))
    somewhere = broken(tmp_path, ("precision: float32,", "augment: [crop], precision: float32,"))
    arm = "tanh: {recipe: {augment: [crop]}}"
    one_arm = broken(
        tmp_path,
        ("relu: {model: {activation: relu}}", "relu: {}"),
        ("tanh: {model: {activation: tanh}}", arm),
    )

    sentence = "the recipe has no `crop`, the size of the random crops of `augment`"
    assert f" recipes.period.augment: {sentence} (recipe period)" in everywhere
    for message in (everywhere, somewhere, one_arm):
        assert len(message.splitlines()) == 1, message
    assert f" scales.smoke.recipe.augment: {sentence} (scale smoke)" in somewhere
    assert f" arms.tanh.recipe.augment: {sentence} (arm tanh)" in one_arm


def test_an_unknown_key_lists_the_keys_that_there_are(tmp_path: Path) -> None:
    """The close one first."""
    message = broken(tmp_path, ("low: 3.0", "lov: 3.0"))

    assert "region.lov: unknown key (did you mean 'low'? known: high, low)" in message


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (
            "timm:test_resnet",
            "timm:test_resnet draws its own initial weights, so that `initialisation: he` has no "
            "effect: write `framework`",
        ),
        ("timm:test_resnet.x1", "timm has no 'test_resnet.x1': name the net alone, timm:test_res"),
    ],
)
def test_what_a_net_of_timm_does_not_take_is_refused(
    tmp_path: Path, net: str, sentence: str
) -> None:
    """It would be shown as if it were in force."""
    path = claim_file(tmp_path)
    text = path.read_text().replace("name: cifar_80sec", f"name: {net}")
    path.write_text(
        text.replace("{model: {activation: relu}}", "{}")
        .replace("{model: {activation: tanh}}", "{recipe: {momentum: 0.5}}")
    )  # fmt: skip

    with pytest.raises(ClaimError, match=re.escape(sentence)) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1


HEADER = b"arm,epoch,train_error\n"


@pytest.mark.parametrize(
    ("content", "line", "sentence"),
    [
        (b"arm;epoch;train_error\nrelu;1;0.5\n", 1, "cells are separated by ';', not by ','"),
        (b"arm\tepoch\ttrain_error\n", 1, "cells are separated by tabs, not by ','"),
        ("arm,epoch,train_error\n".encode("utf-16"), 1, "not UTF-8: save the table as CSV in UTF"),
        (HEADER + "relu,1,0.5\ntanh é,1,0.5\n".encode("latin-1"), 3, "not UTF-8"),
        (b"", 1, "the file is empty"),
        (HEADER, 1, "there is no row below the names of the columns"),
        (b"arm,epoch,error\nrelu,1,0.5\n", 1, "no column 'train_error'; there are: 'arm', 'epoch'"),
        (HEADER + b"\nrelu,one,0.5\n", 3, "epoch is 'one', not a number"),
        (HEADER + b"relu,1,nan\n", 2, "train_error is 'nan', not a number"),
        (HEADER + b"relu,1,50\n", 2, "train_error is 50, not a fraction between 0 and 1"),
        (HEADER + b"relu,1\n", 2, "2 cells, where the first line has 3"),
    ],
)
def test_a_table_beside_the_claim_is_checked_with_it(
    tmp_path: Path, content: bytes, line: int, sentence: str
) -> None:
    """The claim's place, then that in the table."""
    path = with_figure(tmp_path)
    path.write_text(TEXT)
    figure = tmp_path / "paper_data" / "fig1.csv"
    figure.write_bytes(content)
    place = f"{path}:{line_of('  figure: ')}:3: paper.figure: {figure}:{line}: {sentence}"

    with pytest.raises(ClaimError, match=re.escape(place)):
        load(path)


def test_a_table_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    """With a byte-order mark, line ends of Windows, blanks and further columns."""
    path = with_figure(tmp_path)
    path.write_text(TEXT)
    figure = tmp_path / "paper_data" / "fig1.csv"
    figure.write_text("\ufeffarm, epoch,note,train_error\r\nrelu, 1,,0.5\r\n\r\n")

    assert load(path).paper.figure == "paper_data/fig1.csv"
    assert read_figure(figure) == [FigurePoint(arm="relu", epoch=1, train_error=0.5)]


def many_rates(claim: str, rates: int) -> str:
    """The claim with so many rates of 1,000 tuning seeds each."""
    grid = ", ".join(f"{0.0001 * (1 + i):.4f}" for i in range(rates))
    return claim.replace(
        "[0.003, 0.01, 0.03], rungs: [1], seeds: 1,", f"[{grid}], rungs: [1], seeds: 1000,"
    )


def test_a_plan_that_nobody_can_mean_is_refused_with_its_number(tmp_path: Path) -> None:
    """2 arms, 50 rates of 1,000 tuning seeds, 2 evaluation seeds: counted, and never listed."""
    path = claim_file(tmp_path)
    text = path.read_text()
    path.write_text(many_rates(text, 49))
    load(path)
    path.write_text(many_rates(text, 50))

    with pytest.raises(ClaimError, match=r"tiny.yaml:20:3: scales.smoke: 100,004 trials, of up to"):
        load(path)


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_grid_of_a_million_trials_is_refused_before_any_is_listed(
    command: str, tmp_path: Path
) -> None:
    """Its number follows from those of arms, rates and seeds."""
    path = claim_file(tmp_path)
    path.write_text(many_rates(path.read_text(), 500))
    listed = cells._cached.cache_info().misses
    result = repro(command, str(path))

    assert result.exit_code == 2
    assert "1,000,004 trials" in result.output
    assert cells._cached.cache_info().misses == listed


def test_the_place_is_that_of_the_value(tmp_path: Path) -> None:
    """Line and column count from 1, as editors do."""
    message = broken(tmp_path, ("low: 3.0", "low: 0.5"))
    line = line_of("region: ")
    column = TEXT.splitlines()[line - 1].index("low") + 1

    assert f":{line}:{column}: region.low:" in message


@pytest.mark.parametrize("line", ["optimiser: adamm", "schedule: cosin", "augment: [randaugment]"])
def test_the_place_of_an_unknown_name_in_a_recipe_is_its_key(tmp_path: Path, line: str) -> None:
    """Not that of the recipe, which may have twenty keys."""
    path = copied(tmp_path, recipe("momentum: 0.9", line))
    key, row = line.partition(":")[0], path.read_text().splitlines().index(f"    {line}") + 1

    with pytest.raises(ClaimError) as caught:
        load(path)

    assert f"{path}:{row}:5: recipes.period.{key}: " in str(caught.value)


def test_a_kind_that_there_is_not_is_one_problem(tmp_path: Path) -> None:
    """The keys of a kind that was not meant are no others."""
    message = broken(tmp_path, ("kind: time_to_threshold", "kind: conjunction"))

    kinds = "'time_to_threshold', 'difference', 'level', 'exact'"
    assert message.endswith(f":5:1: kind: 'conjunction' is not one of {kinds}")


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_a_missing_kind_is_one_problem(tmp_path: Path, kind: str) -> None:
    """The other keys are checked as those of the kind that they fit."""
    repro("new", "mine", "--kind", kind, "--claims", tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(re.sub(r"(?m)^kind: .*\n", "", path.read_text()))

    with pytest.raises(ClaimError) as caught:
        load(path)

    assert str(caught.value) == f"{path}:3:1: kind: missing key"


def test_the_next_step_of_a_broken_claim_can_be_typed(tmp_path: Path) -> None:
    """Each command that the error names works as it stands."""
    with pytest.raises(ClaimError) as caught:
        load(copied(tmp_path, ("version: 1", "version: 2")))
    commands = re.findall(r"`repro ([^`]+)`", caught.value.hint)

    assert commands == ["schema", "show lrn"]
    assert [repro(*command.split()).exit_code for command in commands] == [0, 0]


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    """Sorted by place; nobody mends a file one error at a time."""
    message = broken(
        tmp_path,
        ("threshold: 0.25", "treshold: 0.25"),
        ("activation: tanh", "activation: tahn"),
        ("low: 3.0", "low: 0.5"),
        ("momentum: 0.9", "momentum: fast"),
        ("data: digits", "data: digit"),
    )
    lines = [int(line.split(":")[1]) for line in message.splitlines()]

    assert len(lines) == 6  # momentum stands in two recipes
    assert lines == sorted(lines)


@pytest.mark.parametrize("value", ["[1, 2]", "{a: 1}", "null", "[" * 200 + "]" * 200])
def test_one_mistake_is_one_line(tmp_path: Path, value: str) -> None:
    """Not one for each of the types that an argument may have."""
    message = broken(tmp_path, ("activation: tanh", f"activation: {value}"))

    assert "activation: must be true, false, a finite number or a text, not " in message
    assert len(message.splitlines()) == 1


def test_bad_members_do_not_make_a_list_empty(tmp_path: Path) -> None:
    """Each member is told, and nothing that is not so."""
    message = broken(tmp_path, ("rates: [0.0003, 0.001, 0.003],", "rates: [a, b],"))

    assert "rates.0: " in message
    assert "rates.1: " in message
    assert "empty" not in message


def test_a_figure_with_an_endless_name_is_a_problem_of_the_file(tmp_path: Path) -> None:
    """The system refuses such names by raising."""
    message = broken(tmp_path, ("figure: paper_data/fig1.csv", "figure: " + "a" * 5000))

    assert "cannot be the name of a file" in message


@pytest.mark.parametrize("part", ["arms", "search"])
def test_an_empty_mapping_is_not_a_missing_rule(tmp_path: Path, part: str) -> None:
    """`arms: {}` has nothing to compare and `search: {}` no rates."""
    whole = yaml.safe_load(TEXT)
    (whole if part == "arms" else whole["scales"]["paper"])[part] = {}
    sentence = (
        "at least two arms, not 0" if part == "arms" else "the recipe 'period' has no rates here"
    )
    with pytest.raises(ClaimError, match=sentence):
        load(written(tmp_path, whole))


def test_arms_that_differ_in_words_alone_are_refused(tmp_path: Path) -> None:
    """An arm that spells out what the recipe says anyway would be compared with itself."""
    message = broken(
        tmp_path,
        ("relu: {model: {activation: relu}}", "relu: {recipe: {momentum: 0.9}}"),
        ("tanh: {model: {activation: tanh}}", "tanh: {}"),
    )

    assert "scales.paper.search.period: the arms come out the same here" in message


def test_problems_of_several_files_are_told_together(tmp_path: Path) -> None:
    """A folder of claims is checked in one go."""
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path in paths:
        path.write_text("id: [")
    with pytest.raises(ClaimError) as caught:
        load_all(paths)

    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == list(map(str, paths))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a claim file holds a mapping"),
        ("- 1", "a claim file holds a mapping"),
        ("a: [1", "YAML: "),
        ("a: &x 1\nb: *x", r"aliases \(\*x\) are not allowed"),
        ("a: !!python/name:os.system x", "is not allowed; only plain values are"),
        ("? [1, 2]\n: 3", "keys must be plain names"),
        ("a: " + "[" * 3000, "not YAML"),
        ("x: y\n" * 300_000, "larger than 1000000 bytes"),
    ],
)
def test_files_that_are_no_claims_get_a_clear_line(
    tmp_path: Path, text: str, sentence: str
) -> None:
    """Nothing in a file can run code or blow up."""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ClaimError, match=sentence):
        load(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A picture named .yaml, say."""
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xd8\xff\xe0\x00")
    with pytest.raises(ClaimError, match="not YAML"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With the reason that the system gives."""
    with pytest.raises(ClaimError, match=r"none\.yaml:1:1: cannot read: No such file"):
        load(tmp_path / "none.yaml")


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-3 as a text; here it is a thousandth."""
    path = with_figure(tmp_path)
    path.write_text(TEXT.replace("[0.0003, 0.001, 0.003]", "[3e-4, 1e-3, 3E-3]"))

    assert load(path).scales["smoke"].search["period"].rates == (0.0003, 0.001, 0.003)


def test_overrides_reach_the_trial() -> None:
    """Recipe, then scale, then arm; and the arm's part of the net."""
    claim = load(SHIPPED)

    assert recipe_for(claim, "smoke", "period", "relu").precision == "float32"
    assert recipe_for(claim, "paper", "period", "relu").precision == "bfloat16"
    assert model_for(claim, "paper", "tanh").arguments == {"activation": "tanh"}


def test_prose_may_change_and_the_rule_may_not(tmp_path: Path) -> None:
    """The digest is what is registered before the first trial."""
    path = with_figure(tmp_path)

    def digest(old: str, new: str) -> str:
        path.write_text(TEXT.replace(old, new))
        return load(path).digest("paper")

    same = load(SHIPPED).digest("paper")
    assert digest("title: ReLUs", "title: Rectifiers") == same
    assert digest("low: 3.0", "low: 2.0") != same
    assert digest(LOOKS, "seeds: [5, 8]") != same
    assert digest("value: 6.0", "value: 5.0") != same


LINES = [i for i, line in enumerate(TEXT.splitlines()) if re.match(r"\s*[a-z_]+:", line)]


@settings(max_examples=60)
@given(at=st.sampled_from(LINES), letter=st.sampled_from("xqz"))
def test_a_misspelled_key_is_always_named(tmp_path: Path, at: int, letter: str) -> None:
    """Whatever key is misspelled, the file is refused and the key named (peers accept it)."""
    lines = TEXT.splitlines()
    key = lines[at].split(":")[0].strip()
    free = {"relu", "tanh", "period", "modern"}  # names that the file itself chooses
    lines[at] = lines[at].replace(key, key + letter, 1)
    try:
        yaml.safe_load("\n".join(lines))
    except yaml.YAMLError:
        return
    path = with_figure(tmp_path)
    path.write_text("\n".join(lines))
    if key in free:
        with pytest.raises(ClaimError):
            load(path)
    else:
        with pytest.raises(ClaimError, match=key + letter):
            load(path)


def key_paths(data: object, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of nested mappings, with the keys around it."""
    if not isinstance(data, dict):
        return []
    return [path for k, v in data.items() for path in ((*at, k), *key_paths(v, (*at, k)))]


OPTIONAL = re.compile(
    r"version|reconsidered_if|amended|crossing|amended|paper\.(figure|value|title|authors|year|link)|region\.high|arms\.\w+\.model(\.activation)?|scales\.\w+"
    r"|recipes\.\w+\.(batch_size|momentum|weight_decay|bias_rate|precision)"
    r"|scales\.\w+\.(images|seeds|taken|scatter|recipe\.precision|search\.\w+\.(seeds|refine))"
)


@pytest.mark.parametrize("path", key_paths(yaml.safe_load(TEXT)), ids=".".join)
def test_a_deleted_key_is_named_unless_it_has_a_default(
    tmp_path: Path, path: tuple[str, ...]
) -> None:
    """A missing key is told at the mapping that should hold it."""
    data = yaml.safe_load(TEXT)
    around = data
    for key in path[:-1]:
        around = around[key]
    del around[path[-1]]
    file = written(tmp_path, data)
    if OPTIONAL.fullmatch(".".join(path)):
        load(file)
        return
    with pytest.raises(ClaimError) as caught:
        load(file)
    message = str(caught.value)
    if "missing key" in message:
        line, column = read_yaml(file).positions[path[:-1]]
        assert f":{line}:{column}: {'.'.join(path)}: missing key" in message
    else:  # an arm or a recipe, which the file itself names elsewhere
        assert path[-1] in message


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_get_past_with_anything_but_a_claim_error(raw: bytes) -> None:
    """A bounded fuzz: the parser answers with its own error, whatever it is fed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.yaml"
        path.write_bytes(raw)
        with pytest.raises(ClaimError) as caught:
            load(path)
    for line in str(caught.value).split("\n"):
        assert re.match(rf"{re.escape(str(path))}:\d+:\d+: \S", line)
        assert line.isprintable()


def test_claims_are_frozen() -> None:
    """Science does not change while it runs."""
    claim: Claim = load(SHIPPED)
    with pytest.raises(ValueError, match="frozen"):
        claim.threshold = 0.5


def test_a_new_claim_of_the_kind_is_a_file_and_no_code(tmp_path: Path) -> None:
    """GELU against sigmoid, with another net."""
    text = (
        TEXT.replace("id: relu_speedup", "id: gelu")
        .replace("relu: {model: {activation: relu}}", "gelu: {model: {activation: gelu}}")
        .replace("tanh: {model: {activation: tanh}}", "sigmoid: {model: {activation: sigmoid}}")
        .replace("{slow: tanh, fast: relu}", "{slow: sigmoid, fast: gelu}")
        .replace("name: cifar_80sec", "name: cifar_19pct")
        .replace("  figure: paper_data/fig1.csv\n", "")
    )
    path = tmp_path / "gelu.yaml"
    path.write_text(text)

    assert load(path).contrast.slow == "sigmoid"


def test_a_misspelled_key_is_one_problem(tmp_path: Path) -> None:
    """And not a missing one, too, which has the same cause."""
    path = with_figure(tmp_path)
    path.write_text(TEXT.replace("confounds:", "confuonds:"))

    with pytest.raises(ClaimError, match=r"confuonds: unknown key \(did you mean 'conf") as error:
        load(path)

    assert len(str(error.value).splitlines()) == 1


def test_a_schedule_ends_with_the_scale_unless_it_says_when(tmp_path: Path) -> None:
    """The epoch is then part of each trial: another scale's is another trial."""
    ends = {}
    for key in ("schedule: cosine", "schedule: {name: cosine, epochs: 99}", "drops: [1]"):
        path = copied(tmp_path, recipe(key))
        claim = load(path)
        assert isinstance(claim, TrainedClaim)
        for scale, at in claim.scales.items():
            schedule = recipe_for(claim, scale, "period", "relu").schedule
            ends[key, scale] = None if schedule is None else schedule.epochs == at.epochs

    assert all(ends["schedule: cosine", scale] for scale in claim.scales)
    assert not any(ends["schedule: {name: cosine, epochs: 99}", scale] for scale in claim.scales)
    assert all(ends["drops: [1]", scale] is None for scale in claim.scales)


def test_a_recipe_of_the_paper_says_nothing_of_what_is_new(tmp_path: Path) -> None:
    """A key at its default, written out or not, leaves a trial the one that it was."""
    spelled = "optimiser: {name: sgd}", "label_smoothing: 0.0", "clip_norm: null", "schedule: null"
    ids = []
    for keys in ((), spelled):
        claim = load(copied(tmp_path, recipe("bias_rate: 2.0", *keys)))
        assert isinstance(claim, TrainedClaim)
        ids.append({cell.trial.id for cell in next_cells(claim, "smoke", "0" * 16, {})})

    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"images": 45_000, "further_test": 10_000},
            r"fewer than 55000 \(images and further_test\)",
        ),
        (
            {"further_test": 50_000},
            r"paper.further_test: .* fewer than 50001 \(images and further_test\)",
        ),
        (
            {"further_test": 49_000},
            r"1000 images in batches of 128 .* make 8 steps",
        ),
        ({"resample": True}, "`images` has to say how many each seed draws"),
    ],
)
def test_images_that_there_are_not_cannot_be_drawn(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    """Of 50,000 each is trained on or tested on."""
    data = yaml.safe_load(TEXT)
    data["scales"]["paper"] |= change

    with pytest.raises(ClaimError, match=message):
        load(written(tmp_path, data))
