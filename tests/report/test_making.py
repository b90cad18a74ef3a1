"""A report holds what was asked for; what fails leaves a card, and what cannot be at all is refused first."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.errors import FileError, ImageError, LayerError, OptionError, TargetError
from agnoscope.explainers.meanings import CAUTION
from agnoscope.explainers.perturbation.occlusion import Occlusion
from agnoscope.report.contents import Failure, Panel, Report, Subject
from agnoscope.report.making import make_report
from agnoscope.testing import deep_network
from tests.report.examples import METHODS, Blank, Broken, Gradient, hostile_model, pictures


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report(hostile_model(), pictures(2), (*METHODS, Broken()), receptive_fields=True)


def test_every_image_has_its_answers_and_a_map_or_a_card_for_each_method(report: Report) -> None:
    assert [subject.name for subject in report] == ["image 1", "image 2"]
    for subject, picture in zip(report, pictures(2), strict=True):
        np.testing.assert_array_equal(subject.photo, picture)
        assert len(subject.answers) == 4
        assert sum(answer.probability for answer in subject.answers) == pytest.approx(1)
        *made, broken = subject.panels
        assert [panel.title for panel in made] == ["saliency", "occlusion", "gradient"]
        assert broken == Failure("broken <b>method</b>", "ZeroDivisionError: division by <i>zero</i>")
        assert subject.failures == ()
    assert repr(report) == "Report('What the network sees'; 2 images, 6 maps)"


def test_maps_are_those_of_the_methods(report: Report) -> None:
    alone = ag.explain(hostile_model(), pictures(2)[1], "occlusion")
    panel = report.subjects[1].panels[1]
    np.testing.assert_array_equal(panel.explanation.values, alone.values)
    assert panel.explanation.names == ("image 2",)
    assert panel.explanation.provenance == alone.provenance


def test_every_map_says_what_it_means(report: Report) -> None:
    saliency, _, gradient, _ = report.subjects[0].panels
    assert "slope" in saliency.meaning.shows
    assert gradient.meaning.hides == CAUTION


def test_every_method_and_option_is_recorded_on_the_page(report: Report) -> None:
    html = report.html()
    for panel in (p for s in report for p in s.panels if isinstance(p, Panel)):
        for option in panel.explanation.provenance.options:
            assert f"{option}: " in html or f"{option.replace('_', ' ')}: " in html
    for fact in ("batch size", "reduction", "versions", "backend", "automatic", "space"):
        assert html.count(f'<th scope="row">{fact}</th>') >= 6


def test_warnings_name_the_image_of_the_report() -> None:
    found = make_report(hostile_model(), pictures(2), (Blank(),), checks=("deletion", "edges"), layers=())
    for subject in found:
        assert any(
            w.startswith(f"{subject.name}: every value is zero")
            for w in subject.panels[0].explanation.provenance.warnings
        )
    html = found.html()
    assert "zero everywhere" in html
    assert "undefined" in html
    assert "no better than chance" in html


def test_a_method_that_is_there_twice_is_numbered() -> None:
    found = make_report(hostile_model(), pictures(), (Gradient(), Gradient(2.0)), checks=(), layers=())
    assert [panel.title for panel in found.subjects[0].panels] == ["gradient", "gradient (2)"]
    assert found.subjects[0].panels[1].explanation.provenance.options == {"high": 2.0}


def test_each_image_may_be_asked_about_its_own_class() -> None:
    found = make_report(hostile_model(), pictures(2), ("saliency",), [3, 0], checks=(), layers=())
    targets = [subject.panels[0].explanation.provenance.targets[0] for subject in found]
    assert [target[-3:] for target in targets] == ["[3]", "[0]"]


def test_an_image_that_cannot_be_read_leaves_a_card(tmp_path: Path) -> None:
    Image.fromarray(pictures()[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    files = [tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "gone.png"]
    good, bad, gone = make_report(hostile_model(), files, ("saliency",), checks=(), layers=())
    assert isinstance(good, Subject)
    assert (good.name, bad.name, gone.name) == ("good.png", "bad.png", "gone.png")
    assert "is not an image that can be read" in bad.reason
    assert "There is no image file" in gone.reason
    with pytest.raises(ImageError, match=r"bad\.png.*gone\.png"):
        make_report(hostile_model(), files[1:], ("saliency",))


def test_a_method_that_the_network_does_not_suit_leaves_a_card() -> None:
    model = hostile_model()
    model.can = frozenset({"capture"})
    saliency, occlusion = make_report(model, pictures(), ("saliency", "occlusion")).subjects[0].panels
    assert "gradient" in saliency.reason
    assert isinstance(occlusion, Panel)


def test_what_cannot_be_is_refused_before_any_work() -> None:
    model, photo = hostile_model(), pictures()

    def asked(*rest, **options) -> None:
        def work(done: int, total: int) -> None:
            pytest.fail("work was begun")

        make_report(model, *rest, **options, progress=work)

    with pytest.raises(ImageError, match="There is no image"):
        asked([])
    with pytest.raises(OptionError, match=r"There is no explainer 'grad-can'\. Near it: 'grad-cam'"):
        asked(photo, ("grad-can",))
    with pytest.raises(OptionError, match="needs a method"):
        asked(photo, ())
    with pytest.raises(OptionError, match=r"There is no check 'delete'\. Near it: 'deletion'"):
        asked(photo, checks=("delete",))
    with pytest.raises(TargetError, match="class"):
        asked(photo, target=17)
    with pytest.raises(TargetError, match="2 targets for 1 images"):
        asked(photo, target=[1, 2])
    with pytest.raises(LayerError, match="no layer 'conv7'"):
        asked(photo, layers=("conv7",))
    with pytest.raises(FileError, match="scan"):
        asked(photo, scan="nowhere")


def test_progress_reaches_its_end_and_never_goes_back() -> None:
    seen: list[tuple[int, int]] = []
    make_report(hostile_model(), pictures(2), METHODS, checks=(), layers=(), progress=lambda *at: seen.append(at))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0, 8), (8, 8))


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, report: Report) -> None:
    path = report.save(tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == report.html()
    assert list(tmp_path.iterdir()) == [path]
    for place, words in (
        ("report.pdf", r"must end in \.html"),
        ("none/report.html", "folder that does not exist"),
    ):
        with pytest.raises(FileError, match=words):
            report.save(tmp_path / place)
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        report.save(tmp_path / "folder.html")


def test_equal_reports_give_equal_bytes(report: Report) -> None:
    assert (
        make_report(hostile_model(), pictures(2), (*METHODS, Broken()), receptive_fields=True).html() == report.html()
    )


def test_a_notebook_shows_it_without_scripts_and_with_every_label_escaped(report: Report) -> None:
    html = report._repr_html_()
    assert "<script" not in html
    assert "onerror='" not in html
    assert html.count("<img ") == 2 * 4
    assert all(match.startswith("data:image/webp") for match in re.findall(r'src="([^"]*)"', html))


def test_a_photo_is_in_the_page_once_however_many_maps_lie_on_it(report: Report) -> None:
    html = report.html()
    photos = re.findall(r"background-image:url\(([^)]*)\)", html)
    assert len(photos) == 2
    assert all(html.count(photo) == 1 for photo in photos)


def test_the_network_card_tells_the_network(report: Report) -> None:
    facts, model = dict(report.network.facts), hostile_model()
    assert facts["image"] == "5 × 7 pixels, RGB"
    total = sum(array.size for array in model.parameters().values())
    assert facts["parameters"] == f"{total:,} (float32)"
    assert [row.layer.name for row in report.network.table.rows] == list(model.layers())
    assert sum(row.parameters for row in report.network.table.rows) == total
    assert "3 × 3" in {row.sees for row in report.network.table.rows}


def test_a_network_of_any_size_takes_images_of_different_sizes() -> None:
    images = [np.zeros((9, 8, 3), np.uint8), np.full((12, 10, 3), 255, np.uint8)]
    found = make_report(ag.wrap(deep_network()), images, (Occlusion(window=3, stride=3),))
    assert [subject.panels[0].explanation.values.shape[1:3] for subject in found] == [(9, 8), (12, 10)]
