"""Maps of feature space against closed forms, and against scikit-learn where it is installed."""

import sys
from contextlib import suppress

import numpy as np
import pytest

from agnoscope.errors import MissingFrameworkError, OptionError
from agnoscope.feature_space import embedding
from agnoscope.feature_space.embedding import embed, trustworthiness

RNG = np.random.default_rng(3)


def blobs(each: int = 60, count: int = 4, width: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Separated clouds, and which one each row belongs to."""
    labels = np.repeat(np.arange(count), each)
    return np.eye(width)[labels] * 20 + RNG.normal(size=(each * count, width)), labels


def nearest_label(points: np.ndarray, labels: np.ndarray) -> float:
    """The share of points whose nearest other point has their label."""
    distances = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    return float((labels[distances.argmin(1)] == labels).mean())


@pytest.fixture(autouse=True, scope="module")
def umap_alone():
    """umap-learn loads TensorFlow where it can, for what is not used here; that takes longer than all these tests."""
    with pytest.MonkeyPatch.context() as patched, suppress(ImportError):
        if "tensorflow" not in sys.modules:
            patched.setitem(sys.modules, "tensorflow", None)
        import umap  # noqa: F401


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_separated_blobs_stay_separated(method):
    pytest.importorskip({"tsne": "sklearn", "umap": "umap"}[method])
    features, labels = blobs()
    found = embed(features, method)
    assert found.trustworthiness >= 0.95
    assert nearest_label(found.points, labels) == 1
    assert found.points.shape == (240, 2)
    assert found.points.dtype == np.float32


def test_principal_components_are_those_of_a_known_cloud():
    """Independent columns of variance 9, 4 and 1 share it as 9 : 4 : 1, in an order that the axes turn round."""
    columns = np.linalg.qr(RNG.normal(size=(50, 4)) * [0, 1, 1, 1] + [1, 0, 0, 0])[0][:, 1:]  # each of mean 0
    features = columns * [1, 3, 2] + [5, -7, 100]
    found = embed(features, "pca")
    assert found.explained == pytest.approx((9 / 14, 4 / 14))
    np.testing.assert_allclose(found.points, (columns * [1, 3, 2])[:, [1, 2]], atol=1e-5)
    np.testing.assert_allclose(embed(-features, "pca").points, -found.points, atol=1e-5)  # not mirrored


def test_a_line_maps_to_a_line():
    found = embed(np.arange(5.0)[:, None])
    assert found.points.tolist() == [[-2, 0], [-1, 0], [0, 0], [1, 0], [2, 0]]
    assert found.explained == (1.0,)
    assert found.trustworthiness == 1


def test_trustworthiness_by_hand():
    """On a line of six, 5 moves beside 0. Ranks above k = 1 on the map: 0 finds 5 (rank 5), and 5 finds 0 (5)."""
    line = np.arange(6.0)[:, None]
    moved = np.array([0, 1.1, 2, 3.2, 4, 0.1])[:, None]
    # 1 finds 2 or 5: the distance to 2 is 0.9, to 5 is 1.0. Nearest on the map: 0→5, 1→2, 2→1, 3→4, 4→3, 5→0.
    assert trustworthiness(line, moved, 1) == pytest.approx(1 - 2 * (4 + 4) / (6 * 1 * (12 - 3 - 1)))
    assert trustworthiness(line, line * -3, 2) == 1


@pytest.mark.parametrize("k", [1, 5, 12])
def test_trustworthiness_equals_scikit_learn(k, monkeypatch):
    manifold = pytest.importorskip("sklearn.manifold")
    monkeypatch.setattr(embedding, "BLOCK", 9)
    features = RNG.normal(size=(40, 6))
    points = features[:, :2] + RNG.normal(size=(40, 2))
    assert trustworthiness(features, points, k) == pytest.approx(
        manifold.trustworthiness(features, points, n_neighbors=k), abs=1e-12
    )


def test_trustworthiness_of_many_rows_is_measured_on_a_sample_that_the_seed_draws(monkeypatch):
    features = RNG.normal(size=(300, 8))
    whole = embed(features, seed=4)
    monkeypatch.setattr(embedding, "SAMPLE", 200)
    part = embed(features, seed=4)
    assert (whole.measured, part.measured) == (300, 200)
    assert part.trustworthiness == embed(features, seed=4).trustworthiness != embed(features, seed=5).trustworthiness
    assert abs(part.trustworthiness - whole.trustworthiness) < 0.05
    assert str(part).endswith("neighbours, on 200 of them")


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_the_same_seed_gives_the_same_map(method):
    pytest.importorskip({"tsne": "sklearn", "umap": "umap"}.get(method, "numpy"))
    features, _ = blobs(20, 3)
    first, second = (embed(features, method, seed=2) for _ in range(2))
    assert first.points.tobytes() == second.points.tobytes()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_features_does_not_count(scale):
    pytest.importorskip("sklearn")
    features, labels = blobs(20, 3)
    found = embed(features * scale, "tsne")
    assert nearest_label(found.points, labels) == 1
    assert found.trustworthiness > 0.9


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
@pytest.mark.parametrize("rows", [3, 4, 7])
def test_a_few_rows_make_a_map(method, rows):
    pytest.importorskip({"tsne": "sklearn", "umap": "umap"}.get(method, "numpy"))
    found = embed(RNG.normal(size=(rows, 5)), method)
    assert np.isfinite(found.points).all()
    assert 1 <= found.neighbours < rows / 2


def test_options_are_kept_as_they_were_used():
    pytest.importorskip("sklearn")
    features, _ = blobs(10, 2)
    found = embed(features, "tsne", iterations=300)
    assert found.options == {"perplexity": pytest.approx(19 / 3), "iterations": 300}
    assert "scikit-learn" in found.versions
    assert str(found).startswith("t-SNE of 20 images (perplexity 6.333, iterations 300); trustworthiness 0.")
    assert len(found.explained) == 10
    assert sum(found.explained) == pytest.approx(1)


def test_pca_tells_its_variance():
    assert "PCA of 5 images (axes with 100% of the variance)" in str(embed(np.arange(5.0)[:, None]))


@pytest.mark.parametrize(
    ("features", "method", "options", "words"),
    [
        (np.zeros((2, 4)), "pca", {}, "at least 3 images, and there are 2"),
        (np.full((9, 4), 0.1), "pca", {}, "All 9 rows of features are the same"),
        (np.diag([1, 2, np.nan]), "pca", {}, "row 2 hold NaN"),
        (np.zeros((3, 2, 2)), "pca", {}, r"shape \(3, 2, 2\)"),
        (np.eye(5), "tsn", {}, "'tsn' is unknown; there are 'tsne'"),
        (np.eye(5), "pca", {"perplexity": 5}, "PCA has no option 'perplexity'; it takes no options"),
        (np.eye(5), "tsne", {"neighbours": 5}, "takes only perplexity, iterations"),
        (np.eye(5), "tsne", {"perplexity": 5}, "perplexity=5 must be below the number of rows, which is 5: take 1.33"),
        (np.eye(5), "tsne", {"iterations": 10}, "iterations=10 must be a whole number, at least 250"),
        (np.eye(5), "umap", {"neighbours": 5}, "neighbours=5 must be below the number of rows, which is 5: take 4"),
        (np.eye(5), "umap", {"min_distance": 2}, "min_distance=2 must be at most 1"),
        (np.eye(5), "pca", {"seed": -1}, "seed=-1"),
    ],
)
def test_bad_input_is_refused(features, method, options, words):
    with pytest.raises(OptionError, match=words):
        embed(features, method, **options)


@pytest.mark.parametrize(("method", "module", "extra"), [("tsne", "sklearn", "maps"), ("umap", "umap", "umap")])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, method, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingFrameworkError, match=rf'not installed.*pip install "agnoscope\[{extra}\]"'):
        embed(np.eye(5), method)


def test_too_many_neighbours_are_refused():
    with pytest.raises(OptionError, match="k=2 neighbours must be fewer than half of the 4 rows"):
        trustworthiness(np.eye(4), np.eye(4), 2)
