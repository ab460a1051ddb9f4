"""Damaged copies of small worlds, on which commands are called, and what must not happen then.

Each attempt is a fork that damages one file in one way, drawn from its seed. No command may end in
a traceback or an internal error, print a warning that is not its own, or never end; and no other
result may pass in silence.
"""

import faulthandler
import hashlib
import importlib
import json
import os
import re
import resource
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import safetensors.numpy
from click.testing import CliRunner, Result

from repro.cli import main
from repro.data import open_dataset
from repro.errors import ReproError
from repro.files import write_atomic
from repro.store import Store
from tests.faults import smoke
from tests.faults.damage import damage
from tests.pictures import encoded, picture, write_folders, write_parquet

ROOT = Path(__file__).parents[2]


# What commands import when they are called, and each fork would import again.
for _name in (
    "matplotlib.figure", "pandas", "pyarrow.parquet", "repro.audit",
    "repro.execute.plan_text", "repro.execute.running", "repro.models.facts", "repro.report",
    "repro.report.describe", "repro.report.read_pages", "scipy.stats",
):  # fmt: skip
    importlib.import_module(_name)

HANG_SECONDS = 600  # of an attempt, which takes a few
MEGABYTES = 6000  # of memory: far more than a command needs

# A warning of ours is a UserWarning; any other is of a library, and says nothing to a user.
FORBIDDEN = re.compile(r"E900|E302|Traceback|(?<!User)Warning: |Fatal Python error")
EXIT_CODES = {0, 2, 3, 4, 5}
# What is said meanwhile of a trial that runs, or did: none of it is a result.
PASSING = {"lock", "progress.json", "fault.json"}


@dataclass(kw_only=True, slots=True)
class Answer:
    """What an attempt came to. `calls`: how many commands were called; `problems`: in words."""

    damage: str = ""
    calls: int = 0
    problems: list[str] = field(default_factory=list)


class Attempt:
    """A copy of a world in `folder`: one of its files is damaged, then commands are called."""

    def __init__(self, base: Path, folder: Path, seed: int) -> None:
        self.base, self.folder, self.seed = base, folder, seed
        self.random, self.answer = Random(seed), Answer()

    @property
    def claims(self) -> tuple[str | Path, ...]:
        """The option of commands that read a folder of claims."""
        return "--claims", self.base / "claims"

    def copy(self, name: str, to: str = "") -> Path:
        """A folder of the world."""
        return Path(shutil.copytree(self.base / name, self.folder / (to or name)))

    def damage(self, files: list[Path]) -> Path:
        """One of the files, in one way; another one may lie in its place."""
        path = self.random.choice(files)
        how = damage(path, files, self.random)
        self.answer.damage = f"{path.relative_to(self.folder)}: {how}"
        return path

    def call(self, *arguments: str | Path) -> Result:
        """A command; whatever no command may do is a problem."""
        words = [str(argument) for argument in arguments]
        (self.folder / "command").write_text(shlex.join(words))
        self.answer.calls += 1
        result = CliRunner().invoke(main, words)
        error = result.exception
        if error is not None and not isinstance(error, SystemExit):
            self.problem(f"{words[0]} raised {error!r}")
        elif result.exit_code not in EXIT_CODES:
            self.problem(f"{words[0]} ended with exit code {result.exit_code}")
        lines = [line for line in result.output.splitlines() if FORBIDDEN.search(line)]
        if lines:
            self.problem(f"{words[0]} said {lines[0][:200]} {_frames(result.output)}")
        return result

    def problem(self, sentence: str) -> None:
        self.answer.problems.append(f"{self.answer.damage}: {sentence}")


def _frames(output: str) -> str:
    """Where a bug was, by the file that its traceback was kept in."""
    kept = re.search(r"(?m)^traceback: (.+)$", output)
    return Path(kept[1]).read_text()[-700:] if kept else ""


def files_in(folder: Path) -> list[Path]:
    """All of them, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, str]:
    """Of all files, by their place."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_in(folder)
    }


# Stores


def build_stores(folder: Path) -> None:
    """Of one claim each about times, an error and a fact: run to the end, and killed.

    Killed: one trial ended, one is paused with its checkpoint, one stopped in the middle with what
    it said of itself, and of a fault before. The whole one is exported, and reported, too.
    """
    assert smoke.launch(smoke.run, folder, "whole") == 0
    for point in (("trial.json", "placed"), 3), (("curve.csv", "placed"), 2):
        dies = smoke.Dies(point=point[0], times=point[1])
        assert smoke.launch(smoke.run, folder, "killed", dies) == -9
    _add_fault(Store(folder / "killed"))
    (folder / "claims").mkdir()
    for path in folder.glob("*.yaml"):
        path.rename(folder / "claims" / path.name)
    claims = ("--claims", folder / "claims")
    _invoke("export", "--store", folder / "whole", folder / "sealed")
    _invoke("report", "--store", folder / "whole", *claims, "--out", folder / "report", *TABLES)


TABLES = ("--format", "csv", "--format", "md")


def _invoke(*arguments: str | Path) -> None:
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output


def _add_fault(store: Store) -> None:
    (path,) = store.root.glob("trials/*/progress.json")
    about = json.loads(path.read_text())
    keys = ("trial_id", "recipe", "arm", "purpose", "rate", "seed", "told")
    fault = {"code": "E301", "message": "cannot write", "hint": "free some space"}
    write_atomic(
        path.with_name("fault.json"), json.dumps({key: about[key] for key in keys} | fault)
    )


def numbers(store: Store, name: str) -> str:
    """All that was measured of a trial, and its pictures."""
    digest = hashlib.sha256(store.numbers(name).encode())
    for key, array in sorted(store.arrays(name).items()):
        digest.update(key.encode() + array.tobytes())
    return digest.hexdigest()


def net(store: Store, name: str) -> dict[str, bytes]:
    """Every weight of a trial's net; empty where it was not kept."""
    files = store.weights(name)
    tensors = safetensors.numpy.load(files["weights.safetensors"]) if files else {}
    return {key: array.tobytes() for key, array in tensors.items()}


class OnStore(Attempt):
    """`verify` has to name the damaged file; where it does not, every result has to be the same."""

    kind = "killed"

    def run(self) -> None:
        """Verify it and call two other commands, or all that show results."""
        self.store = self.copy(self.kind, "store")
        path = self.damage(files_in(self.store))
        said = self.verify(self.store)
        if path.name in PASSING or str(path) in said or f"{path.parent}:" in said:
            for name in self.random.sample(["published"] * (self.seed % 25 == 0) + LOOKS, 2):
                getattr(self, name)()
            return
        for name, expected in self._expected().items():
            if getattr(self, name)() != expected:
                self.problem(f"verify does not name it, and {name} gives other results")

    def results(self) -> dict[str, Any]:
        """All that an undamaged store gives."""
        self.store = self.copy(self.kind, "store")
        return {name: getattr(self, name)() for name in RESULTS}

    def _expected(self) -> dict[str, Any]:
        expected: dict[str, Any] = json.loads((self.base / f"{self.kind}.json").read_text())
        return expected

    def verify(self, store: Path) -> str:
        """What it finds wrong."""
        result = self.call("verify", store, "--claims", self.base / "claims")
        return result.output if result.exit_code else ""

    # Results, which can be compared

    def status(self) -> str:
        return self.call("status", "--store", self.store).output.replace(str(self.folder), "")

    def why(self) -> str:
        return self.call("why", "times", "--store", self.store, *self.claims).output

    def tables(self) -> dict[str, str]:
        """What a report prints."""
        out = self.folder / "report"
        self.call("report", "--store", self.store, *self.claims, "--out", out, *TABLES)
        return contents(out)

    def exported(self) -> dict[str, str]:
        """Its trials have the numbers that they had, or are no evidence."""
        out = self.folder / "exported"
        self.call("export", "--store", self.store, out)
        self.check_numbers(out)
        return contents(out)

    def continued(self) -> None:
        """The command that was killed, once more."""
        self.go_on(self.store)

    # Commands that compare, or show other things

    def listed(self) -> None:
        self.call("list", *self.claims)

    def shown(self) -> None:
        times = self.base / "claims" / "times.yaml"
        self.call("show", times, "--resolved", "--store", self.store)

    def planned(self) -> None:
        times = self.base / "claims" / "times.yaml"
        self.call("plan", times, "--scale", "smoke", "--store", self.store, "--device", "cpu")

    def compared(self) -> None:
        self.call("diff", self.base / "whole", self.store, *self.claims)
        self.call("diff", self.store, self.base / "whole", *self.claims)

    def published(self) -> None:
        self.call("publish", "--store", self.store, *self.claims, self.folder / "crate")

    def merged_from(self) -> None:
        """What was finished in a sound store stays as it is, and the rest goes on as before."""
        into = self.copy("killed", "into")
        before = evidence(into)
        self.call("merge", into, self.store)
        changed = {name for name, content in before.items() if evidence(into).get(name) != content}
        if changed:
            self.problem(f"merge changed {sorted(changed)} of a sound store")
        self.go_on(into)

    def merged_into(self) -> None:
        self.call("merge", self.store, self.base / "whole")
        self.check_numbers(self.store)

    # What is common

    def go_on(self, root: Path) -> None:
        """Continue it to the end."""
        files = files_in(self.base / "claims")
        self.call("run", *files, "--scale", "smoke", "--store", root, "--workers", "1",
                  "--device", "cpu", "--keep-weights", "--checkpoint-every", "0.01s")  # fmt: skip
        self.check_numbers(root)

    def check_numbers(self, root: Path) -> None:
        """Each finished trial has the numbers of an undamaged one, or `verify` names it."""
        if not root.exists():
            return
        said, whole = self.verify(root), Store(self.base / "whole")
        try:
            names = sorted(Store(root).finished())
        except ReproError as error:
            names = []
            if not said:
                self.problem(f"{root.name}: {error}, and verify does not say so")
        for name in names:
            try:
                found = numbers(Store(root), name), net(Store(root), name)
            except ReproError as error:
                if not said:
                    self.problem(f"{root.name}: {error}, and verify does not say so")
                continue
            if name not in said and found[0] != numbers(whole, name):
                self.problem(f"{root.name}: {name} has other numbers, and verify does not say so")
            if name not in said and found[1] not in ({}, net(whole, name)):
                self.problem(f"{root.name}: {name} has another net, and verify does not say so")


LOOKS = [
    *("status", "why", "tables", "exported", "continued", "listed", "shown"),
    *("planned", "compared", "merged_from", "merged_into"),
]
RESULTS = LOOKS[:6]


def evidence(store: Path) -> dict[str, str]:
    """Plans, facts and the files of finished trials."""
    names = Store(store).finished()
    return {
        place: content
        for place, content in contents(store).items()
        if not place.startswith("trials/") or place.split("/")[1] in names
        if Path(place).name not in {*PASSING, "checkpoint.pt"}
    }


class OnSealedStore(OnStore):
    kind = "sealed"


class OnReport(OnStore):
    """`verify --report` names a table that does not say what the store does."""

    def run(self) -> None:
        report = self.copy("report")
        path = self.damage(sorted(report.glob("*.csv")))
        before = Counter((self.base / "report" / path.name).read_bytes().splitlines())
        readable = path.is_file() and path.stat().st_size < 1 << 26
        lines = path.read_bytes().splitlines() if readable else []
        result = self.call("verify", self.base / "whole", *self.claims, "--report", report)
        if (path.name in result.output and result.exit_code) or "'command'" in self.answer.damage:
            return  # that column has the name by which the claim file was called
        if not path.exists() or (lines and Counter(lines) <= before):
            return  # a report may lack a table or a claim; lines stand in any order
        self.problem("verify --report does not name it")


# Claim files


class OnClaims(Attempt):
    """Another claim file is another claim; or what is wrong with it is said."""

    def run(self) -> None:
        claims = self.copy("claim files")
        path = self.damage(files_in(claims))
        files = sorted(claims.glob("*.yaml"))
        self.call("validate", *files)
        self.call("list", "--claims", claims)
        self.call("show", self.random.choice(files))
        match self.seed % 4:
            case 0:
                file = path if path.suffix == ".yaml" else files[0]
                self.call("plan", file, "--scale", "smoke", "--store", self.folder / "store",
                          "--device", "cpu")  # fmt: skip
            case 1:
                self.call("verify", self.base / "whole", "--claims", claims)
            case 2:
                self.call("report", "--store", self.base / "whole", "--claims", claims,
                          "--out", self.folder / "report", *TABLES)  # fmt: skip
            case _:
                self.call("why", "times", "--store", self.base / "whole", "--claims", claims)


# Images


def build_images(folder: Path) -> None:
    """The same images in each container, and in a cache."""
    images = [(encoded(picture(seed, height=16, width=16)), seed % 2) for seed in range(12)]
    splits = {"train": images[:8], "test": images[8:]}
    for name, write in WRITERS.items():
        write(folder / "data" / name, **splits)  # type: ignore[operator]
    places = ("--data-dir", folder / "data", "--cache-dir", folder / "cache")
    for name in WRITERS:
        _invoke("data", "prepare", f"folder:{name}", *places)


WRITERS = {"folders": write_folders, "parquet": write_parquet}


def images_in(name: str, data: Path, cache: Path) -> tuple[str, str]:
    """The fingerprint, and what it should be of: every pixel and every label."""
    found = open_dataset(f"folder:{name}", (data,), cache)
    digest = hashlib.sha256(repr(found.classes).encode())
    for split in (found.train, found.test):
        digest.update(np.asarray(split.images[np.arange(len(split.labels))]).tobytes())
        digest.update(np.asarray(split.labels).tobytes())
    return found.fingerprint, digest.hexdigest()


class OnImages(Attempt):
    """Whoever has the fingerprint has the images; others have another one, or an error."""

    def run(self) -> None:
        name = self.random.choice(sorted(WRITERS))
        data, cache = self.copy(f"data/{name}", f"data/{name}").parent, self.folder / "cache"
        self.damage(files_in(data))
        self.check(name, data, cache)

    def check(self, name: str, data: Path, cache: Path, *, same: bool = False) -> None:
        """`same`: nothing but the images as they were may be given."""
        places = ("--data-dir", data, "--cache-dir", cache)
        results = [self.call("data", "status", *places)]
        results += [self.call("data", word, f"folder:{name}", *places) for word in WORDS]
        try:
            found = images_in(name, data, cache)
        except ReproError:
            return
        expected = images_in(name, self.base / "data", self.base / "cache")
        if found != expected and (same or found[0] == expected[0]):
            self.problem(f"other images in silence: {[one.exit_code for one in results]}")


WORDS = ("prepare", "verify")


class OnCache(OnImages):
    """Decoded images that were damaged are decoded again."""

    def run(self) -> None:
        cache = self.copy("cache")
        self.damage(files_in(cache))
        name = self.random.choice(sorted(WRITERS))
        self.check(name, self.base / "data", cache, same=True)


WORLDS: dict[str, type[Attempt]] = {
    "store": OnStore,
    "export": OnSealedStore,
    "report": OnReport,
    "claims": OnClaims,
    "images": OnImages,
    "cache": OnCache,
}


def build(folder: Path) -> None:
    """All that attempts start from."""
    smoke.claims(folder)
    build_stores(folder)
    build_images(folder)
    (folder / "claim files").mkdir()
    for name in ("relu_speedup.yaml", "architecture.yaml", "lrn.yaml"):
        shutil.copy(ROOT / "claims" / name, folder / "claim files" / name)
    shutil.copytree(ROOT / "claims" / "paper_data", folder / "claim files" / "paper_data")
    for cls in (OnStore, OnSealedStore):
        found = smoke.launch(_results, folder, folder / "expected", cls)
        (folder / f"{cls.kind}.json").write_text(json.dumps(found))


def _results(base: Path, folder: Path, cls: type[OnStore]) -> dict[str, Any]:
    with _inside(folder):
        undamaged = cls(base, folder, 0)
        found = undamaged.results()
        assert undamaged.answer.problems == [], undamaged.answer.problems
        return found


def attempt(
    base: Path, folder: Path, world: str, seed: int, seconds: float = HANG_SECONDS
) -> Answer:
    """One file of the world damaged, in a process that nothing else is done in."""
    with _inside(folder, seconds):
        resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES << 20, resource.RLIM_INFINITY))
        attempted = WORLDS[world](base, folder, seed)
        attempted.run()
    return attempted.answer


def last_words(folder: Path) -> str:
    """Of an attempt that did not answer: its command, and where it was when it hung."""
    kept = [folder / "command", folder / "stack"]
    return "\n".join(path.read_text() for path in kept if path.exists())


@contextmanager
def _inside(folder: Path, seconds: float = HANG_SECONDS) -> Iterator[None]:
    """In a folder of its own, which is removed; a process that hangs ends, and says where."""
    folder.mkdir()
    os.chdir(folder)
    for name in ("CONFIG", "DATA", "CACHE"):
        os.environ[f"XDG_{name}_HOME"] = str(folder / "xdg")
    tempfile.tempdir = str(folder)
    with (folder / "stack").open("w") as stack:
        faulthandler.dump_traceback_later(seconds, exit=True, file=stack)
        yield
        faulthandler.cancel_dump_traceback_later()
    shutil.rmtree(folder)
