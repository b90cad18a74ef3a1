"""Plugins: hooks, specs and lookup by name.

A plugin is a light module that an entry point of the group `agnoscope` names. Its hooks yield frozen specs:
a name and an import string. agnoscope's own backends, explainers, renderers and sources come through the
same hooks. Discovery imports no framework; a broken plugin is kept as a report and breaks nothing else.
"""

import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Final

import pluggy

from agnoscope.errors import MissingFrameworkError, ModelError, OptionError, PluginError, nearest

PROTOCOL: Final = 1
"""Version of the contracts that specs fulfil."""
GROUP: Final = "agnoscope"
SWITCH: Final = "AGNOSCOPE_PLUGINS"
"""Environment variable: a comma-separated list of the plugins to load, by distribution; empty for none."""

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
    """

    kind: ClassVar[str]
    name: str
    factory: str
    install: str = ""
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class BackendSpec(Spec):
    """A backend; `factory(network, params, spec, labels)` returns an `agnoscope.model.Model`.

    Attributes:
        model_types: names of the classes whose instances it explains, such as "torch.nn.Module"; looked up
            among the modules that are loaded already, so that recognising imports nothing.
        needs: modules that must be importable.
    """

    kind: ClassVar[str] = "backend"
    model_types: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExplainerSpec(Spec):
    """An explainer; `factory` is a frozen dataclass, a subclass of `agnoscope.explainers.base.Explainer`."""

    kind: ClassVar[str] = "explainer"


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


class Hooks:
    """The hooks. Each yields specs and takes no arguments."""

    @hookspec
    def agnoscope_backends(self) -> Iterable[BackendSpec]:  # type: ignore[empty-body]
        """Backends: adapters for the networks of a framework."""

    @hookspec
    def agnoscope_explainers(self) -> Iterable[ExplainerSpec]:  # type: ignore[empty-body]
        """Explainers: methods by name."""

    @hookspec
    def agnoscope_renderers(self) -> Iterable[RendererSpec]:  # type: ignore[empty-body]
        """Renderers: ways to draw an explanation."""

    @hookspec
    def agnoscope_sources(self) -> Iterable[SourceSpec]:  # type: ignore[empty-body]
        """Sources: schemes under which networks can be named on the command line."""


HOOKS: Final[Mapping[str, type[Spec]]] = {
    "agnoscope_backends": BackendSpec,
    "agnoscope_explainers": ExplainerSpec,
    "agnoscope_renderers": RendererSpec,
    "agnoscope_sources": SourceSpec,
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
        self.add(builtin, "agnoscope")
        allowed = os.environ.get(SWITCH)
        for point in entry_points(group=GROUP) if points is None else points:
            dist = point.dist.name if point.dist else point.name
            if allowed is not None and dist not in [name.strip() for name in allowed.split(",")]:
                continue
            provider = f"{dist} {point.dist.version}" if point.dist else dist
            try:
                module = point.load()
            except Exception as error:  # a plugin may fail in any way; it must not take the others with it
                self.problems[f"{provider} ({point.name})"] = f"cannot be imported: {error!r}"
                continue
            self.add(module, provider, label=f"{provider} ({point.name})")
        return self

    def add(self, module: Any, provider: str, label: str | None = None) -> None:
        """Take the specs of one plugin, or note what is wrong with it."""
        label = label or provider
        # A manager for each plugin: pluggy's own loading drops a second entry point of the same name in silence.
        manager = pluggy.PluginManager("agnoscope")
        manager.add_hookspecs(Hooks)
        try:
            manager.register(module, name=label)
            manager.check_pending()
        except Exception as error:
            self.problems[label] = f"is no valid plugin: {error}"
            return
        for hook in HOOKS:
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                try:
                    specs = list(implementation.function())
                except Exception as error:  # the plugin's own code
                    self.problems[label] = f"failed in {hook}: {error!r}"
                    continue
                for spec in specs:
                    self._take(spec, HOOKS[hook], provider, label)

    def _take(self, spec: Any, expected: type[Spec], provider: str, label: str) -> None:
        if not isinstance(spec, expected):
            self.problems[label] = f"yields {type(spec).__name__} where {expected.__name__} is expected"
            return
        known = self.found.setdefault((spec.kind, spec.name), [])
        if spec.protocol != PROTOCOL:
            side = "agnoscope" if spec.protocol > PROTOCOL else "the plugin"
            self.problems[label] = (
                f"{spec.kind} {spec.name!r} fulfils protocol {spec.protocol}, this agnoscope has {PROTOCOL}: upgrade {side}"
            )
        elif known and known[0].provider == "agnoscope":
            self.problems[label] = (
                f"its {spec.kind} {spec.name!r} has the name of a built-in one and is left out"
            )
        else:
            known.append(Provided(spec, provider))

    def specs(self, kind: str) -> Iterator[Provided]:
        """All of one kind ("backend", "explainer", "renderer", "source"), those in conflict included."""
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
            broken = (
                f" These plugins could not be loaded: {'; '.join(self.problems)}." if self.problems else ""
            )
            raise OptionError(
                f"There is no {kind} {name!r}. Near it: {nearest(name, self.names(kind))}.{broken}"
            )
        return several[0].spec

    def use(self, kind: str, name: str) -> Any:
        """Import what a spec names.

        Raises:
            OptionError: there is no such spec.
            MissingFrameworkError: a module that it needs is not installed; the message names the extra.
            PluginError: several plugins provide it, or the import string leads nowhere.
        """
        spec = self.spec(kind, name)
        needs = spec.needs if isinstance(spec, BackendSpec) else ()
        module, _, attribute = spec.factory.partition(":")
        try:
            for need in needs:
                importlib.import_module(need)
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            # Only a framework that is not there is the user's to mend; anything else is a bug that must show.
            if not spec.install or missing == module.partition(".")[0]:
                raise PluginError(
                    f"The {kind} {name!r} cannot be imported from {spec.factory!r}: {error}."
                ) from error
            raise MissingFrameworkError(
                f"The {kind} {name!r} needs {missing}, which is not installed. "
                f"Install it with: pip install '{spec.install}'"
            ) from error
        except AttributeError as error:
            raise PluginError(
                f"The {kind} {name!r} names {spec.factory!r}, which does not exist: {error}."
            ) from error

    def explainer(self, name: str) -> Any:
        """The explainer class of a method's name; raises as `use`."""
        return self.use("explainer", name)

    def renderer(self, name: str) -> Any:
        """The drawing function of a renderer's name; raises as `use`."""
        return self.use("renderer", name)

    def backend_of(self, network: object) -> str:
        """The name of the backend that explains this network: the one that knows its nearest class.

        Raises:
            ModelError: no backend knows its class.
        """
        lineage = type(network).__mro__
        claims = [
            (lineage.index(known), provided.spec.name)
            for provided in self.specs("backend")
            if isinstance(provided.spec, BackendSpec)
            for known in map(_loaded, provided.spec.model_types)
            if known in lineage
        ]
        if claims:
            return min(claims)[1]
        hint = (
            "a plain function has no class that tells its framework: say backend='jax'"
            if callable(network) and not isinstance(network, type) and type(network).__name__ in _FUNCTIONS
            else "give a torch.nn.Module, a Flax module (with its variables), a keras.Model or a function with backend='jax'"
        )
        broken = f" Plugins that could not be loaded: {'; '.join(self.problems)}." if self.problems else ""
        raise ModelError(
            f"A {type(network).__module__}.{type(network).__qualname__} is no network that a backend knows "
            f"(tried: {', '.join(self.names('backend'))}); {hint}.{broken}"
        )


_FUNCTIONS: Final = ("function", "builtin_function_or_method", "method", "PjitFunction", "partial")


def _loaded(path: str) -> type | None:
    """A class by its public path, if the modules on the way are loaded already."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:cut]))
        if found is None:
            continue
        for part in parts[cut:]:
            # vars() on a module does not wake its lazy attributes, which would import a framework
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
            if found is None:
                break
        if isinstance(found, type):
            return found
    return None


@cache
def plugins() -> Plugins:
    """What is installed, found once per process."""
    return Plugins.discover()
