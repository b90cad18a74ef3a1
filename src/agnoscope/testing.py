"""The conformance kit: proof that a backend or an explainer keeps the contract.

The kit owns little networks whose outputs, activations and gradients are known in closed form, so it judges
against mathematics and not against another framework. A plugin author supplies one function that builds such
a network, described without a framework, in his own:

    @parametrize_with_checks([Backend("mlx", build, entry="agnoscope_mlx")])
    def test_conforms(check):
        check()

It works without pytest, too: `for check in checks(backend): check()`.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, final
from unittest import SkipTest

import numpy as np
from numpy.typing import NDArray

from agnoscope import (
    CapabilityError,
    Channel,
    Deconvnet,
    Explainer,
    GradCAM,
    GuidedBackprop,
    LayerError,
    Model,
    Neuron,
    Occlusion,
    Saliency,
    TargetError,
    wrap,
)
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu, Sigmoid, Softmax
from agnoscope.model import Array, gradients

TOLERANCE: Final = 2e-5
"""Of the largest value, for float32; a few roundings of sums over dozens of terms."""
FRAMEWORKS: Final = ("torch", "jax", "flax", "tensorflow", "keras", "matplotlib")
SIZE: Final = (5, 7)  # not square: swapped axes must show


@final
@dataclass(frozen=True)
class Backend:
    """A backend under test.

    Attributes:
        name: shown in the tests' names.
        build: `build(network, **options)` builds the described `agnoscope.backends.reference.Network` in the
            backend's framework and passes it to `agnoscope.wrap` with these options. Layers must be found under
            the operations' names, which may be endings of longer paths.
        fingerprint: takes a model and returns something comparable that tells the state of the user's network:
            weights, modes, hooks. None where there is no such state.
        entry: the light module that the entry point names; it must load no framework.
    """

    name: str
    build: Callable[..., Model]
    fingerprint: Callable[[Model], Any] | None = None
    entry: str | None = None


# -- the networks and their closed forms ----------------------------------------------------------------------


def _weights(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return (scale * np.random.default_rng([seed, *shape]).normal(size=shape)).astype(np.float32)


def images(count: int = 3) -> NDArray[np.float32]:
    """Random images within (0, 1), shape (count, 5, 7, 3)."""
    return np.random.default_rng(7).uniform(size=(count, *SIZE, 3)).astype(np.float32)


def linear_network() -> Network:
    """Scores are the sum over all pixels of x · kernel, plus a bias; the gradient is the kernel."""
    return Network({"conv": Conv(_weights(*SIZE, 3, 4), _weights(4)), "gap": GlobalAverage()})


def rectified_network(high: float | None = None, head: Any = None) -> Network:
    """Scores are the mean of relu(x · W + b) over all pixels, times V, plus c; with `head` appended."""
    units = 1 if isinstance(head, Sigmoid) else 4
    # With these weights every channel has values below 0, within (0, 6) and above 6, and none near 0 or 6.
    kernel = _weights(1, 1, 3, 6, seed=308, scale=12.0)
    layers: dict[str, Any] = {
        "conv": Conv(kernel, 3 - kernel.sum(axis=(0, 1, 2)) / 2),
        "relu": Relu(high),
        "gap": GlobalAverage(),
        "dense": Dense(_weights(6, units, seed=34), _weights(units)),
    }
    return Network(layers | ({"head": head} if head else {}))


def deep_network() -> Network:
    """Two convolutions of 3 × 3 with ReLUs, for what has no short closed form."""
    # With these weights the ReLUs of every channel are partly open, and the images differ in their first answer.
    first, second = _weights(3, 3, 3, 6, seed=312, scale=0.5), _weights(3, 3, 6, 8, seed=312, scale=0.5)
    return Network(
        {
            "conv1": Conv(first, -0.5 * first.sum(axis=(0, 1, 2)), 1, 1),
            "relu1": Relu(),
            "conv2": Conv(second, -0.3 * second.sum(axis=(0, 1, 2)), 1, 1),
            "relu2": Relu(),
            "gap": GlobalAverage(),
            "dense": Dense(_weights(8, 4, seed=312), _weights(4, seed=312)),
        }
    )


@dataclass(frozen=True)
class _Rectified:
    """The closed form of `rectified_network`."""

    x: NDArray[Any]
    high: float = np.inf
    network: Network = rectified_network()  # noqa: RUF009 its weights are the same at every call

    @property
    def w(self) -> NDArray[Any]:
        return self.network.layers["conv"].kernel[0, 0]  # type: ignore[union-attr]

    @property
    def v(self) -> NDArray[Any]:
        return self.network.layers["dense"].kernel  # type: ignore[union-attr]

    @property
    def z(self) -> NDArray[Any]:
        return self.x @ self.w + self.network.layers["conv"].bias  # type: ignore[union-attr]

    @property
    def activation(self) -> NDArray[Any]:
        return np.clip(self.z, 0, self.high)

    @property
    def scores(self) -> NDArray[Any]:
        return self.activation.mean(axis=(1, 2)) @ self.v + self.network.layers["dense"].bias  # type: ignore[union-attr]

    def at_relu(self, index: int) -> NDArray[Any]:
        """Gradient of a class score with respect to the ReLU's output."""
        return np.broadcast_to(self.v[:, index] / np.prod(SIZE), self.z.shape)

    def at_image(self, index: int, rule: str | None = None) -> NDArray[Any]:
        """Gradient with respect to the image, plain or by a rule."""
        g, is_open = self.at_relu(index), (self.z > 0) & (self.z < self.high)
        through = {None: g * is_open, "guided": np.maximum(g, 0) * is_open, "deconvnet": np.maximum(g, 0)}
        return through[rule] @ self.w.T


# -- programs, compiled by the backend ------------------------------------------------------------------------


def _run_program(model: Model, names: tuple[str, ...], x: Array) -> dict[str, Array]:
    return model.run(x, names)


def _gradient_program(model: Model, static: tuple[Any, str | None], x: Array, index: Array) -> dict[str, Array]:
    rule, layer = static
    xp = model.xp
    seen = model if rule is None else model.with_relu(rule)

    def score(xp: Any, values: Mapping[str, Array]) -> Array:
        columns = xp.arange(values["scores"].shape[1], dtype=index.dtype)
        return xp.sum(
            xp.where(columns[None, :] == index[:, None], values["scores"], xp.zeros_like(values["scores"])), axis=1
        )

    at = () if layer is None else (layer,)
    found = gradients(seen, x, score, needs=("scores",), at=at, capture=at, wrt_images=True)
    extra = {} if layer is None else {"layer": found.layers[layer], "activation": found.values[layer]}
    return {"scores": found.scores, "images": xp.asarray(found.images), **extra}


def _patch_program(model: Model, static: tuple[str, str], x: Array) -> dict[str, Array]:
    layer, edit = static
    edits: dict[str, Callable[[Array], Array]] = {
        "half": lambda a: a * 0.5,
        "first": lambda a: model.xp.concat([a[:1], a[:1] * 2.0], axis=0),
        "fail": _failing,
    }
    return model.run(x, ("scores",), {layer: edits[edit]})


def _failing(_: Array) -> Array:
    raise _DeliberateError


class _DeliberateError(Exception):
    pass


def _passing(xp: Any, x: Array, y: Array, g: Array, plain: Array) -> Array:
    """A rule that reads all that it is given: half the plain gradient, half of what arrives where y > 1."""
    return 0.5 * plain + 0.5 * xp.where(y > 1, g, xp.zeros_like(g)) + 0.0 * x


def _gradient(model: Model, x: Array, index: int, rule: Any = None, layer: str | None = None) -> dict[str, Any]:
    name = None if layer is None else model.layer(layer, SIZE).name
    return model.compile(_gradient_program, (rule, name))(x, np.full(len(x), index, dtype=np.int32))


def _answer(model: Model, x: Array, rule: Any = None) -> Any:
    """What the network tells of images: the gradient where there is one, else the scores."""
    return _gradient(model, x, 1, rule)["images"] if "gradient" in model.can else _values(model, x, "scores")[0]


def _values(model: Model, x: Array, *names: str) -> list[Any]:
    found = [name if name in ("scores", "output") else model.layer(name, SIZE).name for name in names]
    values = model.compile(_run_program, tuple(found))(x)
    return [values[name] for name in found]


def _close(found: Any, expected: Any, what: str, tolerance: float = TOLERANCE) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise AssertionError(f"{what}: the shape is {found.shape}, it must be {expected.shape}")
    off = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    if not off <= tolerance:
        raise AssertionError(f"{what}: off by {off:.2g} of the largest value; at most {tolerance:g} is allowed")


def _needs(model: Model, *abilities: str) -> None:
    for ability in abilities:
        if ability not in model.can:
            raise SkipTest(f"the backend does not offer {ability!r}")


# -- the checks -----------------------------------------------------------------------------------------------


def check_output(backend: Backend) -> None:
    """Scores equal the closed forms of a linear and a rectified network; nothing is normalised twice."""
    x = images()
    kernel = linear_network().layers["conv"]
    expected = np.einsum("nhwc,hwck->nk", x, kernel.kernel) + kernel.bias  # type: ignore[union-attr]
    _close(_values(backend.build(linear_network()), x, "scores")[0], expected, "scores of the linear network")
    prepared = backend.build(rectified_network(), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    closed = _Rectified((x - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.6, 0.7]))
    _close(_values(prepared, x, "scores")[0], closed.scores, "scores after mean and std")
    swapped = backend.build(rectified_network(), channels="BGR")
    _close(_values(swapped, x, "scores")[0], _Rectified(x[..., ::-1]).scores, "scores of a BGR network")


def check_head(backend: Backend) -> None:
    """Scores are the values before a softmax or sigmoid, the output those after it, and the outline says which."""
    x, closed = images(), _Rectified(images())
    model = backend.build(rectified_network(head=Softmax()))
    scores, output = _values(model, x, "scores", "output")
    powers = np.exp(closed.scores - closed.scores.max(axis=1, keepdims=True))
    _close(scores, closed.scores, "scores before the softmax")
    _close(output, powers / powers.sum(axis=1, keepdims=True), "output after the softmax")
    single = backend.build(rectified_network(head=Sigmoid()))
    z, p = _values(single, x, "scores", "output")
    _close(p, 1 / (1 + np.exp(-z)), "output after the sigmoid")
    heads = [each.outline(SIZE).head for each in (model, single, backend.build(rectified_network()))]
    if heads != ["softmax", "sigmoid", "linear"]:
        raise AssertionError(f"heads of softmax, sigmoid and plain networks: {heads}")


def check_layers(backend: Backend) -> None:
    """Layers are found without help, in execution order, with kind and channels-last shape."""
    model = backend.build(deep_network())
    _needs(model, "capture")
    layers = list(model.layers(SIZE).values())
    places = []
    for name, kind, shape in (
        ("conv1", "conv", (*SIZE, 6)),
        ("relu1", "relu", (*SIZE, 6)),
        ("conv2", "conv", (*SIZE, 8)),
        ("dense", "dense", (4,)),
    ):
        found = [i for i, layer in enumerate(layers) if layer.name.replace("/", ".").split(".")[-1] == name]
        if not found:
            raise AssertionError(f"no layer {name!r} among {[layer.name for layer in layers]}")
        layer = layers[found[0]]
        if (layer.kind, layer.shape) != (kind, shape):
            raise AssertionError(f"layer {name!r} is {layer.kind} {layer.shape}; it must be {kind} {shape}")
        places.append(found[0])
    if places != sorted(places):
        raise AssertionError(f"the layers are not in execution order: {[layer.name for layer in layers]}")


def check_activation(backend: Backend) -> None:
    """A captured activation equals the closed form, channels last."""
    model = backend.build(rectified_network())
    _needs(model, "capture")
    z, activation = _values(model, images(), "conv", "relu")
    _close(z, _Rectified(images()).z, "activation of the convolution")
    _close(activation, _Rectified(images()).activation, "activation of the ReLU")


def check_gradient(backend: Backend) -> None:
    """The gradient with respect to the image equals the closed form, in units of the image."""
    x = images()
    linear = backend.build(linear_network())
    _needs(linear, "gradient")
    kernel = linear_network().layers["conv"].kernel[..., 2]  # type: ignore[union-attr]
    _close(_gradient(linear, x, 2)["images"], np.broadcast_to(kernel, x.shape), "gradient of the linear network")
    for high in (np.inf, 6.0):
        model = backend.build(rectified_network(None if high == np.inf else high), std=0.5)
        found = _gradient(model, x, 1)
        closed = _Rectified(x / 0.5, high)
        _close(found["images"], closed.at_image(1) / 0.5, f"gradient through a ReLU cut off at {high:g}")
        _close(found["scores"], closed.scores[:, 1], "score of the same pass")


def check_finite_differences(backend: Backend) -> None:
    """The gradient of a deeper network equals the difference quotient along a random direction."""
    x, step = images(2), 1e-3
    model = backend.build(deep_network())
    _needs(model, "gradient")
    # Along this direction no ReLU of the network changes sides, so that the quotient is exact.
    direction = np.random.default_rng(11).normal(size=x.shape).astype(np.float32)
    ahead, behind = (_values(model, x + sign * step * direction, "scores")[0][:, 0] for sign in (1, -1))
    along = (_gradient(model, x, 0)["images"] * direction).sum(axis=(1, 2, 3))
    _close(along, (ahead - behind) / (2 * step), "gradient along a direction", 1e-2)


def check_gradient_at_layer(backend: Backend) -> None:
    """The gradient at a layer, and its activation in the same pass, equal the closed form."""
    model = backend.build(rectified_network())
    _needs(model, "capture", "patch", "gradient")
    found, closed = _gradient(model, images(), 2, layer="relu"), _Rectified(images())
    _close(found["layer"], closed.at_relu(2), "gradient at the ReLU")
    _close(found["activation"], closed.activation, "activation at the ReLU")


def check_patch(backend: Backend) -> None:
    """What a patch returns is what the network goes on with; it may change the batch."""
    model = backend.build(rectified_network())
    _needs(model, "patch")
    closed, name = _Rectified(images()), model.layer("relu", SIZE).name
    bias = _Rectified(images()).network.layers["dense"].bias  # type: ignore[union-attr]
    halved = model.compile(_patch_program, (name, "half"))(images())["scores"]
    _close(halved, (closed.scores - bias) / 2 + bias, "scores with an activation halved")
    grown = model.compile(_patch_program, (name, "first"))(images(1))["scores"]
    once = (closed.scores - bias)[:1]
    _close(grown, np.concatenate([once, 2 * once]) + bias, "scores of a batch that a patch made larger")


def check_relu_rules(backend: Backend) -> None:
    """Guided backprop, deconvnet and a rule of one's own equal the closed form, ReLU6's upper end included."""
    x = images()
    for high in (np.inf, 6.0):
        model = backend.build(rectified_network(None if high == np.inf else high))
        _needs(model, "relu", "gradient")
        closed = _Rectified(x, high)
        for rule in ("guided", "deconvnet"):
            found = _gradient(model, x, 1, rule)["images"]
            _close(found, closed.at_image(1, rule), f"{rule} through a ReLU cut off at {high:g}")
        g, is_open = closed.at_relu(1), (closed.z > 0) & (closed.z < high)
        own = (0.5 * g * is_open + 0.5 * g * (closed.activation > 1)) @ closed.w.T
        _close(_gradient(model, x, 1, _passing)["images"], own, f"a callable rule at {high:g}")
        _close(_gradient(model, x, 1)["images"], closed.at_image(1), "the plain gradient after changed ones")


def check_relu_rule_without_relu(backend: Backend) -> None:
    """A changed rule that met no ReLU is an error and not the plain gradient."""
    model = backend.build(linear_network())
    _needs(model, "relu", "gradient")
    _expect(CapabilityError, "relu", lambda: _gradient(model, images(), 0, "guided"))


def check_batch_independence(backend: Backend) -> None:
    """An image is explained alike alone and among others."""
    model = backend.build(deep_network())
    alone = np.concatenate([_answer(model, images()[i : i + 1]) for i in range(3)])
    _close(_answer(model, images()), alone, "a batch against single images")


def check_input_untouched(backend: Backend) -> None:
    """The user's array is not written to, and a read-only one will do."""
    x = images()
    kept = x.copy()
    x.flags.writeable = False
    model = backend.build(deep_network(), mean=0.5, std=0.25)
    _values(model, x, "scores")
    if "gradient" in model.can:
        _gradient(model, x, 0)
    if not np.array_equal(x, kept):
        raise AssertionError("the images were written to")


def check_state_restored(backend: Backend) -> None:
    """The user's network is as it was, also after an error in the middle of a run."""
    model = backend.build(deep_network())
    before = _values(model, images(), "scores")[0]
    state = backend.fingerprint(model) if backend.fingerprint else None
    if "gradient" in model.can:
        _gradient(model, images(), 0)
    if "patch" in model.can:
        name = model.layer("relu2", SIZE).name
        try:
            model.compile(_patch_program, (name, "fail"))(images())
        except _DeliberateError:
            pass
        else:
            raise AssertionError("an error inside a patch did not come out as it was raised")
    if backend.fingerprint and backend.fingerprint(model) != state:
        raise AssertionError("the state of the user's network changed")
    if not np.array_equal(_values(model, images(), "scores")[0], before):
        raise AssertionError("the network computes otherwise than before")


def check_determinism(backend: Backend) -> None:
    """The same question gets the same bits twice."""
    model = backend.build(deep_network())
    if not np.array_equal(_answer(model, images()), _answer(model, images())):
        raise AssertionError("two runs differ")


def check_threads(backend: Backend) -> None:
    """Runs in several threads, with different rules, do not meet."""
    model = backend.build(deep_network())
    rules = [None, "guided", "deconvnet", None] * 3 if {"gradient", "relu"} <= model.can else [None] * 12
    serial = [_answer(model, images(), rule) for rule in rules]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda rule: _answer(model, images(), rule), rules))
    for rule, one, other in zip(rules, serial, parallel, strict=True):
        _close(other, one, f"a run by the {rule or 'plain'} rule among other threads", 1e-6)


def check_errors(backend: Backend) -> None:
    """Unknown layers and classes are refused by name, with what there is."""
    model = backend.build(deep_network())
    _expect(TargetError, "4 classes", lambda: Occlusion(window=3)(model, images(), 4))
    if "capture" in model.can:
        _expect(LayerError, "relu2", lambda: model.layer("relu_2", SIZE))
        _expect(LayerError, "nowhere", lambda: model.compile(_run_program, ("nowhere",))(images()))


def check_explainers(backend: Backend) -> None:
    """Every explainer gives what the NumPy oracle gives, for classes, neurons and channels."""
    model, oracle = backend.build(deep_network()), wrap(deep_network())
    asked: list[Any] = [None, 2]
    asked += [Neuron("conv2", 3, (1, 4)), Channel("relu2", 5)] if "capture" in model.can else []
    for explainer in (Saliency(), GuidedBackprop(), Deconvnet(), GradCAM("relu1"), Occlusion(window=3, stride=2)):
        if explainer.needs <= model.can:
            for target in asked:
                found, expected = explainer(model, images(), target), explainer(oracle, images(), target)
                _close(found.values, expected.values, f"{explainer!r} of {target!r}", 5e-5)


def check_light_import(backend: Backend) -> None:
    """The module that the entry point names loads no framework: discovery imports it for everyone."""
    if backend.entry is None:
        raise SkipTest("no entry module was given")
    check_module_is_light(backend.entry)


def check_module_is_light(module: str) -> None:
    """Import a module in a new interpreter and see that no framework came with it."""
    code = f"import sys, {module}; print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise AssertionError(f"{module} cannot be imported: {done.stderr.strip()}")
    if done.stdout.strip() != "[]":
        raise AssertionError(f"importing {module} loads {done.stdout.strip()}")


def check_explainer_shape(explainer: Explainer) -> None:
    """Values have the images' leading axes, are finite floats, and say which method and options made them."""
    found = explainer(wrap(deep_network()), images())
    if found.values.shape[:3] != (3, *SIZE) or found.values.ndim not in (3, 4):
        raise AssertionError(f"values of shape {found.values.shape} for images of shape {images().shape}")
    if found.values.dtype != np.float32 or not np.isfinite(found.values).all():
        raise AssertionError(f"values must be finite float32; they are {found.values.dtype}")
    if found.provenance.method != explainer.name:
        raise AssertionError(f"the result calls itself {found.provenance.method!r}, not {explainer.name!r}")


def check_explainer_batch(explainer: Explainer) -> None:
    """An image is explained alike alone, among others and in chunks; twice the same."""
    model = wrap(deep_network())
    whole = explainer(model, images(), 1).values
    _close(explainer(model, images(), 1, batch_size=2).values, whole, "chunks of two against one batch")
    alone = np.concatenate([explainer(model, images()[i : i + 1], 1).values for i in range(3)])
    _close(alone, whole, "single images against a batch")
    if not np.array_equal(explainer(model, images(), 1).values, whole):
        raise AssertionError("two runs differ")


def check_explainer_imports_no_framework(explainer: Explainer) -> None:
    """Explainers are array-API code: their module loads no framework."""
    check_module_is_light(type(explainer).__module__)


def _checks_of(subject: str) -> tuple[Callable[[Any], None], ...]:
    return tuple(
        value
        for name, value in list(globals().items())
        if name.startswith("check_") and subject in value.__annotations__
    )


BACKEND_CHECKS: Final = _checks_of("backend")
EXPLAINER_CHECKS: Final = _checks_of("explainer")


def checks(subject: Backend | Explainer) -> Iterator[Callable[[], None]]:
    """Every check of a backend or explainer, ready to be called.

    Yields:
        Functions without arguments. They raise AssertionError where the contract is broken, or whatever the subject
        raised by itself, and unittest.SkipTest where it offers no ability to check.
    """
    for check in BACKEND_CHECKS if isinstance(subject, Backend) else EXPLAINER_CHECKS:
        yield partial(check, subject)


def parametrize_with_checks(
    subjects: Sequence[Backend | Explainer], expected_failures: Mapping[str, str] | None = None
) -> Any:
    """A pytest decorator that turns every check of every subject into a test of its own.

    Args:
        subjects: backends and explainers.
        expected_failures: name of a check to the reason why it fails. Strict: one that passes, or that names no
            check, is a failure.

    Raises:
        ValueError: an expected failure names no check.
    """
    import pytest

    expected = dict(expected_failures or {})
    names = {check.__name__ for check in (*BACKEND_CHECKS, *EXPLAINER_CHECKS)}
    if unknown := set(expected) - names:
        raise ValueError(f"expected_failures names no check: {sorted(unknown)}. There are {sorted(names)}.")
    cases = []
    for subject in subjects:
        label = subject.name if isinstance(subject, Backend) else repr(subject)
        for check in checks(subject):
            name = check.func.__name__  # type: ignore[attr-defined]
            marks = [pytest.mark.xfail(strict=True, reason=expected[name])] if name in expected else []
            cases.append(pytest.param(check, id=f"{label}-{name}", marks=marks))
    return pytest.mark.parametrize("check", cases)


def _expect(kind: type[Exception], text: str, action: Callable[[], Any]) -> None:
    try:
        action()
    except kind as error:
        if text.lower() not in str(error).lower():
            raise AssertionError(f"the message must speak of {text!r}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{kind.__name__} was to be raised, not {error!r}") from error
    else:
        raise AssertionError(f"{kind.__name__} was to be raised")
