"""Data flows one way: the imports of every module, read without running it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import repro
from tests.commands import repro as repro_command

PACKAGE = Path(repro.__file__).parent
CLAIM = PACKAGE.parent / "claims" / "relu_speedup.yaml"

# An import goes only to a room further up in this list. A room is a module or a folder.
FLOW = (
    "errors",
    "files",
    "stats",
    "messages",
    "registry",
    "claim",
    "text",
    "trial",
    "models",
    "data",
    "train",
    "store",
    "planning",
    "verdict",
    "execute",
    "report",
    "audit",
    "cli",
    "api",
    "__init__",  # of the package: what `import repro` offers
    "__main__",
)
RANKS = {room: rank for rank, room in enumerate(FLOW)}

# What the order does not say: rooms above that a room must know nothing of.
FORBIDDEN = {
    "report": {"execute", "models", "train"},
    "store": {"data", "models", "stats", "train"},
    "planning": {"data", "models", "store", "train"},
    "train": {"claim", "files"},
    "trial": {"stats"},
    "verdict": {"data", "files", "models", "train"},
}

# What trains. Elsewhere only the claim room asks inside functions: timm for names, and an optimiser
# for what it says of arguments that a claim file gives it.
TORCH_ROOMS = {"cli", "data", "execute", "models", "train"}
NAMES_ONLY = {"claim": {"timm", "torch"}}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    """`repro/data/status.py` lies in the room `data`."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


ROOMS = {room_of(module) for module in MODULES}


def imports(module: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, also of those inside functions."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write the import out in full"
            if node.module == "repro":
                yield from ((node.lineno, f"repro.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, str(node.module)


def other_rooms(module: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import from another room of the package."""
    for line, name in imports(module):
        package, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if package == "repro" and room in ROOMS and room != room_of(module):
            yield line, room


def test_every_room_has_a_rank() -> None:
    """A new module is given its place in the flow before it is used."""
    assert ROOMS - RANKS.keys() == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_to_lower_ranks(module: Path) -> None:
    """No room imports one of its own rank or above, nor one that it must not know."""
    room = room_of(module)
    upward = [
        f"{module.name}:{line}: {room} imports {other}"
        for line, other in other_rooms(module)
        if RANKS[other] >= RANKS[room] or other in FORBIDDEN.get(room, ())
    ]

    assert upward == []


def file_of(name: str) -> Path | None:
    """Of a dotted name in the package; None of a name that a module defines, or of others'."""
    place = PACKAGE.parent.joinpath(*name.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file in MODULES), None)


def files_imported(module: Path) -> set[Path]:
    """Files of the package whose names a file imports, also for type checkers alone."""
    named = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {
        file for name in named if (file := file_of(name) or file_of(name.rpartition(".")[0]))
    } - {module}


def test_no_files_import_each_other_in_a_circle() -> None:
    """Each file can be read after those that it imports, type hints included."""
    graph = {str(module.relative_to(PACKAGE)): set() for module in MODULES}
    for module in MODULES:
        graph[str(module.relative_to(PACKAGE))] = {
            str(file.relative_to(PACKAGE)) for file in files_imported(module)
        }

    order = [*TopologicalSorter(graph).static_order()]  # CycleError names the circle

    assert order.index("data/arrays.py") < order.index("data/dataset.py")


def test_nobody_is_asked() -> None:
    """A job of a cluster would wait for an answer for ever; ruff bans click's own questions."""
    called = {
        node.func.id
        for module in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert "len" in called
    assert "input" not in called


def test_torch_is_imported_left_of_the_store_only() -> None:
    """Claims are checked, and reports written, without torch."""
    found = {
        (room_of(module), name.partition(".")[0])
        for module in MODULES
        if room_of(module) not in TORCH_ROOMS
        for _, name in imports(module)
    }
    heavy = {
        (room, name)
        for room, name in found
        if name in {"timm", "torch", "torchvision"} - NAMES_ONLY.get(room, set())
    }

    assert heavy == set()


def imported_by(code: str, *packages: str) -> set[str]:
    """Those of `packages` that a fresh interpreter has imported after `code`."""
    loaded = f"print('loaded', *{set(packages)} & sys.modules.keys(), file=sys.stderr)"
    script = f"import atexit, sys\natexit.register(lambda: {loaded})\n{code}"  # code may exit
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    _, said, found = done.stderr.rpartition("loaded")
    assert said
    return set(found.split())


@pytest.mark.process
@pytest.mark.parametrize("room", ["claim", "planning", "store", "verdict", "report"])
def test_the_report_path_leaves_torch_unimported(room: str) -> None:
    """From a claim file to a page, nothing waits for torch."""
    assert imported_by(f"import repro.{room}", "torch") == set()


@pytest.mark.process
def test_help_answers_before_anything_heavy_is_imported() -> None:
    """`repro --help` is for a person who waits."""
    code = "from repro.cli import main; main(['--help'], standalone_mode=False)"
    heavy = ("torch", "timm", "numpy", "scipy", "pandas", "matplotlib", "pydantic")

    assert imported_by(code, *heavy) == set()


@pytest.mark.process
def test_claims_are_read_and_listed_in_milliseconds() -> None:
    """Without torch, and without what only a report needs."""
    read = f"from pathlib import Path; import repro.claim as c; c.load(Path({str(CLAIM)!r}))"
    listed = (
        "from repro.cli import main; "
        f"main(['list', '--claims', {str(CLAIM.parent)!r}], standalone_mode=False)"
    )
    heavy = ("torch", "timm", "pandas", "scipy", "matplotlib")

    assert imported_by(read, "numpy", *heavy) == set()
    assert imported_by(listed, *heavy) == set()


@pytest.mark.process
def test_the_process_that_starts_workers_leaves_torch_to_them() -> None:
    """Each of them imports it by itself, and would only wait for the parent to have done so."""
    code = (
        "import repro.execute.running; from repro.execute import resolve_device; "
        "resolve_device('cpu')"
    )

    assert imported_by(code, "torch") == set()


@pytest.mark.process
def test_the_verdict_of_a_finished_claim_waits_for_no_training_and_no_figure(
    tmp_path: Path,
) -> None:
    """The same command again: results are read, judged, and told."""
    claim = Path(__file__).parent / "claims" / "questions.yaml"
    words = ["run", str(claim), "--store", str(tmp_path), "--scale", "smoke", "--workers", "1"]
    again = f"from repro.cli import main; main({words!r}, standalone_mode=False)"
    assert repro_command(*words).exit_code == 0

    assert imported_by(again, "torch", "matplotlib", "pandas", "pyarrow") == set()


@pytest.mark.process
def test_what_is_slow_to_import_is_not_waited_for_before_the_first_step() -> None:
    """Each of these takes a good part of the time of torch itself, and the compiler more."""
    code = (
        f"sys.path.insert(0, {str(PACKAGE.parent)!r}); import repro.execute.running; "
        "from benchmarks.training import benchmark_trial, population; "
        "from repro.data.sources.embedded import synthetic; import torch; "
        "images = synthetic(n_train=320, n_test=10); "
        "trial = benchmark_trial(images, 'cifar_80sec', batch=32); "
        "population(images, trial, torch.device('cpu')).train_window()"
    )
    slow = ("timm", "torchvision", "torch._dynamo", "torch._inductor", "triton", "sympy", "ray")
    later = ("pandas", "pyarrow", "matplotlib", "scipy.special", "scipy.stats", "sklearn")

    assert imported_by(code, *slow, *later) == set()


@pytest.mark.process
def test_how_a_run_stands_is_told_without_computing(tmp_path: Path) -> None:
    """`repro status` reads names and small files: no curve, no statistics."""
    code = (
        "from repro.cli import main\n"
        f"main(['status', '--store', {str(tmp_path)!r}], standalone_mode=False)"
    )

    assert imported_by(code, "torch", "pandas", "scipy.stats", "matplotlib") == set()


@pytest.mark.process
def test_commands_that_only_read_leave_torch_unimported(tmp_path: Path) -> None:
    """Nor does writing a plan down need it."""
    store = str(tmp_path / "runs")
    commands = [
        ["list"],
        ["show", "lrn"],
        ["show", "lrn", "--resolved", "--scale", "smoke"],
        ["validate", "lrn"],
        ["plan", "lrn", "--scale", "smoke", "--register", "--store", store],
        ["status", "--store", store],
        ["verify", store],
    ]
    code = f"from repro.cli import main\nfor c in {commands}: main(c, standalone_mode=False)"

    assert imported_by(code, "torch") == set()
