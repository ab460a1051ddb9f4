"""What works on this machine, what is missing, and which claims can run here at which scale."""

import os
import platform
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Literal

import torch

from repro.claim import SCALES, Claim, Recipe, TrainedClaim, load
from repro.data import Status, status
from repro.errors import ClaimError, DataError, ReproError
from repro.registry import DATASETS, LOGGERS
from repro.registry.plugins import Plugins
from repro.store.provenance import code_commit, code_version, cores, cpu_name
from repro.train.precision import instructions
from repro.trial import Trial

_ROUGHLY = (1_200_000, 150_000)  # images of ILSVRC-2010, of which no exact number is known here


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at. Only `broken` keeps anything from running."""

    name: str
    state: Literal["ok", "missing", "broken"]
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Possible:
    claim: str
    scale: str
    can: bool
    why: str


def checks(
    claims: Sequence[Path], store: Path, data_dirs: Sequence[Path], cache_dir: Path
) -> Iterator[Check]:
    yield _repro()
    yield Check(name="python", state="ok", text=_python())
    yield _torch()
    yield from _devices()
    memory = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB memory"
    yield Check(name="machine", state="ok", text=f"{cores()} cores for this process, {memory}")
    yield _folder("store", store)
    yield _folder("cache", cache_dir)
    for one in status(data_dirs, cache_dir):
        text = str(one).partition(": ")[2]
        yield Check(name=one.name, state="missing" if one.problem else "ok", text=text)
    yield from _plugins()
    for logger, needed in LOGGERS.items():
        here = not isinstance(needed, str) or find_spec(needed) is not None
        text = (
            "installed" if here else f"not installed (pip install -e '.[{logger}]' in the checkout)"
        )
        yield Check(name=f"--log {logger}", state="ok" if here else "missing", text=text)
    for path in claims:
        try:
            load(path)
        except ClaimError as error:
            count = len(str(error).splitlines())
            text = f"{count} problem{'s' * (count != 1)}: repro validate {path}"
            yield Check(name=path.stem, state="broken", text=text)


def possible(
    claims: Sequence[Claim], data_dirs: Sequence[Path], cache_dir: Path
) -> Iterator[Possible]:
    statuses = {one.name: one for one in status(data_dirs, cache_dir)}
    free = _free_bytes(cache_dir)
    for claim in claims:
        if not isinstance(claim, TrainedClaim):
            yield Possible(claim=claim.id, scale="exact", can=True, why="no training")
            continue
        for name, scale in claim.scales.items():
            if claim.trainer is not None:
                yield Possible(claim=claim.id, scale=name, can=True, why="its command")
                continue
            can, why = _images(scale.data, statuses, data_dirs, free)
            yield Possible(claim=claim.id, scale=name, can=can, why=why)


def possible_lines(rows: Sequence[Possible]) -> Iterator[str]:
    """A row a claim, a column a scale; below it each reason, and what it keeps from running."""
    yield "what can run here:"
    yield f"{'':28}{''.join(f'{scale:>13}' for scale in SCALES)}"
    for claim, scales in groupby(rows, key=lambda one: one.claim):
        cells = {one.scale: "yes" if one.can else "no" for one in scales}
        if cells.keys() <= set(SCALES):
            row = "".join(f"{cells.get(scale, ''):>13}" for scale in SCALES)
        else:
            row = f"{'yes':>13}  without training"
        yield f"{claim:28}{row}".rstrip()
    reasons: dict[str, list[str]] = {}
    for one in rows:
        if one.scale in SCALES and one.scale != "smoke":
            reasons.setdefault(one.why, []).append(one.scale)
    for why, scale_names in reasons.items():
        counts = ", ".join(f"{n} at {scale} scale" for scale, n in Counter(scale_names).items())
        yield f"{why}: {counts}"


def _repro() -> Check:
    problem = code_commit().problem
    why = f"; results do not say which commit they are of: {problem}" if problem else ""
    return Check(name="repro", state="missing" if problem else "ok", text=code_version() + why)


def _python() -> str:
    if sys.dont_write_bytecode:
        return (
            f"{platform.python_version()}; PYTHONDONTWRITEBYTECODE is set: where packages were "
            "not compiled when they were installed, each start compiles them, for seconds"
        )
    return platform.python_version()


def _torch() -> Check:
    cuda = torch.version.cuda
    parts = [torch.__version__, f"built for CUDA {cuda}" if cuda else "built for the CPU"]
    driver = Path("/proc/driver/nvidia/version")
    if driver.exists():
        parts.append(driver.read_text().splitlines()[0])
    for package in ("triton", "torchvision", "timm"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    return Check(name="torch", state="ok", text=", ".join(parts))


def _devices() -> Iterator[Check]:
    yield Check(name="cpu", state="ok", text=f"{cpu_name()}, {instructions()}")
    if not torch.cuda.is_available():
        yield Check(name="cuda", state="missing", text="no accelerator; all runs on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        try:
            about = torch.cuda.get_device_properties(index)
            torch.ones(8, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:
            yield Check(name=f"cuda:{index}", state="broken", text=str(error).splitlines()[0])
            continue
        memory = about.total_memory / 2**30
        description = f"{about.name}, {memory:.0f} GiB, capability {about.major}.{about.minor}"
        yield Check(name=f"cuda:{index}", state="ok", text=description)
        yield fast_paths(torch.device("cuda", index))


_TOGETHER = 8  # nets, as which the smallest that is trained on real images is tried


def fast_paths(device: torch.device) -> Check:
    """What a step is made of there: each path is tried for a second, and what loses is left."""
    from repro.data import synthetic
    from repro.train import Run, device_data
    from repro.train.fast_paths import choose_fast_paths

    images = synthetic(n_train=1280, n_test=10)
    trial = Trial(
        model="cifar_80sec",
        arguments={},
        recipe=Recipe(
            inputs="centred", initialisation="cuda_convnet", bias_rate=2.0, precision="bfloat16"
        ),
        data=images.name,
        fingerprint=images.fingerprint,
        rate=1e-3,
        seed=0,
        numerics=0,
    )
    data = device_data(trial, images, device)
    trials = [replace(trial, seed=seed) for seed in range(_TOGETHER)]
    paths = choose_fast_paths([Run(one, data, until=1.0) for one in trials])
    text = f"{_TOGETHER} nets together, {str(paths) or 'nothing to choose'}"
    return Check(name=f"{device} steps", state="ok", text=text)


def _folder(name: str, folder: Path) -> Check:
    """Written to, where it is or would be made."""
    try:
        with tempfile.TemporaryFile(dir=_nearest(folder)):
            pass
    except OSError as error:
        problem = f"{folder}: cannot write: {error.strerror}; name another one with --{name}"
        return Check(name=name, state="broken", text=problem.replace("--cache", "--cache-dir"))
    return Check(name=name, state="ok", text=f"{folder}: {_gigabytes(_free_bytes(folder))} free")


def _plugins() -> Iterator[Check]:
    """What other packages add; each is loaded, since nothing else shows that it can be."""
    for plugins in Plugins.groups:
        kind = plugins.group.removeprefix("repro.").removesuffix("s")
        for name in plugins:
            if name in plugins.own:
                continue
            try:
                plugins[name]
            except ReproError as error:
                yield Check(name=f"{kind} {name}", state="broken", text=str(error))
            else:
                yield Check(name=f"{kind} {name}", state="ok", text="of a plug-in")


def _images(
    name: str, statuses: dict[str, Status], data_dirs: Sequence[Path], free: int
) -> tuple[bool, str]:
    """Whether the images of a scale are here, or what is to be done."""
    facts = DATASETS.get(name)
    one = statuses.get(name)
    if one is None or facts is None:
        from repro.data import find

        try:
            here = find(name, data_dirs) is not None
        except DataError as error:
            return False, str(error).splitlines()[0]
        return here, "images found" if here else "images not found (repro data status)"
    if one.problem:
        get = f"fetch {name}" if facts.fetched else "status"
        return False, f"{facts.title} {one.problem} (repro data {get})"
    if not facts.evidence:
        return True, "embedded data, never evidence"
    if one.decoded:
        return True, "images decoded"
    needed = sum(facts.images or _ROUGHLY) * 3 * facts.size**2
    if needed > free:
        return False, f"decoding needs {_gigabytes(needed)}, {_gigabytes(free)} are free"
    return True, f"images found, to be decoded once ({_gigabytes(needed)})"


def _nearest(folder: Path) -> Path:
    """The folder, or what exists first above it."""
    folder = folder.absolute()
    return folder if folder.exists() else _nearest(folder.parent)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(_nearest(folder)).free


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
