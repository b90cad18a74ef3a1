"""Receptive fields equal those worked out by hand, to the pixel, in every framework."""

import importlib
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import AveragePool, Conv, GlobalAverage, Network, Relu
from agnoscope.demo import models
from agnoscope.demo.architecture import CONVOLUTIONS, INPUT_SIZE
from agnoscope.inspection.receptive_fields import Box, receptive_fields
from tests.frameworks import FRAMEWORKS
from tests.inspection.chains import Step, same, spans
from tests.networks import BOTTLENECKS, MOBILENET_V2, load_weights


def conv(side: int, inputs: int, outputs: int, stride: int = 1, padding: int = 0, seed: int = 0) -> Conv:
    kernel = np.random.default_rng(seed).normal(size=(side, side, inputs, outputs)).astype(np.float32)
    return Conv(kernel, np.zeros(outputs, np.float32), stride, padding)


def chain(**layers: Any) -> ag.Model:
    return ag.wrap(Network(layers), backend="reference")


def check(found: Any, rows: Any, columns: Any) -> None:
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.columns, columns)


@pytest.mark.parametrize("framework", ["reference", *FRAMEWORKS])
def test_the_demo_network_sees_what_its_kernels_say(framework: str) -> None:
    found = receptive_fields(models.load("honest", framework))
    steps = []
    for layer in CONVOLUTIONS:
        steps.append(Step(layer.kernel, layer.stride, 1, 1, 1))
        expected = spans(INPUT_SIZE[0], steps)
        for name in (layer.name, layer.name.replace("conv", "relu")):
            check(found[name], expected, expected)
    assert list(found) == [f"{kind}{i}" for i in range(1, 6) for kind in ("conv", "relu")]
    assert [found[f"conv{i}"].size for i in range(1, 6)] == [(n, n) for n in (4, 8, 14, 22, 34)]


@pytest.mark.parametrize(
    "framework",
    [
        pytest.param("torch", marks=pytest.mark.torch),
        pytest.param("linen", marks=pytest.mark.jax),
        pytest.param("keras", marks=pytest.mark.tensorflow),
    ],
)
def test_mobilenet_sees_what_its_strides_and_padding_say(framework: str) -> None:
    built = importlib.import_module(f"tests.networks.{framework}").mobilenet_v2(load_weights(MOBILENET_V2.weights))
    model = ag.wrap(*built) if isinstance(built, tuple) else ag.wrap(built)
    side = 224 if framework == "keras" else 96  # Keras has it fixed
    ends = ["conv0", "block1.depthwise"] + (["block10.depthwise", "block16.project"] if framework == "torch" else [])
    names = [next(name for name in model.layers((side, side)) if name.replace("/", ".").endswith(end)) for end in ends]
    found = receptive_fields(model, (side, side), names)
    length, steps = side // 2, [same(3, 2, side)]
    expected = {"conv0": spans(side, steps)}
    for plan in BOTTLENECKS:
        steps.append(same(3, plan.stride, length))
        length = -(-length // plan.stride)
        expected[plan.name] = spans(side, steps)
    for name in names:
        block = name.replace("/", ".").partition(".")[0]
        check(found[name], expected[block], expected[block])


def test_an_image_that_is_no_square_has_rows_and_columns_of_its_own() -> None:
    model = chain(first=conv(3, 3, 4, 2), relu=Relu(), second=conv(4, 4, 2, 1, 1), pool=AveragePool(2))
    found = receptive_fields(model, (19, 30))
    steps = [Step(3, 2), Step(4, 1, 1, 1, 1), Step(2, 2)]
    for name, count in {"first": 1, "relu": 1, "second": 2, "pool": 3}.items():
        check(found[name], spans(19, steps[:count]), spans(30, steps[:count]))
    top, bottom = spans(19, steps)[1]
    left, right = spans(30, steps)[2]
    assert found["pool"].box(1, 2) == Box(top, left, bottom, right)
    assert found["pool"].size == (11, 11)
    with pytest.raises(ag.LayerError, match=r"has 4 × 6 places, and \(4, 0\) is none"):
        found["pool"].box(4, 0)


def test_pixels_that_a_stride_passes_over_are_in_no_box() -> None:
    found = receptive_fields(chain(conv=conv(1, 3, 4, 3)), (9, 14))["conv"]
    check(found, [(0, 1), (3, 4), (6, 7)], [(i, i + 1) for i in range(0, 14, 3)])


def test_a_unit_that_sees_only_padding_has_an_empty_box() -> None:
    found = receptive_fields(chain(conv=conv(2, 3, 4, 1, 3)), (5, 5))["conv"]
    assert found.box(0, 4) == Box(0, 1, 0, 3)
    check(found, spans(5, [Step(2, 1, 1, 3, 3)]), spans(5, [Step(2, 1, 1, 3, 3)]))


def test_relus_that_are_shut_and_kernels_that_sum_to_zero_hide_nothing() -> None:
    laplacian = np.zeros((3, 3, 1, 1), np.float32)
    laplacian[1, :, 0, 0] = laplacian[:, 1, 0, 0] = 1
    laplacian[1, 1] = -4
    edges = Conv(laplacian, np.full(1, -100.0, np.float32))
    network = Network({"wide": conv(21, 1, 1, 1, 10), "edges": edges, "shut": Relu(), "again": edges, "still": Relu()})
    model = ag.wrap(network, backend="reference", channels="L")
    found = receptive_fields(model, (16, 16))
    expected = spans(16, [Step(21, 1, 1, 10, 10), Step(3), Step(3)])
    check(found["still"], expected, expected)


def test_whole_says_that_every_unit_sees_everything() -> None:
    model = chain(some=conv(5, 3, 4, 1, 2), all=conv(17, 4, 4, 1, 8))
    found = receptive_fields(model, (9, 9))
    assert found["all"].whole
    assert found["all"].size == (9, 9)
    assert not found["some"].whole


def test_it_is_measured_once_and_again_for_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain(conv=conv(3, 3, 4), relu=Relu(), second=conv(3, 4, 4))
    done: list[tuple[int, int]] = []
    first = receptive_fields(model, (12, 12), ["relu"], progress=lambda *now: done.append(now))
    assert done[0] == (0, 12)
    assert done[-1] == (12, 12)
    receptive_fields(model, (9, 9))
    again: list[Any] = []
    assert receptive_fields(model, (12, 12), ["relu"], progress=lambda *now: again.append(now))["relu"] is first["relu"]
    assert not again
    assert list(receptive_fields(model, (12, 12), ["second", "conv"])) == ["conv", "second"]


def test_layers_without_maps_and_unknown_ones_are_refused() -> None:
    model = chain(conv=conv(3, 3, 4), pool=GlobalAverage())
    with pytest.raises(ag.LayerError, match=r"'pool' has activations of shape \(4,\), no map.*'conv'"):
        receptive_fields(model, (8, 8), ["pool"])
    with pytest.raises(ag.LayerError, match=r"no layer 'cnov'.*'conv'"):
        receptive_fields(model, (8, 8), ["cnov"])
    with pytest.raises(ag.OptionError, match="input size"):
        receptive_fields(model)
    model.can = frozenset({"capture"})
    with pytest.raises(ag.CapabilityError, match="measuring receptive fields needs 'patch'"):
        receptive_fields(model, (8, 8))


def test_nan_is_an_error_that_names_the_layer() -> None:
    broken = conv(3, 4, 4)
    broken.kernel[0, 0, 0, 0] = np.nan
    with pytest.raises(ag.NonFiniteError, match="NaN or infinity in 'second'"):
        receptive_fields(chain(first=conv(3, 3, 4), second=broken), (8, 8))


def test_a_single_channel_at_its_cap_still_lets_changes_pass() -> None:
    sure = Conv(np.full((3, 3, 3, 1), 0.1, np.float32), np.full(1, 20, np.float32), padding=1)
    found = receptive_fields(ag.wrap(Network({"conv": sure, "relu": Relu(6.0), "after": conv(3, 1, 2)}), input_size=12))
    steps = [Step(3, 1, 1, 1, 1), Step(3)]
    check(found["after"], spans(12, steps), spans(12, steps))
