"""What methods that make images refuse, and how they say so: style photos, layers, and a network that gives NaN."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, GlobalAverage, Network, Relu
from agnoscope.demo.scenes import make_scenes
from agnoscope.errors import ImageError, LayerError, ModelError, NonFiniteError, OptionError, TargetError
from agnoscope.explainers.synthesis.style_transfer import StyleTransfer
from agnoscope.explainers.synthesis.texture import Texture
from agnoscope.fast_style.training import FastStyle
from tests.explainers.synthesis.frameworks import demo
from tests.explainers.synthesis.test_texture import of_one_size

SCENES = [scene.image for scene in make_scenes(3, 1)]
SMALL: dict[str, Any] = {"iterations": 1, "batch_size": 1, "width": 2, "blocks": 1}

Make = Callable[[ag.Model, Any, dict[str, Any]], Any]
MAKERS: dict[str, tuple[str, Make]] = {
    "texture": ("layers", lambda model, style, options: Texture(iterations=1, **options)(model, style)),
    "style-transfer": (
        "style_layers",
        lambda model, style, options: StyleTransfer(iterations=1, **options)(model, SCENES[0], style),
    ),
    "fast-style": (
        "style_layers",
        lambda model, style, options: FastStyle(**SMALL, **options).train(model, SCENES[:1], style),
    ),
}
EVERY_MAKER = pytest.mark.parametrize(("option", "make"), MAKERS.values(), ids=MAKERS)


@EVERY_MAKER
@pytest.mark.parametrize("side", [1, 3])
def test_a_style_photo_that_no_two_units_fit_into_is_refused_in_every_network(
    option: str, make: Make, side: int
) -> None:
    del option
    with pytest.raises(ImageError, match=f"style photo of {side} pixels on its shorter side is smaller"):
        make(demo(), SCENES[1][:side, :20], {})


@EVERY_MAKER
def test_a_style_photo_smaller_than_the_receptive_field_is_refused(option: str, make: Make) -> None:
    with pytest.raises(ImageError, match=r"layer 'relu5' sees \d+ pixels, and the style photo has 12"):
        make(demo(), SCENES[1][:12], {option: ("relu5",)})


def test_a_small_style_photo_may_be_enlarged_on_request() -> None:
    assert Texture(iterations=1, scales=1, source=96, layers=("relu5",))(demo(), SCENES[1][:12, :12]).images.size
    method = StyleTransfer(iterations=1, scales=1, style_scale=1.0, style_layers=("relu5",))
    assert method(demo(), SCENES[0], SCENES[1][:12, :12]).images.size


@EVERY_MAKER
@pytest.mark.parametrize("wrong", ["relu1", None, 3, (3,), float("nan")])
def test_layers_are_a_list_of_names(option: str, make: Make, wrong: Any) -> None:
    with pytest.raises(LayerError, match=f"{option}=.* must be names of layers"):
        make(demo(), SCENES[1], {option: wrong})


@pytest.mark.parametrize("wrong", ["relu1", None, 3, True])
def test_content_layers_are_as_well(wrong: Any) -> None:
    for name in ("style-transfer", "fast-style"):
        with pytest.raises(LayerError, match=r"content_layers=.* must be names of layers"):
            MAKERS[name][1](demo(), SCENES[1], {"content_layers": wrong})


@EVERY_MAKER
@pytest.mark.parametrize("wrong", [None, 3, "ab", (1.0,), (-1.0, 1.0), (0.0, 0.0), (float("nan"), 1.0)])
def test_layers_weights_are_a_number_for_each(option: str, make: Make, wrong: Any) -> None:
    with pytest.raises(OptionError, match="layer_weights"):
        make(demo(), SCENES[1], {option: ("relu1", "relu2"), "layer_weights": wrong})


def broken() -> ag.Model:
    kernel = np.full((3, 3, 3, 4), np.nan, np.float32)
    layers = {"conv": Conv(kernel, np.zeros(4, np.float32)), "relu": Relu(), "gap": GlobalAverage()}
    return ag.wrap(Network(layers), input_size=(32, 32))


FAULT = r"layer 'relu' gives NaN or infinity: look for NaN in the network"


@EVERY_MAKER
def test_a_network_that_gives_nan_is_named_as_the_fault(option: str, make: Make) -> None:
    with pytest.raises(NonFiniteError, match=FAULT):
        make(broken(), SCENES[1], {option: ("relu",)})


@pytest.mark.parametrize("method", [ag.FeatureInversion("relu"), ag.Caricature("relu")], ids=lambda method: method.name)
def test_so_it_is_where_features_are_kept_or_exaggerated(method: ag.Synthesizer) -> None:
    with pytest.raises(NonFiniteError, match=FAULT):
        method(broken(), SCENES[1])


@pytest.mark.torch
def test_training_at_a_size_that_the_network_cannot_take_says_which_it_can() -> None:
    with pytest.raises(ModelError, match=r"cannot take images of 40 × 40 pixels; of those near it, it takes 32 × 32"):
        FastStyle(size=40, **SMALL).train(of_one_size(), SCENES[:1], SCENES[1])


@pytest.mark.parametrize("wrong", [{0: "much"}, {0: None}, ["a"], [None], "other", 1, {0: float("nan")}, {}, object()])
def test_a_mixture_is_of_numbers(wrong: Any) -> None:
    network = FastStyle(**SMALL).train(demo(), SCENES[:1], SCENES[1])
    with pytest.raises(OptionError, match="style"):
        network(SCENES[0], wrong)


@pytest.mark.parametrize(("part", "such"), [("parameterisation", "Fourier"), ("optimiser", "Adam")])
def test_parts_are_objects_and_no_names(part: str, such: str) -> None:
    for wrong in ("adam", 3):
        with pytest.raises(OptionError, match=rf"{part}={wrong!r} is none: give one such as ag\.{such}"):
            Texture(iterations=1, **{part: wrong})(demo(), SCENES[1])


@pytest.mark.torch
def test_a_style_that_does_not_depend_on_the_image_is_refused() -> None:
    torch = pytest.importorskip("torch")

    class Rounded(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.round(x)

    torch.manual_seed(0)
    layers = Rounded(), torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 30)
    model = ag.wrap(torch.nn.Sequential(*layers).eval(), input_size=32)
    for make in (Texture(iterations=2, scales=1), StyleTransfer(iterations=2, scales=1)):
        asked = SCENES[:1] if isinstance(make, Texture) else SCENES[:2]
        with pytest.raises(TargetError, match=r"stayed zero in the first 2 steps: the unit is dead, or does"):
            make(model, *asked)


def test_an_objective_without_a_name_is_told_of_as_well() -> None:
    with pytest.raises(TargetError, match="The gradient of the target stayed zero"):
        ag.FeatureVisualization(iterations=2)(demo(), 0 * ag.Channel("relu2", 1))
