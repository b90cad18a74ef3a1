"""Incremental occlusion against full runs, window by window, on networks that can be cut and on some that cannot."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Network
from agnoscope.explainers.base import OneImage
from agnoscope.explainers.perturbation import incremental
from agnoscope.explainers.perturbation.incremental import Grid, Stop, best_route, runs, scores_incrementally, sources
from agnoscope.explainers.perturbation.occlusion import Occlusion
from agnoscope.explainers.perturbation.reach import IMAGE, Cuts, Reach, find_cuts
from tests.explainers.perturbation.full_runs import asked, assert_exact, hiding, pools, strides
from tests.frameworks import FRAMEWORKS
from tests.networks import RESNET20, load_weights

EACH = ["reference", *FRAMEWORKS]


def build(framework: str, network: Network, **options: Any) -> ag.Model:
    """The described network in a framework, wrapped."""
    if framework == "reference":
        return ag.wrap(network, **options)
    if framework == "torch":
        pytest.importorskip("torch")
        return importlib.import_module("tests.backends.torch_builder").build(network, **options)
    kit = importlib.import_module("tests.backends.test_conformance")
    return {"jax": kit.linen, "tensorflow": kit.keras}[framework](network, **options)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks save little; what counts here is that it is right."""
    monkeypatch.setattr(incremental, "WORTHWHILE", 0)
    monkeypatch.setattr(incremental, "FEWEST", 1)


@pytest.mark.parametrize("framework", EACH)
@pytest.mark.parametrize("network", [pools, strides])
def test_scores_are_those_of_full_runs_in_every_framework(
    framework: str, network: Callable[[], Network], always: None
) -> None:
    one = asked(build(framework, network()), (64, 56))
    assert_exact(one, Occlusion(8, 4).windows(one.size))
    assert len(find_cuts(one.model, one.size).names) >= 3


@pytest.mark.parametrize("size", [(63, 64), (61, 67), (65, 50), (48, 48)])
@pytest.mark.parametrize("network", [pools, strides])
def test_odd_sizes_come_out_right(size: tuple[int, int], network: Callable[[], Network], always: None) -> None:
    one = asked(ag.wrap(network()), size)
    assert_exact(one, Occlusion((9, 7), (5, 3)).windows(size))


def test_float64_agrees_to_its_own_precision(always: None) -> None:
    one = asked(ag.wrap(pools(np.float64)), (64, 64))
    assert_exact(one, Occlusion(8, 4).windows(one.size))


def test_windows_of_any_place_and_size_will_do(always: None) -> None:
    rng = np.random.default_rng(3)
    tops, lefts = rng.integers(0, 60, size=(2, 80))
    ends = rng.integers(1, 20, size=(2, 80))
    windows = np.stack([tops, np.minimum(tops + ends[0], 64), lefts, np.minimum(lefts + ends[1], 64)], axis=1)
    assert_exact(asked(ag.wrap(pools()), (64, 64)), windows.astype(np.int32))


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_less_memory_takes_more_runs_and_gives_the_same(
    batch_size: int, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental, "ROOM", 2)
    one = asked(ag.wrap(pools()), (64, 64), batch_size=batch_size)
    grid = Grid.of(Occlusion(8, 4).windows(one.size))
    route = best_route(one.model, find_cuts(one.model, one.size), grid)
    assert route is not None
    room = 2 * batch_size * one.model.outline(one.size).largest
    chunks, counts = runs(one.model, route, grid, room)
    assert (len(chunks) > 1) == (batch_size < 100)
    assert sorted(np.concatenate(chunks)) == list(range(len(grid.windows)))
    assert all(count % counts[0] == 0 for count in counts)
    assert_exact(one, Occlusion(8, 4).windows(one.size))


def test_progress_ends_at_the_number_of_windows(always: None) -> None:
    ticks: list[int] = []
    one = asked(ag.wrap(pools()), (64, 64), batch_size=1)
    windows = Occlusion(8, 4).windows(one.size)
    one = OneImage(one.model, one.image, one.target, one.score, 1, ticks.append)
    assert scores_incrementally(one, hiding(one), windows) is not None
    assert ticks == sorted(ticks)
    assert ticks[-1] == len(windows)


def test_probabilities_are_answered_and_inner_layers_are_not(always: None) -> None:
    model = ag.wrap(pools())
    windows = Occlusion(8, 4).windows((64, 64))
    assert_exact(asked(model, (64, 64), ag.ClassScore(2, "probability")), windows)
    assert_exact(asked(model, (64, 64), ag.Channel("relu20", 2)), windows, expected=False)


def test_few_windows_use_full_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "WORTHWHILE", 0)
    one = asked(ag.wrap(pools()), (64, 64))
    assert_exact(one, Occlusion(32, 16).windows(one.size), expected=False)


def test_small_savings_use_full_runs() -> None:
    one = asked(ag.wrap(pools()), (64, 64))
    assert_exact(one, Occlusion(56, 1).windows(one.size), expected=False)


@pytest.mark.torch
def test_an_input_that_joins_after_the_cuts_uses_full_runs(always: None) -> None:
    pytest.importorskip("torch")
    model = importlib.import_module("tests.backends.torch_builder").build_shifted(pools(), input_size=64)
    one = asked(model.bind(shift=np.ones(3, np.float32)), (64, 64))
    assert_exact(one, Occlusion(8, 4).windows(one.size), expected=False)


def test_it_is_used_where_it_saves_much() -> None:
    one = asked(ag.wrap(pools()), (112, 112))
    assert_exact(one, Occlusion(8, 8).windows(one.size), expected=True)


# -- where cutting is wrong, and known to be ---------------------------------------------------------------------------


def torch_network(name: str) -> Any:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
            self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(self.second(self.relu(self.first(x))) + self.shortcut(x))

    class Excite(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.gate = nn.Linear(channels, channels)

        def forward(self, x: Any) -> Any:
            return x * torch.sigmoid(4 * self.gate(x.mean(dim=(2, 3))))[:, :, None, None]

    class Around(nn.Module):
        """What the image itself shows comes in again at the end."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*plain(3, 8), *plain(8, 8))

        def forward(self, x: Any) -> Any:
            return torch.cat([self.body(x).mean(dim=(2, 3)), x.mean(dim=(2, 3))], dim=1)

    class Flat(nn.Module):
        """The residual blocks written out, without modules of their own."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, 1, 1)
            self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(6))
            self.pool = nn.MaxPool2d(2)
            self.relus = nn.ModuleList(nn.ReLU() for _ in range(6))

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            for i in range(0, 6, 2):
                y = self.relus[i](self.convs[i](x))
                x = self.relus[i + 1](x + self.convs[i + 1](y))
                x = self.pool(x) if i == 0 else x
            return x.mean(dim=(2, 3))

    def plain(inputs: int, outputs: int) -> list[Any]:
        return [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]

    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)]
    networks = {
        "residual": lambda: nn.Sequential(*plain(3, 8), Block(8, 8, 1), Block(8, 16, 2), Block(16, 16, 1), *end),
        "residual written out": Flat,
        "excitation early": lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1), Excite(8), *plain(8, 16), *plain(16, 16), *end
        ),
        "excitation late": lambda: nn.Sequential(
            *plain(3, 8), *plain(8, 16), nn.Conv2d(16, 16, 3, 1, 1), Excite(16), nn.Conv2d(16, 16, 3, 1, 1), *end
        ),
        "around": Around,
        "normalised over the map": lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1), nn.GroupNorm(2, 8), *plain(8, 16), *plain(16, 16), *end
        ),
        "dilated": lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, (1, 5), (1, 2), (0, 2)),
            *plain(16, 16),
            *end,
        ),
    }
    network = networks[name]().eval()
    for parameter in network.parameters():
        parameter.data *= 2  # so that the answer depends on what is hidden
    return network


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("residual", ["2", "3", "4"]),
        ("residual written out", ["stem", "pool", "relus.3"]),
        ("excitation early", []),
        ("excitation late", ["2", "5"]),
        ("around", []),
        ("normalised over the map", []),
        ("dilated", ["1", "2"]),
    ],
)
def test_cuts_are_where_nothing_flows_around_them(name: str, cuts: list[str], always: None) -> None:
    one = asked(ag.wrap(torch_network(name), input_size=64), (64, 64))
    assert list(find_cuts(one.model, one.size).names) == [IMAGE, *cuts]
    assert_exact(one, Occlusion(8, 4).windows(one.size))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["excitation early", "around", "normalised over the map"])
def test_a_network_without_cuts_uses_full_runs(name: str) -> None:
    one = asked(ag.wrap(torch_network(name), input_size=64), (64, 64))
    assert_exact(one, Occlusion(8, 4).windows(one.size), expected=False)


@pytest.mark.parametrize("wrong", [Reach(1, 0, 1), Reach(1, 0, 2), Reach(1, 1, 1)])
def test_a_reach_too_short_is_found_out_and_not_tried_again(
    wrong: Reach, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = asked(ag.wrap(pools()), (64, 64))
    right = find_cuts(one.model, one.size)
    calls = []

    def broken(*_: Any) -> Cuts:
        calls.append(1)
        return Cuts(right.names[:2], right.sizes[:2], ((wrong, wrong),))

    monkeypatch.setattr(incremental, "find_cuts", broken)
    windows = Occlusion(8, 4).windows(one.size)
    assert scores_incrementally(one, hiding(one), windows) is None
    assert scores_incrementally(one, hiding(one), windows) is not None  # the image alone is no cut, but right
    assert len(calls) == 1


@pytest.mark.parametrize("framework", [pytest.param("torch", marks=pytest.mark.torch)])
def test_a_real_residual_network_comes_out_right(framework: str, always: None) -> None:
    pytest.importorskip(framework)
    network = importlib.import_module(f"tests.networks.{framework}").resnet20(load_weights(RESNET20.weights))
    one = asked(ag.wrap(network, input_size=32, mean=RESNET20.mean, std=RESNET20.std), (32, 32))
    assert_exact(one, Occlusion(5, 2).windows(one.size))


# -- which windows share a map -----------------------------------------------------------------------------------------


def test_no_window_changes_what_another_one_in_its_map_needs() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 90, size=40)
    changed = np.stack([starts, starts + rng.integers(1, 10, size=40)], axis=1)
    needed = changed + np.array([-3, 4])
    places = Stop("", (100, 100), (changed, changed), (needed, needed)).places(0, np.arange(40))
    assert places.max() < 39
    for i in range(40):
        for j in np.flatnonzero(places == places[i]):
            assert i == j or changed[j, 1] <= needed[i, 0] or needed[i, 1] <= changed[j, 0]


def test_every_changed_pixel_of_a_window_comes_from_its_own_map() -> None:
    model = ag.wrap(pools())
    grid = Grid.of(Occlusion(8, 4).windows((64, 64)))
    route = best_route(model, find_cuts(model, (64, 64)), grid)
    assert route is not None
    chunks, counts = runs(model, route, grid, 10**12)
    found = sources(route, grid, chunks[0], counts)
    last = found[route[-1].name]
    assert (last[0] == 0).all()
    for number, (row, column) in enumerate(grid.windows):
        rows, columns = route[-1].changed[0][row], route[-1].changed[1][column]
        inside = last[1 + number, slice(*rows), slice(*columns)]
        assert (inside == inside.flat[0]).all()
        assert inside.flat[0] > 0
        assert (last[1 + number] > 0).sum() == inside.size
