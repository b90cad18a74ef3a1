"""Where networks come from: every scheme, and how each says that it cannot."""

import sys
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.sources import installed_backends, load_model


@pytest.mark.parametrize("name", ["honest", "cheater"])
@pytest.mark.parametrize("backend", ["reference", "jax", "torch", "tensorflow"])
def test_demo_networks_are_the_same_in_every_framework(name: str, backend: str) -> None:
    if backend not in installed_backends():
        pytest.skip(f"{backend} is not installed")
    from agnoscope.demo import scene

    model = load_model(f"demo:{name}", backend=backend)
    assert model.backend == backend
    images = [scene(0).image, scene(1).image]
    oracle = ag.GradCAM()(load_model(f"demo:{name}", backend="reference"), images)
    found = ag.GradCAM()(model, images)
    assert found.provenance.layer == oracle.provenance.layer
    np.testing.assert_allclose(found.values, oracle.values, atol=1e-5 * np.abs(oracle.values).max())


def test_demo_networks_know_their_own_preparation() -> None:
    with pytest.raises(ag.OptionError, match="mean"):
        load_model("demo:honest", backend="reference", mean=0.0)
    with pytest.raises(ag.OptionError, match="demo:cheater"):
        load_model("demo:thief")


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for torchvision, which has no build for machines without a GPU in every index."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    asked: dict[str, Any] = {"offline": False}

    class Weights(Enum):
        V1 = "first"
        DEFAULT = "second"

        def transforms(self) -> Any:
            return SimpleNamespace(crop_size=[8], mean=[0.4, 0.5, 0.6], std=[0.2, 0.2, 0.2])

        @property
        def meta(self) -> dict[str, Any]:
            return {"categories": ["cat", "dog"]}

    def get_model(name: str, weights: Any) -> Any:
        asked["weights"] = weights
        if weights is not None and asked["offline"]:
            raise OSError("no route to host")
        head = torch.nn.Linear(4, 2)
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head)

    models = ModuleType("torchvision.models")
    models.list_models = lambda: ["resnet18", "resnet50"]  # type: ignore[attr-defined]
    models.get_model_weights = lambda name: Weights  # type: ignore[attr-defined]
    models.get_model = get_model  # type: ignore[attr-defined]
    package = ModuleType("torchvision")
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    return asked


@pytest.mark.torch
def test_torchvision_brings_weights_size_mean_and_labels(zoo: dict[str, Any]) -> None:
    model = load_model("torchvision:resnet50")
    assert zoo["weights"].name == "DEFAULT"
    assert model.spec.size == (8, 8)
    assert model.spec.mean == (0.4, 0.5, 0.6)
    assert model.labels == ("cat", "dog")
    load_model("torchvision:resnet50@V1", std=0.5)
    assert zoo["weights"].name == "V1"
    assert load_model("torchvision:resnet50@none", input_size=16).spec.size == (16, 16)
    assert zoo["weights"] is None


@pytest.mark.torch
def test_torchvision_says_what_it_lacks(zoo: dict[str, Any]) -> None:
    with pytest.raises(ag.OptionError, match="'resnet50'"):
        load_model("torchvision:resnet5")
    with pytest.raises(ag.OptionError, match="V1"):
        load_model("torchvision:resnet50@V9")
    zoo["offline"] = True
    with pytest.raises(ag.ModelError, match=r"could not be fetched \(OSError: no route to host\).*@none"):
        load_model("torchvision:resnet50")


def test_torchvision_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ag.MissingFrameworkError, match="torchvision"):
        load_model("torchvision:resnet50")


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "channels", "range_", "mean", "std"),
    [
        ("VGG16", "BGR", (0, 255), (103.939, 116.779, 123.68), 1),
        ("MobileNetV2", "RGB", (0, 255), 127.5, 127.5),
        ("DenseNet121", "RGB", (0, 255), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("EfficientNetB0", "RGB", (0, 255), 0, 1),
    ],
)
def test_keras_preparation_is_read_off(name: str, channels: str, range_: Any, mean: Any, std: Any) -> None:
    keras = pytest.importorskip("keras", reason="keras is not installed")
    from agnoscope.sources import _affine

    home = sys.modules[getattr(keras.applications, name).__module__]
    found = _affine(home.preprocess_input)
    assert (found["channels"], found["range"]) == (channels, range_)
    np.testing.assert_allclose(found["mean"], np.broadcast_to(mean, 3), atol=1e-3)
    np.testing.assert_allclose(found["std"], np.broadcast_to(std, 3), rtol=1e-4)
    spec = ag.wrap(_tiny(keras), input_size=4, **found).spec
    photo = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype(np.float32)
    expected = home.preprocess_input(photo.copy())
    np.testing.assert_allclose(spec.prepare(np, photo / 255), expected, atol=2e-3)


def _tiny(keras: Any) -> Any:
    return keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])


@pytest.mark.tensorflow
def test_keras_without_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = pytest.importorskip("keras", reason="keras is not installed")

    def offline(*args: Any, **kwargs: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    home = sys.modules[keras.applications.MobileNet.__module__]
    monkeypatch.setattr(home.file_utils, "get_file", offline)
    with pytest.raises(ag.ModelError, match=r"keras:MobileNet could not be fetched.*MobileNet@none"):
        load_model("keras:MobileNet")
    with pytest.raises(ag.OptionError, match="'VGG16'"):
        load_model("keras:VGG")
    assert load_model("keras:MobileNet@none").spec.size == (224, 224)


@pytest.mark.tensorflow
def test_a_keras_file_is_explained(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="keras is not installed")
    _tiny(keras).save(tmp_path / "net.keras")
    assert load_model(str(tmp_path / "net.keras")).spec.size == (4, 4)
    (tmp_path / "bad.keras").write_bytes(b"no zip")
    with pytest.raises(ag.ModelError, match=r"bad\.keras"):
        load_model(str(tmp_path / "bad.keras"))


def test_a_factory_may_return_network_pair_or_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "makers.py").write_text(
        "from agnoscope import wrap\n"
        "from agnoscope.testing import deep_network\n"
        "network = deep_network()\n"
        "def pair(): return deep_network(), None\n"
        "def model(): return wrap(deep_network(), input_size=(5, 7))\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("py:makers:network", "py:makers:pair", f"py:{tmp_path / 'makers.py'}:pair"):
        assert load_model(name, input_size=(5, 7)).backend == "reference"
    assert load_model("py:makers:model").spec.size == (5, 7)
    with pytest.raises(ag.OptionError, match="input_size"):
        load_model("py:makers:model", input_size=8)
    with pytest.raises(ag.OptionError, match=r"package\.module:factory"):
        load_model("py:makers")
