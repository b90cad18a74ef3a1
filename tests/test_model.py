"""What is written once above the protocol: finding layers by name, the last map, and asking for abilities."""

from collections.abc import Mapping
from typing import Any

import pytest

from agnoscope import CapabilityError, Layer, LayerError, Model, OptionError
from agnoscope.images import InputSpec
from agnoscope.model import Outline


class Drawn(Model):
    """A network that is nothing but the outline that a test draws."""

    backend = "drawn"

    def __init__(self, *layers: Layer, size: tuple[int, int] | None = (32, 32)) -> None:
        super().__init__(InputSpec(size=size))
        self.drawn = {layer.name: layer for layer in layers}
        self.recorded: list[tuple[int, int]] = []

    def discover(self, size: tuple[int, int]) -> Outline:
        self.recorded.append(size)
        return Outline(self.drawn, (10,), "linear")

    def run(self, images: Any, capture: Any, patch: Mapping[str, Any] | None = None) -> dict[str, Any]:
        raise NotImplementedError

    def value_and_grad(self, function: Any) -> Any:
        raise NotImplementedError

    def compile(self, program: Any, static: Any) -> Any:
        raise NotImplementedError


def layers(text: str) -> list[Layer]:
    """Layers written as "name kind shape" in lines, the shape as 8x8x16."""
    rows = [line.split() for line in text.strip().splitlines()]
    return [Layer(name, kind, tuple(map(int, shape.split("x")))) for name, kind, shape in rows]


NESTED = layers("""
    stem.conv        conv 8x8x4
    stem             block 8x8x4
    stage.0.conv     conv 8x8x4
    stage.0.relu     relu 8x8x4
    stage.1.conv     conv 8x8x4
    stage.1.conv@1   conv 8x8x4
    head/dense       dense 10
    head/softmax     softmax 10
    classifier.dense dense 10
    dense            dense 10
""")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("stem.conv", "stem.conv"),
        ("stem", "stem"),
        ("relu", "stage.0.relu"),
        ("0.conv", "stage.0.conv"),
        ("conv@1", "stage.1.conv@1"),
        ("dense", "dense"),  # the whole name comes before any ending
        ("head/dense", "head/dense"),
        ("softmax", "head/softmax"),
    ],
)
def test_a_layer_is_found_by_its_name_or_the_end_of_its_path(asked: str, found: str) -> None:
    assert Drawn(*NESTED).layer(asked).name == found


def test_an_ending_of_several_layers_is_refused_with_all_of_them() -> None:
    with pytest.raises(LayerError, match=r"'conv' is ambiguous: .*'stem\.conv'.*'stage\.1\.conv'.*in full"):
        Drawn(*NESTED).layer("conv")


@pytest.mark.parametrize(
    ("asked", "near"), [("stem.cnov", r"'stem\.conv'"), ("lu", r"'stage\.0\.relu'"), ("Dense2", "'dense'")]
)
def test_an_unknown_layer_is_refused_with_near_ones(asked: str, near: str) -> None:
    # "lu" ends "relu", but within a step of its path
    with pytest.raises(LayerError, match=rf"no layer '{asked}'\. Near it: .*{near}.*model\.layers\(\)"):
        Drawn(*NESTED).layer(asked)


LAST = {
    "VGG: the ReLU before the last pool": (
        """
        conv1_1 conv 32x32x64
        relu1_1 relu 32x32x64
        pool1   pool 16x16x64
        conv5_3 conv 16x16x512
        relu5_3 relu 16x16x512
        pool5   pool 8x8x512
        flatten other 32768
        fc      dense 10
        """,
        "relu5_3",
    ),
    "ResNet: the block, after its addition and ReLU": (
        """
        layer4.1.conv1 conv 7x7x512
        layer4.1.relu  relu 7x7x512
        layer4.1.conv2 conv 7x7x512
        layer4.1.bn2   norm 7x7x512
        layer4.1.add   add 7x7x512
        layer4.1       block 7x7x512
        layer4         block 7x7x512
        avgpool        pool 1x1x512
        fc             dense 10
        """,
        "layer4",
    ),
    "MobileNet: the last 1 x 1 convolution, normalised and rectified": (
        """
        block16.depthwise conv 7x7x960
        block16.project   conv 7x7x320
        last.conv         conv 7x7x1280
        last.bn           norm 7x7x1280
        last.relu         relu 7x7x1280
        pool              pool 1280
        dense             dense 10
        """,
        "last.relu",
    ),
    "squeeze and excite: its maps of one pixel do not count": (
        """
        expand    conv 7x7x96
        se.pool   pool 1x1x96
        se.conv1  conv 1x1x24
        se.conv2  conv 1x1x96
        scaled    other 7x7x96
        project   conv 7x7x160
        norm      norm 7x7x160
        head.pool pool 1x1x160
        head.conv conv 1x1x1280
        fc        dense 10
        """,
        "norm",
    ),
    "a pool of stride 1 does not count": (
        """
        conv conv 7x7x96
        relu relu 7x7x96
        pool pool 7x7x96
        """,
        "relu",
    ),
    "no convolution: the last map": (
        """
        patches other 14x14x48
        mix     other 7x7x96
        pool    other 96
        """,
        "mix",
    ),
    "nothing but a pool": ("pool pool 7x7x3", "pool"),
}


@pytest.mark.parametrize(("text", "last"), LAST.values(), ids=LAST)
def test_the_last_map_is_the_end_of_the_last_convolutional_stage(text: str, last: str) -> None:
    assert Drawn(*layers(text)).last_map().name == last


def test_a_network_without_maps_has_no_last_one() -> None:
    with pytest.raises(LayerError, match=r"No layer of this network has spatial axes.*saliency or occlusion"):
        Drawn(*layers("token other 197x768\nse conv 1x1x8\nfc dense 10")).last_map()


def test_a_network_is_recorded_once_per_size() -> None:
    model = Drawn(*NESTED)
    assert model.layers() == model.layers((32, 32)) == model.drawn
    model.layers((64, 48))
    model.layer("relu", (64, 48))
    assert model.recorded == [(32, 32), (64, 48)]
    with pytest.raises(OptionError, match="input size is not known: give input_size"):
        Drawn(*NESTED, size=None).layers()


def test_the_largest_activation_is_known() -> None:
    assert Drawn(*NESTED).outline().largest == 8 * 8 * 4


def test_an_ability_that_is_not_there_is_refused_before_any_work() -> None:
    model = Drawn()
    model.can = frozenset({"capture", "patch"})
    model.require("capture", "this")
    message = (
        r"grad-cam needs 'gradient', which this drawn network does not offer \(it can: capture, patch\).*occlusion"
    )
    with pytest.raises(CapabilityError, match=message):
        model.require("gradient", "grad-cam")
    with pytest.raises(CapabilityError, match="the 'guided' rule for ReLUs needs 'relu'"):
        model.with_relu("guided")
    model.can = frozenset()
    with pytest.raises(CapabilityError, match="it can: only run"):
        model.require("gradient", "grad-cam")


def test_another_rule_for_relus_is_a_view() -> None:
    model = Drawn()
    guided = model.with_relu("guided")
    assert (model.rule, guided.rule) == (None, "guided")
    assert guided.with_relu("deconvnet").rule == "deconvnet"
    assert guided.drawn is model.drawn
