"""Nets trained together: each as if alone, within the bound of sums in another order."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from repro.data import Dataset
from repro.execute import Machine, group_cells
from repro.execute.worker.train_cells import train_cells
from repro.models import Dropout, build
from repro.planning import Cell
from repro.registry import CHAINS
from repro.store import Store
from repro.train import Population, Run, device_data, train, train_all
from repro.train.optim import PaperSGD
from repro.train.ranks import SINGLE_RANK, Ranks
from repro.train.steps import (
    BatchedStep,
    GraphedUpdate,
    batched_logits,
    member_bytes,
    stack_models,
)
from repro.trial import Trial
from tests.worlds import RECIPE, tiny, trial_on

CPU = torch.device("cpu")

# Of losses over the first windows, float32 on the CPU: rounding, which training then enlarges.
BOUND = 1e-4

NETS: dict[str, tuple[str, dict[str, object]]] = {
    "cifar_80sec": ("cifar_80sec", {"activation": "tanh"}),
    "cifar_19pct": ("cifar_19pct", {}),
    "slopes that are learned": ("cifar_80sec", {"activation": "prelu"}),
    "conv_local": ("cifar_conv_local", {}),
    "as printed": ("alexnet_2012", {"width": 0.05}),
    "authors": ("alexnet_2012", {"width": 0.05, "preset": "authors_2012", "overlapping": False}),
    "columns": ("alexnet_2012", {"width": 0.05, "split": "columns", "norm": "constant"}),
    "shallower": ("alexnet_2012", {"width": 0.05, "split": "one_gpu", "without": "conv4"}),
}
ALEXNET = {"model": "alexnet_2012", "arguments": {"width": 0.05}}
AUGMENTED = RECIPE.model_copy(
    update={"crop": 28, "augment": ("crop", "flip"), "colour": "deviations", "weight_decay": 5e-4}
)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny(tmp_path)


def together(
    trials: Sequence[Trial],
    dataset: Dataset,
    *,
    until: float,
    on_window: Callable[[Run], bool] = lambda _: True,
) -> list[Run]:
    data = device_data(trials[0], dataset, CPU)
    runs = [Run(trial, data, until=until) for trial in trials]
    assert {run.trial.id for run in train_all(runs, on_window=on_window)} == {
        trial.id for trial in trials
    }
    return runs


def losses(run: Run) -> list[float]:
    return [row[3] for row in run.progress.rows]


def assert_alike(one: Run, other: Run, bound: float = BOUND) -> None:
    """The same measurements in the same places, of the same numbers within the bound."""
    assert [row[:2] for row in one.progress.rows] == [row[:2] for row in other.progress.rows]
    np.testing.assert_allclose(losses(one), losses(other), rtol=bound)


def nets(name: str, arguments: dict[str, object], count: int = 3) -> list[torch.nn.Module]:
    return [
        build(name, arguments, classes=10, size=side(name), initialisation="he", seed=seed).double()
        for seed in range(count)
    ]


def side(name: str) -> int:
    return 24 if name == "cifar_conv_local" else 32


def stacked(models: Sequence[torch.nn.Module]) -> dict[str, Tensor]:
    names = [name for name, _ in models[0].named_parameters()]
    return {n: torch.stack([m.get_parameter(n).detach() for m in models]) for n in names}


@pytest.mark.parametrize("name", NETS)
def test_nets_abreast_compute_what_each_computes_alone(name: str) -> None:
    """Logits and gradients of every kind of net, in double precision, to the last digits."""
    models = nets(*NETS[name])
    size = side(NETS[name][0])
    images = torch.randn(3, 4, 3, size, size, dtype=torch.float64)
    weights = {k: w.requires_grad_() for k, w in stacked(models).items()}
    beside = images.transpose(0, 1).flatten(1, 2)
    for model in models:
        model.eval()
    logits = batched_logits(models[0], beside, weights)
    logits.square().sum().backward()  # type: ignore[no-untyped-call]
    for i, model in enumerate(models):
        alone = model(images[i])
        alone.square().sum().backward()
        torch.testing.assert_close(logits[i], alone)
        for key, parameter in model.named_parameters():
            gradient = weights[key].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[i], parameter.grad)


def test_every_net_of_the_project_can_be_laid_abreast() -> None:
    """A new net has to be in the test above, or say why it is trained alone."""
    assert {name for name, _ in NETS.values()} == set(CHAINS)


def test_the_same_images_are_shown_to_all() -> None:
    """For measuring: (B, 3, S, S) to (P, B, classes)."""
    models = nets("cifar_80sec", {})
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64)

    torch.testing.assert_close(
        stack_models(models)(images), torch.stack([model(images) for model in models])
    )


def test_members_curves_are_those_of_their_single_runs(dataset: Dataset) -> None:
    """Seeds, rates, decay, bias rates, schedules: each member its own."""
    trials = [
        trial_on(dataset),
        trial_on(dataset, seed=1, rate=0.003),
        trial_on(
            dataset,
            recipe=RECIPE.model_copy(
                update={"weight_decay": 0.01, "bias_rate": 2.0, "drops": (0.2,), "momentum": 0.5}
            ),
        ),
    ]
    for run in together(trials, dataset, until=0.4):
        assert_alike(run, train(run.trial, dataset, device=CPU, until=0.4))


def test_crops_colours_and_dropout_are_drawn_for_each_member_alone(dataset: Dataset) -> None:
    """Dropout rates differ; response normalisation and groups run for all at once."""
    trials = [
        trial_on(
            dataset,
            recipe=AUGMENTED,
            threshold=None,
            seed=seed,
            model="alexnet_2012",
            arguments={"width": 0.05, "drop_rate": p},
        )
        for seed, p in ((0, 0.5), (1, 0.0), (0, 0.2))
    ]
    for run in together(trials, dataset, until=0.4):  # later, rounding is enlarged
        alone = train(run.trial, dataset, device=CPU, until=0.4)
        assert_alike(run, alone)
        assert run.metrics.keys() == alone.metrics.keys() != set()


def test_low_precision_learns_alike(dataset: Dataset) -> None:
    """Bfloat16 keeps three digits."""
    low = RECIPE.model_copy(update={"precision": "bfloat16"})
    trials = [trial_on(dataset, recipe=low, seed=seed) for seed in (0, 1)]
    for run in together(trials, dataset, until=0.2):
        assert_alike(run, train(run.trial, dataset, device=CPU, until=0.2), bound=0.05)


def test_members_leave_when_they_cross_or_diverge(dataset: Dataset) -> None:
    """And the rest goes on as if they had not been there."""
    trials = [
        trial_on(dataset, rate=1e6),
        trial_on(dataset, threshold=0.9, near=1.0),
        trial_on(dataset, seed=3),
    ]
    diverged, crossed, last = together(trials, dataset, until=0.6)

    assert diverged.progress.status == "diverged"
    assert crossed.progress.status == "crossed"
    assert crossed.metrics.keys() == {"test_error"}
    assert last.progress.epoch == pytest.approx(0.6)
    assert_alike(last, train(last.trial, dataset, device=CPU, until=0.6), bound=1e-3)


def test_a_member_goes_on_alone_or_in_another_group(dataset: Dataset) -> None:
    """A checkpoint is that of a single run.

    At a small rate: at a large one a net magnifies the order of sums, and more so on some CPUs.
    """
    one, two, other = (trial_on(dataset, seed=seed, rate=0.002) for seed in range(3))
    parts = together([one, two], dataset, until=9.0, on_window=lambda r: r.progress.windows < 2)
    assert [run.progress.windows for run in parts] == [2, 2]
    data = device_data(one, dataset, CPU)
    again = [
        Run(one, data, until=0.4, checkpoint=parts[0].state()),
        Run(other, data, until=0.4),  # at another tenth: it does not keep step, and goes alone
    ]
    rest = [
        *train_all(again),
        train(two, dataset, device=CPU, until=0.4, checkpoint=parts[1].state()),
    ]

    assert len(parts[0].state()) < 1.1 * len(train(one, dataset, device=CPU, until=0.1).state())
    for run in rest:
        assert_alike(run, train(run.trial, dataset, device=CPU, until=0.4))


class ShortOfMemory(BatchedStep):
    """Suffices for two nets."""

    def begin(self, noise: Sequence[int]) -> None:
        super().begin(noise)
        if len(self.models) > 2:
            raise torch.OutOfMemoryError("as the allocator would")


def test_where_memory_runs_out_the_population_is_halved(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All trials are trained, and their numbers are the same."""
    monkeypatch.setattr("repro.train.population.BatchedStep", ShortOfMemory)
    trials = [trial_on(dataset, seed=seed, rate=0.002) for seed in range(4)]  # see above
    runs = together(trials, dataset, until=0.2)

    assert {run.batched_runs for run in runs} == {2}
    for run in runs[:2]:
        assert_alike(run, train(run.trial, dataset, device=CPU, until=0.2))


class Counted(Population):
    """Says how large each one was."""

    sizes: ClassVar[list[int]] = []

    def __init__(self, runs: Sequence[Run], ranks: Ranks = SINGLE_RANK, **more: Any) -> None:
        super().__init__(runs, ranks, **more)
        self.sizes.append(len(runs))


def test_a_batch_of_runs_is_laid_out_anew_when_half_have_left(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six runs that leave one after another: three times, not six; and none is disturbed."""
    monkeypatch.setattr("repro.train.loop.Population", Counted)
    monkeypatch.setattr(Counted, "sizes", [])
    trials = [trial_on(dataset, seed=seed, rate=0.002) for seed in range(6)]
    data = device_data(trials[0], dataset, CPU)
    runs = [Run(trial, data, until=(k + 1) / 10) for k, trial in enumerate(trials)]
    left = list(train_all(runs))

    assert left == runs
    assert Counted.sizes == [6, 3, 1]
    monkeypatch.undo()
    for run in runs[:4]:
        assert_alike(run, train(run.trial, dataset, device=CPU, until=run.until))
    assert runs[5].progress.epoch == pytest.approx(0.6)


class Crowded(Run):
    """Has no memory for its final measurements while others are in training."""

    tries = 0

    def measure_final(self, ranks: Ranks = SINGLE_RANK, *, alone: bool = True) -> None:
        self.tries += 1
        if self.tries == 1:
            raise torch.OutOfMemoryError("as the allocator would")
        super().measure_final(ranks, alone=alone)


def test_a_run_that_leaves_gets_the_memory_of_those_that_stay(dataset: Dataset) -> None:
    """They are laid out anew, and all end."""
    trials = [trial_on(dataset, seed=seed, rate=0.002) for seed in range(3)]
    data = device_data(trials[0], dataset, CPU)
    first = Crowded(trials[0], data, until=0.1)
    left = list(train_all([first, *(Run(trial, data, until=0.2) for trial in trials[1:])]))

    assert [run.trial.id for run in left] == [trial.id for trial in trials]
    assert first.tries == 2
    assert all(run.metrics for run in left)


class Unsupported(BatchedStep):
    """What cuDNN says where it has no way, or too little memory for any."""

    tries: ClassVar[list[int]] = []

    def begin(self, noise: Sequence[int]) -> None:
        self.tries.append(len(noise))
        raise RuntimeError("GET was unable to find an engine to execute this computation")


def test_what_may_be_unsupported_is_tried_with_half_as_many_once(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the error itself is shown: eight nets are not tried by four, two and one."""
    monkeypatch.setattr("repro.train.population.BatchedStep", Unsupported)
    monkeypatch.setattr(Unsupported, "tries", [])
    trials = [trial_on(dataset, seed=seed) for seed in range(8)]

    with pytest.raises(RuntimeError, match="unable to find an engine"):
        together(trials, dataset, until=0.1)
    assert Unsupported.tries == [8, 4]


def test_dropout_draws_what_torch_draws() -> None:
    """The same bits from a generator seeded alike, so that old trials stay what they are."""
    x, layer = torch.ones(8, 50), Dropout(0.3, (50,))
    torch.manual_seed(5)
    expected = torch.nn.functional.dropout(x, 0.3)
    mask = torch.empty(8, 50)
    layer.draw(mask, torch.Generator().manual_seed(5))
    layer.mask = mask

    assert torch.equal(layer(x), expected)
    assert torch.equal(layer.eval()(x), x)


def test_a_recorded_update_is_fed_through_the_same_memory() -> None:
    """Three updates as they are, then replays; another size of batch never is."""
    seen: list[tuple[int, int, float]] = []

    def update(images: Tensor, labels: Tensor) -> None:
        seen.append((images.data_ptr(), len(images), labels.sum().item()))

    replayed = GraphedUpdate(update, CPU, batch=4, record=lambda run: run)
    for step in range(8):
        size = 2 if step == 5 else 4
        replayed(torch.zeros(size, 1), torch.full((size,), step))
    recorded = {pointer for pointer, _, _ in seen[-2:]}

    assert [total for _, _, total in seen] == [4 * s if s != 5 else 10 for s in range(8)]
    assert len({*recorded, seen[3][0], seen[4][0]}) == 1
    replayed.forget()
    assert replayed.replay is None


def test_a_short_batch_that_comes_first_is_not_recorded() -> None:
    """As in a run that goes on in the last tenth of an epoch, whose only batch is short."""
    sizes: list[int] = []
    recorded: list[int] = []

    def record(run: Callable[[], None]) -> Callable[[], None]:
        run()
        recorded.append(sizes[-1])
        return run

    replayed = GraphedUpdate(lambda x, _: sizes.append(len(x)), CPU, batch=4, record=record)
    for size in (2, 2, 2, 2, 4, 4, 4, 4, 2, 4):
        replayed(torch.zeros(size, 1), torch.zeros(size))

    assert recorded == [4]


def test_where_recording_fails_steps_run_as_they_are() -> None:
    """Told once; nothing is lost and nothing runs twice. Want of memory is told as such."""
    seen: list[float] = []

    def refuse(_: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    replayed = GraphedUpdate(lambda x, _: seen.append(x.item()), CPU, batch=1, record=refuse)
    for step in range(3):
        replayed(torch.tensor([float(step)]), torch.zeros(1))
    with pytest.warns(UserWarning, match="not recorded as a CUDA graph.*not permitted"):
        replayed(torch.tensor([3.0]), torch.zeros(1))
    for step in range(4, 8):
        replayed(torch.tensor([float(step)]), torch.zeros(1))

    assert seen == list(range(8))

    def burst(_: Callable[[], None]) -> Callable[[], None]:
        raise torch.OutOfMemoryError("as the allocator would")

    replayed = GraphedUpdate(lambda *_: None, CPU, batch=1, record=burst)
    for _ in range(3):
        replayed(torch.zeros(1), torch.zeros(1))
    with pytest.raises(torch.OutOfMemoryError):
        replayed(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("name", ["cifar_80sec", "alexnet_2012"])
def test_memory_is_estimated_without_a_device(name: str) -> None:
    """More for a larger batch, and never less than weights, velocities and gradients."""
    model = nets(name, {}, count=1)[0].float()
    weights = sum(p.nbytes for p in model.parameters())
    small, large = (member_bytes(model, batch=batch, size=32) for batch in (8, 80))

    assert 5 * weights < small < large


# From the plan, and back into the store


def cells_of(trials: Sequence[Trial], until: float = 0.2) -> list[Cell]:
    return [
        Cell(recipe="period", arm="a", purpose="tune", trial=trial, until=until, decides=True)
        for trial in trials
    ]


def machine(folder: Path, population: int | None) -> Machine:
    return Machine(
        device="cpu",
        workers=1,
        store=folder / "store",
        data_dirs=(folder,),
        cache_dir=folder,
        population=population,
    )


def digits(dataset: Dataset, **changes: object) -> Trial:
    return trial_on(dataset, data="digits", images=640, **changes)


def test_only_trials_of_one_shape_are_put_together(dataset: Dataset, tmp_path: Path) -> None:
    """In the order of the plan; never more than asked for; others' nets alone."""
    relu = [digits(dataset, seed=seed) for seed in range(3)]
    tanh = digits(dataset, arguments={"activation": "tanh"})
    decayed = digits(dataset, recipe=RECIPE.model_copy(update={"weight_decay": 0.1}))
    foreign = [digits(dataset, model="timm:resnet10t", seed=seed) for seed in (0, 1)]
    cells = cells_of([relu[0], tanh, relu[1], decayed, relu[2], *foreign])

    def grouped(population: int | None) -> list[list[str]]:
        groups = group_cells(cells, machine(tmp_path, population))
        return [[cell.trial.id for cell in group] for group in groups]

    a, b, c = (trial.id for trial in relu)
    others = [[trial.id] for trial in foreign]
    assert grouped(3) == [[a, b, decayed.id], [tanh.id], [c], *others]
    assert grouped(1) == grouped(None) == [[cell.trial.id] for cell in cells]


def test_a_population_is_stored_as_single_trials(dataset: Dataset, tmp_path: Path) -> None:
    """A fault of one member is its own; the others have results, curves and checkpoints."""
    where = machine(tmp_path, 3)
    cells = cells_of([digits(dataset, seed=seed) for seed in range(3)])
    broken = where.store / "trials" / cells[1].trial.id / "result.json"
    broken.mkdir(parents=True)

    class Going:
        def is_set(self) -> bool:
            return False

        def set(self) -> None: ...

    ended = train_cells(cells, where, stop=Going(), on_event=lambda _: None)
    store = Store(where.store)

    assert isinstance(ended[cells[1].trial.id], Exception)
    for cell in (cells[0], cells[2]):
        result = store.result(cell.trial.id)
        assert result is not None
        assert result.provenance["population"] == "2"
        assert store.checkpoint(cell.trial.id) is not None
        assert len(store.rows(cell.trial.id)) == 3


def test_velocity_of_a_net_that_was_never_stepped_is_at_rest() -> None:
    """Batched and written back without a step, nothing has moved."""
    models = [m.float() for m in nets("cifar_80sec", {}, count=2)]
    optimizers = [PaperSGD(m, rate=0.1, momentum=0.9, weight_decay=0.0) for m in models]
    before = stacked(models)
    step = BatchedStep(
        models, optimizers, autocast=lambda: torch.autocast("cpu", enabled=False), batch=2
    )
    step.begin([0, 0])
    step.write_back()

    for key, value in stacked(models).items():
        assert torch.equal(value, before[key])
    assert math.isclose(sum(float(v.abs().sum()) for v in optimizers[0].velocity.values()), 0)
