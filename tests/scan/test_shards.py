"""What a scan keeps, against what a naive computation finds; the same in every framework."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope import LayerError, Neuron, OptionError, TargetError
from agnoscope.backends.reference import Conv, Network
from agnoscope.images import InputSpec, brought_into
from agnoscope.scan.run import scan_all
from agnoscope.scan.scan import Scan, Top
from agnoscope.scan.shard import LARGEST, Peaks
from agnoscope.testing import deep_network, images
from tests.frameworks import FRAMEWORKS
from tests.networks.vit import GRID, SIZE, vit_weights

X = images(23)


@pytest.fixture
def model() -> Any:
    return ag.wrap(deep_network(), input_size=(5, 7), labels=["one", "two", "three", "four"])


def activations(model: ag.Model, name: str, x: np.ndarray = X) -> np.ndarray:
    """A layer of all images in one pass."""

    def program(model: ag.Model, name: str, images: Any) -> dict[str, Any]:
        return model.run(images, (name,))

    return model.compile(program, name)(x)[name]


def naive_top(maps: np.ndarray, k: int) -> Top:
    """By sorting, channel by channel; equal values in the order of the images and then of the places."""
    flat = maps.reshape(len(maps), -1, maps.shape[-1])
    width = maps.shape[2] if maps.ndim == 4 else 1
    values, rows, places = (np.empty((maps.shape[-1], k), d) for d in (np.float32, np.int64, np.int64))
    for channel in range(maps.shape[-1]):
        peaks = [(-flat[i, :, channel].max(), i, int(flat[i, :, channel].argmax())) for i in range(len(flat))]
        for place, (value, row, position) in enumerate(sorted(peaks)[:k]):
            values[channel, place], rows[channel, place], places[channel, place] = -value, row, position
    return Top(values, rows, places // width, places % width)


def same(found: Top, expected: Top, rtol: float = 1e-5) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.y, expected.y)
    np.testing.assert_array_equal(found.x, expected.x)
    np.testing.assert_allclose(found.values, expected.values, rtol=rtol, atol=1e-5)


# -- what is kept --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shard", "batch_size"), [(256, None), (5, 2), (1, 1), (7, 3)])
def test_features_tops_answers_and_maps_are_those_of_the_naive_way(
    model: Any, tmp_path: Path, shard: int, batch_size: int | None
) -> None:
    layers = ("relu2", "conv1", "dense")
    options: dict[str, Any] = {"layers": layers, "maps": ["relu1"], "shard": shard, "batch_size": batch_size}
    scan = scan_all(model, X, tmp_path, keep=4, **options)
    assert (len(scan), scan.layers, scan.size, scan.failures) == (23, layers, (5, 7), [])
    np.testing.assert_array_equal(scan.ids, np.arange(23))
    for name in layers:
        maps = activations(model, name)
        flat = maps.reshape(23, -1, maps.shape[-1])
        np.testing.assert_allclose(scan.features(name), flat.mean(axis=1), rtol=1e-5, atol=1e-6)
        same(scan.top(name, 4), naive_top(maps, 4))
        same(scan.top(name, 2), naive_top(maps, 2))
    np.testing.assert_allclose(
        np.concatenate([maps for _, maps in scan.maps("relu1")]), activations(model, "relu1"), rtol=1e-3, atol=1e-4
    )
    assert next(scan.maps("relu1"))[1].dtype == np.float16
    scores = activations(model, "scores")
    for answers, expected in zip(scan.answers, scores, strict=True):
        order = np.argsort(-expected)
        assert [name for name, _ in answers] == [f"{model.labels[i]} [{i}]" for i in order]
        np.testing.assert_allclose([score for _, score in answers], expected[order], rtol=1e-5, atol=1e-6)


def test_neurons_keep_the_images_that_excite_them_and_their_own_place(model: Any, tmp_path: Path) -> None:
    neurons = [Neuron("relu2", 3, (1, 4)), Neuron("dense", 2), Neuron("relu1", 0)]
    scan = scan_all(model, X, tmp_path, neurons=neurons, keep=6, shard=4)
    top, maps = scan.top_neurons(6), activations(model, "relu2")
    expected = (maps[:, 1, 4, 3], activations(model, "dense")[:, 2], activations(model, "relu1")[:, 2, 3, 0])
    for unit, values in enumerate(expected):
        order = np.argsort(-values, kind="stable")[:6]
        np.testing.assert_array_equal(top.rows[unit], order)
        np.testing.assert_allclose(top.values[unit], values[order], rtol=1e-5)
    assert top.y[:, 0].tolist() == [1, 0, 2]
    assert top.x[:, 0].tolist() == [4, 0, 3]


def test_copies_of_an_image_stand_in_the_order_of_the_images_over_all_shards(model: Any, tmp_path: Path) -> None:
    copies = np.concatenate([X[:3], X[:3], X[:3], X[:3]])
    scan = scan_all(model, copies, tmp_path, layers="relu2", shard=5, batch_size=2, keep=4)
    top = scan.top("relu2", 4)
    for rows in top.rows:
        assert (np.diff(rows) == 3).all()  # all four copies of the best image, first to last
        assert rows[0] < 3
    same(top, naive_top(activations(model, "relu2", copies), 4))


def test_peaks_can_be_put_together_in_any_order() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (30, 5)).astype(np.float32)  # many are equal
    places = rng.integers(0, 9, (30, 5)).astype(np.int32)
    whole = Peaks.of(values, np.arange(30), places, 7)
    for _ in range(5):
        parts = [
            Peaks.of(values[rows], rows, places[rows], 7)
            for rows in map(np.sort, np.split(rng.permutation(30), [3, 4, 18]))
        ]
        merged = parts[0].with_others(parts[1]).with_others(parts[2].with_others(parts[3]))
        for name in ("values", "owners", "places"):
            np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))


def test_of_fewer_images_than_are_kept_the_rest_is_marked(model: Any, tmp_path: Path) -> None:
    top = scan_all(model, X[:3], tmp_path, keep=5, shard=2).top(k=5)
    assert (top.rows[:, 3:] == -1).all()
    assert (top.rows[:, :3] >= 0).all()
    assert np.isneginf(top.values[:, 3:]).all()


def test_half_precision_holds_its_largest_number_for_what_is_larger(tmp_path: Path) -> None:
    kernel = np.full((1, 1, 3, 2), 1e6, dtype=np.float32)
    scan = scan_all(
        ag.wrap(Network({"conv": Conv(kernel, np.zeros(2, np.float32))}), input_size=(5, 7)),
        X[:2],
        tmp_path,
        maps=["conv"],
    )
    assert (next(scan.maps("conv"))[1] == LARGEST).all()


def test_a_network_of_gray_images_is_scanned(tmp_path: Path) -> None:
    network = ag.wrap(
        Network({"conv": Conv(np.ones((1, 1, 1, 2), np.float32), np.zeros(2, np.float32))}),
        input_size=(4, 4),
        channels="L",
    )
    gray = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)
    scan = scan_all(network, gray, tmp_path, layers="conv")
    np.testing.assert_allclose(scan.features()[:, 0], gray.mean(axis=(1, 2, 3)) / 255, rtol=1e-5)
    assert scan.picture(0).shape == (4, 4, 3)


def test_images_are_seen_at_the_size_that_is_asked_for(model: Any, tmp_path: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    scan = scan_all(model, photos, tmp_path, layers="relu2", size=(6, 8))
    assert scan.size == (6, 8)
    seen = ag.images.load(list(photos), InputSpec(size=(6, 8))).images
    free = ag.wrap(deep_network(), input_size=(6, 8))
    np.testing.assert_allclose(
        scan.features(), activations(free, "relu2", seen).mean(axis=(1, 2)), rtol=1e-5, atol=1e-6
    )


def test_pixels_that_are_brought_in_at_once_are_those_of_one_photo() -> None:
    every = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    for bounds in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        for dtype in (np.float32, np.float64):
            found = brought_into(InputSpec(bounds=bounds), every, np.empty(every.shape, dtype))
            expected = (bounds[0] + every / 255 * (bounds[1] - bounds[0])).astype(dtype)
            np.testing.assert_array_equal(found, expected)


# -- in every framework --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_demo_network_gives_the_same_tops_in_every_framework(framework: str, tmp_path: Path) -> None:
    pytest.importorskip({"jax": "flax"}.get(framework, framework))
    from agnoscope.demo.models import load
    from agnoscope.demo.scenes import make_scenes

    scenes = np.stack([scene.image for scene in make_scenes(40, 5)])
    photos = np.concatenate([scenes, scenes[::-1]])  # each twice: ties
    options: dict[str, Any] = {"layers": ("relu3", "relu5"), "shard": 32, "batch_size": 16, "keep": 8}
    # Of dead channels and of dark regions many values are exactly 0 in all of them.
    one, other = (
        scan_all(load("honest", name), photos, tmp_path / name, **options) for name in (framework, "reference")
    )
    for layer in options["layers"]:
        same(one.top(layer, 8), other.top(layer, 8), rtol=1e-4)
        np.testing.assert_allclose(one.features(layer), other.features(layer), rtol=1e-4, atol=1e-5)
    firsts = [[answer[0][0] for answer in scan.answers] for scan in (one, other)]
    assert firsts[0] == firsts[1]


@pytest.mark.torch
def test_tokens_are_maps_and_the_class_token_is_no_place(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.networks.vit_torch import vit

    assert vit_weights(1)
    model = ag.wrap(vit(1), input_size=SIZE)
    x = np.random.default_rng(0).uniform(size=(9, *SIZE, 3)).astype(np.float32)
    scan = scan_all(model, x, tmp_path, layers="blocks.1.norm1", neurons=[Neuron("blocks.1.norm1", 2, (3,))], shard=4)
    tokens = activations(model, "blocks.1.norm1", x)
    maps = tokens[:, 1:].reshape(9, *GRID, -1)
    same(scan.top(k=3), naive_top(maps, 3), rtol=1e-5)
    np.testing.assert_allclose(scan.features(), maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    assert scan.top_neurons(1).rows[0, 0] == tokens[:, 3, 2].argmax()


# -- reading -------------------------------------------------------------------------------------------------------


def test_chunks_are_the_features_in_pieces(model: Any, tmp_path: Path) -> None:
    scan = scan_all(model, X, tmp_path, shard=5)
    rows, pieces = zip(*scan.chunks(), strict=True)
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(23))
    np.testing.assert_array_equal(np.concatenate(pieces), scan.features())
    assert max(map(len, pieces)) == 5


def test_a_scan_knows_its_network(model: Any, tmp_path: Path) -> None:
    scan = scan_all(model, X, tmp_path)
    scan.check(model)
    with pytest.raises(OptionError, match="another network"):
        scan.check(ag.wrap(ag.testing.rectified_network(), input_size=(5, 7)))


def test_a_layer_is_known_by_its_name_or_by_an_ending_that_only_one_has(tmp_path: Path) -> None:
    kept = [{"name": name} for name in ("a/relu", "relu", "b/pool", "c/pool", "a/conv")]
    scan = Scan(tmp_path, {"plan": {"layers": kept}}, np.arange(1), ["image"], None, [])
    assert [scan.layer(name) for name in (None, "relu", "conv", "b/pool")] == ["a/relu", "relu", "a/conv", "b/pool"]
    for name in ("pool", "dense"):
        with pytest.raises(LayerError, match=f"kept no layer {name!r}, but a/relu, relu, "):
            scan.layer(name)


def test_what_was_not_kept_is_refused(model: Any, tmp_path: Path) -> None:
    scan = scan_all(model, X, tmp_path, layers="relu2", keep=3)
    for wrong in (lambda: scan.top("relu1"), lambda: scan.features("nowhere"), lambda: next(scan.maps("relu2"))):
        with pytest.raises(LayerError, match="relu2"):
            wrong()
    with pytest.raises(LayerError, match="no neurons"):
        scan.top_neurons()
    for k in (0, 4):
        with pytest.raises(OptionError, match="from 1 to 3"):
            scan.top(k=k)
    with pytest.raises(OptionError, match="image 1"):
        scan.row("image 100")
    assert scan.row("image 7") == 7


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"layers": "nowhere"}, LayerError),
        ({"maps": ["dense"]}, LayerError),
        ({"neurons": [Neuron("relu2", 99)]}, TargetError),
        ({"keep": 0}, OptionError),
        ({"shard": 2.5}, OptionError),
        ({"batch_size": -1}, OptionError),
        ({"engine": "nowhere"}, OptionError),
        ({"workers": 0}, OptionError),
        ({"workers": 2}, OptionError),  # a network that is here cannot be sent
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_made(
    model: Any, tmp_path: Path, options: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        scan_all(model, X, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_scan_shows_itself_with_everything_escaped(model: Any, tmp_path: Path) -> None:
    scan = scan_all(model, X, tmp_path / "<b>run", labels=["<i>"] * 23)
    shown = scan._repr_html_()
    assert "&lt;i&gt; (23)" in shown
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert repr(scan) == "Scan(23 images; layers relu2; reference)"
    assert isinstance(Scan.open(tmp_path / "<b>run"), Scan)
