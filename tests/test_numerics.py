"""Which code a trial's numbers come from: syntax that is reached counts, all else does not."""

import shutil
from pathlib import Path

import pytest

import repro
from repro.errors import SourcesMissingError
from repro.trial.numerics import TABLE, definitions, digests, known, numerics

PACKAGE = Path(repro.__file__).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's sources, to be changed."""
    shutil.copytree(PACKAGE, tmp_path / "repro", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "repro"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def changed(copy: Path, model: str = "cifar_80sec") -> set[str]:
    """Definitions that a trial reaches and that differ from the package's."""
    before, after = digests(model), digests(model, copy)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_comments_docstrings_and_layout_change_nothing(copy: Path) -> None:
    """The evidence survives a comment."""
    edit(
        copy / "train" / "schedule.py",
        "    return count",
        '    """Moved."""\n    # how often\n\n    return (\n        count\n    )',
    )

    assert changed(copy) == set()


def test_code_that_is_reached_counts_by_its_name(copy: Path) -> None:
    """A constant, and a method, wherever they stand."""
    edit(copy / "train" / "schedule.py", "MOST_DROPS = 3", "MOST_DROPS = 4")
    edit(copy / "train" / "steps.py", "self.model.train()", "self.model.train(True)")

    assert changed(copy) == {"train.schedule.MOST_DROPS", "train.steps.SingleStep"}


def test_another_nets_code_is_not_reached(copy: Path) -> None:
    """Trials of one net keep their results when another net is changed."""
    edit(copy / "models" / "conv_local.py", "self.layers(x)", "self.layers(x) + 0")
    edit(copy / "models" / "alexnet.py", "self.classifier[:-1](", "0 + self.classifier[:-1](")

    assert changed(copy) == set()
    assert changed(copy, "cifar_conv_local") == {"models.conv_local.ConvLocalNet"}
    assert changed(copy, "alexnet_2012") == {"models.alexnet.AlexNet"}


def test_what_cannot_change_a_number_is_not_followed(copy: Path) -> None:
    """Messages, words, the store."""
    edit(copy / "registry" / "facts.py", "test error (top-1)", "top-1 test error")
    edit(
        copy / "trial" / "curve.py", "    loss: float\n", "    loss: float\n    more: float = 0.0\n"
    )

    assert changed(copy) == set()


def test_code_may_move_to_another_file(copy: Path) -> None:
    """Through a re-export it is still found, and it is the code that it was."""
    text = (copy / "train" / "optim.py").read_text(encoding="utf-8")
    (copy / "train" / "rules.py").write_text(text, encoding="utf-8")
    (copy / "train" / "optim.py").write_text(
        "from repro.train.rules import PaperSGD, optimizer_for\n",
        encoding="utf-8",
    )

    assert {"train.optim.PaperSGD", "train.rules.PaperSGD"} <= changed(copy)
    assert definitions("cifar_80sec") == definitions("cifar_80sec", copy)
    assert numerics("cifar_80sec", copy) == 1


def test_changed_code_has_results_of_its_own(copy: Path, tmp_path: Path) -> None:
    """Until its numbers are shown to be those of a generation, which is then written down."""
    edit(copy / "train" / "schedule.py", "MOST_DROPS = 3", "MOST_DROPS = 4")
    digest = digests("cifar_80sec", copy)["train.schedule.MOST_DROPS"]
    found = [numerics("cifar_80sec", copy)]
    for generation in (1, 2):
        table = tmp_path / f"{generation}.txt"
        line = f"MOST_DROPS {generation} {digest}\n"
        table.write_text(TABLE.read_text(encoding="utf-8") + line)
        found.append(numerics("cifar_80sec", copy, table))

    assert found == [f"MOST_DROPS={digest}", 1, "MOST_DROPS=2"]


def test_without_sources_it_says_what_to_install(copy: Path) -> None:
    """Compiled files alone do not say which code they are."""
    (copy / "train" / "loop.py").unlink()

    with pytest.raises(SourcesMissingError, match=r"no source of repro\.train") as caught:
        digests("cifar_80sec", copy)
    assert "install the wheel" in caught.value.hint


@pytest.mark.parametrize("content", [b"def rate_at(", b"x = '\xff'", b"x = 1\0"])
def test_a_source_that_is_damaged_is_named(content: bytes, copy: Path) -> None:
    """As an update leaves it that is under way, or a full disk."""
    (copy / "train" / "optim.py").write_bytes(content)

    with pytest.raises(SourcesMissingError, match=r"optim\.py cannot be read: "):
        digests("cifar_80sec", copy)


def test_a_table_that_is_damaged_is_named(tmp_path: Path) -> None:
    """No code is known by half a line."""
    (tmp_path / "numerics.txt").write_text("train.Run 1")

    with pytest.raises(SourcesMissingError, match=r"numerics\.txt cannot be read: "):
        known(tmp_path / "numerics.txt")
