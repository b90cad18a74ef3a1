"""Views against SciPy's resampling and against whole pixels moved by hand."""

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from agnoscope.errors import OptionError
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.transformations import (
    LUCID,
    Border,
    Crop,
    Flip,
    Jitter,
    Rotate,
    Sampling,
    Scale,
    Transformation,
    Views,
    looked_at,
    shift,
)
from tests.explainers.synthesis.frameworks import OTHERS, demo64
from tests.networks.wrapped import network, x64

CANVAS = Canvas((10, 14), 3, (-2.0, 6.0), "float64")
SQUARE = Canvas((9, 9), 3, (-2.0, 6.0), "float64")
GRAY = 2.0
BORDERS = {"gray": "constant", "edge": "edge", "mirror": "reflect", "wrap": "wrap"}
SCIPY = {"gray": "grid-constant", "edge": "nearest", "mirror": "mirror", "wrap": "grid-wrap"}
SAMPLINGS = ["linear", "nearest"]
FRAMEWORKS = [pytest.param("torch", marks=pytest.mark.torch), *OTHERS]


def drawn(canvas: Canvas = CANVAS, count: int = 2) -> NDArray[Any]:
    return np.random.default_rng(0).uniform(*canvas.bounds, (count, *canvas.size, canvas.depth)).astype(canvas.dtype)


def seen(views: Views, images: NDArray[Any], canvas: Canvas = CANVAS, size: Any = None, random: Any = None) -> Any:
    size = size or canvas.size
    places = views.places(random or np.random.default_rng(5), canvas, size)
    return looked_at(xp, canvas, size, images, places)


class Told:
    """In place of random numbers: those given, one call after the other."""

    def __init__(self, *numbers: Any) -> None:
        self.numbers = iter(numbers)

    def uniform(self, *_: Any) -> Any:
        return next(self.numbers)

    integers = lambda self, *_, **__: next(self.numbers)  # noqa: E731


# -- each transformation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_jitter_shifts_by_whole_pixels_exactly(border: Any, sampling: Sampling) -> None:
    images = drawn()
    view = seen(Views((Jitter(6),), 1, border, sampling), images, random=Told(np.array([5, 1])))  # by 2 and -2
    constant = {"constant_values": GRAY} if border == "gray" else {}
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), BORDERS[border], **constant)
    np.testing.assert_array_equal(view, padded[:, 5:15, 1:15])


def test_jitter_draws_every_shift_within_its_range() -> None:
    random = np.random.default_rng(0)
    shifts = np.array([Jitter(4).draw(random, (10, 14))[:2, 2] for _ in range(300)])
    for axis in (0, 1):
        np.testing.assert_array_equal(np.unique(shifts[:, axis]), [-2, -1, 0, 1, 2])
    assert len(np.unique(shifts, axis=0)) == 25


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(("degrees", "turns"), [(90.0, -1), (180.0, 2), (-90.0, 1)])
def test_quarter_turns_move_whole_pixels(sampling: Sampling, degrees: float, turns: int) -> None:
    images = drawn(SQUARE)
    view = seen(Views((Rotate(180),), 1, "gray", sampling), images, SQUARE, random=Told(1.0, degrees))
    np.testing.assert_allclose(view, np.rot90(images, turns, (1, 2)), atol=1e-12)


def test_some_views_are_not_turned() -> None:
    random = np.random.default_rng(0)
    maps = [Rotate(10, still=0.3).draw(random, (9, 9)) for _ in range(400)]
    angles = np.rad2deg([np.arctan2(m[1, 0], m[0, 0]) for m in maps])
    assert 0.2 < (angles == 0).mean() < 0.4
    assert angles.min() < -9
    assert 9 < angles.max() <= 10


def test_a_magnification_of_three_shows_every_pixel_thrice() -> None:
    images = drawn(SQUARE)
    view = seen(Views((Scale(3, 3),), sampling="nearest"), images, SQUARE)
    np.testing.assert_array_equal(view, np.repeat(np.repeat(images[:, 3:6, 3:6], 3, 1), 3, 2))


def test_magnifications_lie_between_the_two() -> None:
    random = np.random.default_rng(0)
    factors = [1 / Scale(0.5, 2).draw(random, (9, 9))[0, 0] for _ in range(300)]
    assert 0.5 <= min(factors) < 0.6
    assert 1.9 < max(factors) <= 2
    assert np.mean(factors) == pytest.approx(1.25, abs=0.1)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_crop_of_half_the_side_is_that_block(sampling: Sampling) -> None:
    # Half of 10 × 14, seen as 5 × 7; the room for it is ±2.5 rows and ±3.5 columns.
    views = Views((Crop(0.5, 0.5),), 1, "gray", sampling)
    images = drawn()
    for room, block in (((0.5, -0.5), np.s_[:, 5:10, 0:7]), ((-0.3, 0.5), np.s_[:, 1:6, 7:14])):
        view = seen(views, images, size=(5, 7), random=Told(0.5, np.array(room)))
        np.testing.assert_allclose(view, images[block], atol=1e-12)


def test_crops_stay_within_the_image() -> None:
    white = np.full((1, 10, 14, 3), 6.0)
    view = seen(Views((Crop(0.1, 1),), 60), white, size=(20, 28))
    # At most the outer half of a border pixel has gray beside it.
    assert view.min() >= GRAY + 4 * 0.25
    assert (view[:, 10, 14] > 6 - 1e-9).all()
    edges = [(view[:, row, 14] < 5.9).any() for row in (0, 19)]
    assert edges == [True, True]


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_flip_changes_left_and_right_in_its_share_of_views(border: Any, sampling: Sampling) -> None:
    images = drawn()
    for chance, expected in ((0.29, images[:, :, ::-1]), (0.31, images)):
        view = seen(Views((Flip(0.3),), 1, border, sampling), images, random=Told(chance))
        np.testing.assert_array_equal(view, expected)
    random = np.random.default_rng(0)
    for share in (0.0, 0.3, 1.0):
        flipped = [Flip(share).draw(random, (9, 9))[1, 1] < 0 for _ in range(400)]
        assert np.mean(flipped) == pytest.approx(share, abs=0.06 * (0 < share < 1))


@pytest.mark.parametrize(("border", "sampling"), [("gray", "linear"), ("wrap", "linear"), ("gray", "nearest")])
def test_noise_is_added_to_each_view_in_shares_of_the_span(border: Any, sampling: Sampling) -> None:
    images = drawn(count=3)
    quiet, noisy = (seen(Views(LUCID, 2, border, sampling, noise), images, size=(40, 50)) for noise in (0, 0.05))
    noise = (noisy - quiet).reshape(3, 2, 40, 50, 3)
    np.testing.assert_allclose(noise, noise[:1].repeat(3, axis=0), atol=1e-12)  # that of each image
    assert noise[0].std(axis=(1, 2, 3)) == pytest.approx([0.05 * 8] * 2, rel=0.05)
    assert np.abs(noise[0].mean(axis=(1, 2, 3))) == pytest.approx([0, 0], abs=0.02)
    assert np.abs(np.corrcoef(noise[0].reshape(2, -1))[0, 1]) < 0.05  # and of each view its own
    assert noisy.dtype == images.dtype


@pytest.mark.parametrize(
    ("views", "still"), [(Views(()), True), (Views((), noise=0.1), False), (Views((Jitter(2),)), False)]
)
def test_only_the_whole_image_without_noise_is_seen_alike_at_every_step(views: Views, still: bool) -> None:
    assert views.still is still


def test_without_noise_no_number_is_drawn_for_it() -> None:
    after = []
    for views in (Views(count=2), Views(count=2, noise=0.1)):
        random = np.random.default_rng(0)
        views.places(random, CANVAS, (4, 4))
        after.append(random.uniform())
    assert after[0] != after[1]
    random = np.random.default_rng(0)
    for transformation in LUCID * 2:
        transformation.draw(random, CANVAS.size)
    assert after[0] == random.uniform()


# -- all of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(10, 14), (7, 9)])
def test_linear_views_are_scipys(border: Any, size: tuple[int, int]) -> None:
    images = drawn()
    view = seen(Views((*LUCID, Crop(0.5, 0.9)), 3, border, "linear"), images, size=size)
    random = np.random.default_rng(5)
    for number in range(3):
        drawn_map = np.eye(3)
        for transformation in (*LUCID, Crop(0.5, 0.9)):
            drawn_map = drawn_map @ transformation.draw(random, (10, 14))
        matrix = shift(4.5, 6.5) @ drawn_map @ np.diag([10 / size[0], 14 / size[1], 1])
        matrix = matrix @ shift((1 - size[0]) / 2, (1 - size[1]) / 2)
        for image in range(2):
            for channel in range(3):
                plane = images[image, ..., channel]
                options = {"output_shape": size, "order": 1, "mode": SCIPY[border], "cval": GRAY}
                expected = affine_transform(plane, matrix[:2, :2], matrix[:2, 2], **options)
                np.testing.assert_allclose(view[3 * image + number, ..., channel], expected, atol=1e-9)


def test_transformations_are_multiplied_in_their_order() -> None:
    images = drawn(SQUARE)
    orders = [(Scale(3, 3), Jitter(6)), (Jitter(6), Scale(3, 3))]
    told = [(3.0, np.array([6, 3])), (np.array([6, 3]), 3.0)]  # by 3 and 0
    first, second = (
        seen(Views(order, sampling="nearest"), images, SQUARE, random=Told(*numbers))
        for order, numbers in zip(orders, told, strict=True)
    )
    # Shifted on the magnified image by one pixel of the image, and on the image by three.
    np.testing.assert_array_equal(first, np.repeat(np.repeat(images[:, 4:7, 3:6], 3, 1), 3, 2))
    np.testing.assert_array_equal(second, np.repeat(np.repeat(images[:, 6:9, 3:6], 3, 1), 3, 2))


def test_half_the_size_is_the_mean_of_four() -> None:
    images = drawn()
    view = seen(Views((), sampling="linear"), images, size=(5, 7))
    np.testing.assert_allclose(view, images.reshape(2, 5, 2, 7, 2, 3).mean(axis=(2, 4)), atol=1e-12)


def test_no_transformation_is_the_whole_image() -> None:
    for sampling in SAMPLINGS:
        np.testing.assert_array_equal(seen(Views((), sampling=sampling), drawn()), drawn())  # type: ignore[arg-type]


def test_views_of_an_image_lie_side_by_side() -> None:
    images = drawn(count=3)
    several = seen(Views(count=4), images)
    for image in range(3):
        np.testing.assert_array_equal(
            several[4 * image : 4 * image + 4], seen(Views(count=4), images[image : image + 1])
        )
    assert len(np.unique(several[:4].reshape(4, -1), axis=0)) == 4


@pytest.mark.parametrize("transformation", [*LUCID, Crop(), Rotate(5, 0.0), Flip()], ids=repr)
def test_a_draw_takes_as_many_numbers_each_time(transformation: Transformation) -> None:
    after = []
    for size in ((9, 9), (30, 50)):
        random = np.random.default_rng(3)
        transformation.draw(random, size)
        after.append(random.uniform())
    assert after[0] == after[1]


def test_gray_beyond_the_border_is_that_of_the_bounds() -> None:
    view = seen(Views((Jitter(40),), border="gray"), drawn(), random=Told(np.array([40, 40])))
    np.testing.assert_array_equal(view, np.full_like(view, GRAY))


# -- in the frameworks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("border", ["gray", "mirror"])
def test_frameworks_agree_on_what_is_seen_and_on_its_gradient(
    framework: str, sampling: Sampling, border: Border
) -> None:
    model = network(framework, "resnet20", "float64")
    views = Views((*LUCID, Flip(1.0)), 2, border, sampling, noise=0.1)
    given = {"images": drawn(), **views.places(np.random.default_rng(0), CANVAS, (7, 9))}
    with x64(framework, "float64"):
        found = model.compile(_looked, CANVAS)(given)
    expected = demo64().compile(_looked, CANVAS)(given)
    for name in ("view", "gradient"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-9, err_msg=name)
        assert found[name].dtype == np.float64


def test_gradients_are_difference_quotients() -> None:
    places = Views(count=2).places(np.random.default_rng(0), CANVAS, (7, 9))
    images, direction = drawn(), np.random.default_rng(1).normal(size=(2, 10, 14, 3))
    ahead, behind = (
        (looked_at(xp, CANVAS, (7, 9), images + sign * direction, places) ** 2).sum() for sign in (1e-5, -1e-5)
    )
    slope = demo64().compile(_looked, CANVAS)({"images": images, **places})["gradient"]
    assert (slope * direction).sum() == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)


def _looked(model: Model, canvas: Canvas, given: Any) -> dict[str, Any]:
    def total(tree: Any) -> Any:
        view = looked_at(model.xp, canvas, (7, 9), tree["images"], given, model.resample)
        return model.xp.sum(view * view), {"view": view}

    (_, found), gradient = model.value_and_grad(total)({"images": given["images"]})
    return {**found, "gradient": gradient["images"]}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Jitter(-1), "pixels"),
        (lambda: Scale(1.1, 0.9), "lower number first"),
        (lambda: Scale(0, 1), "low"),
        (lambda: Rotate(-5), "degrees"),
        (lambda: Rotate(5, still=1.5), "still"),
        (lambda: Crop(0.5, 1.5), "shares"),
        (lambda: Flip(1.1), "share=1.1"),
        (lambda: Views(noise=-0.1), "noise"),
        (lambda: Views(Jitter(8)), "transformations"),
        (lambda: Views(("jitter",)), "transformations"),
        (lambda: Views(count=0), "count"),
        (lambda: Views(border="black"), "'gray', 'edge', 'mirror', 'wrap'"),
        (lambda: Views(sampling="cubic"), "'linear', 'nearest'"),
    ],
)
def test_wrong_options_are_refused(make: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make()
