"""What a developer runs: `nox -l` lists it, `nox -s NAME -- ARGUMENTS` passes arguments on.

All environments are filled from `constraints.txt`. Sessions that run pytest share one,
so that Python compiles PyTorch's modules once for all of them; the others have their own.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
# What has to be green before a commit; .ci/run calls the others too.
nox.options.sessions = ["lint", "typecheck", "tests", "demo"]
# Images of containers set it; then each of hundreds of processes compiles all of PyTorch's modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PYPROJECT = nox.project.load_toml("pyproject.toml")

# A worker a core, none of which waits while another has tests left.
ABREAST = ("-n", "auto", "--maxprocesses", "8", "--dist", "worksteal")
PLAIN = (
    "not slow and not gpu and not data and not cluster and not docs and not browser and not faults "
    "and not evidence"
)
CLUSTER = ("tests/test_ranks.py", "tests/test_ray.py")


def install(session: nox.Session, *groups: str, package: bool = True) -> None:
    """Install the package, editable, and groups of `pyproject.toml`, all as pinned."""
    wanted = nox.project.dependency_groups(PYPROJECT, *groups) if groups else ()
    session.install("-c", "constraints.txt", *(("-e", ".") if package else ()), *wanted)


def environment_python(version: str = "") -> Path:
    """The interpreter of the environment that sessions with pytest share."""
    return Path(".nox", f"pytest{version}", "Scripts" if os.name == "nt" else "bin", "python")


def run_in_tests(
    session: nox.Session,
    *arguments: str,
    group: str = "test",
    extras: str = "",
    success_codes: tuple[int, ...] = (0,),
) -> None:
    """Run Python in that environment, of the version that -P asks for; uv makes others wait.

    `group` and `extras`: what else has to be in it. It stays there, and pytest's marks, not what is
    installed, say which tests run.
    """
    python = environment_python(str(session.python or ""))
    if not python.exists():
        version = str(session.python or sys.executable)
        folder = str(python.parents[1])
        session.run_install("uv", "venv", "--quiet", "-p", version, folder, external=True)
    if "REPRO_INSTALLED" not in os.environ:  # as .ci/run has done for all sessions at once
        session.run_install(
        "uv", "pip", "install", "--quiet", "-p", str(python), "-c", "constraints.txt",
        "-e", f".{extras}", *nox.project.dependency_groups(PYPROJECT, group), external=True,
    )  # fmt: skip
    session.run(str(python), *arguments, external=True, success_codes=success_codes)


def demonstrate(session: nox.Session, work: Path) -> None:
    """What the tool does, with the claims of the demonstration beside those of the paper."""
    shutil.copytree("examples/demo/claims", work / "claims", dirs_exist_ok=True)
    session.cd(work)
    session.run("repro", "run", "architecture")
    session.run("repro", "run", "momentum", "--scale", "smoke")
    session.run("repro", "report")


@nox.session
def demo(session: nox.Session) -> None:
    """Decide an exact claim, train another on embedded data, and say what to do next."""
    install(session)
    work = Path("runs/demo").resolve()
    kept, binaries = Path("reports/report/report.html").resolve(), Path(session.bin).resolve()
    demonstrate(session, work)
    print(  # noqa: T201 - for a reader, without the prefix of a log
        f"""
This demonstration:  {work / "report" / "report.html"}
    An exact claim, decided, and a trained one on handwritten digits: a real effect of momentum
    on a small net, which is no evidence about the paper.
The kept evidence:   {kept}
    Every claim that was measured on real images.

Next, with repro on PATH (`uv tool install .`, or now: export PATH="{binaries}:$PATH"):
    repro show relu_speedup                 a claim of the paper
    repro new my_claim                      a claim of your own
    repro run my_claim --scale smoke"""
    )


@nox.session(venv_backend="none")
def smoke(session: nox.Session) -> None:
    """Run every claim at its smoke scale, one seed an arm, and render their report."""
    with tempfile.TemporaryDirectory() as folder:
        claims = sorted(map(str, Path("claims").glob("*.yaml")))
        where = ("--store", f"{folder}/store")
        run = ("-m", "repro", "run", *claims, "--max-seeds", "1", "--scale", "smoke", *where)
        run_in_tests(session, *run, success_codes=(0, 4))  # 4: no verdict of one seed
        run_in_tests(session, "-m", "repro", "report", *where, "--out", f"{folder}/report")


INSTALLED = "import repro, sys; assert repro.__file__.startswith(sys.prefix), repro.__file__"


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, and run the demonstration and its claims' check with it alone, elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        session.run("uv", "build", "--quiet", "--wheel", "--out-dir", folder)
        (built,) = Path(folder).glob("*.whl")
        session.install("-c", "constraints.txt", "--reinstall-package", "repro-claims", str(built))
        session.env["PYTHONPATH"] = None
        demonstrate(session, Path(folder, "demo"))
        session.run("python", "-c", INSTALLED)
        session.run("repro", "validate")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the tests that need no accelerator, no data set and no patience; or those asked for."""
    selection = session.posargs or [*ABREAST, "-m", f"not process and {PLAIN}"]
    run_in_tests(session, "-m", "pytest", "--durations=12", *selection)


@nox.session(venv_backend="none")
def processes(session: nox.Session) -> None:
    """Run the tests that start, signal, kill or watch processes of the tool."""
    selection = session.posargs or [*ABREAST, "-m", f"process and {PLAIN}"]
    run_in_tests(session, "-m", "pytest", "--durations=12", *selection)


@nox.session(venv_backend="none")
def evidence(session: nox.Session) -> None:
    """Hold the kept store against itself, its report and what the README says of it."""
    run_in_tests(session, "-m", "pytest", "-m", "evidence", *session.posargs)


@nox.session(venv_backend="none")
def cluster(session: nox.Session) -> None:
    """Run the tests that start a Ray cluster here, or several ranks, and print their table."""
    selection = session.posargs or ["-m", "cluster and not slow", *CLUSTER]
    run_in_tests(session, "-m", "pytest", *selection, extras="[ray]")


@nox.session(venv_backend="none")
def slurm(session: nox.Session) -> None:
    """Run the tests that start jobs by submitit's local executor, and print their table."""
    selection = session.posargs or ["-m", "cluster", "tests/test_slurm.py"]
    run_in_tests(session, "-m", "pytest", *selection)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    install(session, "lint", package=False)
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check the types, strictly."""
    install(session, "typecheck")
    session.run("mypy", *session.posargs)


@nox.session(venv_backend="none")
def browser(session: nox.Session) -> None:
    """Look at the report in headless Chromium, which has to be on the machine."""
    looks = ("-m", "pytest", "-m", "browser", "tests/test_browser.py", *session.posargs)
    run_in_tests(session, *looks, group="browser")


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, and run every command that it shows."""
    run_in_tests(session, "-m", "mkdocs", "build", "--strict", "--quiet", group="docs")
    shown = ("-m", "pytest", "-m", "docs", "tests/test_docs.py", *session.posargs)
    run_in_tests(session, *shown, group="docs")


@nox.session(venv_backend="none")
def faults(session: nox.Session) -> None:
    """Provoke every fault; --kills 200, --corruptions 2000, --write for docs/faults.md."""
    run_in_tests(session, "-m", "pytest", "-q", "-m", "faults", "tests/faults", *session.posargs)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Give the claim parser and the store reader 20,000 damaged files each."""
    long = ("--hypothesis-profile", "long")
    run_in_tests(session, "-m", "pytest", "tests/faults/test_fuzz.py", *long, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure this machine, and the training loop beside others; writes reports/benchmarks."""
    install(session)
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session(venv_backend="none")
def calibration(session: nox.Session) -> None:
    """Simulate results of known truth, and count the verdicts and intervals that are wrong."""
    run_in_tests(session, "-m", "tests.calibration", *session.posargs)
    run_in_tests(session, "-m", "pytest", "tests/test_known_truth.py")


@nox.session(venv_backend="none")
def cuda(session: nox.Session) -> None:
    """Hold without a GPU what one would be given; `tests` runs these, too."""
    kernels = ("tests/test_lrn_kernel.py", "tests/test_crop_kernel.py")
    files = ("tests/test_cuda.py", *kernels, "tests/test_bare_machine.py")
    run_in_tests(session, "-m", "pytest", "--durations=5", *(session.posargs or files))


@nox.session(venv_backend="none")
def rehearsal(session: nox.Session) -> None:
    """Run every stage of the session on a borrowed GPU, small and on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        places = ("--work", folder, "--out", folder, "--limit", "14m")
        run_in_tests(session, "tools/bare_machine.py", "--rehearse", *places, *session.posargs)
