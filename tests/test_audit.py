"""Looking after stores: verify, diff, merge, why, from the command line."""

import json
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from repro.audit.printed import contradictions
from repro.claim import load
from repro.cli import main
from repro.store import Store
from tests.worlds import quick_claim_file

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
CLAIMS = GOLDEN / "claims"


def repro(*arguments: str | Path, claims: Path = CLAIMS) -> Result:
    folder = [] if arguments[0] in ("merge", "explain", "run") else ["--claims", str(claims)]
    return CliRunner().invoke(main, [*map(str, arguments), *folder])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A copy of the golden store, to be changed."""
    shutil.copytree(GOLDEN / "store-1", tmp_path / "store")
    return tmp_path / "store"


def edit(path: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def a_trial(store: Path, *, status: str = "crossed") -> Path:
    """The folder of the first trial that ended so."""
    results = Store(store).results()
    return store / "trials" / next(name for name in results if results[name].status == status)


# verify


@pytest.mark.evidence
def test_the_evidence_agrees_with_itself() -> None:
    """Every kept result follows from its curve, and the claims as they stand are judged by them."""
    printed = ("--report", ROOT / "reports" / "report")
    done = repro("verify", ROOT / "reports" / "store", *printed, claims=ROOT / "claims")

    assert done.exit_code == 0, done.output
    kept = pd.read_csv(ROOT / "reports" / "store" / "results.csv")["trial"].nunique()
    assert f"{kept} trials ({kept} finished)" in done.stdout
    assert "relu_speedup, period recipe, paper scale" in done.stdout
    assert "nothing contradicts anything" in done.stdout


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("store-*")), ids=lambda path: path.name)
def test_a_store_of_every_format_opens(path: Path) -> None:
    """Written by an earlier version, read and judged by this one."""
    done = repro("verify", path)

    assert done.exit_code == 0, done.output
    assert "10 trials (10 finished)" in done.stdout
    assert "times, small recipe, smoke scale: inconclusive" in done.stdout
    assert "count for no verdict" not in done.stdout


RESULT_EDITS = {
    "epochs": lambda r: r.update(epochs=r["epochs"] + 1),
    "status": lambda r: r.update(status="censored"),
    "crossing_full": lambda r: r.update(crossing_full=[0.0, 0.1]),
    "crossing_online": lambda r: r.update(crossing_online=[0.0, 0.1]),
    "train_error": lambda r: r.update(train_error=0.1),
    "loss": lambda r: r.update(loss=float("nan")),
    "metrics.test_error": lambda r: r["metrics"].update(test_error=0.0),
    "seconds.train": lambda r: r["seconds"].update(train=0.0),
}


@pytest.mark.parametrize("field", RESULT_EDITS)
def test_a_result_that_was_changed_contradicts_its_curve(field: str, store: Path) -> None:
    """Each field that follows from the curve is derived once more, and the file is named."""
    path = a_trial(store) / "result.json"
    edit(path, RESULT_EDITS[field])
    done = repro("verify", store)

    assert done.exit_code == 5
    assert f"contradiction: {path}: {field}" in done.stdout


@pytest.mark.parametrize("field", ["epoch_errors", "test_errors", "metrics.first_epoch_error"])
def test_results_without_a_threshold_are_derived_too(field: str, store: Path) -> None:
    """Errors by epoch, and metrics that are read off them."""
    path = a_trial(store, status="finished") / "result.json"
    name, _, metric = field.partition(".")
    edit(path, lambda r: r[name].update({metric: 0.5}) if metric else r.update({name: [0.5]}))
    done = repro("verify", store)

    assert done.exit_code == 5
    assert f"{path}: {field}" in done.stdout


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "an error in the curve": (
        "but the curve gives",
        lambda trial: _replace(trial / "curve.csv", ",online,0.", ",online,0.0"),
    ),
    "a row missing from the curve": (
        "the tenths of epochs of the curve have gaps",
        lambda trial: _drop_line(trial / "curve.csv", 1),
    ),
    "no curve": ("the curve has no training error", lambda t: (t / "curve.csv").unlink()),
    "a truncated curve": ("not a curve", lambda t: (t / "curve.csv").write_text("epoch,so")),
    "another rate": (
        "describes trial",
        lambda t: edit(t / "trial.json", lambda values: values.update(rate=0.5)),
    ),
    "no description": ("missing beside other files", lambda t: (t / "trial.json").unlink()),
    "a truncated result": ("not a trial's result", lambda t: _truncate(t / "result.json")),
    "another trial's result": (
        "holds the result of trial 'x'",
        lambda t: edit(t / "result.json", lambda values: values.update(trial_id="x")),
    ),
    "a result of another type": (
        "not a trial's result: epochs: Input should be a valid number; metrics: ",
        lambda t: edit(t / "result.json", lambda values: values.update(epochs=None, metrics=3)),
    ),
    "half a crossing": (
        "not a trial's result: crossing_full",
        lambda t: edit(t / "result.json", lambda values: values.update(crossing_full=[0.5])),
    ),
    "a row of no images": (
        "images in",
        lambda t: (t / "curve.csv").write_text(
            re.sub(r",\d+(,[^,]*)$", r",0\1", (t / "curve.csv").read_text(), flags=re.MULTILINE)
        ),
    ),
    "no format": ("store.json: missing", lambda t: (t / "../../store.json").unlink()),
    "another plan": (
        "belongs into a file of another name",
        lambda t: edit(
            next((t / "../../plans").glob("*.json")), lambda values: values.update(digest="0" * 64)
        ),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_every_file_is_found(damage: str, store: Path) -> None:
    """With the sentence that says what, and exit code 5."""
    sentence, spoil = DAMAGE[damage]
    spoil(a_trial(store))
    done = repro("verify", store, "--json")

    assert done.exit_code == 5
    assert any(sentence in each for each in json.loads(done.stdout)["contradictions"]), done.stdout


def unpack(archive: Path, folder: Path) -> None:
    """What `tar xf` does."""
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")


def test_facts_are_computed_once_more(tmp_path: Path) -> None:
    """What needs no training need not be believed: numbers, what counts, and what is missing."""
    kept = ROOT / "reports" / "store"
    unpack(kept / "architecture.tar", tmp_path)
    shutil.copy(kept / "store.json", tmp_path)
    digest = load(ROOT / "claims" / "architecture.yaml").digest()
    path = tmp_path / "facts" / f"architecture-{digest[:12]}.json"
    facts = json.loads(path.read_text())
    assert repro("verify", tmp_path, claims=ROOT / "claims").exit_code == 0
    number, counting, printed, *_, missing = facts
    number["ours"] += 1
    counting["decides"] = not counting["decides"]
    printed["printed"] = 123.0
    path.write_text(json.dumps(facts[:-1]))
    done = repro("verify", tmp_path, claims=ROOT / "claims")

    assert done.exit_code == 5
    wrong = re.findall(r"fact '(\w+)': not as it follows from the claim file", done.stdout)
    assert set(wrong) == {fact["name"] for fact in (number, counting, printed, missing)}


@pytest.mark.parametrize("metric", ["test_error_ten_crop", "colour_split"])
def test_a_metric_that_no_curve_holds_is_held_against_the_arrays(
    metric: str, tmp_path: Path
) -> None:
    """Outcomes by image, and the first kernels."""
    kept = ROOT / "reports" / "store"
    unpack(kept / "lrn.tar", tmp_path / "all")
    folders = sorted((tmp_path / "all").glob("trials/*/arrays.npz"))
    name = next(path.parent.name for path in folders if _full(path))
    shutil.move(tmp_path / "all" / "trials" / name, tmp_path / "trials" / name)
    shutil.copy(kept / "store.json", tmp_path)
    assert repro("verify", tmp_path, claims=ROOT / "claims").exit_code == 0
    path = tmp_path / "trials" / name / "result.json"
    edit(path, lambda r: r["metrics"].update({metric: r["metrics"][metric] - 0.03}))
    done = repro("verify", tmp_path, claims=ROOT / "claims")

    assert done.exit_code == 5
    assert f"{path}: metrics.{metric} is" in done.stdout
    assert "but the arrays give" in done.stdout


def _full(path: Path) -> bool:
    with np.load(path) as arrays:
        return {"right_ten_crop", "conv1"} <= set(arrays.files)


def _replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))


def _drop_line(path: Path, number: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:number] + lines[number + 1 :]))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def test_an_unfinished_trial_contradicts_nothing(store: Path) -> None:
    """It is what an interruption leaves."""
    (a_trial(store) / "result.json").unlink()
    done = repro("verify", store)

    assert done.exit_code == 0, done.output
    assert "note: 1 trials are unfinished" in done.stdout


def test_nothing_measured_is_not_success(tmp_path: Path) -> None:
    """An empty folder is neither right nor wrong."""
    (tmp_path / "empty").mkdir()
    for command in (
        ("verify", "empty"),
        ("diff", "empty", "empty"),
        ("why", "times", "--store", "empty"),
    ):
        done = repro(*(tmp_path / a if a == "empty" else a for a in command))
        assert done.exit_code == 4, done.output
        assert "error[E600]" in done.stderr


TABLES: dict[str, tuple[str, str, str, str]] = {
    "another verdict": (
        "verdicts.csv",
        ",inconclusive,",
        ",reproduced,",
        "is 'reproduced', not",
    ),
    "another number": ("trials.csv", ",0.", ",0.0", "is not as the store has it"),
    "a line less": ("curves.csv", "", "", "1 lines of the store are missing"),
}


@pytest.mark.parametrize("change", TABLES)
def test_a_report_that_was_changed_contradicts_its_store(
    change: str, store: Path, tmp_path: Path
) -> None:
    """Each table is compared with what the store gives, and the file and the line are named."""
    name, old, new, said = TABLES[change]
    report = tmp_path / "report"
    made = repro("report", "--store", store, "--out", report, "--format", "csv")
    good = repro("verify", store, "--report", report)
    if old:
        _replace(report / name, old, new)
    else:
        _drop_line(report / name, 5)
    done = repro("verify", store, "--report", report)

    assert (made.exit_code, good.exit_code, done.exit_code) == (0, 0, 5), good.output
    assert f"contradiction: {report / name}: " in done.stdout
    assert said in done.stdout


@pytest.mark.parametrize(("factor", "code"), [(1 + 4e-15, 0), (1 - 4e-15, 0), (1 + 1e-6, 5)])
def test_a_report_of_another_processor_agrees(
    factor: float, code: int, store: Path, tmp_path: Path
) -> None:
    """Whose sums have other last digits; not one whose sixth digit is another."""
    report = tmp_path / "report"
    repro("report", "--store", store, "--out", report, "--format", "csv")
    effects = pd.read_csv(report / "effects.csv", dtype={"by_seed": str})
    effects["high"] *= factor
    effects["by_seed"] = effects["by_seed"].map(
        lambda text: re.sub(r"(?<==)[-+.e0-9]+", lambda m: repr(float(m[0]) * factor), text),
        na_action="ignore",
    )
    effects.to_csv(report / "effects.csv", index=False)
    done = repro("verify", store, "--report", report)

    assert effects["high"].notna().any()
    assert effects["by_seed"].notna().any()
    assert done.exit_code == code, done.output


def test_a_line_with_a_cell_too_many_is_not_as_stored(store: Path, tmp_path: Path) -> None:
    """It has no column."""
    report = tmp_path / "report"
    repro("report", "--store", store, "--out", report, "--format", "csv")
    lines = (report / "trials.csv").read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace("\n", ",one more\n")
    (report / "trials.csv").write_text("".join(lines))
    done = repro("verify", store, "--report", report)

    assert done.exit_code == 5
    assert (
        f"contradiction: {report / 'trials.csv'}: line 2 is not as the store has it" in done.stdout
    )


def test_a_report_without_tables_cannot_be_checked(store: Path, tmp_path: Path) -> None:
    """Not to be taken for one that agrees."""
    done = repro("verify", store, "--report", tmp_path)

    assert done.exit_code == 5
    assert "verdicts.csv: missing" in done.stdout


# diff


def test_a_store_agrees_with_its_copy(store: Path) -> None:
    """Verdicts and numbers are the same, and the exit code says so."""
    done = repro("diff", GOLDEN / "store-1", store)

    assert done.exit_code == 0, done.output
    assert "times, small recipe, smoke scale: the same" in done.stdout
    assert "trials: 9 in both with equal numbers, 0 with others" in done.stdout


def test_stores_that_differ_say_in_what(store: Path) -> None:
    """Verdict, estimate, trials, device; exit code 3."""
    results = Store(store).results()
    for name in results:
        edit(
            store / "trials" / name / "result.json",
            lambda values: values["provenance"].update(device="another machine"),
        )
    shutil.rmtree(a_trial(store, status="finished"))
    done = repro("diff", GOLDEN / "store-1", store)
    levels, times = json.loads(repro("diff", GOLDEN / "store-1", store, "--json").stdout)

    assert done.exit_code == 3
    assert "levels, small recipe, smoke scale: DIFFERENT" in done.stdout
    assert "device: " in done.stdout
    assert "and another machine" in done.stdout
    assert levels["trials"] == {"equal": 0, "other": 0, "only_a": 1, "only_b": 0}
    assert levels["b"]["verdict"] == "not run"
    assert times["agrees"]
    assert times["b"]["provenance"]["device"] == "another machine"


# merge


def halves(store: Path) -> tuple[Path, Path]:
    """The store's trials dealt out to two machines, one of them in both."""
    names = Store(store).ids()
    parts = []
    for k in range(2):
        part = store.with_name(f"machine {k}")
        shutil.copytree(store, part)
        for name in names[1 + k :: 2]:
            shutil.rmtree(part / "trials" / name)
        parts.append(part)
    return parts[0], parts[1]


def same(one: Path, two: Path) -> bool:
    a, b = Store(one), Store(two)
    return a.ids() == b.ids() and all(a.numbers(name) == b.numbers(name) for name in a.ids())


def test_the_halves_of_a_store_make_the_whole(store: Path, tmp_path: Path) -> None:
    """No trial is lost or doubled, in either order, and merging again changes nothing."""
    one, two = halves(store)
    for into, sources in (("a", (one, two)), ("b", (two, one, two))):
        done = repro("merge", tmp_path / into, *sources)
        assert done.exit_code == 0, done.output
        assert same(store, tmp_path / into)

    assert "0 trials added" in repro("merge", tmp_path / "a", one, two).stdout
    assert repro("verify", tmp_path / "a").exit_code == 0


def test_a_finished_trial_wins_over_an_unfinished_one(store: Path, tmp_path: Path) -> None:
    """Wherever it lies."""
    shutil.copytree(store, tmp_path / "cut")
    trial = a_trial(tmp_path / "cut")
    (trial / "result.json").unlink()
    _drop_line(trial / "curve.csv", len((trial / "curve.csv").read_text().splitlines()) - 1)
    (trial / "checkpoint.pt").write_bytes(b"weights")
    before = Store(tmp_path / "cut").numbers(trial.name)
    kept = repro("merge", store, tmp_path / "cut")
    taken = repro("merge", tmp_path / "cut", store)

    assert ", 9 known already" in kept.stdout
    assert "note: " in kept.stdout
    assert "1 unfinished trials were left there" in kept.stdout
    assert "1 trained further than here" in taken.stdout
    assert Store(tmp_path / "cut").numbers(trial.name) != before
    assert same(store, tmp_path / "cut")
    assert not (trial / "checkpoint.pt").exists()


def test_an_unfinished_trial_of_another_store_is_left_there(store: Path, tmp_path: Path) -> None:
    """What its checkpoint holds nobody can check: it is counted, and never continued here."""
    trial = a_trial(store)
    (trial / "result.json").unlink()
    (trial / "checkpoint.pt").write_bytes(b"weights")
    done = repro("merge", tmp_path / "into", store)

    assert done.exit_code == 0, done.output
    assert "9 trials added" in done.stdout
    assert f"note: {store}: 1 unfinished trials were left there" in done.stdout
    assert not (tmp_path / "into" / "trials" / trial.name).exists()
    assert not list((tmp_path / "into").rglob("checkpoint.pt"))


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"])
def test_a_merge_changes_no_date_of_registration(moment: str, store: Path, tmp_path: Path) -> None:
    """When a plan was registered here is not for another store to say; that it differs is told."""
    shutil.copytree(store, tmp_path / "other")
    plan = next((store / "plans").glob("*.json"))
    before = plan.read_bytes()
    edit(tmp_path / "other" / "plans" / plan.name, lambda record: record.update(registered=moment))
    done = repro("merge", store, tmp_path / "other")

    assert done.exit_code == 0, done.output
    assert f"note: {plan}: registered " in done.stdout
    assert f"{moment} in the source: ours stands" in done.stdout
    assert plan.read_bytes() == before


def test_numbers_that_contradict_are_kept_apart(store: Path, tmp_path: Path) -> None:
    """Neither is chosen, neither is lost, and both commands say so by exit code 5."""
    shutil.copytree(store, tmp_path / "other")
    trial = a_trial(tmp_path / "other")
    _replace(trial / "curve.csv", ",online,0.", ",online,0.0")
    theirs = (trial / "curve.csv").read_bytes()
    ours = (store / "trials" / trial.name / "curve.csv").read_bytes()
    done = repro("merge", store, tmp_path / "other")
    again = repro("merge", store, tmp_path / "other")
    (apart,) = (store / "apart").glob(f"{trial.name}-*")

    told = repro("merge", tmp_path / "third", store)

    assert (done.exit_code, again.exit_code, told.exit_code) == (5, 5, 5)
    assert "kept apart in the source" in told.stdout
    assert "contradicts" in done.stdout
    assert "online error at epoch 0.1" in done.stdout
    assert (apart / "curve.csv").read_bytes() == theirs
    assert (store / "trials" / trial.name / "curve.csv").read_bytes() == ours
    assert repro("verify", store).exit_code == 5


def test_a_later_metric_that_contradicts_is_kept_apart(store: Path, tmp_path: Path) -> None:
    """Where both have it; one that an earlier version did not measure contradicts nothing."""
    other = shutil.copytree(store, tmp_path / "other")
    path = a_trial(store, status="finished") / "result.json"
    theirs = other / path.relative_to(store)
    edit(theirs, lambda result: result["metrics"].update(test_loss=1.0))
    without = repro("merge", store, other), repro("diff", store, other)
    taken = json.loads(path.read_text())["metrics"]
    (path.parent / "SHA256SUMS").unlink()
    edit(path, lambda result: result["metrics"].update(test_loss=1.1))
    told = repro("diff", store, other), repro("merge", store, other)

    assert [done.exit_code for done in without] == [0, 0]
    assert "1 trained further than here or with more metrics" in without[0].stdout
    assert taken["test_loss"] == 1.0
    assert "trials: 1 in both with equal numbers, 0 with others" in without[1].stdout
    assert "trials: 0 in both with equal numbers, 1 with others" in told[0].stdout
    assert told[1].exit_code == 5
    assert "(metrics): kept apart in" in told[1].stdout


def test_verify_says_of_no_metric_of_a_curve_that_none_holds_it(
    store: Path, tmp_path: Path
) -> None:
    """The rise of the test loss is read of the curve alone."""
    claims = shutil.copytree(GOLDEN / "claims", tmp_path / "claims")
    path = claims / "levels.yaml"
    text = path.read_text()
    path.write_text(re.sub(r"(?m)^metric: .*", "metric: test_loss_rise", text))
    CliRunner().invoke(main, ["plan", str(path), "--store", str(store), "--register"])
    done = CliRunner().invoke(main, ["verify", str(store), "--claims", str(claims)])

    assert done.exit_code == 0, done.output
    assert "levels, small recipe, smoke scale: invalid, 0.00 " in done.stdout
    assert "no curve holds" not in done.stdout


def test_more_pauses_are_no_more_training(tmp_path: Path) -> None:
    """Each pause tests once: rows of a curve do not say how long a trial was trained."""
    path = quick_claim_file(tmp_path)
    text, stores = path.read_text(), (tmp_path / "often", tmp_path / "once")
    for store, lengths in zip(stores, ((0.1, 0.2, 0.3), (0.4,)), strict=True):
        for epochs in lengths:
            path.write_text(text.replace("epochs: 1", f"epochs: {epochs}"))
            repro("run", path, "--store", store, "--workers", "1", "--scale", "smoke")
    rows = [len(Store(store).rows(name)) for store in stores for name in Store(store).ids()]
    into = [shutil.copytree(store, tmp_path / f"into {store.name}") for store in stores]
    for target, source in zip(into, reversed(stores), strict=True):
        assert repro("merge", target, source).exit_code == 0

    assert rows == [6, 6, 5, 5]
    for target in into:
        assert {result.epochs for result in Store(target).results().values()} == {0.4}
        assert repro("verify", target, claims=tmp_path).exit_code == 0


def test_a_trial_that_is_being_trained_is_not_copied(store: Path, tmp_path: Path) -> None:
    """Its files are of several moments; nothing is written, and the message names it."""
    name = a_trial(store).name
    with Store(store).lock(name):
        done = repro("merge", tmp_path / "into", store)

    assert done.exit_code == 5
    assert f"trial {name} is being trained in {store} just now" in done.stderr
    assert not (tmp_path / "into").exists()


def test_damaged_plans_and_facts_do_not_keep_the_trials(store: Path, tmp_path: Path) -> None:
    """They are told and left where they are."""
    plan = next((store / "plans").glob("*.json"))
    plan.write_text("{")
    (store / "facts").mkdir(exist_ok=True)
    (store / "facts" / "broken.json").write_bytes(b"\xff")
    done = repro("merge", tmp_path / "into", store)

    assert done.exit_code == 5
    assert "10 trials added" in done.stdout
    for name in (plan.name, "broken.json"):
        assert re.search(rf"contradiction: .*{re.escape(name)}.*left where it is", done.stdout)
        assert not list((tmp_path / "into").rglob(name))


def test_an_empty_source_keeps_nothing_from_being_told(store: Path, tmp_path: Path) -> None:
    """All sources are looked at before anything is joined."""
    (tmp_path / "empty").mkdir()
    done = repro("merge", tmp_path / "into", store, tmp_path / "empty")

    assert done.exit_code == 4
    assert not (tmp_path / "into").exists()


def test_a_store_is_not_exported_into_itself(store: Path) -> None:
    """Pictures would be lost."""
    done = CliRunner().invoke(main, ["export", "--store", str(store), str(store)])

    assert done.exit_code == 2
    assert "cannot be exported into itself" in done.stderr


def test_a_foreign_store_writes_nowhere_else(store: Path, tmp_path: Path) -> None:
    """Names inside its files are not paths."""
    evil = tmp_path / "evil"
    shutil.copytree(store, evil)
    edit(a_trial(evil) / "result.json", lambda r: r.update(trial_id="../../../outside"))
    done = repro("merge", tmp_path / "into", evil)
    exported = CliRunner().invoke(main, ["export", "--store", str(evil), str(tmp_path / "out")])
    plan = next((evil / "plans").glob("*.json"))
    edit(plan, lambda record: record.update(claim_id="../../outside"))
    planned = repro("merge", tmp_path / "into", evil)

    assert (done.exit_code, exported.exit_code, planned.exit_code) == (5, 5, 5)
    assert not list(tmp_path.rglob("outside*"))


def test_a_store_is_not_merged_into_itself(store: Path) -> None:
    """A slip of the hand."""
    assert repro("merge", store, store).exit_code == 2


# why


@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        ("tims", 2, "next: did you mean 'times'?"),
        ("nothing", 2, "next: claims: differences, levels, median, times"),
        ("tests/golden/claims/times.yaml", 0, "times at smoke scale"),
    ],
)
def test_a_name_or_a_file_says_which_claim(target: str, code: int, said: str, store: Path) -> None:
    """As for other commands."""
    done = repro("why", target, "--store", store)

    assert done.exit_code == code
    assert said in done.output


def test_a_trial_that_counts_is_a_hit(store: Path) -> None:
    """By its identity."""
    trial = a_trial(store)

    assert (
        "a hit, times at smoke scale counts it" in repro("why", trial.name, "--store", store).stdout
    )


def test_a_stale_trial_names_the_field_that_changed(store: Path, tmp_path: Path) -> None:
    """After a change of the claim file: of one trial, and of the whole claim."""
    text = (CLAIMS / "times.yaml").read_text()
    (tmp_path / "times.yaml").write_text(text.replace("bias_rate: 2.0", "bias_rate: 1.5"))
    trial = repro("why", a_trial(store).name, "--store", store, claims=tmp_path)
    claim = repro("why", "times", "--store", store, claims=tmp_path)

    assert "stale, no plan of these claims wants it" in trial.stdout
    assert "recipe.bias_rate 1.5, stored is 2.0" in trial.stdout
    assert "the claim file has changed since it was planned" in claim.stdout
    assert "recipe.bias_rate 1.5, stored is 2.0" in claim.stdout


def test_a_stale_trial_names_the_code_that_changed(store: Path) -> None:
    """Results of other code are told from those of this code by the function that differs."""
    old = a_trial(store)
    edit(old / "trial.json", lambda values: values.update(numerics="Run=2"))
    trial = Store(store)
    from repro.trial import Trial
    from repro.trial.strict_json import read_record

    name = read_record(Trial, old / "trial.json", "a trial").id
    edit(old / "result.json", lambda values: values.update(trial_id=name))
    old.rename(old.with_name(name))
    assert name in trial.ids()
    done = repro("why", name, "--store", store)

    assert "numerics 1, stored is 'Run=2'" in done.stdout


def test_what_is_unknown_is_told(store: Path) -> None:
    """Neither a trial nor a claim."""
    assert "neither a trial nor a claim" in repro("why", "tmes", "--store", store).stderr
    assert f"no trial {'0' * 16}" in repro("why", "0" * 16, "--store", store).stderr


@pytest.mark.parametrize(("text", "problem"), [("x" * 200_000, "not a table"), ("", "empty")])
def test_a_printed_table_that_is_none_is_named(text: str, problem: str, tmp_path: Path) -> None:
    """A cell longer than any table has, and a file without the names of columns."""
    (tmp_path / "verdicts.csv").write_text(text)
    (sentence,) = contradictions(tmp_path, {"verdicts.csv": "claim\nlrn\n"})

    assert sentence.startswith(f"{tmp_path / 'verdicts.csv'}: {problem}")


@pytest.mark.parametrize(
    ("printed", "stored", "same"),
    [
        ("0.0", "3e-17", True),  # as another processor adds up
        ("1e-05", "1.00000000001e-05", True),
        ("0=0.12345678950000001;1=2.5", "0=0.12345678949999999;1=2.5", True),
        ("0.1234567", "0.1234568", False),
        ("torch=2.10.0", "torch=2.1.0", False),
    ],
)
def test_a_printed_number_may_differ_in_its_last_digits_alone(
    printed: str, stored: str, same: bool, tmp_path: Path
) -> None:
    """Within a billionth of it, wherever it stands in a cell; a version is no number."""
    (tmp_path / "verdicts.csv").write_text(f"claim,value\nlrn,{printed}\n")
    found = list(contradictions(tmp_path, {"verdicts.csv": f"claim,value\nlrn,{stored}\n"}))

    assert (found == []) == same
