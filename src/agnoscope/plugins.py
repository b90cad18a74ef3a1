"""Plugins: hooks, specs and lookup by name.

A plugin is a light module that an entry point of the group `agnoscope` names. Its hooks yield frozen specs:
a name and an import string. agnoscope's own backends, explainers, synthesizers, renderers, sources and engines come
through the same hooks. Discovery imports no framework; a broken plugin is kept as a report and breaks nothing else.
"""

import importlib
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from operator import itemgetter
from typing import Any, ClassVar, Final

import pluggy

from agnoscope.errors import MissingFrameworkError, ModelError, OptionError, PluginError, nearest

PROTOCOL: Final = 1
"""Version of the contracts that specs fulfil."""
GROUP: Final = "agnoscope"
OURS: Final = "agnoscope"
SWITCH: Final = "AGNOSCOPE_PLUGINS"
"""Environment variable: a comma-separated list of the distributions whose plugins are loaded; empty for none."""

hookspec = pluggy.HookspecMarker("agnoscope")
hookimpl = pluggy.HookimplMarker("agnoscope")


@dataclass(frozen=True)
class Spec:
    """Something that a plugin adds.

    Attributes:
        name: under which users ask for it.
        factory: import string "package.module:attribute", imported when first used.
        install: what to pip-install when a module that it needs is missing, such as "agnoscope[torch]".
        protocol: version of the contract that it fulfils.
        needs: modules that must be importable, such as "torch"; imported before the factory's own.
    """

    kind: ClassVar[str]
    name: str
    factory: str
    install: str = ""
    protocol: int = PROTOCOL
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackendSpec(Spec):
    """A backend; `factory(network, params, spec, labels)` returns an `agnoscope.model.Model`.

    Attributes:
        model_types: module and name of the classes whose instances it explains, such as "torch.nn.Module"; looked
            up among the modules that are loaded already, so that recognising imports nothing.
    """

    kind: ClassVar[str] = "backend"
    model_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExplainerSpec(Spec):
    """An explainer; `factory` is a frozen dataclass, a subclass of `agnoscope.explainers.base.Explainer`."""

    kind: ClassVar[str] = "explainer"


@dataclass(frozen=True)
class SynthesizerSpec(Spec):
    """A method that makes images; `factory` is a subclass of `agnoscope.explainers.synthesis.base.Synthesizer`."""

    kind: ClassVar[str] = "synthesizer"


@dataclass(frozen=True)
class RendererSpec(Spec):
    """A renderer; `factory(explanation, **options)` returns a `PIL.Image.Image`."""

    kind: ClassVar[str] = "renderer"


@dataclass(frozen=True)
class SourceSpec(Spec):
    """A place that networks come from, the SCHEME of `agnoscope explain SCHEME:NAME`.

    `factory(name, **options)` returns an `agnoscope.model.Model`. The options are those of `wrap` that the user
    gave, and "backend".
    """

    kind: ClassVar[str] = "source"


@dataclass(frozen=True)
class EngineSpec(Spec):
    """Somewhere to compute a scan; `factory(workers, **options)` returns an `agnoscope.scan.engines.Engine`."""

    kind: ClassVar[str] = "engine"


class Hooks:
    """The hooks. Each yields specs and takes no arguments."""

    @hookspec
    def agnoscope_backends(self) -> Iterable[BackendSpec]:  # type: ignore[empty-body]
        """Backends: adapters for the networks of a framework."""

    @hookspec
    def agnoscope_explainers(self) -> Iterable[ExplainerSpec]:  # type: ignore[empty-body]
        """Explainers: methods by name."""

    @hookspec
    def agnoscope_synthesizers(self) -> Iterable[SynthesizerSpec]:  # type: ignore[empty-body]
        """Synthesizers: methods that make images, by name."""

    @hookspec
    def agnoscope_renderers(self) -> Iterable[RendererSpec]:  # type: ignore[empty-body]
        """Renderers: ways to draw an explanation."""

    @hookspec
    def agnoscope_sources(self) -> Iterable[SourceSpec]:  # type: ignore[empty-body]
        """Sources: schemes under which networks can be named on the command line."""

    @hookspec
    def agnoscope_engines(self) -> Iterable[EngineSpec]:  # type: ignore[empty-body]
        """Engines: where the shards of a scan are computed."""


HOOKS: Final[Mapping[str, type[Spec]]] = {
    "agnoscope_backends": BackendSpec,
    "agnoscope_explainers": ExplainerSpec,
    "agnoscope_synthesizers": SynthesizerSpec,
    "agnoscope_renderers": RendererSpec,
    "agnoscope_sources": SourceSpec,
    "agnoscope_engines": EngineSpec,
}


@dataclass(frozen=True)
class Provided:
    """A spec and who provides it: "agnoscope", or a distribution with its version."""

    spec: Spec
    provider: str


@dataclass
class Plugins:
    """What is installed: specs by kind and name, and the problems met on the way.

    Attributes:
        found: (kind, name) to those who provide it; several third parties are a conflict, raised on use.
        problems: provider to what is wrong with it.
    """

    found: dict[tuple[str, str], list[Provided]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def discover(cls, points: Iterable[EntryPoint] | None = None) -> "Plugins":
        """Load our own specs, then those of every installed plugin.

        Args:
            points: entry points in place of the installed ones; for tests.
        """
        from agnoscope import builtin

        self = cls()
        self.add(builtin, OURS)
        wanted = {_canonical(name) for name in os.environ.get(SWITCH, "").split(",") if name.strip()}
        absent = set(wanted)
        for point in entry_points(group=GROUP) if points is None else points:
            dist = point.dist.name if point.dist else point.name
            absent.discard(_canonical(dist))
            if SWITCH in os.environ and _canonical(dist) not in wanted:
                continue
            provider = f"{dist} {point.dist.version}" if point.dist else dist
            try:
                module = point.load()
            except (Exception, SystemExit) as error:  # it may fail in any way, and must not take the others with it
                self._note(f"{provider} ({point.name})", f"cannot be imported: {error!r}")
                continue
            self.add(module, provider, f"{provider} ({point.name})")
        for name in sorted(absent):
            self._note(name, f"is named in {SWITCH} and is not installed")
        return self

    def add(self, module: Any, provider: str, label: str | None = None) -> None:
        """Take the specs of one plugin, or note what is wrong with it.

        Args:
            module: a module, or any object, whose hooks yield specs.
            provider: its distribution with the version.
            label: what its problems are filed under; by default the provider.
        """
        label = label or provider
        # A manager for each plugin: pluggy's own loading drops a second entry point of the same name in silence.
        manager = pluggy.PluginManager("agnoscope")
        manager.add_hookspecs(Hooks)
        try:
            manager.register(module, name=label)
            manager.check_pending()
        except Exception as error:
            self._note(label, f"is no valid plugin: {error}")
            return
        for hook in HOOKS:
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                try:
                    specs = list(implementation.function())
                except Exception as error:  # the plugin's own code
                    self._note(label, f"failed in {hook}: {error!r}")
                    continue
                for spec in specs:
                    self._take(spec, HOOKS[hook], provider, label)

    def _take(self, spec: Any, expected: type[Spec], provider: str, label: str) -> None:
        if not isinstance(spec, expected):
            self._note(label, f"yields {type(spec).__name__} where {expected.__name__} is expected")
            return
        what = f"its {spec.kind} {spec.name!r}"
        known = self.found.get((spec.kind, spec.name), [])
        if spec.protocol != PROTOCOL:
            side = "agnoscope" if spec.protocol > PROTOCOL else "the plugin"
            self._note(label, f"{what} fulfils protocol {spec.protocol}, this agnoscope has {PROTOCOL}: upgrade {side}")
        elif known and known[0].provider == OURS:
            self._note(label, f"{what} has the name of a built-in one and is left out")
        else:
            self.found[spec.kind, spec.name] = [*known, Provided(spec, provider)]

    def _note(self, label: str, problem: str) -> None:
        self.problems[label] = f"{self.problems[label]}; {problem}" if label in self.problems else problem

    def specs(self, kind: str) -> Iterator[Provided]:
        """All of one kind (such as "backend" or "explainer"), those in conflict included."""
        return (provided for (k, _), several in self.found.items() if k == kind for provided in several)

    def names(self, kind: str) -> list[str]:
        """The names of one kind."""
        return list(dict.fromkeys(provided.spec.name for provided in self.specs(kind)))

    def spec(self, kind: str, name: str) -> Spec:
        """The one spec of this name.

        Raises:
            OptionError: there is none; near names are listed, and the plugins that failed to load.
            PluginError: several plugins provide it.
        """
        several = self.found.get((kind, name), [])
        if len(several) > 1:
            raise PluginError(
                f"The {kind} {name!r} is provided by {' and by '.join(p.provider for p in several)}: uninstall one, "
                f"or name the plugins to load in {SWITCH}."
            )
        if not several:
            near = nearest(name, self.names(kind))
            raise OptionError(f"There is no {kind} {name!r}. Near it: {near}.{self._broken()}")
        return several[0].spec

    def use(self, kind: str, name: str) -> Any:
        """Import what a spec names.

        Raises:
            OptionError: there is no such spec.
            MissingFrameworkError: a module that it needs is not installed; the message says what to install.
            PluginError: several plugins provide it, or the import string leads nowhere.
        """
        spec = self.spec(kind, name)
        for need in spec.needs:
            try:
                importlib.import_module(need)
            except ModuleNotFoundError as error:
                hint = f" Install it with: pip install {shlex.join(spec.install.split())}" if spec.install else ""
                raise MissingFrameworkError(
                    f"The {kind} {name!r} needs {error.name}, which is not installed.{hint}"
                ) from error
        module, _, attribute = spec.factory.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise  # something that the factory's module imports: a bug in it, which must show as what it is
            found = None
        if found is None:
            raise PluginError(f"The {kind} {name!r} names {spec.factory!r}, which does not exist.")
        return found

    def explainer(self, name: str) -> Any:
        """The explainer class of a method's name; raises as `use`."""
        return self.use("explainer", name)

    def synthesizer(self, name: str) -> Any:
        """The class of a method that makes images, by its name; raises as `use`."""
        return self.use("synthesizer", name)

    def renderer(self, name: str) -> Any:
        """The drawing function of a renderer's name; raises as `use`."""
        return self.use("renderer", name)

    def engine(self, name: str, workers: int | None = None, **options: Any) -> Any:
        """The engine of a name, ready to compute; raises as `use`."""
        return self.use("engine", name)(workers, **options)

    def backend_of(self, network: object) -> str:
        """The name of the backend that explains this network: the one that knows its nearest class.

        Raises:
            ModelError: no backend knows its class.
            PluginError: several plugins know it equally well.
        """
        lineage = type(network).__mro__
        claims = [
            (lineage.index(known), provided)
            for provided in self.specs("backend")
            for known in map(_loaded, getattr(provided.spec, "model_types", ()))
            if known in lineage
        ]
        claims.sort(key=itemgetter(0))  # stable: at the same distance ours stay first
        best = [provided for distance, provided in claims if distance == claims[0][0]]
        if best and best[0].provider != OURS and len({provided.spec.name for provided in best}) > 1:
            raise PluginError(
                f"A {type(network).__qualname__} is known to several backends: "
                f"{' and '.join(f'{p.spec.name!r} of {p.provider}' for p in best)}. Name one: wrap(..., backend=...)."
            )
        if best:
            return best[0].spec.name
        if isinstance(network, type):
            raise ModelError(f"{network.__qualname__} is a class: make a network of it first.{self._broken()}")
        hint = (
            "If it is a function of (params, images) in JAX, say so: wrap(..., backend='jax')."
            if callable(network)
            else "Give a torch.nn.Module, a keras.Model, a Flax module (with its variables) or a function."
        )
        raise ModelError(
            f"A {type(network).__module__}.{type(network).__qualname__} is no network that a backend knows "
            f"(tried: {', '.join(self.names('backend'))}). {hint}{self._broken()}"
        )

    def _broken(self) -> str:
        return f" Plugins with problems: {', '.join(self.problems)}." if self.problems else ""


def _canonical(distribution: str) -> str:
    return distribution.strip().lower().replace("_", "-").replace(".", "-")


def _loaded(path: str) -> Any:
    """A class by its module and name, if that module is loaded already."""
    module, _, name = path.rpartition(".")
    # Not getattr, which would wake a lazy attribute and so import a framework.
    return getattr(sys.modules.get(module), "__dict__", {}).get(name)


@cache
def plugins() -> Plugins:
    """What is installed, found once per process."""
    return Plugins.discover()
