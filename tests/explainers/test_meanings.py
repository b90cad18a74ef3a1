"""Every method says what it shows and where it misleads, those that a plugin adds among them."""

from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from agnoscope import OptionError
from agnoscope.builtin import IMAGINED, METHODS
from agnoscope.explainers.meanings import CAUTION, MEANINGS, Meaning, meaning
from agnoscope.explainers.synthesis.presets import PRESETS as RECIPES
from agnoscope.fast_style.style_network import METHOD
from agnoscope.plugins import ExplainerSpec, Plugins, SynthesizerSpec, hookimpl
from agnoscope.presets import PRESETS


class Described:
    """Ink where the network looks
    twice. It looks once as a rule.

    And more. That nobody needs.
    """


@dataclass
class Undescribed:
    layer: str = ""


class Blank:
    """"""


def test_every_method_has_a_meaning_and_nothing_else_has() -> None:
    assert set(MEANINGS) == {*METHODS, *IMAGINED, METHOD, "finished"}


def test_no_two_sentences_are_the_same() -> None:
    sentences = Counter(sentence for each in MEANINGS.values() for sentence in (each.shows, each.hides))
    assert max(sentences.values()) == 1


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_a_meaning_is_two_sentences_that_fit_below_a_picture(name: str) -> None:
    for sentence in (MEANINGS[name].shows, MEANINGS[name].hides):
        assert 40 <= len(sentence) <= 220
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert sentence.replace("et al.", "").count(". ") == 0


@pytest.mark.parametrize(
    ("preset", "method"),
    [
        ("captum:smoothgrad", "smoothgrad"),
        ("captum:gradient-shap", "expected-gradients"),
        ("pair:smoothgrad", "smoothgrad-squared"),
        ("keras-book:grad-cam", "grad-cam"),
        ("xplique:maco", "feature-visualization"),
    ],
)
def test_a_preset_means_what_its_method_means(preset: str, method: str) -> None:
    assert meaning(preset) is MEANINGS[method]


def test_every_preset_has_a_meaning() -> None:
    for name in (*PRESETS, *RECIPES):
        assert isinstance(meaning(name), Meaning)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods of this module, as a plugin adds them."""

    @hookimpl
    def agnoscope_explainers() -> list[ExplainerSpec]:
        return [
            ExplainerSpec("ink", f"{__name__}:Described"),
            ExplainerSpec("mute", f"{__name__}:Undescribed"),
            ExplainerSpec("blank", f"{__name__}:Blank"),
        ]

    @hookimpl
    def agnoscope_synthesizers() -> list[SynthesizerSpec]:
        return [SynthesizerSpec("doodle", f"{__name__}:Described")]

    known = Plugins()
    hooks = {"agnoscope_explainers": agnoscope_explainers, "agnoscope_synthesizers": agnoscope_synthesizers}
    known.add(SimpleNamespace(**hooks), "example 1.0")
    assert known.problems == {}
    monkeypatch.setattr("agnoscope.plugins.plugins", lambda: known)


@pytest.mark.parametrize("name", ["ink", "doodle"])
def test_a_plugin_speaks_by_the_first_sentence_of_its_docstring(plugged: None, name: str) -> None:
    assert meaning(name) == Meaning("Ink where the network looks twice.", CAUTION)


@pytest.mark.parametrize("name", ["mute", "blank"])
def test_a_plugin_without_a_docstring_is_told_by_its_name(plugged: None, name: str) -> None:
    assert meaning(name) == Meaning(f"{name}, a method without a description.", CAUTION)


def test_our_own_methods_are_not_a_plugins_to_explain(plugged: None) -> None:
    assert meaning("grad-cam").hides != CAUTION


@pytest.mark.parametrize("name", ["grad-com", "captum:smothgrad"])
def test_what_does_not_exist_is_refused_with_what_is_near(name: str) -> None:
    with pytest.raises(OptionError, match=r"Near it: .*grad"):
        meaning(name)
