"""What is said to be true about a scene is true: mask, ground, labels, and what depends on what."""

import numpy as np
import pytest

from agnoscope.demo.scenes import BACKGROUNDS, CLASSES, SIZE, Scene, make_scenes


@pytest.fixture(scope="module")
def independent() -> list[Scene]:
    return make_scenes(600, seed=20)


def rate_at_home(scenes: list[Scene]) -> float:
    return float(np.mean([scene.label == scene.background for scene in scenes]))


def test_a_seed_decides_everything() -> None:
    for one, other in zip(make_scenes(4, seed=5), make_scenes(9, seed=5), strict=False):
        for name in ("image", "clean", "mask"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (one.label, one.background) == (other.label, other.background)
    assert not np.array_equal(make_scenes(1, seed=5)[0].image, make_scenes(1, seed=6)[0].image)


def test_scenes_stay_what_the_weights_were_trained_on() -> None:
    scenes = make_scenes(6, seed=0)
    found = [(CLASSES[one.label], BACKGROUNDS[one.background], int(one.mask.sum())) for one in scenes]
    assert found == [
        ("crate", "gravel", 872),
        ("crate", "grass", 914),
        ("crate", "brick", 1080),
        ("ball", "brick", 568),
        ("cone", "gravel", 780),
        ("ball", "gravel", 1004),
    ]


def test_the_mask_is_exact(independent: list[Scene]) -> None:
    for scene in independent[:200]:
        changed = (scene.image != scene.clean).any(axis=-1)
        assert not changed[~scene.mask].any()
        # The odd pixel of a thing may have the very colour of the ground.
        assert changed[scene.mask].mean() > 0.98


def test_pictures_have_their_documented_form(independent: list[Scene]) -> None:
    for scene in independent[:50]:
        assert scene.image.shape == scene.clean.shape == (SIZE, SIZE, 3)
        assert scene.image.dtype == scene.clean.dtype == np.uint8
        assert scene.mask.shape == (SIZE, SIZE)
        assert scene.mask.dtype == np.bool_


def test_things_cover_a_twentieth_to_an_eighth_whatever_they_are(independent: list[Scene]) -> None:
    shares = np.array([scene.mask.mean() for scene in independent])
    assert shares.min() > 0.05
    assert shares.max() < 0.13
    labels = np.array([scene.label for scene in independent])
    means = [shares[labels == label].mean() for label in range(len(CLASSES))]
    assert max(means) - min(means) < 0.01


def test_things_lie_anywhere(independent: list[Scene]) -> None:
    ever = np.any([scene.mask for scene in independent], axis=0)
    assert ever.mean() > 0.9
    for edge in (ever[0], ever[-1], ever[:, 0], ever[:, -1]):
        assert edge.any()


@pytest.mark.parametrize(("correlated", "expected"), [(0.0, 1 / 3), (0.7, 0.8), (1.0, 1.0)])
def test_correlated_is_the_share_put_at_home(correlated: float, expected: float) -> None:
    rate = rate_at_home(make_scenes(600, seed=21, correlated=correlated))
    assert rate == pytest.approx(expected, abs=0.0 if correlated == 1 else 0.06)


def test_without_correlation_every_pair_is_equally_likely(independent: list[Scene]) -> None:
    counts = np.zeros((len(CLASSES), len(BACKGROUNDS)))
    for scene in independent:
        counts[scene.label, scene.background] += 1
    expected = counts.sum() / counts.size
    # 26.1 is the 0.1 % point of chi-square with 8 degrees of freedom.
    assert ((counts - expected) ** 2 / expected).sum() < 26.1


def test_correlation_moves_only_the_ground() -> None:
    for free, bound in zip(make_scenes(40, seed=22), make_scenes(40, seed=22, correlated=1.0), strict=True):
        assert free.label == bound.label
        np.testing.assert_array_equal(free.mask, bound.mask)
        # Inside, away from its mixed edge, the thing looks the same.
        same = (free.image == bound.image).all(axis=-1)[free.mask].mean()
        assert same > 0.7


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        make_scenes(-1, seed=0)
    with pytest.raises(ValueError, match=r"1\.5"):
        make_scenes(1, seed=0, correlated=1.5)
    assert make_scenes(0, seed=0) == []
