"""Stores that are kept: an archive for each claim, read and judged as folders are."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from repro.cli import main
from repro.errors import IntegrityError
from repro.store import Store, checksums
from repro.store.archive import _header

GOLDEN = Path(__file__).parent / "golden"
CLAIMS = GOLDEN / "claims"
FOLDERS, KEPT = GOLDEN / "store-1", GOLDEN / "store-2"  # the same, in folders and exported


def repro(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files by their places."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return shutil.copytree(KEPT, tmp_path / "kept")


def test_a_kept_store_is_an_archive_for_each_claim_and_a_table() -> None:
    """No more, however many trials it has."""
    names = {path.name for path in KEPT.iterdir()}

    assert len(Store(KEPT).ids()) == 10
    assert names == {
        "SHA256SUMS", "levels.tar", "results.csv", "store.json", "times.tar"
    }  # fmt: skip


def test_the_same_store_gives_the_same_bytes(tmp_path: Path) -> None:
    """From folders, from its own export, and onto an export that is there already."""
    for store, out in (FOLDERS, "a"), (KEPT, "b"), (FOLDERS, "b"):
        done = repro("export", "--store", store, "--claims", CLAIMS, tmp_path / out)
        assert done.exit_code == 0, done.output

    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(KEPT)


def test_what_is_read_is_what_the_folders_had() -> None:
    """Identities, results, curves, plans."""
    one, two = Store(FOLDERS), Store(KEPT)

    assert two.ids() == one.ids()
    assert two.finished() == one.finished()
    assert [two.numbers(name) for name in two.ids()] == [one.numbers(name) for name in one.ids()]
    assert {repr(two.result(name)) for name in two.ids()} == {
        repr(one.result(name)) for name in one.ids()
    }
    assert [two.plan(file) for file in two.plan_files()] == [
        one.plan(file) for file in one.plan_files()
    ]


@pytest.mark.parametrize(
    "command",
    [
        ["status", "--store", "STORE"],
        ["why", "times", "--store", "STORE"],
        ["plan", "tests/golden/claims/times.yaml", "--scale", "smoke", "--store", "STORE"],
        ["report", "--store", "STORE", "--format", "summary"],
    ],
    ids=lambda words: words[0],
)
def test_commands_say_the_same_of_it_as_of_folders(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials in archives are hits, too."""
    monkeypatch.chdir(GOLDEN.parents[1])
    said = []
    for number, store in enumerate((FOLDERS, KEPT)):
        words = [str(store) if word == "STORE" else word for word in command]
        out = tmp_path / str(number)
        words += ["--out", str(out)] if words[0] == "report" else []
        words += [] if words[0] == "status" else ["--claims", str(CLAIMS)]
        done = repro(*words)
        assert done.exit_code == 0, done.output
        said.append(done.stdout.replace(str(store), "STORE").replace(str(out), "OUT"))

    assert said[0] == said[1]


def test_its_table_has_each_arm_with_its_trials() -> None:
    """A row for each trial and arm, by pandas in one line."""
    table = pd.read_csv(KEPT / "results.csv")
    times = table[(table.claim == "times") & (table.purpose == "confirm")]

    assert set(table.trial) == set(Store(KEPT).finished())
    assert times.groupby("arm").seed.nunique().gt(0).all()
    assert set(times.arm) == {"relu", "tanh"}


def test_results_of_one_claim_change_its_own_archive_alone(kept: Path, tmp_path: Path) -> None:
    """With the table and the checksums, so that history has what changed."""
    before = contents(kept)
    more = Store(shutil.copytree(FOLDERS, tmp_path / "more"))
    name = next(n for n, r in more.results().items() if r.status == "finished")
    result = more.results()[name]
    more.save(
        name,
        checkpoint=b"",
        curve=[*more.rows(name), more.rows(name)[-1]._replace(epoch=result.epochs + 1)],
    )
    more.finish(replace(result, epochs=result.epochs + 1))
    done = repro("export", "--store", more.root, "--claims", CLAIMS, kept)
    after = contents(kept)

    assert done.exit_code == 0, done.output
    assert {path for path in after if before[path] != after[path]} == {
        f"{Store(KEPT).archived.trials[name]['trial.json'].archive.name}",
        "SHA256SUMS",
        "results.csv",
    }


def test_a_trial_that_is_trained_further_leaves_its_archive(kept: Path) -> None:
    """Its result stands until the new one has come; the archive stays as it was."""
    store = Store(kept)
    name = next(n for n, r in store.results().items() if r.status == "finished")
    before, result = contents(kept), store.results()[name]
    store.begin(store.trial(name))
    assert Store(kept).results()[name] == result
    with store.lock(name):
        store.finish(replace(result, metrics={**result.metrics, "more": 1.0}))

    assert Store(kept).results()[name].metrics["more"] == 1.0
    assert Store(kept).ids() == Store(KEPT).ids()
    assert checksums.damage(kept) == {}
    assert {path for path, digest in before.items() if contents(kept).get(path) != digest} == {
        "SHA256SUMS", "results.csv"
    }  # fmt: skip


def test_a_merge_into_an_export_leaves_no_table_of_before(kept: Path, tmp_path: Path) -> None:
    """It would lack what came in; nothing new, and it stays."""
    more = Store(shutil.copytree(FOLDERS, tmp_path / "more"))
    assert repro("merge", kept, more.root).exit_code == 0
    assert (kept / "results.csv").exists()
    more.keep_facts("another", "0" * 12, [])
    done = repro("merge", kept, more.root)

    assert f"note: {kept} was an export" in done.stdout
    assert f"`repro export --store {kept} OUT`" in done.stdout
    assert not (kept / "results.csv").exists()
    assert checksums.damage(kept) == {}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_changed_trial_is_named(sealed: bool, kept: Path) -> None:
    """By the checksums of the store, and without these by its own."""
    part = next(iter(Store(kept).archived.trials.values()))["curve.csv"]
    content = bytearray(part.archive.read_bytes())
    content[part.start + part.size - 2] ^= 1
    part.archive.write_bytes(content)
    if not sealed:
        (kept / "SHA256SUMS").unlink()
    done = repro("verify", kept, "--claims", CLAIMS)

    assert done.exit_code == 5
    assert f"{part.archive if sealed else part}: changed since" in done.stdout


def test_a_trial_in_two_archives_is_told(kept: Path) -> None:
    """As after an archive was copied under another name."""
    shutil.copy(kept / "times.tar", kept / "more.tar")
    (kept / "SHA256SUMS").unlink()
    done = repro("verify", kept, "--claims", CLAIMS)

    assert done.exit_code == 5
    assert f"is in {kept / 'more.tar'}, too" in done.stdout


def test_an_archive_that_cannot_be_read_hides_no_other_damage(kept: Path) -> None:
    """`verify` names both, by the checksums of the store and without these."""
    (kept / "levels.tar").write_bytes(b"")
    part = next(
        files["curve.csv"]
        for files in Store(KEPT).archived.trials.values()
        if files["curve.csv"].archive.name == "times.tar"
    )
    content = bytearray((kept / "times.tar").read_bytes())
    content[part.start + part.size - 2] ^= 1
    (kept / "times.tar").write_bytes(content)
    sealed = repro("verify", kept, "--claims", CLAIMS)
    (kept / "SHA256SUMS").unlink()
    unsealed = repro("verify", kept, "--claims", CLAIMS)

    for done in (sealed, unsealed):
        assert done.exit_code == 5
        assert f"contradiction: {kept / 'levels.tar'}" in done.stdout
        assert f"contradiction: {kept / 'times.tar'}" in done.stdout


def test_a_merge_that_brings_nothing_changes_no_file(kept: Path) -> None:
    """Not even by a lock: the store stays sealed, and can be exported onto."""
    before = contents(kept)
    done = repro("merge", kept, KEPT)

    assert done.exit_code == 0, done.output
    assert contents(kept) == before
    assert not (kept / "trials").exists()


def test_a_merge_takes_trials_out_of_archives_and_leaves_damaged_ones(
    kept: Path, tmp_path: Path
) -> None:
    """The whole of an archive that is not what it was."""
    content = bytearray((kept / "times.tar").read_bytes())
    content[600] ^= 1
    (kept / "times.tar").write_bytes(content)
    times = {n for n, f in Store(kept).archived.trials.items()
             if f["trial.json"].archive.name == "times.tar"}  # fmt: skip
    done = repro("merge", tmp_path / "into", kept)

    assert done.exit_code == 5
    assert "times.tar: changed since" in done.stdout
    assert set(Store(tmp_path / "into").ids()) == set(Store(KEPT).ids()) - times != set()
    assert repro("merge", kept, tmp_path / "into").exit_code == 5  # it is damaged itself
    assert repro("merge", tmp_path / "into", KEPT).exit_code == 0
    assert Store(tmp_path / "into").ids() == Store(KEPT).ids()
    assert repro("verify", tmp_path / "into", "--claims", CLAIMS).exit_code == 0


def test_a_merge_leaves_an_archive_that_cannot_be_read(kept: Path, tmp_path: Path) -> None:
    """And takes the others; it is named, by exit code 5."""
    (kept / "SHA256SUMS").unlink()
    (kept / "times.tar").write_bytes(b"")
    done = repro("merge", tmp_path / "into", kept)

    assert done.exit_code == 5
    assert f"{kept / 'times.tar'}: not an archive of a store" in done.stdout
    assert "left where it is" in done.stdout
    assert len(Store(tmp_path / "into").ids()) == 1
    assert repro("verify", tmp_path / "into", "--claims", CLAIMS).exit_code == 0


def member(name: str, content: bytes = b"{}", **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def compressed() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("plans/a.json"))
    return buffer.getvalue()


TRIAL = "trials/0123456789abcdef"
END = bytes(1024)
ODD: dict[str, Callable[[], bytes]] = {
    "path that leads out": lambda: member(f"{TRIAL}/../../../outside.json") + END,
    "absolute path": lambda: member("/plans/a.json") + END,
    "link": lambda: member("plans/a.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd") + END,
    "device": lambda: member("plans/a.json", b"", type=tarfile.CHRTYPE) + END,
    "file that no trial has": lambda: member(f"{TRIAL}/checkpoint.pt") + END,
    "member twice": lambda: member("plans/a.json") * 2 + END,
    "members out of order": lambda: member("plans/b.json") + member("plans/a.json") + END,
    "size of a terabyte": lambda: member("plans/a.json", size=1 << 40) + END,
    "negative size": lambda: member("plans/a.json", size=-512) + END,
    "negative size, in a header like ours": lambda: _header("plans/a.json", -2) + END,
    "long name of a gigabyte": lambda: member("././@LongLink", type=b"L", size=1 << 30) + END,
    "owner": lambda: member("plans/a.json", uid=7) + END,
    "no end": lambda: member("plans/a.json"),
    "more after its end": lambda: member("plans/a.json") + END + b"x",
    "compression": compressed,
    "nothing": lambda: b"",
    "noise": lambda: bytes(range(256)) * 8,
}


@pytest.mark.parametrize("how", ODD)
def test_an_archive_that_no_export_writes_is_refused_by_name(how: str, tmp_path: Path) -> None:
    """Before any of it is read."""
    (tmp_path / "a.tar").write_bytes(ODD[how]())

    with pytest.raises(IntegrityError, match=r"a\.tar: not an archive of a store"):
        Store(tmp_path).ids()


def test_every_command_refuses_such_an_archive(tmp_path: Path) -> None:
    """By its name, and writes nothing outside of its folder."""
    path = tmp_path / "store" / "a.tar"
    path.parent.mkdir()
    path.write_bytes(ODD["path that leads out"]())
    commands = [
        ["verify", path.parent],
        ["status", "--store", path.parent],
        ["report", "--store", path.parent, "--out", tmp_path / "report"],
        ["merge", tmp_path / "into", path.parent],
        ["export", "--store", path.parent, tmp_path / "out"],
    ]
    for words in commands:
        done = repro(*words)
        assert done.exit_code == 5, done.output
        assert str(path) in done.output

    assert not list(tmp_path.rglob("outside*"))


def test_names_as_long_as_a_file_may_have_are_kept(tmp_path: Path) -> None:
    """A claim's may be; a tar header alone has room for a hundred letters."""
    store = Store(tmp_path / "a")
    claim = "a" * 200
    store.keep_facts(claim, "0" * 12, [])
    done = repro("export", "--store", store.root, tmp_path / "out")

    assert done.exit_code == 0, done.output
    assert [file.name for file in Store(tmp_path / "out").fact_files()] == [
        f"{claim}-{'0' * 12}.json"
    ]
    with tarfile.open(tmp_path / "out" / f"{claim}.tar") as archive:
        assert archive.getnames() == [f"facts/{claim}-{'0' * 12}.json"]


def test_an_export_says_which_claim_files_it_could_not_read(tmp_path: Path) -> None:
    """Their trials are exported all the same, and lie with those that no claim asks for."""
    claims = shutil.copytree(CLAIMS, tmp_path / "claims")
    broken = next(claims.glob("times.yaml"))
    broken.write_text(broken.read_text() + "lengths: 3\n")
    done = repro("export", "--store", KEPT, "--claims", claims, tmp_path / "out")

    assert done.exit_code == 2
    assert str(broken) in done.stderr
    assert Store(tmp_path / "out").ids() == Store(KEPT).ids()


def test_an_export_does_not_mix_with_a_store_that_is_run_into(tmp_path: Path) -> None:
    """Its folders would stand before the archives."""
    runs = shutil.copytree(FOLDERS, tmp_path / "runs")
    done = repro("export", "--store", KEPT, runs)

    assert done.exit_code == 2
    assert "needs a folder of its own" in done.stderr
    assert contents(runs) == contents(FOLDERS)
