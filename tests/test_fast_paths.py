"""Which fast paths are taken: by what was measured of them, whatever becomes of one."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from repro.cli.doctor import fast_paths
from repro.data import Dataset
from repro.train import Run, device_data, train, train_all
from repro.train.fast_paths import (
    FastPaths,
    Measure,
    StepMeasurement,
    choose_fast_paths,
    measure_steps,
    try_paths,
)
from repro.train.optim import PaperSGD
from repro.train.population import PATHS, Population
from repro.train.steps import StreamedStep
from tests.test_population import Counted
from tests.worlds import RECIPE, tiny, trial_on

CPU = torch.device("cpu")
LOSSES = (2.3, 2.2)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny(tmp_path)


def by_table(times: Mapping[str, float], **odd: tuple[float, ...]) -> Measure:
    """Each path makes a step so many times as fast; `odd`: losses of those that are wrong."""

    def measure(paths: frozenset[str]) -> StepMeasurement:
        seconds, losses = 1.0, LOSSES
        for path in paths:
            seconds /= times[path]
            losses = odd.get(path, losses)
        return StepMeasurement(seconds=seconds, losses=losses)

    return measure


def test_what_is_faster_and_right_is_taken() -> None:
    """Each on top of those before it, with how much it gained."""
    found = try_paths(
        ["graph", "norm_kernel"], by_table({"graph": 4, "norm_kernel": 1.5}), bound=1e-3
    )

    assert found.paths == {"graph", "norm_kernel"}
    assert str(found) == "graph 4.00 times as fast; norm_kernel 1.50 times as fast"


def test_what_is_slower_is_left() -> None:
    """With its time; those after it are tried without it."""
    found = try_paths(["grouped", "graph"], by_table({"grouped": 0.4, "graph": 2}), bound=1e-3)

    assert found.paths == {"graph"}
    assert str(found) == "grouped left: 0.40 times as fast; graph 2.00 times as fast"


@pytest.mark.parametrize("wrong", [(2.3, 2.5), (2.3, float("nan")), (2.3, float("inf"))])
def test_what_gives_other_numbers_is_left_however_fast(wrong: tuple[float, ...]) -> None:
    """Also where one is no number."""
    found = try_paths(["norm_kernel"], by_table({"norm_kernel": 9}, norm_kernel=wrong), bound=1e-3)

    assert found == FastPaths(paths=frozenset(), notes=found.notes)
    assert "norm_kernel left: losses differ by" in str(found)


def test_a_net_that_diverges_plainly_may_do_so_quickly() -> None:
    """No number in the same places is the same number."""
    nan = float("nan")
    measure = by_table({"graph": 2}, graph=(nan, nan))

    def plain_too(paths: frozenset[str]) -> StepMeasurement:
        return StepMeasurement(seconds=measure(paths).seconds, losses=(nan, nan))

    assert try_paths(["graph"], plain_too, bound=1e-3).paths == {"graph"}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("operation not permitted when stream is capturing\nmore"),
        torch.OutOfMemoryError("CUDA out of memory"),
        NotImplementedError(),
        ImportError("no module named triton"),
    ],
)
def test_what_fails_is_left_with_the_reason(error: Exception) -> None:
    """Whatever is wrong with it; those after it are tried all the same."""

    def measure(paths: frozenset[str]) -> StepMeasurement:
        if "graph" in paths:
            raise error
        return by_table({"streams": 3})(paths)

    found = try_paths(["graph", "streams"], measure, bound=1e-3)

    assert found.paths == {"streams"}
    reason = str(error).splitlines()[0] if str(error) else "NotImplementedError"
    assert found.notes[0] == f"graph left: {reason}"


@pytest.mark.parametrize(("streams", "winner"), [(5, "streams"), (2, "grouped")])
def test_of_two_ways_to_lay_nets_abreast_the_faster_is_taken(streams: float, winner: str) -> None:
    """The second is tried in place of the first, and has to beat it."""
    times = {"graph": 2, "grouped": 3, "streams": streams}

    assert try_paths([*times], by_table(times), bound=1e-3).paths == {"graph", winner}


def test_where_the_plain_step_fails_that_is_raised() -> None:
    """There is nothing left to hold a path against."""

    def measure(_: frozenset[str]) -> StepMeasurement:
        raise RuntimeError("a lost card")

    with pytest.raises(RuntimeError, match="a lost card"):
        try_paths(["graph"], measure, bound=1e-3)


def test_on_a_cpu_there_is_no_choice(dataset: Dataset) -> None:
    """Its numbers are to be the same on every one; nothing is timed, and nothing noted."""
    trial = trial_on(dataset)
    run = train(trial, dataset, device=CPU, until=0.1)

    assert choose_fast_paths([run]) == FastPaths(paths=PATHS, notes=())
    assert run.paths == ""


@pytest.mark.parametrize("augment", [(), ("flip",)])
@pytest.mark.parametrize("nets", [1, 2])
def test_paths_are_tried_where_there_is_something_for_them(
    augment: tuple[str, ...], nets: int, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel for crops where some are drawn, nets abreast where there are several."""
    trial = trial_on(dataset, recipe=RECIPE.model_copy(update={"augment": augment}))
    runs = [Run(trial, device_data(trial, dataset, CPU), until=0.1) for _ in range(nets)]
    runs[0].device = torch.device("cuda")
    alike = StepMeasurement(seconds=1.0, losses=LOSSES)
    monkeypatch.setattr("repro.train.fast_paths.measure_steps", lambda *_, **__: alike)
    monkeypatch.setattr("repro.train.fast_paths._choices", {})
    monkeypatch.setattr("repro.models.lrn._kernels_used", True)  # which is chosen for the process
    tried = [note.split()[0] for note in choose_fast_paths(runs).notes]

    assert tried == [
        "channels_last",
        "norm_kernel",
        *(["crop_kernel"] if augment else []),
        "graph",
        *(["grouped", "streams"] if nets > 1 else []),
    ]


PATHS_OF_STEPS = [
    frozenset[str](),
    frozenset({"channels_last"}),
    frozenset({"channels_last", "graph", "grouped"}),
    frozenset({"graph", "streams"}),
]


@pytest.mark.parametrize("paths", PATHS_OF_STEPS)
def test_each_path_can_be_measured_and_disturbs_no_run(
    paths: frozenset[str], dataset: Dataset
) -> None:
    """With crops, by nets that are thrown away; their losses agree."""
    recipe = RECIPE.model_copy(update={"crop": 28, "augment": ("crop", "flip")})
    net = {"model": "alexnet_2012", "arguments": {"width": 0.05}}
    trials = [trial_on(dataset, recipe=recipe, seed=seed, **net) for seed in (0, 1)]
    data = device_data(trials[0], dataset, CPU)
    runs = [Run(trial, data, until=0.2) for trial in trials]
    before = [w.clone() for run in runs for w in run.model.state_dict().values()]
    plain, found = (measure_steps(runs, some, seconds=0) for some in (frozenset[str](), paths))

    assert found.seconds > 0
    assert found.losses == pytest.approx(plain.losses, rel=1e-4)
    after = [w for run in runs for w in run.model.state_dict().values()]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert not any(run.progress.rows for run in runs)


def test_nets_on_streams_are_each_what_it_is_alone(dataset: Dataset) -> None:
    """To the bit, with dropout and rates of their own; one that leaves stays as it is."""
    trials = [
        trial_on(
            dataset,
            seed=seed,
            rate=rate,
            recipe=RECIPE.model_copy(update={"drops": (0.2,)}),
            model="alexnet_2012",
            arguments={"width": 0.05},
        )
        for seed, rate in ((0, 0.01), (1, 0.002), (2, 0.005))
    ]
    data = device_data(trials[0], dataset, CPU)
    runs = [
        Run(trial, data, until=until) for trial, until in zip(trials, (0.2, 0.4, 0.4), strict=True)
    ]
    population = Population(runs, paths=PATHS - {"grouped"} | {"streams"})
    for _ in range(4):
        population.train_window()
        population.continue_with([run for run in runs if not run.ended])

    for run in runs:
        alone = train(run.trial, dataset, device=CPU, until=run.until)
        online = [row.loss for row in alone.progress.rows if row.source == "online"]
        assert [row.loss for row in run.progress.rows] == online
        for name, weight in run.model.state_dict().items():
            assert torch.equal(weight, alone.model.state_dict()[name]), name


def test_memory_that_runs_out_amid_a_window_on_streams_costs_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window begins again where it began, for one half after the other."""
    monkeypatch.setattr(
        "repro.train.loop.choose_fast_paths",
        lambda _: FastPaths(paths=PATHS - {"grouped"} | {"streams"}),
    )
    steps = []
    update = StreamedStep._update

    def short(self: StreamedStep, images: Tensor, labels: Tensor) -> None:
        update(self, images, labels)
        steps.append(len(self.members))
        if len(steps) == 2:
            raise torch.OutOfMemoryError("as the allocator would")

    monkeypatch.setattr(StreamedStep, "_update", short)
    trials = [trial_on(dataset, seed=seed, rate=0.002) for seed in range(2)]
    data = device_data(trials[0], dataset, CPU)
    runs = list(train_all([Run(trial, data, until=0.1) for trial in trials]))

    assert steps == [2, 2]
    for run in runs:
        alone = train(run.trial, dataset, device=CPU, until=0.1)
        assert [row.loss for row in run.progress.rows] == [row.loss for row in alone.progress.rows]


def test_a_plain_layout_is_the_velocitys_too(dataset: Dataset) -> None:
    """A fused step on a GPU asks for equal strides of weight, gradient and velocity."""
    trial = trial_on(dataset)
    run = Run(trial, device_data(trial, dataset, CPU), until=0.1)
    run.model.to(memory_format=torch.channels_last)
    Population([run], paths=frozenset())
    assert isinstance(run.optimizer, PaperSGD)

    strides = {v.stride() == p.stride() for p, v in run.optimizer.velocity.items()}
    assert strides == {True}
    assert all(p.is_contiguous() for p in run.model.parameters())


def test_where_nets_abreast_lose_they_are_trained_one_after_another(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each says what its steps were made of."""
    left = FastPaths(
        paths=frozenset({"channels_last"}), notes=("grouped left: 0.10 times as fast",)
    )
    monkeypatch.setattr("repro.train.loop.choose_fast_paths", lambda _: left)
    monkeypatch.setattr("repro.train.loop.Population", Counted)
    monkeypatch.setattr(Counted, "sizes", [])
    trials = [trial_on(dataset, seed=seed) for seed in range(3)]
    data = device_data(trials[0], dataset, CPU)
    ended = list(train_all([Run(trial, data, until=0.2) for trial in trials]))

    assert Counted.sizes == [1, 1, 1]
    assert [run.trial for run in ended] == trials
    assert {run.paths for run in ended} == {"grouped left: 0.10 times as fast"}


def test_the_doctor_says_what_a_step_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight small nets, each path with its note."""
    notes = ("graph 3.10 times as fast", "grouped left: 0.40 times as fast")
    monkeypatch.setattr(
        "repro.train.fast_paths.choose_fast_paths", lambda runs: FastPaths(notes=notes[: len(runs)])
    )
    check = fast_paths(CPU)

    assert check.state == "ok"
    assert check.text == "8 nets together, " + "; ".join(notes)
