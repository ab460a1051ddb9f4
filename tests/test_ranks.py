"""One trial over several processes that talk by gloo: one process's numbers, lost ranks."""

import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from repro.cli.executors import backend_from
from repro.data import Dataset
from repro.execute.backends.torchrun import join_group
from repro.execute.driver import run_cells
from repro.execute.machine import Machine
from repro.store import Store
from repro.train import Run, device_data, train, train_all
from repro.train.ranks import SINGLE_RANK, Ranks
from repro.trial import Trial
from tests.shell import wait_for
from tests.test_execute import finish
from tests.worlds import RECIPE, curve_of, lasting_claim_file, tiny, trial_on

pytestmark = pytest.mark.cluster

# Sums of float32 in another order. Weights that differ by 1e-7 of themselves change no loss by more
# than 2e-7 within an epoch, where units are tanh, or ReLUs of a small AlexNet. ReLUs of the CIFAR
# nets are left out where it matters: for one seed of three the loss moves by up to 15 %, on one
# process too.
BOUND = 1e-5
SLOW = 1e-5  # a rate at which they change none in some epochs either

IMAGES = 727  # 23 batches of 32, the last of 23; over 4 ranks it is uneven


def world(folder: Path, *, dropout: bool = False) -> tuple[Trial, Dataset]:
    """A trial with crops, mirrors and colours, and with dropout if it is asked for.

    At a small rate: a large one magnifies the order of sums, on some CPUs beyond the bound.
    """
    recipe = RECIPE.model_copy(
        update={"augment": ("crop", "flip"), "crop": 28, "colour": "deviations"}
    )
    dataset = tiny(folder, images=IMAGES)
    trial = trial_on(
        dataset,
        model="alexnet_2012",
        arguments={"width": 0.0625, "drop_rate": 0.5 if dropout else 0.0},
        recipe=recipe,
        threshold=None,
        rate=0.005,
        seed=3,
    )
    return trial, dataset


def meet(rank: int, size: int, port: int) -> None:
    """Say what `torchrun` would, and take no more of the machine than it would give."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def in_processes(target: Callable[..., None], size: int, *arguments: object) -> None:
    """`target(rank, size, port, *arguments)` in as many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(target, (size, port, *arguments), nprocs=size)  # type: ignore[no-untyped-call]


def _rank(rank: int, size: int, port: int, folder: str, checkpoint: bytes | None) -> None:
    meet(rank, size, port)
    trial, dataset = world(Path(folder))
    data = device_data(trial, dataset, torch.device("cpu"))
    run = Run(trial, data, until=1.0 if checkpoint else 0.5, checkpoint=checkpoint)
    ranks = join_group().ranks
    assert list(train_all([run], ranks=ranks)) == [run]
    (Path(folder) / f"{size}-{rank}.pt").write_bytes(run.state())
    random = train_random(Path(folder), ranks)
    np.save(Path(folder) / f"{size}-{rank}.npy", curve_of(random).loss)
    dist.destroy_process_group()


def train_random(folder: Path, ranks: Ranks) -> Run:
    """The first tenths of an epoch with dropout; beyond, rounding grows, on one process too."""
    trial, dataset = world(folder, dropout=True)
    run = Run(trial, device_data(trial, dataset, torch.device("cpu")), until=0.2)
    assert list(train_all([run], ranks=ranks)) == [run]
    return run


def over(size: int, folder: Path, checkpoint: bytes | None) -> list[Run]:
    """The trial over so many ranks, as each of them has it at its end."""
    in_processes(_rank, size, str(folder), checkpoint)
    trial, dataset = world(folder)
    data = device_data(trial, dataset, torch.device("cpu"))
    states = [(folder / f"{size}-{rank}.pt").read_bytes() for rank in range(size)]
    return [Run(trial, data, until=1.0, checkpoint=state) for state in states]


def test_ranks_give_the_curve_of_one_process_and_resume_on_another_number(tmp_path: Path) -> None:
    """Two ranks for half an epoch and four for the rest: same images, same errors, same weights."""
    whole = train(*world(tmp_path), device=torch.device("cpu"), until=1.0)
    half = over(2, tmp_path, None)
    rest = over(4, tmp_path, half[0].state())

    random = curve_of(train_random(tmp_path, SINGLE_RANK)).loss
    for size in (2, 4):
        np.testing.assert_allclose(np.load(tmp_path / f"{size}-0.npy"), random, rtol=BOUND)
    for runs in (half, rest):
        for run in runs[1:]:  # every rank holds the same net, to the bit
            assert run.progress.rows[0][1:5] == runs[0].progress.rows[0][1:5]
            for a, b in zip(run.model.parameters(), runs[0].model.parameters(), strict=True):
                assert torch.equal(a, b)
    ours, theirs = curve_of(rest[0]), curve_of(whole)
    pd.testing.assert_frame_equal(
        ours[["epoch", "source", "images"]], theirs[["epoch", "source", "images"]]
    )
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=BOUND)
    np.testing.assert_allclose(ours.error * ours.images, theirs.error * theirs.images, atol=2.01)
    for a, b in zip(
        rest[0].model.state_dict().values(), whole.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=BOUND, atol=BOUND * float(b.abs().max()))


def torchrun(folder: Path, ranks: int) -> "subprocess.Popen[str]":
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *(f"--nproc-per-node={ranks}", "-m", "repro", "run", str(folder / "tiny.yaml")),
        *("--scale", "smoke", "--store", str(folder / "ranks"), "--checkpoint-every", "0.1s"),
    ]
    return subprocess.Popen(
        command,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
        cwd=Path(__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def windows(store: Path) -> int:
    """Lines of the curves that were saved so far."""
    return sum(len(path.read_text().splitlines()) for path in store.glob("trials/*/curve.csv"))


def wait_for_more(process: "subprocess.Popen[str]", store: Path) -> None:
    before = windows(store)
    wait_for(lambda: windows(store) > before, process)


def rank_process(rank: int, parent: int) -> int:
    """The process that torchrun started as this rank."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            of = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if of == parent and f"RANK={rank}".encode() in environment:
            return int(entry.name)
    raise AssertionError(f"no rank {rank} below {parent}")


def _terminated(rank: int, size: int, port: int, store: str) -> None:
    meet(rank, size, port)
    machine = Machine(
        device="cpu", workers=1, store=Path(store), data_dirs=(), cache_dir=Path(store)
    )
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    backend = backend_from(  # rank 1 ends here
        machine,
        workers=1,
        executor="local",
        address=None,
        gpus_per_trial=None,
        slurm={},
        by_command=False,
    )
    assert run_cells(list, backend).failures == {}
    os.kill(os.getpid(), signal.SIGTERM)
    Path(store, "reported").touch()


def test_the_first_rank_reports_although_torchrun_ends_it(tmp_path: Path) -> None:
    """After a lost rank torchrun's SIGTERM comes at any moment, also when training has ended."""
    in_processes(_terminated, 2, str(tmp_path))
    assert (tmp_path / "reported").exists()


def test_a_lost_rank_and_ctrl_c_cost_nothing(tmp_path: Path) -> None:
    """A rank killed, then Ctrl-C at all of them, continued in one process: that one's curves."""
    lasting_claim_file(tmp_path, rate=SLOW, name="tiny")
    store = tmp_path / "ranks"
    process = torchrun(tmp_path, 2)
    wait_for_more(process, store)
    os.kill(rank_process(1, process.pid), signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode != 0
    assert "error[E303]: a process of trial" in said
    assert "the same command continues from the last checkpoint" in said

    process = torchrun(tmp_path, 2)
    wait_for_more(process, store)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: torchrun and every rank
    _, said = process.communicate()
    assert process.returncode != 0
    assert "interrupted: all is saved; to go on:" in said
    assert "error[" not in said

    begun = [path.parent.name for path in store.glob("trials/*/curve.csv")]
    trained = max(row.epoch for trial in begun for row in Store(store).rows(trial))
    lasting_claim_file(tmp_path, epochs=math.ceil(trained) + 1, rate=SLOW, name="tiny")
    assert finish(tmp_path, "ranks").keys() == finish(tmp_path, "alone").keys()
    for trial in Store(store).results():
        a, b = (Store(tmp_path / name).rows(trial) for name in ("ranks", "alone"))
        assert [(r.epoch, r.source, r.images) for r in a] == [
            (r.epoch, r.source, r.images) for r in b
        ]
        if Store(store).trial(trial).arguments["activation"] == "tanh":
            np.testing.assert_allclose([r.loss for r in a], [r.loss for r in b], rtol=BOUND)

    process = torchrun(tmp_path, 2)  # with nothing left to train
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "error[" not in said
