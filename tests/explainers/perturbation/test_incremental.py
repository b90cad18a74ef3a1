"""Incremental occlusion against full runs, window by window, on networks that can be cut and on some that cannot."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import AveragePool, Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.explainers.base import OneImage, score_program
from agnoscope.explainers.perturbation import incremental
from agnoscope.explainers.perturbation.incremental import Grid, Stop, best_route, runs, scores_incrementally, sources
from agnoscope.explainers.perturbation.occlusion import Occlusion
from agnoscope.explainers.perturbation.reach import IMAGE, Cuts, Reach, find_cuts
from agnoscope.target import as_target
from tests.networks import RESNET20, load_weights

EACH = [
    "reference",
    *(pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("torch", "jax", "tensorflow")),
]


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, padding: int = 1, dtype: Any = np.float32) -> Conv:
    """A convolution with random weights that keep the variance."""
    rng = np.random.default_rng([inputs, outputs, size])
    kernel = rng.normal(size=(size, size, inputs, outputs)) * np.sqrt(2 / (size * size * inputs))
    return Conv(kernel.astype(dtype), rng.normal(size=outputs).astype(dtype) / 10, stride, padding)


def head(channels: int, dtype: Any = np.float32) -> dict[str, Any]:
    """Three classes."""
    kernel = np.random.default_rng(channels).normal(size=(channels, 3)).astype(dtype)
    return {"gap": GlobalAverage(), "dense": Dense(kernel, np.zeros(3, dtype))}


def pools(dtype: Any = np.float32) -> Network:
    """Three stages of two convolutions, as in VGG."""
    layers: dict[str, Any] = {}
    channels = 3
    for stage, width in enumerate((4, 6, 8)):
        for i in range(2):
            layers[f"conv{stage}{i}"] = conv(channels, width, dtype=dtype)
            layers[f"relu{stage}{i}"] = Relu()
            channels = width
        layers[f"pool{stage}"] = AveragePool(2)
    return Network(layers | head(8, dtype))


def strides() -> Network:
    """Convolutions that step over pixels, without zeros around."""
    layers = {"a": conv(3, 4, 5, 2, 0), "b": Relu(), "c": conv(4, 6, 3, 1, 0), "d": conv(6, 6, 3, 2, 0)}
    return Network(layers | {"e": Relu(), "f": conv(6, 8, 3, 1, 0)} | head(8))


def build(framework: str, network: Network, **options: Any) -> ag.Model:
    """The described network in a framework, wrapped."""
    if framework == "reference":
        return ag.wrap(network, **options)
    if framework == "torch":
        pytest.importorskip("torch")
        return importlib.import_module("tests.backends.torch_builder").build(network, **options)
    kit = importlib.import_module("tests.backends.test_conformance")
    return {"jax": kit.linen, "tensorflow": kit.keras}[framework](network, **options)


def asked(model: ag.Model, size: tuple[int, int], target: Any = 1, batch_size: int = 8) -> OneImage:
    """A question about a random image."""
    image = np.random.default_rng(size).uniform(size=(*size, 3)).astype(model.dtype)
    bound = as_target(target).bind(model, 1, size)
    score = model.compile(score_program, bound.formula)(image[None], bound.arrays)["scores"][0]
    return OneImage(model, image, bound, float(score), batch_size, lambda _: None)


def hiding(one: OneImage) -> NDArray[Any]:
    """What shows through the windows."""
    return np.random.default_rng(1).uniform(size=one.image.shape).astype(one.image.dtype)


def full(one: OneImage, filling: NDArray[Any], windows: NDArray[Any]) -> NDArray[np.float64]:
    """Each window hidden in a run of its own."""
    program, found = one.model.compile(score_program, one.target.formula), []
    for top, bottom, left, right in windows:
        hidden = one.image.copy()
        hidden[top:bottom, left:right] = filling[top:bottom, left:right]
        found.append(float(program(hidden[None], one.arrays(1))["scores"][0]))
    return np.array(found)


def assert_exact(one: OneImage, windows: NDArray[Any], expected: bool = True) -> None:
    """The scores are those of full runs; `expected` says whether it is done incrementally."""
    found = scores_incrementally(one, hiding(one), windows)
    assert (found is not None) == expected
    if found is None:
        return
    plain = full(one, hiding(one), windows)
    tolerance = {"float32": 1e-5, "float64": 1e-9}[one.model.dtype]
    assert np.abs(plain - one.score).max() > 100 * tolerance * np.abs(plain).max()  # or else a wrong score is near
    np.testing.assert_allclose(found, plain, rtol=0, atol=tolerance * np.abs(plain).max())


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


# -- what is measured, and what follows from it ------------------------------------------------------------------------


def test_the_reach_of_known_layers_is_measured() -> None:
    found = find_cuts(ag.wrap(strides()), (64, 56))
    assert found.names == (IMAGE, "b", "c")  # "e" has maps of 13 × 11, too small
    assert found.sizes == ((64, 56), (30, 26), (28, 24))
    assert found.reaches == ((Reach(2, 0, 5),) * 2, (Reach(1, 0, 3),) * 2)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (5, 1, 2), (5, 2, 0), (4, 2, 1), (1, 2, 0), (7, 2, 3)]
)
def test_the_reach_of_a_convolution_is_its_kernel(kernel: int, stride: int, padding: int) -> None:
    first, second = conv(3, 6, kernel, stride, padding), conv(6, 6, 3)
    found = find_cuts(ag.wrap(Network({"first": first, "relu": Relu(), "second": second} | head(6))), (64, 56))
    expected = Reach(stride, padding, kernel - padding)
    assert found.reaches == ((expected, expected),)


def test_reaches_one_after_the_other_are_those_of_both() -> None:
    first, second = Reach(2, 1, 3), Reach(3, 0, 4)
    span = np.array([[5, 9], [0, 1], [30, 31]])
    both = first.then(second)
    np.testing.assert_array_equal(both.needed(span, 999), first.needed(second.needed(span, 999), 999))
    span = np.array([[50, 69], [200, 201]])
    np.testing.assert_array_equal(both.changed(span, 99), second.changed(first.changed(span, 299), 99))


@pytest.mark.parametrize("reach", [Reach(1, 1, 2), Reach(2, 1, 3), Reach(2, 0, 1), Reach(3, 2, 5), Reach(1, -2, 5)])
def test_changed_and_needed_are_what_the_definition_says(reach: Reach) -> None:
    length, outputs = 40, 13
    for first in range(0, length, 3):
        for last in range(first + 1, length, 4):
            sees = [range(reach.step * j - reach.before, reach.step * j + reach.after) for j in range(outputs)]
            hit = [j for j in range(outputs) if any(first <= i < last for i in sees[j])]
            found = reach.changed(np.array([[first, last]]), outputs)[0]
            assert list(range(*found)) == hit
            if hit:
                wanted = [i for j in hit for i in sees[j] if 0 <= i < length]
                assert tuple(reach.needed(found[None], length)[0]) == (min(wanted), max(wanted) + 1)


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
