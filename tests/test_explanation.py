"""The result keeps everything that it was made of, on disk as in memory, and a file is whole or is not there."""

import io
import json
import os
import pickle
import re
import zipfile
from dataclasses import asdict, fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agnoscope import Explanation, FileError, Occlusion, OptionError, Provenance, Saliency, Synthesis, wrap
from agnoscope.archive import write_whole
from agnoscope.backends.reference import Network
from agnoscope.explanation import FORMAT
from agnoscope.plugins import Plugins
from agnoscope.testing import deep_network, images

HOSTILE = """<script>alert("1")</script>&amp;'><img src=x onerror=alert(2)>"""


@pytest.fixture
def explanation() -> Explanation:
    """Three images, explained with a channel axis."""
    return Saliency()(wrap(deep_network(), labels=("cat", HOSTILE, "Straße", "dog")), images(), batch_size=2)


def assert_equal(one: Explanation, other: Explanation) -> None:
    """Every field, with its type."""
    assert asdict(one.provenance) == asdict(other.provenance)
    for field in fields(Provenance):
        assert type(getattr(one.provenance, field.name)) is type(getattr(other.provenance, field.name)), field.name
    assert one.names == other.names
    assert len(one.photos) == len(other.photos)
    pairs = [(one.values, other.values), *zip(one.photos, other.photos, strict=True)]
    pairs += [] if one.output is None else [(one.output, other.output)]
    for mine, yours in pairs:
        np.testing.assert_array_equal(mine, yours)
        assert mine.dtype == yours.dtype
    assert (one.output is None) == (other.output is None)


# -- files of our own -------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back_in_every_field(tmp_path: Path, explanation: Explanation) -> None:
    path = explanation.save(tmp_path / "why.npz")
    assert path == tmp_path / "why.npz"
    assert_equal(Explanation.load(path), explanation)
    assert_equal(Explanation.load(str(path)), explanation)


def test_what_is_rarer_comes_back_as_well(tmp_path: Path, explanation: Explanation) -> None:
    double = Network({k: _double(v) for k, v in deep_network().layers.items()})
    photo = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    occlusion = Occlusion(window=(2, 3), fill=(np.float32(0.25), 0.5, 1))
    # Values without a channel axis, float64, tuples among the options, NumPy's own numbers, a photo of another size.
    found = occlusion(wrap(double, input_size=(5, 7), mean=(0.1, 0.2, 0.3)), photo)
    assert found.values.dtype == np.float64
    loaded = Explanation.load(found.save(tmp_path / "why.NPZ"))
    assert_equal(loaded, found)
    assert loaded.provenance.options == {"window": (2, 3), "stride": (1, 1), "fill": (0.25, 0.5, 1)}
    bare = replace(explanation, output=None, provenance=replace(explanation.provenance, seed=7, answers=()))
    assert_equal(Explanation.load(bare.save(tmp_path / "bare.npz")), bare)


def _double(operation: Any) -> Any:
    kernel = getattr(operation, "kernel", None)
    return operation if kernel is None else replace(operation, kernel=kernel.astype(np.float64))


def rewritten(path: Path, **changes: bytes | None) -> Path:
    """The file with members replaced or left out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {f"{name}.npy": content for name, content in changes.items() if content is not None}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if changes.get(name.removesuffix(".npy"), b"") is not None:
                archive.writestr(name, content)
    return path


def npy(array: Any, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


class Exploit:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(
    tmp_path: Path, explanation: Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("values", "header", "photo1", "output"):
        path = rewritten(explanation.save("why.npz"), **{name: npy(np.array(Exploit(), dtype=object), pickled=True)})
        with pytest.raises(FileError, match="is no explanation that agnoscope saved, or is damaged"):
            Explanation.load(path)
    Path("pickle.npz").write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(FileError):
        Explanation.load("pickle.npz")
    assert not Path("executed").exists()
    np.load("why.npz", allow_pickle=True)["output"]  # the trap does work
    assert Path("executed").exists()


def header(explanation: Explanation, **changes: Any) -> bytes:
    provenance = asdict(explanation.provenance) | changes.pop("provenance", {})
    return npy(np.array(json.dumps({"format": FORMAT, "names": ["a"] * 3, "provenance": provenance} | changes)))


def test_a_file_from_before_kinds_is_an_explanation(tmp_path: Path, explanation: Explanation) -> None:
    loaded = Explanation.load(rewritten(explanation.save(tmp_path / "why.npz"), header=header(explanation)))
    assert loaded.provenance == explanation.provenance
    with pytest.raises(FileError, match=r"is no synthesis that agnoscope saved: it is of the kind 'explanation'"):
        Synthesis.load(tmp_path / "why.npz")


def test_a_file_of_a_later_version_asks_for_an_upgrade(tmp_path: Path, explanation: Explanation) -> None:
    path = explanation.save(tmp_path / "why.npz")
    with pytest.raises(FileError, match=r"why\.npz' was written by a newer agnoscope: upgrade"):
        Explanation.load(rewritten(path, header=header(explanation, format=FORMAT + 1)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path, e: path.write_bytes(path.read_bytes()[:200]),
        lambda path, e: path.write_bytes(path.read_bytes().replace(b"PK", b"KP")),
        lambda path, e: path.write_bytes(b""),
        lambda path, e: path.write_text("not an archive"),
        lambda path, e: path.write_bytes(npy(np.zeros(3))),
        lambda path, e: np.savez(path, something=np.zeros(3)),
        lambda path, e: rewritten(path, header=npy(np.array("{"))),
        lambda path, e: rewritten(path, header=npy(np.array("[]"))),
        lambda path, e: rewritten(path, header=header(e, provenance={"mood": "good"})),
        lambda path, e: rewritten(path, values=None),
        lambda path, e: rewritten(path, photo2=None),
        lambda path, e: (path.unlink(), path.mkdir()),
    ],
)
def test_a_foreign_or_damaged_file_is_refused(tmp_path: Path, explanation: Explanation, damage: Any) -> None:
    path = explanation.save(tmp_path / "why.npz")
    damage(path, explanation)
    with pytest.raises(FileError, match=r"why\.npz' is no explanation that agnoscope saved, or is damaged") as caught:
        Explanation.load(path)
    assert isinstance(caught.value, OSError)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"There is no file '.*nowhere\.npz'"):
        Explanation.load(tmp_path / "nowhere.npz")


# -- whole or not at all ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["why.npz", "why.png"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, explanation: Explanation, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
) -> None:
    path = tmp_path / name
    path.write_bytes(b"the old one")

    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(FileError if isinstance(error, OSError) else KeyboardInterrupt, match=r"No space|^$"):
        explanation.save(path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_in_one_move(
    tmp_path: Path, explanation: Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, move, seen = tmp_path / "why.npz", Path.replace, []

    def watched(self: Path, target: Path) -> Path:
        seen.append((self.parent, path.exists(), Explanation.load(self).names))
        return move(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    explanation.save(path)
    assert seen == [(tmp_path, False, explanation.names)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    written = write_whole(tmp_path / "ours", b"content")
    assert written.read_bytes() == b"content"
    assert written.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path, explanation: Explanation) -> None:
    (tmp_path / "folder.npz").mkdir()
    for place in ("nowhere/why.npz", "nowhere/why.png", "folder.npz"):
        with pytest.raises(FileError, match=f"{place}' cannot be written: "):
            explanation.save(tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.npz"]


# -- pictures ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stroke(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a renderer of one colour, half transparent, in the place of all."""
    monkeypatch.setattr(
        Plugins,
        "renderer",
        lambda self, name: lambda explanation, side=4: Image.new("RGBA", (len(explanation), side), (200, 0, 0, 128)),
    )


@pytest.mark.usefixtures("stroke")
@pytest.mark.parametrize(
    ("ending", "form"), [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("JPG", "JPEG"), ("webp", "WEBP")]
)
def test_the_ending_says_the_format(tmp_path: Path, explanation: Explanation, ending: str, form: str) -> None:
    with Image.open(explanation.save(tmp_path / f"why.{ending}", side=9)) as picture:
        assert (picture.format, picture.size) == (form, (3, 9))


@pytest.mark.usefixtures("stroke")
def test_other_endings_and_options_are_refused_before_anything_is_drawn(
    tmp_path: Path, explanation: Explanation
) -> None:
    for name in ("why.gif", "why.npy", "why", "why.png.exe"):
        with pytest.raises(FileError, match=rf"'{re.escape(name)}' must end in \.npz \(the values\) or \.png"):
            explanation.save(tmp_path / name)
    with pytest.raises(OptionError, match=r"A \.npz file takes no options, and got side"):
        explanation.save(tmp_path / "why.npz", side=3)
    assert list(tmp_path.iterdir()) == []


def test_drawing_takes_the_name_of_a_renderer(explanation: Explanation) -> None:
    assert explanation[:1].draw().size != explanation[:1].draw("heatmap").size
    with pytest.raises(OptionError, match=r"no renderer 'heat-map'\. Near it: 'heatmap'"):
        explanation.draw("heat-map")


class Page(HTMLParser):
    """Collects the tags and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.usefixtures("stroke")
def test_a_notebook_shows_picture_and_facts_and_runs_nothing(explanation: Explanation) -> None:
    provenance = replace(explanation.provenance, layer=HOSTILE, warnings=(HOSTILE,), options={HOSTILE: HOSTILE})
    page = Page()
    page.feed(replace(explanation, provenance=provenance)._repr_html_())
    assert {tag for tag, _ in page.tags} == {"figure", "img", "details", "summary", "table", "tr", "th", "td"}
    assert {name for _, attributes in page.tags for name in attributes} <= {"alt", "style", "src"}
    (source,) = (attributes["src"] for tag, attributes in page.tags if tag == "img")
    assert str(source).startswith("data:image/png;base64,")
    assert page.texts.count(HOSTILE) >= 4  # as text: an option's name and value, the layer, the warning
    assert {"saliency", "score", "reference", "target"} <= set(page.texts)
    with Image.open(io.BytesIO(explanation._repr_png_())) as picture:
        assert picture.format == "PNG"


# -- in memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [0, 2, -1, np.int64(1), slice(1, 3), slice(None, None, -1), slice(0, 0)])
def test_a_part_is_an_explanation_of_its_images(explanation: Explanation, key: Any) -> None:
    rows = np.arange(3)[key].reshape(-1)
    part = explanation[key]
    assert len(part) == len(rows)
    np.testing.assert_array_equal(part.values, explanation.values[rows])
    np.testing.assert_array_equal(part.output, explanation.output[rows])
    for mine, all_of_them in (
        (part.names, explanation.names),
        (part.provenance.targets, explanation.provenance.targets),
        (part.provenance.scores, explanation.provenance.scores),
        (part.provenance.answers, explanation.provenance.answers),
    ):
        assert mine == tuple(all_of_them[i] for i in rows)
    assert [photo is explanation.photos[i] for photo, i in zip(part.photos, rows, strict=True)] == [True] * len(rows)


def test_a_part_that_is_not_there_is_refused_and_iteration_ends(explanation: Explanation) -> None:
    assert [part.names for part in explanation] == [("image 1",), ("image 2",), ("image 3",)]
    for part, i in zip(explanation, range(3), strict=True):
        assert_equal(part, explanation[i])
    for key in (3, -4):
        with pytest.raises(IndexError):
            explanation[key]
    assert replace(explanation, output=None)[1:].output is None


def test_maps_are_reduced_as_asked_or_as_the_paper_does(explanation: Explanation) -> None:
    values = explanation.values
    np.testing.assert_array_equal(explanation.maps(), np.abs(values).max(axis=-1))
    np.testing.assert_array_equal(explanation.maps("signed"), values.sum(axis=-1))
    np.testing.assert_array_equal(explanation.maps("positive"), values.sum(axis=-1).clip(min=0))
    flat = replace(explanation, values=values[..., 0])
    np.testing.assert_array_equal(flat.maps("signed"), values[..., 0])
    np.testing.assert_array_equal(flat.maps("max-abs"), np.abs(values[..., 0]))
    centred = explanation.maps("centred")
    np.testing.assert_allclose(centred.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(np.ptp(centred, axis=(1, 2)), np.ptp(explanation.maps("signed"), axis=(1, 2)), rtol=1e-6)
    with pytest.raises(OptionError, match="'abs' is unknown; there are signed, positive, max-abs, centred"):
        explanation.maps("abs")  # type: ignore[arg-type]


def test_it_says_in_a_line_what_it_is(explanation: Explanation) -> None:
    lifted = replace(explanation, values=explanation.values + 5)
    low, high = lifted.values.min(), lifted.values.max()
    assert repr(lifted).startswith(f"Explanation(saliency of {HOSTILE} [1], Straße [2], ")
    assert repr(lifted).endswith(f"values (3, 5, 7, 3) float32 from {low:.3g} to {high:.3g}; reference)")
    assert repr(explanation[:0]).endswith("values (0, 5, 7, 3) float32; reference)")
    four = wrap(deep_network())
    assert "class 1, class 1, class 1 …;" in repr(Saliency()(four, images(4), 1))
