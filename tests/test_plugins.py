"""What other packages add: found by name, loaded when it is asked for, named when it fails."""

import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro import plugins
from repro.claim import TrainedClaim, load
from repro.cli import main
from repro.errors import MachineError
from repro.models.build import builder
from repro.plan import next_cells
from repro.plugins import versions
from repro.registry import DATASETS, MODELS
from repro.store import Store

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "dropout_paper"

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package on the path, as if it were installed: its module and its entry points."""

    def put(package: str, entries: dict[str, dict[str, str]], code: str | None = None) -> Path:
        folder = tmp_path / package
        about = folder / f"{package.replace('-', '_')}-0.1.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
        text = "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
            for group, names in entries.items()
        )
        (about / "entry_points.txt").write_text(text)
        module = folder / f"{package.replace('-', '_')}.py"
        if code is not None:
            module.write_text(code)
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
    )
    claim = load(path)
    assert isinstance(claim, TrainedClaim)
    first = next_cells(claim, "smoke", "0" * 16, {})
    module.write_text(module.read_text() + "# changed\n")
    plugins._source.cache_clear()  # as another process begins
    second = next_cells(claim, "smoke", "0" * 16, {})
    status = CliRunner().invoke(main, ["data", "status"])

    assert "stripes: stripes, 640 + 640 images; fingerprint " in status.stdout
    assert str(first[0].trial.numerics).startswith("1 stripes-data=0.1+")
    assert {cell.trial.id for cell in first}.isdisjoint({cell.trial.id for cell in second})


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
