"""The command line: what it prints where, and with which exit code."""

import json
import math
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from click.testing import Result

from repro.claim import TrainedClaim, load
from repro.cli.options import print_json
from repro.data import fingerprint
from repro.planning import next_cells
from repro.registry import DATASETS
from repro.store import Store
from repro.train import Population
from tests.commands import repro
from tests.pictures import encoded, picture, write_folders
from tests.shell import installed, paths, started, wait_for
from tests.worlds import claim_file, lasting_claim_file, planted

ROOT = Path(__file__).parents[1]
SHIPPED = str(ROOT / "claims" / "relu_speedup.yaml")


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The tiny claim, run through the command line once."""
    folder = tmp_path_factory.mktemp("an own folder")
    path = claim_file(folder, epochs=2, seeds=2, rates=(0.01,))
    done = repro("run", path, "--scale", "smoke", "--store", folder / "runs", "--workers", "1")
    return folder, done


def test_help_names_the_exit_codes_and_examples() -> None:
    """The first thing that a user sees."""
    text = repro("--help").output

    for code in ("0 ", "2 ", "3 ", "4 ", "5 ", "130 "):
        assert f"\n    {code}" in text
    assert "repro run relu_speedup" in text


def test_list_and_show_say_what_is_claimed() -> None:
    """By paper, name, title and scales; then all of one claim."""
    listed = repro("list", "--claims", ROOT / "claims")
    shown = repro("show", SHIPPED)

    assert listed.exit_code == 0
    assert "\n  relu_speedup " in listed.output
    assert "\nHe, Zhang, Ren and Sun (2015): Deep Residual Learning" in listed.output
    assert "lies from 3 to 9; the paper's value is 6 (ratio of epochs" in shown.output
    assert (
        "paper: cifar10, cifar_80sec, at most 60 epochs, 5, 8 or 12 evaluation seeds"
        in shown.output
    )
    assert "at most 1 epoch, " in repro("show", ROOT / "claims" / "lrn_cifar.yaml").output


def test_json_goes_to_stdout_alone() -> None:
    """For machines."""
    listed = json.loads(repro("list", "--claims", ROOT / "claims", "--json").stdout)

    assert "relu_speedup" in [one["id"] for one in listed]
    assert json.loads(repro("show", SHIPPED, "--json").stdout)["threshold"] == 0.25


def test_json_has_null_for_what_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it stands: other languages read neither NaN nor Infinity."""
    print_json({"a": math.nan, "b": [-math.inf, 1.5], "c": ({"d": math.inf},)})

    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None, "b": [None, 1.5], "c": [{"d": None}],
    }  # fmt: skip


def test_validate_prints_every_problem_and_exits_2(tmp_path: Path) -> None:
    """A line each, on stderr, and what to do next."""
    path = claim_file(tmp_path)
    assert repro("validate", path).exit_code == 0
    path.write_text(path.read_text().replace("near:", "nera:").replace("tanh", "tahn"))
    done = repro("validate", path)

    assert done.exit_code == 2
    assert "nera: unknown key (did you mean 'near'? known: also, " in done.stderr
    assert "activation 'tahn' is unknown (did you mean 'tanh'? known: celu, " in done.stderr
    assert "next: `repro schema`" in done.stderr
    assert done.stdout == ""


def test_missing_data_say_what_can_be_done(tmp_path: Path) -> None:
    """What was looked for, where, how to get it, and which scales run without it."""
    done = repro("run", SHIPPED, "--store", tmp_path / "runs", "--data-dir", tmp_path / "none")

    assert done.exit_code == 5
    assert "cifar10" in done.stderr
    assert str(tmp_path / "none") in done.stderr
    assert "repro data fetch cifar10" in done.stderr
    assert "no download: smoke (--scale)" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_scale_that_a_claim_has_not_is_a_usage_error(tmp_path: Path) -> None:
    """With those that it has."""
    done = repro("run", claim_file(tmp_path), "--scale", "paper", "--store", tmp_path / "runs")

    assert done.exit_code == 2
    assert "tiny has no paper scale (it has: smoke)" in done.stderr


def test_a_device_that_is_not_here_is_told(tmp_path: Path) -> None:
    """Rather than a fall-back that nobody asked for."""
    done = repro("run", claim_file(tmp_path), "--device", "tpu", "--store", tmp_path / "runs")

    assert done.exit_code == 5
    assert "device 'tpu' is not here (this machine has: cpu" in done.stderr


def test_a_driver_that_torch_cannot_use_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card that is counted and cannot be used is not said to be missing."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = repro("run", claim_file(tmp_path), "--device", "cuda", "--store", tmp_path / "runs")

    assert done.exit_code == 5
    assert "device 'cuda' cannot be used: this PyTorch" in done.stderr


@pytest.mark.parametrize("budget", ["soon", "-5m", "5", "infh"])
def test_a_budget_that_is_no_duration_is_a_usage_error(tmp_path: Path, budget: str) -> None:
    """And says how to write one."""
    done = repro("run", claim_file(tmp_path), "--budget", budget)

    assert done.exit_code == 2
    assert "duration" in done.stderr


def test_a_smoke_run_ends_with_0_and_says_that_it_is_no_evidence(ran: tuple[Path, Result]) -> None:
    """The verdict with its company: paper, scale, data, seeds."""
    _, done = ran

    assert done.exit_code == 0, done.output
    assert "tiny, period recipe, smoke scale (not evidence): " in done.stdout
    assert "  paper  6 ratio of epochs" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "handwritten digits" in done.stdout
    assert "0 trials already finished" in done.stderr


def test_running_again_finds_all_done(ran: tuple[Path, Result]) -> None:
    """And gives the same verdict."""
    folder, first = ran
    again = repro("run", folder / "tiny.yaml", "--store", folder / "runs", "--json")

    assert again.exit_code == 0
    assert " 0 trials already finished" not in again.stderr
    (verdict,) = json.loads(again.stdout)
    assert verdict["verdict"] in first.stdout
    assert verdict["decides"] is False


def test_a_run_of_a_damaged_store_prints_no_verdict(
    ran: tuple[Path, Result], tmp_path: Path
) -> None:
    """All is done already, but a curve is not as its checksum says: no verdict is built on it."""
    store = shutil.copytree(ran[0] / "runs", tmp_path / "runs")
    curve = min(store.glob("trials/*/curve.csv"))
    curve.write_text(curve.read_text().replace("0", "1", 1))

    done = repro("run", ran[0] / "tiny.yaml", "--store", store)

    assert done.exit_code == 5
    assert "changed since" in done.stderr
    assert done.stdout == ""


def test_results_say_how_their_processor_multiplies(ran: tuple[Path, Result]) -> None:
    """Another one's last digits may differ, whatever its name."""
    folder, _ = ran
    known = {r.provenance["instructions"] for r in Store(folder / "runs").results().values()}
    where = ("--store", folder / "runs", "--claims", folder, "--out", folder / "page")
    repro("report", *where, "--format", "md")
    (said,) = known

    assert said.startswith(torch.backends.cpu.get_cpu_capability())
    assert f"| instructions | {said} |" in (folder / "page" / "report.md").read_text()


def test_a_plan_names_trials_and_their_cost(tmp_path: Path) -> None:
    """Before anything is run."""
    done = repro("plan", claim_file(tmp_path), "--store", tmp_path / "runs", "--workers", "1")

    assert done.exit_code == 0, done.output
    assert "6 trials can run now" in done.output
    assert "period/fast tune rate 0.01 seed 1000 to epoch 1: at most" in done.output
    assert "an epoch on cpu, 1 at a time" in done.output


def test_a_plan_is_timed_as_trials_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one thread: several wait for each other where the cores are busy."""
    seen: list[int] = []
    window = Population.train_window

    def watched(population: Population) -> None:
        seen.append(torch.get_num_threads())
        window(population)

    monkeypatch.setattr(Population, "train_window", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        done = repro("plan", claim_file(tmp_path), "--store", tmp_path / "runs")
    finally:
        torch.set_num_threads(before)

    assert done.exit_code == 0, done.output
    assert seen == [1] * 4  # two windows of each arm


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_net_that_takes_no_such_images_is_told(command: str, tmp_path: Path) -> None:
    """Before anything is trained, and as what it is: a mistake of the claim file alone."""
    path = claim_file(tmp_path)
    text = path.read_text()
    path.write_text(text.replace("batch_size: 16}", "batch_size: 16, crop: 24}"))
    done = repro(command, path, "--store", tmp_path / "runs", "--workers", "1")

    assert "crop: 24" in path.read_text()
    assert done.exit_code == 2
    assert "error[E100]" in done.stderr
    assert "cannot be built: cifar_80sec takes no images of 24x24 pixels" in done.stderr


TIMM = {
    "another input size": (
        "timm:vit_tiny_patch16_224", "", "takes no images of 32x32 pixels: Input height (32) doesn"
    ),
    "one image, normalised": (
        "timm:test_resnet", "images: 161", "cannot be trained on a batch of one image, the last of"
    ),
    "one image beside further ones that are tested on": (
        "timm:test_resnet", "further_test: 1276", "a batch of one image, the last of"
    ),
    "an odd argument": (
        "timm:test_resnet, arguments: {wide: 3}", "", "unexpected keyword argument 'wide'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("case", TIMM)
def test_a_net_of_timm_that_cannot_be_trained_is_told_before_the_first_trial(
    command: str, case: str, tmp_path: Path
) -> None:
    """With the file and the arm, and as what it is; what can be trained is trained all the same."""
    net, images, sentence = TIMM[case]
    path = claim_file(tmp_path)
    text = path.read_text().replace("name: cifar_80sec", f"name: {net}")
    text = text.replace("{model: {activation: relu}}", "{}").replace("initialisation: he", "initial"
        "isation: framework").replace("images: 160", images or "images: 160")  # fmt: skip
    path.write_text(text.replace("{model: {activation: tanh}}", "{recipe: {momentum: 0.5}}"))
    done = repro(command, path, "--store", tmp_path / "runs", "--workers", "1")

    assert done.exit_code == 2, done.output
    assert f"error[E100]: {path}: the fast arm at smoke scale: " in done.stderr
    assert sentence in done.stderr
    assert not list((tmp_path / "runs").glob("trials/*"))


def test_a_plan_builds_the_nets_of_all_arms(tmp_path: Path) -> None:
    """A net that cannot be built is told by a plan, not after the other arms' training."""
    path = claim_file(tmp_path)
    text = path.read_text().replace(
        "name: cifar_80sec", "name: alexnet_2012, arguments: {width: 0.05}"
    )
    text = text.replace("{activation: relu}", "{split: one_gpu}")
    path.write_text(text.replace("{activation: tanh}", "{split: three_gpus}"))
    done = repro("plan", path, "--store", tmp_path / "runs", "--workers", "1")

    assert done.exit_code == 2
    assert "error[E100]" in done.stderr
    assert "split 'three_gpus' is unknown" in done.stderr


def test_a_plan_leaves_claims_without_the_scale_out(tmp_path: Path) -> None:
    """And says so; where none has it, that is an error."""
    whole = claim_file(tmp_path)
    other = claim_file(tmp_path, seeds=3, name="other")
    real = other.read_text().replace("  smoke:", "  large_proxy:").replace("digits", "cifar10")
    other.write_text(real)
    both = repro("plan", other, whole, "--scale", "smoke", "--store", tmp_path / "runs")
    none = repro("plan", other, "--scale", "smoke", "--store", tmp_path / "runs")

    assert both.exit_code == 0, both.output
    assert "other has no smoke scale (it has: large_proxy): left out" in both.stderr
    assert "6 trials can run now" in both.stdout
    assert none.exit_code == 2
    assert "no claim that was named has the smoke scale" in none.stderr


def test_a_plan_says_which_metric_finished_trials_lack(tmp_path: Path) -> None:
    """They are done without it, as those of an earlier version, and what helps is named."""
    path = lasting_claim_file(tmp_path, epochs=1)
    path.write_text(path.read_text().replace("metric: train_error", "metric: test_loss"))
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    store = Store(tmp_path / "runs")
    for cell in next_cells(claim, "smoke", fingerprint("digits", (), tmp_path), {}):
        store.begin(cell.trial)
        store.save(cell.trial.id, checkpoint=b"", curve=[])
        store.finish(planted(cell, crossed=None))
    done = repro("plan", path, "--store", store.root)

    assert "nothing left to run" in done.stdout
    assert "1 of 1 finished slow trials have no test_loss" in done.stdout
    assert (
        "`repro run lasting --scale smoke --store NEW` trains them into another store"
        in done.stdout
    )


def test_a_finished_plan_says_so(ran: tuple[Path, Result]) -> None:
    """Nothing is left to run."""
    folder, _ = ran
    done = repro("plan", folder / "tiny.yaml", "--store", folder / "runs")

    assert "nothing left to run" in done.output


def test_report_of_a_store_and_of_its_export_are_the_same(ran: tuple[Path, Result]) -> None:
    """Evidence that is kept small renders as the working store does."""
    folder, _ = ran
    assert repro("export", "--store", folder / "runs", folder / "kept").exit_code == 0
    for store, out in (("runs", "a"), ("kept", "b")):
        done = repro("report", "--store", folder / store, "--claims", folder, "--out", folder / out)
        assert done.exit_code == 0, done.output
        assert done.stdout.strip() == str(folder / out / "report.html")

    pages = [(folder / out / "report.html").read_bytes() for out in ("a", "b")]
    assert pages[0] == pages[1]


def test_formats_are_written_as_asked(ran: tuple[Path, Result]) -> None:
    """`--format` may be repeated."""
    folder, _ = ran
    shared = ("--store", folder / "runs", "--claims", folder)
    short = repro(
        "report", *shared, "--out", folder / "short", "--format", "summary", "--format", "md"
    )

    assert {path.name for path in (folder / "short").iterdir()} == {"summary.md", "report.md"}
    assert short.stdout.strip() == str(folder / "short" / "report.md")
    assert repro("report", *shared, "--format", "pdf").exit_code == 2


def test_a_crate_has_each_verdict_in_our_word_and_the_communitys(ran: tuple[Path, Result]) -> None:
    """Of a smoke run: a toy. Every reference is to something that is described."""
    folder, _ = ran
    crate, licence = folder / "crate", "https://spdx.org/licenses/CC0-1.0"
    shared = ("--store", folder / "runs", "--claims", folder, crate)
    done = repro("publish", "--license", licence, *shared)
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    root = entities["./"]
    (review,) = (entity for entity in graph if entity["@type"] == "ClaimReview")
    word = repro("verify", crate).stdout.partition("smoke scale: ")[2].partition(",")[0]

    assert done.stdout.strip() == str(crate / "index.html")
    assert len(entities) == len(graph)
    for one in (*root["mentions"], *root["citation"], *root["hasPart"], root["license"]):
        assert one["@id"] in entities
    for part in root["hasPart"]:
        assert (crate / part["@id"]).is_file()
    assert review["itemReviewed"] == {"@id": "claims/tiny.yaml"}
    assert review["reviewAspect"] == "smoke scale, period recipe"
    rating = entities[review["reviewRating"]["@id"]]
    assert (rating["name"], rating["alternateName"]) == (word, "toy")


def test_report_of_an_empty_store_says_not_run(tmp_path: Path) -> None:
    """A partial store renders at any time, an empty one too; but that is no success."""
    shared = ("--store", tmp_path / "none", "--claims", ROOT / "claims")
    done = repro("report", *shared, "--out", tmp_path / "r")
    crate = repro("publish", *shared, tmp_path / "crate")

    assert (done.exit_code, crate.exit_code) == (4, 4), done.output
    assert "error[E600]" in done.stderr
    assert "holds no finished trial and no facts" in crate.stderr
    assert "not run" in (tmp_path / "r" / "report.md").read_text()


def test_report_without_claims_is_a_usage_error(tmp_path: Path) -> None:
    """Nothing measured is never success."""
    done = repro("report", "--claims", tmp_path)

    assert done.exit_code == 2
    assert "no claim files" in done.stderr


def test_data_status_names_every_data_set(tmp_path: Path) -> None:
    """Found, missing or embedded, and the folders that were looked into."""
    done = repro("data", "status", "--data-dir", tmp_path, "--cache-dir", tmp_path)

    assert done.exit_code == 0, done.output
    assert f"looked in: {tmp_path}, " in done.output
    for name in DATASETS:
        assert name in done.output


def test_data_are_prepared_once_and_then_verified(tmp_path: Path) -> None:
    """Where, how large and which data on stdout, as `data status` says; twice the same."""
    files = [(encoded(picture(i, height=20, width=30)), i % 2) for i in range(6)]
    write_folders(tmp_path / "mine", train=files, test=files[:2])
    where = ("folder:mine@16", "--data-dir", tmp_path, "--cache-dir", tmp_path / "cache")
    first, again, verified = (
        repro("data", command, *where) for command in ("prepare", "prepare", "verify")
    )
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    fingerprint = first.stdout.split()[-1]

    assert (first.exit_code, again.exit_code, verified.exit_code) == (0, 0, 0)
    assert re.search(", 6 [+] 2 images; found in .*; read: ", first.stdout)
    assert f"; decoded in {folder} (0 MB); fingerprint " in first.stdout
    assert again.stdout == first.stdout
    assert f"match their fingerprint {fingerprint}" in verified.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "digits is embedded: there is nothing to decode"),
        ("ilsvrc2012", "ILSVRC-2012 was not found"),
        ("folder:x@9", "'folder:x@9': the size after @ is a whole number from 16 to 1024"),
    ],
)
def test_what_cannot_be_prepared_is_told(name: str, message: str, tmp_path: Path) -> None:
    """As a fault of the data."""
    done = repro("data", "prepare", name, "--data-dir", tmp_path, "--cache-dir", tmp_path)

    assert done.exit_code == 5
    assert f"error[E200]: {message}" in done.stderr


@pytest.mark.process
def test_ctrl_c_saves_exits_130_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """From a real shell's point of view."""
    path, store = lasting_claim_file(tmp_path), tmp_path / "runs"
    process = started("run", path, "--store", store, "--workers", "1")
    wait_for(lambda: list(store.glob("trials/*/trial.json")), process)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate()

    assert process.returncode == 130, talk
    assert f"to go on:\n  repro run {path} --store" in talk
    assert list(store.glob("trials/*/checkpoint.pt"))


ENDLESS = """\
import os
import time
from pathlib import Path
from torch import nn
from repro.registry import ModelFacts

FACTS = ModelFacts(title="endless", module=__name__, parameters=30730, arguments=("activation",))

class Endless(nn.Linear):
    def forward(self, images):
        while list(Path(os.environ["STORE"]).glob("trials/*/trial.json")):  # not before a trial
            time.sleep(0.1)
        return super().forward(images.flatten(1))

def endless(*, num_classes=10, initialisation="he", activation="relu"):
    return Endless(3 * 32 * 32, num_classes)
"""


@pytest.mark.process
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_ctrl_c_leaves_at_once(workers: str, tmp_path: Path) -> None:
    """In the middle of a step that takes an hour, trained by a thread or by other processes."""
    installed(
        tmp_path / "packages", "endless", {"repro.models": {"endless": "endless:FACTS"}}, ENDLESS
    )
    path, store = claim_file(tmp_path), tmp_path / "runs"
    path.write_text(path.read_text().replace("name: cifar_80sec", "name: endless"))
    process = started(
        "run",
        path,
        "--store",
        store,
        "--workers",
        workers,
        path=paths(ROOT, tmp_path / "packages"),
        STORE=str(store),
    )
    assert process.stderr is not None
    wait_for(lambda: list(store.glob("trials/*/trial.json")), process)
    process.send_signal(signal.SIGINT)
    while "Ctrl-C again leaves at once" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(1.0)  # what follows sooner is an echo of the first
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate()

    assert process.returncode == 130, talk
    assert talk.splitlines()[-1] == "interrupted: left at once; the same command continues"


def test_alone_it_says_where_one_is(
    ran: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store that the environment names, the claims, and a command that works as it stands."""
    monkeypatch.chdir(tmp_path)
    fresh = repro()
    monkeypatch.setenv("REPRO_STORE", str(ran[0] / "runs"))
    later = repro()

    assert (fresh.exit_code, later.exit_code) == (0, 0)
    assert "0 training runs finished" in fresh.stdout
    assert "repro run architecture" in fresh.stdout
    assert f"{len(Store(ran[0] / 'runs').finished())} training runs finished" in later.stdout
    assert "repro report" in later.stdout
