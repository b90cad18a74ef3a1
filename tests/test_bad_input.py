"""Whatever a user gets wrong: one typed error that says what was asked, what was found and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, GlobalAverage, Network
from agnoscope.demo import load, scene

PHOTO = scene(0).image
LINEAR = Network({"conv": Conv(np.ones((3, 3, 3, 2), np.float32), np.zeros(2, np.float32)), "gap": GlobalAverage()})


def cam(**options: Any) -> ag.Explanation:
    return ag.explain(load("honest", "reference"), options.pop("images", PHOTO), **options)


def hide(**options: Any) -> ag.Explanation:
    return cam(method="occlusion", **options)


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "unknown layer": (lambda: cam(layer="conv9"), ag.LayerError, "'conv5'"),
    "layer by number": (lambda: cam(layer=3), ag.LayerError, "by its name"),
    "layer without a map": (lambda: cam(layer="dense"), ag.LayerError, r"shape \(3,\)"),
    "class out of range": (lambda: cam(target=7), ag.TargetError, "3 classes"),
    "unknown label": (lambda: cam(target="bal"), ag.TargetError, "'ball'"),
    "fraction as target": (lambda: cam(target=2.5), ag.TargetError, "float"),
    "too few targets": (lambda: cam(images=[PHOTO, PHOTO], target=[1]), ag.TargetError, "1 targets .* 2 images"),
    "channel out of range": (lambda: cam(target=ag.Channel("conv1", 99)), ag.TargetError, "it has 16"),
    "function of a wrong shape": (
        lambda: cam(target=lambda run: run["scores"]),
        ag.TargetError,
        "one number per image",
    ),
    "function of what it lacks": (lambda: cam(target=lambda run: run["conv1"]), ag.TargetError, "needs=.*'conv1'"),
    "wrong channels": (lambda: cam(images=np.zeros((96, 96, 4))), ag.ImageError, "3 channels in the last axis"),
    "channels first": (lambda: cam(images=np.zeros((3, 96, 96))), ag.ImageError, "move them last"),
    "wrong size": (lambda: cam(images=np.zeros((90, 96, 3))), ag.ImageError, r"expects \(96, 96\)"),
    "wrong range": (lambda: cam(images=PHOTO.astype(float)), ag.ImageError, "Divide it by 255"),
    "NaN in the image": (lambda: cam(images=np.full((96, 96, 3), np.nan)), ag.ImageError, "NaN"),
    "no image": (lambda: cam(images=[]), ag.ImageError, "empty"),
    "missing file": (lambda: cam(images="nowhere.jpg"), ag.ImageError, "nowhere.jpg"),
    "no image at all": (lambda: cam(images=None), ag.ImageError, "NoneType"),
    "unknown method": (lambda: cam(method="gradcam"), ag.OptionError, "'grad-cam'"),
    "unknown option": (lambda: hide(windows=3), ag.OptionError, "'window'"),
    "window too large": (lambda: hide(window=200), ag.OptionError, r"larger than the image \(96, 96\)"),
    "window of words": (lambda: hide(window="big"), ag.OptionError, "number of pixels"),
    "stride too large": (lambda: hide(window=8, stride=9), ag.OptionError, "gaps"),
    "stride of nothing": (lambda: hide(window=8, stride=0), ag.OptionError, "at least 1"),
    "fill unknown": (lambda: hide(fill="pink"), ag.OptionError, "'mean', 'zero', 'blur'"),
    "fill out of bounds": (lambda: hide(fill=3.0), ag.OptionError, r"bounds \(0, 1\)"),
    "fill of words": (lambda: hide(fill=("a",)), ag.OptionError, "one number or 3"),
    "batch of none": (lambda: cam(batch_size=0), ag.OptionError, "at least 1"),
    "no network": (lambda: ag.explain(object(), PHOTO), ag.ModelError, "torch.nn.Module"),
    "a function of unknown kind": (lambda: ag.explain(lambda x: x, PHOTO), ag.ModelError, "backend='jax'"),
    "unknown backend": (lambda: ag.wrap(LINEAR, backend="mxnet"), ag.OptionError, "'torch'"),
    "mean of words": (lambda: ag.wrap(LINEAR, mean="x"), ag.OptionError, "one number or one per channel"),
    "mean for two of three": (lambda: ag.wrap(LINEAR, mean=[1, 2]), ag.OptionError, "3 channels"),
    "division by zero": (lambda: ag.wrap(LINEAR, std=0), ag.OptionError, "zero"),
    "unknown order": (lambda: ag.wrap(LINEAR, channels="XYZ"), ag.OptionError, "'BGR'"),
    "size not known": (lambda: ag.wrap(LINEAR).layers(), ag.OptionError, "input_size"),
    "image too small": (lambda: ag.wrap(LINEAR, input_size=2).layers(), ag.ModelError, "2 × 2 pixels of 3 channels"),
    "no ReLU": (lambda: ag.GuidedBackprop()(ag.wrap(LINEAR), np.zeros((8, 8, 3))), ag.CapabilityError, "saliency"),
    "unknown reduction": (lambda: cam().maps("abs"), ag.OptionError, "max-abs"),  # type: ignore[arg-type]
    "unknown renderer": (lambda: cam().draw("cubist"), ag.OptionError, "'heatmap'"),
    "unknown colours": (lambda: cam().draw(colours="viridi"), ag.OptionError, "'viridis'"),
    "file of another kind": (lambda: cam().save("x.gif"), ag.FileError, ".npz"),
    "no such folder": (lambda: cam().save(Path("nowhere") / "x.png"), ag.FileError, "cannot be written"),
    "not an explanation": (lambda: ag.Explanation.load(__file__), ag.FileError, "no explanation"),
}


@pytest.mark.parametrize(("action", "kind", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(action: Callable[[], Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        action()
    assert isinstance(caught.value, ag.AgnoscopeError)
    # One sentence or two, and a third where a framework is quoted.
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
