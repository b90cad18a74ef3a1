"""The renderers: what is in a figure, what is written there, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from agnoscope.errors import OptionError
from agnoscope.render import Look, compare, figures, heatmap, keras_book, overlay
from agnoscope.render.blend import booked, fitted, muted
from agnoscope.render.colour import Scale, table

RAMP = np.linspace(0, 1, 49).reshape(7, 7)
RENDERERS = [overlay, heatmap, keras_book]


@pytest.fixture
def drawn(monkeypatch):
    """Calls a renderer, and gives what it hands to the compositor."""
    handed = {}

    def compose(rows, **words):
        handed.update(rows=rows, **words)

    def draw(renderer, *args, **options):
        monkeypatch.setattr(figures, "compose", compose)
        renderer(*args, **options)
        return handed

    return draw


@pytest.mark.parametrize("name", ["overlay", "heatmap", "keras-book"])
def test_renderers_are_found_by_name(make, name):
    picture = make(RAMP[None]).draw(name, side=64)
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"


def test_overlay_says_what_was_asked_and_answered(make, drawn):
    explanation = make(RAMP[None], names=("cat.jpg",), answers=((("tabby [281]", 13.1),),), automatic=("layer",))
    found = drawn(overlay, explanation)
    photo, result = found["rows"][0]
    assert (photo.title, photo.subtitle) == ("cat.jpg", "answer: tabby [281] 13.1")
    assert (result.title, result.subtitle) == ("Egyptian cat [286]", "score 12.3")
    assert (found["title"], found["subtitle"]) == ("grad-cam", "layer features.18 (automatic) · torch")
    assert result.bar.label == "grad-cam, signed"


def test_other_spaces_and_missing_facts_are_said_as_they_are(make, drawn):
    found = drawn(overlay, make(RAMP[None], space="probability", scores=(0.5,), layer=None))
    photo, result = found["rows"][0]
    assert (photo.subtitle, result.subtitle, found["subtitle"]) == ("", "probability 0.5", "torch")


def test_all_maps_share_one_scale_and_bar(make, drawn):
    found = drawn(overlay, make([RAMP, 3 * RAMP]))
    assert found["bar"].scale == Scale(0, 3)
    assert found["bar"].label == "grad-cam, signed · one scale for all"
    assert all(panel.bar is None for row in found["rows"] for panel in row)


def test_own_scales_stand_at_every_panel(make, drawn):
    found = drawn(overlay, make([0.31 * RAMP, 3 * RAMP - 1]), scale="own", photo=False, columns=2)
    bars = [panel.bar for panel in found["rows"][0]]
    assert found["bar"] is None
    assert [bar.label for bar in bars] == [
        "grad-cam, signed · own scale, max 0.31",
        "grad-cam, signed · own scale, max 2",
    ]
    assert [bar.scale.diverging for bar in bars] == [False, True]


def test_clip_is_told(make, drawn):
    noise = np.random.default_rng(0).normal(size=(1, 60, 60))
    assert "clipped at percentile 99" in drawn(overlay, make(noise))["rows"][0][1].bar.label
    assert "clipped" not in drawn(overlay, make(noise), percentile=None)["rows"][0][1].bar.label


def test_bar_has_the_colours_of_the_picture(make, drawn):
    bar = drawn(overlay, make(RAMP[None]), alpha=1)["rows"][0][1].bar
    assert (bar.colours[-1] == table()[-1]).all()
    assert (bar.colours[0] == 128).all(), "where nothing was found, the photo shows"
    bar = drawn(heatmap, make(RAMP[None]))["rows"][0][0].bar
    assert (bar.colours == table()).all()


@pytest.mark.parametrize(
    ("count", "options", "shape"),
    [
        (1, {}, [2]),
        (5, {}, [4, 4, 2]),
        (5, {"photo": False}, [3, 2]),
        (3, {"columns": 3}, [6]),
        (3, {"columns": 9}, [6]),
    ],
)
def test_images_fall_into_columns(make, drawn, count, options, shape):
    assert [len(row) for row in drawn(overlay, make([RAMP] * count), **options)["rows"]] == shape


def test_zero_map_is_the_photo_or_the_colour_of_zero(make, drawn, photo):
    zero = make(np.zeros((1, 7, 7)))
    overlaid = drawn(overlay, zero, side=40)["rows"][0][1].picture
    assert (overlaid == np.rint(muted(photo))).all()
    assert (drawn(heatmap, zero)["rows"][0][0].picture == table()[0]).all()


def test_heatmap_shows_every_value_as_a_rectangle(make, drawn):
    picture = drawn(heatmap, make([[[-1.0, 0.0], [0.0, 1.0]]]), side=40)["rows"][0][0].picture
    colours = table(diverging=True)
    assert picture.shape == (30, 40, 3)
    assert (picture[:15, :20] == colours[0]).all()
    assert (picture[15:, 20:] == colours[-1]).all()
    assert (picture[:15, 20:] == colours[len(colours) // 2]).all()


def test_keras_book_is_its_formula_on_the_positive_part(make, drawn, photo):
    values = RAMP - 0.5
    picture = drawn(keras_book, make(values[None]), side=80)["rows"][0][1].picture
    assert (picture == booked(fitted(photo, 80), np.maximum(values, 0).astype(np.float32), Scale(0, 0.5))).all()


def test_keras_book_ends_its_scale_at_the_largest_value(make, drawn):
    noise = np.random.default_rng(0).random((1, 60, 60))
    assert drawn(keras_book, make(noise))["rows"][0][1].bar.scale == Scale(0, noise.astype(np.float32).max())


def test_channels_are_reduced_as_asked(make, drawn):
    values = np.stack([RAMP, -2 * RAMP], axis=-1)[None]
    ends = {
        reduction: drawn(overlay, make(values), reduction=reduction)["rows"][0][1].bar.scale
        for reduction in ("signed", "positive", "max-abs", None)
    }
    assert ends == {"signed": Scale(-1, 1), "positive": Scale(), "max-abs": Scale(0, 2), None: Scale(-1, 1)}


def test_doubts_are_written_below(make, drawn, photo):
    values = np.stack([RAMP, np.full((7, 7), 0.7), np.full((7, 7), np.nan)])
    values[0, 0, 0] = np.inf
    found = drawn(overlay, make(values, names=("a", "b", "c"), warnings=("Take care.",)), side=40, columns=3)
    for odd in (found["rows"][0][i].picture for i in (3, 5)):
        assert (odd == np.rint(muted(photo))).all()
    assert found["notes"] == (
        "Take care.",
        "a: 1 of 49 values are not finite and are drawn as 0.",
        "b: the map is 0.7 everywhere and is drawn as 0.",
        "c: 49 of 49 values are not finite and are drawn as 0.",
    )


@pytest.mark.parametrize("renderer", RENDERERS)
def test_odd_maps_are_drawn_and_left_as_they_are(make, renderer):
    tall = np.zeros((200, 3, 3), np.uint8)
    values = np.stack([np.full((7, 7), np.nan), RAMP * 1e-40, np.zeros((7, 7))])
    explanation = make(values, photos=(tall, tall[:2], tall[:1, :1]))
    before = explanation.values.copy()
    renderer(explanation, side=50, scale="own")
    assert np.array_equal(explanation.values, before, equal_nan=True)


def test_compare_has_a_row_for_each_image_and_a_column_for_each_explanation(make, drawn):
    one, two = make([RAMP, 2 * RAMP]), make([RAMP, 5 * RAMP], backend="jax", warnings=("Take care.",))
    found = drawn(compare, [one, two])
    assert [len(row) for row in found["rows"]] == [3, 3]
    assert found["labels"] == ("photo0.jpg", "photo1.jpg")
    assert [panel.title for panel in found["rows"][0]] == ["", "grad-cam", "grad-cam"]
    assert [panel.title for panel in found["rows"][1]] == ["", "", ""]
    assert found["rows"][0][2].subtitle == "layer features.18 · jax\nEgyptian cat [286] · score 12.3"
    assert found["rows"][1][2].subtitle == "Egyptian cat [286] · score 12.3"
    assert found["notes"] == ["Take care."]
    assert found["bar"].scale == Scale(0, 5), "one method, one scale"


def test_compare_keeps_the_scales_of_different_methods_apart(make, drawn):
    one, two = make([RAMP, 2 * RAMP]), make([-RAMP, RAMP], method="occlusion")
    found = drawn(compare, [one, two], titles=["First", "Second"], photo=False)
    assert found["bar"] is None
    assert [panel.title for panel in found["rows"][0]] == ["First", "Second"]
    assert [panel.bar for panel in found["rows"][0]] == [None, None]
    assert [panel.bar.scale for panel in found["rows"][1]] == [Scale(0, 2), Scale(-1, 1)]


def test_compare_on_own_scales(make, drawn):
    found = drawn(compare, [make([RAMP, 2 * RAMP])] * 2, scale="own")
    assert [[panel.bar.scale.high for panel in row[1:]] for row in found["rows"]] == [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colors": "viridis"}, "no option 'colors'. Near it: 'colours'"),
        ({"colours": "virids"}, "no colour map 'virids'.*'viridis'"),
        ({"colours": 3}, "colours=3"),
        ({"alpha": 1.5}, "alpha=1.5 must be a number from 0 to 1"),
        ({"alpha": "half"}, "alpha='half'"),
        ({"gray": -1}, "gray=-1"),
        ({"percentile": 0}, "percentile=0"),
        ({"scale": "common"}, "scale='common'"),
        ({"reduction": "mean"}, "reduction 'mean'"),
        ({"columns": 0}, "columns=0"),
        ({"columns": 1.5}, "columns=1.5"),
        ({"side": 4}, "side=4"),
        ({"density": float("nan")}, "density=nan"),
        ({"title": 3}, "title=3"),
        ({"font": 3}, "font=3"),
    ],
)
def test_wrong_options_are_refused(make, options, message):
    with pytest.raises(OptionError, match=message):
        overlay(make(RAMP[None]), **options)


@pytest.mark.parametrize(
    ("renderer", "option"), [(heatmap, "alpha"), (keras_book, "colours"), (keras_book, "gray"), (compare, "columns")]
)
def test_options_that_mean_nothing_to_a_renderer_are_refused(make, renderer, option):
    explanation = make(RAMP[None])
    with pytest.raises(OptionError, match=f"no option '{option}'"):
        renderer([explanation] if renderer is compare else explanation, **{option: 1})


def test_figures_of_nothing_are_refused(make):
    for draw in (lambda: overlay(make(RAMP[None])[:0]), lambda: compare([])):
        with pytest.raises(OptionError, match="nothing to draw"):
            draw()


def test_compare_refuses_other_images_and_too_few_titles(make):
    with pytest.raises(OptionError, match="of a and of b"):
        compare([make(RAMP[None], names=("a",)), make(RAMP[None], names=("b",))])
    with pytest.raises(OptionError, match="1 titles were given for 2"):
        compare([make(RAMP[None])] * 2, titles=["one"])


def test_look_tells_its_options():
    assert all(f"{name}:" in Look.__doc__ for name in Look.__dataclass_fields__)


def test_a_figure_is_the_same_every_time_and_grows_with_density(make):
    explanation = make([RAMP, -RAMP])
    first, second = (overlay(explanation, side=64) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert overlay(explanation, side=64, density=2).width == pytest.approx(2 * first.width, abs=4)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import agnoscope.render", {"PIL", "skimage", "cmap", "matplotlib", "torch"}),
        ("import agnoscope.render.colour as c; c.table(); c.table('jet')", {"matplotlib"}),
    ],
)
def test_drawing_loads_only_what_it_needs(code, absent):
    code += f"; import sys; print(sorted({absent} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
