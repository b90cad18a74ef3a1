"""A plugin can be wrong in many ways; none of them may hurt agnoscope or another plugin, and all are told.

Each test installs toy distributions, a module and its metadata in a folder on the path, and lets agnoscope
discover them as it discovers real ones.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType

import pytest

from agnoscope import MissingFrameworkError, ModelError, OptionError, PluginError, wrap
from agnoscope.api import make_synthesizer
from agnoscope.backends.reference import Network, Relu
from agnoscope.plugins import PROTOCOL, SWITCH, BackendSpec, ExplainerSpec, Plugins, Provided, plugins
from agnoscope.testing import deep_network

Install = Callable[..., None]


def hook(body: str, name: str = "agnoscope_explainers") -> str:
    """The source of a plugin with one hook."""
    return f"from agnoscope.plugins import *\n\n@hookimpl\ndef {name}():\n{indent(dedent(body), '    ')}\n"


def explainer(name: str, factory: str = "agnoscope:Saliency", more: str = "") -> str:
    """The source of a plugin that yields one explainer."""
    return hook(f"yield ExplainerSpec({name!r}, {factory!r}, {more})")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution of one module on the path; what gets imported is forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(SWITCH, raising=False)
    before = set(sys.modules)

    def installed(name: str, source: str, version: str = "1.0", point: str = "plugin") -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[agnoscope]\n{point} = {module}\n")
        importlib.invalidate_caches()

    yield installed
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_plugin_is_found_beside_the_built_in_ones(install: Install) -> None:
    install("toy", explainer("tickle"), version="2.3")
    found = Plugins.discover()
    assert Provided(ExplainerSpec("tickle", "agnoscope:Saliency"), "toy 2.3") in list(found.specs("explainer"))
    assert found.explainer("tickle").name == "saliency"
    assert {"saliency", "tickle"} <= set(found.names("explainer"))
    assert found.problems == {}


LIGHT = [key for key, (provided, *_) in Plugins.discover([]).found.items() if not provided.spec.needs]


@pytest.mark.parametrize(("kind", "name"), LIGHT)
def test_what_is_built_in_and_needs_no_framework_can_be_imported(kind: str, name: str) -> None:
    assert callable(plugins().use(kind, name))


MAKER = """
from dataclasses import dataclass
from typing import Any, final

from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.plugins import SynthesizerSpec, hookimpl

@hookimpl
def agnoscope_synthesizers():
    yield SynthesizerSpec("doodle", "maker:Doodle")

@final
@dataclass(frozen=True)
class Doodle(Synthesizer):
    \"\"\"A doodle.\"\"\"

    name = "doodle"
    iterations: int = 2
    seed: int = 0

    def plan(self, model: Any, target: Any) -> Plan:
        return FeatureVisualization(self.iterations).plan(model, target)
"""


def test_a_plugin_may_bring_a_method_that_makes_images(install: Install) -> None:
    install("maker", MAKER)
    found = Plugins.discover()
    assert found.problems == {}
    assert {"feature-visualization", "doodle"} <= set(found.names("synthesizer"))
    assert "doodle" not in found.names("explainer")
    assert len(found.synthesizer("doodle")(iterations=3)(wrap(deep_network(), input_size=(5, 7)), 1).history) == 3
    install("wrong", hook("yield ExplainerSpec('tickle', 'a:b')", "agnoscope_synthesizers"))
    assert "ExplainerSpec where SynthesizerSpec is expected" in Plugins.discover().problems["wrong 1.0 (plugin)"]


def test_an_unknown_method_that_makes_images_gets_near_names_and_its_options_are_checked() -> None:
    with pytest.raises(OptionError, match=r"no synthesizer 'feature-visualisation'.*'feature-visualization'"):
        make_synthesizer("feature-visualisation", {})
    with pytest.raises(OptionError, match=r"has no option 'iteration'.*'iterations'"):
        make_synthesizer("feature-visualization", {"iteration": 3})
    assert make_synthesizer("feature-visualization", {"iterations": 3}).iterations == 3


def test_a_preset_keeps_its_numbers_but_for_those_that_are_given() -> None:
    made = make_synthesizer("lucid:visualization", {"iterations": 3})
    assert (made.iterations, made.size) == (3, 128)
    with pytest.raises(OptionError, match=r"no preset 'lucid:visualisation'.*'lucid:visualization'"):
        make_synthesizer("lucid:visualisation", {})
    with pytest.raises(OptionError, match="'lucid:visualization' has no option 'depth'"):
        make_synthesizer("lucid:visualization", {"depth": 3})


def test_two_distributions_may_share_the_name_of_an_entry_point(install: Install) -> None:
    install("first", explainer("one"), point="same")
    install("second", explainer("two"), point="same")
    assert {"one", "two"} <= set(Plugins.discover().names("explainer"))


BROKEN = {
    "fails to import": ("raise RuntimeError('no')", "cannot be imported: RuntimeError('no')"),
    "lacks a module": ("import no_such_module", "cannot be imported: ModuleNotFoundError"),
    "ends the interpreter": ("raise SystemExit(3)", "cannot be imported: SystemExit(3)"),
    "misspells a hook": (hook("yield 1", "agnoscope_explainer"), "unknown hook 'agnoscope_explainer'"),
    "asks for an argument": (
        "from agnoscope.plugins import hookimpl\n@hookimpl\ndef agnoscope_explainers(config): pass",
        "Argument(s) {'config'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "raises in a hook": (hook("raise RuntimeError('no')"), "failed in agnoscope_explainers: RuntimeError('no')"),
    "returns nothing": (hook("pass"), "failed in agnoscope_explainers: TypeError"),
    "yields another kind": (
        hook("yield BackendSpec('tickle', 'a:b')"),
        "yields BackendSpec where ExplainerSpec is expected",
    ),
    "yields no spec": (hook("yield 'tickle'"), "yields str where ExplainerSpec is expected"),
    "is too new": (explainer("tickle", more="protocol=99"), "protocol 99, this agnoscope has 1: upgrade agnoscope"),
    "is too old": (explainer("tickle", more="protocol=0"), "protocol 0, this agnoscope has 1: upgrade the plugin"),
    "reuses a built-in name": (explainer("saliency", "toy:other"), "'saliency' has the name of a built-in one"),
}


@pytest.mark.parametrize(("source", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_reported_and_breaks_nothing_else(install: Install, source: str, problem: str) -> None:
    install("broken", source)
    install("sound", explainer("sound"))
    found = Plugins.discover()
    (label, told), *others = found.problems.items()
    assert label == "broken 1.0 (plugin)"
    assert problem in told
    assert others == []
    assert found.explainer("sound") is found.explainer("saliency")
    assert "tickle" not in found.names("explainer")
    # Whoever asks for a name that is not there learns that it may have been the broken plugin's.
    with pytest.raises(OptionError, match=r"no explainer 'tickle'.*Plugins with problems: broken 1\.0 \(plugin\)"):
        found.explainer("tickle")
    with pytest.raises(ModelError, match=r"Plugins with problems: broken 1\.0"):
        found.backend_of(3)


def test_every_problem_of_a_plugin_is_kept(install: Install) -> None:
    install("broken", hook("yield 'one'\nyield ExplainerSpec('occlusion', 'a:b')\nyield ExplainerSpec('good', 'a:b')"))
    found = Plugins.discover()
    assert "yields str" in found.problems["broken 1.0 (plugin)"]
    assert "'occlusion' has the name of a built-in" in found.problems["broken 1.0 (plugin)"]
    assert "good" in found.names("explainer")


def test_a_hook_of_a_later_version_may_be_optional(install: Install) -> None:
    later = "\n@hookimpl(optionalhook=True)\ndef agnoscope_metrics():\n    yield 1\n"
    install("ahead", explainer("tickle") + later)
    found = Plugins.discover()
    assert found.problems == {}
    assert "tickle" in found.names("explainer")


def test_lazy_attributes_of_a_plugin_are_not_woken(install: Install) -> None:
    lazy = "\nwoken = []\ndef __dir__(): return ['Heavy', *globals()]\ndef __getattr__(name): woken.append(name)\n"
    install("lazy", explainer("tickle") + lazy)
    assert "tickle" in Plugins.discover().names("explainer")
    assert "Heavy" not in sys.modules["lazy"].woken


def test_a_name_of_two_plugins_is_refused_only_when_it_is_used(install: Install) -> None:
    install("first", explainer("tickle"), version="1.1")
    install("second", explainer("tickle") + hook("yield BackendSpec('own', 'a:b')", "agnoscope_backends"), "2.2")
    found = Plugins.discover()
    assert found.problems == {}
    assert found.explainer("saliency").name == "saliency"
    assert found.spec("backend", "own").factory == "a:b"
    with pytest.raises(PluginError, match=r"'tickle' is provided by .*\bfirst 1\.1") as caught:
        found.explainer("tickle")
    assert "second 2.2" in str(caught.value)
    assert SWITCH in str(caught.value)


@pytest.mark.parametrize(
    ("switch", "loaded"),
    [(None, {"one", "two"}), ("", set()), ("first-toy", {"one"}), ("First_Toy , second", {"one", "two"})],
)
def test_the_switch_says_which_plugins_are_loaded(
    install: Install, monkeypatch: pytest.MonkeyPatch, switch: str | None, loaded: set[str]
) -> None:
    install("first-toy", explainer("one"))
    install("second", explainer("two"))
    if switch is not None:
        monkeypatch.setenv(SWITCH, switch)
    found = Plugins.discover()
    assert {"one", "two"} & set(found.names("explainer")) == loaded
    assert found.problems == {}
    assert "saliency" in found.names("explainer")
    assert ("second" in sys.modules) == ("two" in loaded)


def test_a_switch_that_names_no_plugin_is_told(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("first", explainer("one"))
    monkeypatch.setenv(SWITCH, "frist")
    assert Plugins.discover().problems == {"frist": f"is named in {SWITCH} and is not installed"}


def test_unknown_names_get_near_ones() -> None:
    with pytest.raises(OptionError, match=r"no explainer 'gradcam'\. Near it: 'grad-cam'"):
        plugins().explainer("gradcam")
    with pytest.raises(OptionError, match=r"no backend 'pytorch'\. Near it: 'torch'"):
        wrap(Network({}), backend="pytorch")


def only(factory: str, install: str = "toy[extra]", needs: tuple[str, ...] = ()) -> Plugins:
    """What is installed if there is but one backend."""
    spec = BackendSpec("toy", factory, install, PROTOCOL, needs)
    return Plugins({("backend", "toy"): [Provided(spec, "toy 1.0")]})


def test_a_missing_framework_names_what_to_install() -> None:
    with pytest.raises(
        MissingFrameworkError, match=r"'toy' needs no_framework, which is not installed\..*pip install 'toy\[extra\]'$"
    ) as caught:
        only("agnoscope:wrap", needs=("no_framework",)).use("backend", "toy")
    assert isinstance(caught.value, ImportError)
    with pytest.raises(MissingFrameworkError, match=r"pip install other 'toy\[extra\]'$"):
        only("agnoscope:wrap", "other toy[extra]", ("no_framework",)).use("backend", "toy")


def test_a_framework_that_lacks_a_module_itself_names_that(install: Install) -> None:
    install("halfway", "import its_engine")
    with pytest.raises(MissingFrameworkError, match="needs its_engine"):
        only("agnoscope:wrap", needs=("halfway",)).use("backend", "toy")


@pytest.mark.parametrize("bug", ["import nmupy", "import json.nothing", "from json import nothing", "1 / 0", "x.y"])
def test_a_bug_in_an_adapter_shows_as_what_it_is(install: Install, bug: str) -> None:
    install("adapter", f"{bug}\ndef wrap(): pass")
    with pytest.raises((ImportError, ZeroDivisionError, NameError)) as caught:
        only("adapter:wrap", needs=("json",)).use("backend", "toy")
    assert not isinstance(caught.value, MissingFrameworkError)


@pytest.mark.parametrize(
    "factory", ["agnoscope:nothing", "agnoscope.nowhere:wrap", "no_such_package.a:wrap", "agnoscope"]
)
def test_an_import_string_that_leads_nowhere_is_the_plugins_fault(factory: str) -> None:
    with pytest.raises(PluginError, match=f"'toy' names '{factory}', which does not exist"):
        only(factory).use("backend", "toy")


class Root:
    """A network's class of a framework that is not there."""


class Branch(Root):
    """A more special one."""


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A loaded module `frame` with the two classes, which tells what lazy attributes of it were woken."""
    module = ModuleType("frame")
    woken: list[str] = []

    def wake(name: str) -> None:
        woken.append(name)
        raise AttributeError(name)

    vars(module).update(Root=Root, Branch=Branch, __getattr__=wake, woken=woken)
    monkeypatch.setitem(sys.modules, "frame", module)
    return module


def claiming(**claims: str) -> Plugins:
    """Backends by name, each with the class that it claims; the provider is the name, but for "agnoscope"."""
    return Plugins(
        {
            ("backend", name): [Provided(BackendSpec(name, "a:b", model_types=(claim,)), name)]
            for name, claim in claims.items()
        }
    )


def test_the_backend_that_knows_the_most_special_class_explains(framework: ModuleType) -> None:
    found = claiming(general="frame.Root", special="frame.Branch", lazy="frame.Lazy", absent="no_framework.Module")
    assert found.backend_of(Branch()) == "special"
    assert found.backend_of(Root()) == "general"
    assert framework.woken == []
    assert "no_framework" not in sys.modules


def test_a_class_that_several_know_is_ours_or_in_conflict(framework: ModuleType) -> None:
    with pytest.raises(PluginError, match=r"Branch is known to .* 'one' of one and 'two' of two\. Name one: wrap"):
        claiming(one="frame.Root", two="frame.Root").backend_of(Branch())
    assert claiming(agnoscope="frame.Root", one="frame.Root").backend_of(Root()) == "agnoscope"


def test_the_built_in_backends_are_recognised() -> None:
    assert wrap(Network({"relu": Relu()})).backend == "reference"


def apply(params: object, images: object) -> object:
    return images


@pytest.mark.parametrize("network", [apply, functools.partial(apply, None), {}.get, len, lambda p, x: x])
def test_a_function_is_asked_for_its_backend(network: object) -> None:
    with pytest.raises(ModelError, match=r"wrap\(\.\.\., backend='jax'\)"):
        wrap(network)


def test_what_is_no_network_is_refused_with_its_type() -> None:
    with pytest.raises(ModelError, match=r"A builtins\.int is no network .*reference\).*torch\.nn\.Module"):
        wrap(3)
    with pytest.raises(ModelError, match="Network is a class: make a network of it"):
        wrap(Network)
