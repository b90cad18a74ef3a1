"""The checks, one promise each: of every backend, and of every explainer."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from unittest import SkipTest

import numpy as np

from agnoscope import (
    CapabilityError,
    Channel,
    Deconvnet,
    Explainer,
    GradCAM,
    GuidedBackprop,
    LayerError,
    Neuron,
    Occlusion,
    OptionError,
    Saliency,
    TargetError,
    wrap,
)
from agnoscope.backends.reference import Sigmoid, Softmax
from agnoscope.testing.backend import Backend
from agnoscope.testing.networks import SIZE, Rectified, deep_network, images, linear_network, rectified_network
from agnoscope.testing.operations import check_convolution, check_kernels, check_resampling
from agnoscope.testing.programs import (
    DeliberateError,
    answer,
    close,
    expect,
    gradient,
    needs,
    passing,
    patch_program,
    run_program,
    values,
)

FRAMEWORKS: Final = ("torch", "jax", "flax", "tensorflow", "keras", "matplotlib")


def check_output(backend: Backend) -> None:
    """Scores equal the closed forms of a linear and a rectified network; nothing is normalised twice."""
    x = images()
    kernel = linear_network().layers["conv"]
    expected = np.einsum("nhwc,hwck->nk", x, kernel.kernel) + kernel.bias  # type: ignore[union-attr]
    close(values(backend.build(linear_network()), x, "scores")[0], expected, "scores of the linear network")
    prepared = backend.build(rectified_network(), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    closed = Rectified((x - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.6, 0.7]))
    close(values(prepared, x, "scores")[0], closed.scores, "scores after mean and std")
    swapped = backend.build(rectified_network(), channels="BGR")
    close(values(swapped, x, "scores")[0], Rectified(x[..., ::-1]).scores, "scores of a BGR network")


def check_head(backend: Backend) -> None:
    """Scores are the values before a softmax or sigmoid, the output those after it, and the outline says which."""
    x, closed = images(), Rectified(images())
    model = backend.build(rectified_network(head=Softmax()))
    scores, output = values(model, x, "scores", "output")
    powers = np.exp(closed.scores - closed.scores.max(axis=1, keepdims=True))
    close(scores, closed.scores, "scores before the softmax")
    close(output, powers / powers.sum(axis=1, keepdims=True), "output after the softmax")
    single = backend.build(rectified_network(head=Sigmoid()))
    z, p = values(single, x, "scores", "output")
    close(p, 1 / (1 + np.exp(-z)), "output after the sigmoid")
    heads = [each.outline(SIZE).head for each in (model, single, backend.build(rectified_network()))]
    if heads != ["softmax", "sigmoid", "linear"]:
        raise AssertionError(f"heads of softmax, sigmoid and plain networks: {heads}")


def check_layers(backend: Backend) -> None:
    """Layers are found without help, in execution order, with kind and channels-last shape."""
    model = backend.build(deep_network())
    needs(model, "capture")
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
    needs(model, "capture")
    z, activation = values(model, images(), "conv", "relu")
    close(z, Rectified(images()).z, "activation of the convolution")
    close(activation, Rectified(images()).activation, "activation of the ReLU")


def check_gradient(backend: Backend) -> None:
    """The gradient with respect to the image equals the closed form, in units of the image."""
    x = images()
    linear = backend.build(linear_network())
    needs(linear, "gradient")
    kernel = linear_network().layers["conv"].kernel[..., 2]  # type: ignore[union-attr]
    close(gradient(linear, x, 2)["images"], np.broadcast_to(kernel, x.shape), "gradient of the linear network")
    for high in (np.inf, 6.0):
        model = backend.build(rectified_network(None if high == np.inf else high), std=0.5)
        found = gradient(model, x, 1)
        closed = Rectified(x / 0.5, high)
        close(found["images"], closed.at_image(1) / 0.5, f"gradient through a ReLU cut off at {high:g}")
        close(found["scores"], closed.scores[:, 1], "score of the same pass")


def check_finite_differences(backend: Backend) -> None:
    """The gradient of a deeper network equals the difference quotient along a random direction."""
    x, step = images(2), 1e-3
    model = backend.build(deep_network())
    needs(model, "gradient")
    # Along this direction no ReLU of the network changes sides, so that the quotient is exact.
    direction = np.random.default_rng(11).normal(size=x.shape).astype(np.float32)
    ahead, behind = (values(model, x + sign * step * direction, "scores")[0][:, 0] for sign in (1, -1))
    along = (gradient(model, x, 0)["images"] * direction).sum(axis=(1, 2, 3))
    close(along, (ahead - behind) / (2 * step), "gradient along a direction", 1e-2)


def check_gradient_at_layer(backend: Backend) -> None:
    """The gradient at a layer, and its activation in the same pass, equal the closed form."""
    model = backend.build(rectified_network())
    needs(model, "capture", "patch", "gradient")
    found, closed = gradient(model, images(), 2, layer="relu"), Rectified(images())
    close(found["layer"], closed.at_relu(2), "gradient at the ReLU")
    close(found["activation"], closed.activation, "activation at the ReLU")


def check_patch(backend: Backend) -> None:
    """What a patch returns is what the network goes on with; it may change the batch."""
    model = backend.build(rectified_network())
    needs(model, "patch")
    closed, name = Rectified(images()), model.layer("relu", SIZE).name
    bias = Rectified(images()).network.layers["dense"].bias  # type: ignore[union-attr]
    halved = model.compile(patch_program, (name, "half"))(images())["scores"]
    close(halved, (closed.scores - bias) / 2 + bias, "scores with an activation halved")
    grown = model.compile(patch_program, (name, "first"))(images(1))["scores"]
    once = (closed.scores - bias)[:1]
    close(grown, np.concatenate([once, 2 * once]) + bias, "scores of a batch that a patch made larger")


def check_relu_rules(backend: Backend) -> None:
    """Guided backprop, deconvnet and a rule of one's own equal the closed form, ReLU6's upper end included."""
    x = images()
    for high in (np.inf, 6.0):
        model = backend.build(rectified_network(None if high == np.inf else high))
        needs(model, "relu", "gradient")
        closed = Rectified(x, high)
        for rule in ("guided", "deconvnet"):
            found = gradient(model, x, 1, rule)["images"]
            close(found, closed.at_image(1, rule), f"{rule} through a ReLU cut off at {high:g}")
        g, is_open = closed.at_relu(1), (closed.z > 0) & (closed.z < high)
        own = (0.5 * g * is_open + 0.5 * g * (closed.activation > 1)) @ closed.w.T
        close(gradient(model, x, 1, passing)["images"], own, f"a callable rule at {high:g}")
        close(gradient(model, x, 1)["images"], closed.at_image(1), "the plain gradient after changed ones")


def check_relu_rule_without_relu(backend: Backend) -> None:
    """A changed rule that met no ReLU is an error and not the plain gradient."""
    model = backend.build(linear_network())
    needs(model, "relu", "gradient")
    expect(CapabilityError, "relu", lambda: gradient(model, images(), 0, "guided"))


def check_batch_independence(backend: Backend) -> None:
    """An image is explained alike alone and among others."""
    model = backend.build(deep_network())
    alone = np.concatenate([answer(model, images()[i : i + 1]) for i in range(3)])
    close(answer(model, images()), alone, "a batch against single images")


def check_input_untouched(backend: Backend) -> None:
    """The user's array is not written to, and a read-only one will do."""
    x = images()
    kept = x.copy()
    x.flags.writeable = False
    model = backend.build(deep_network(), mean=0.5, std=0.25)
    values(model, x, "scores")
    if "gradient" in model.can:
        gradient(model, x, 0)
    if not np.array_equal(x, kept):
        raise AssertionError("the images were written to")


def check_state_restored(backend: Backend) -> None:
    """The user's network is as it was, also after an error in the middle of a run."""
    model = backend.build(deep_network())
    before = values(model, images(), "scores")[0]
    state = backend.fingerprint(model) if backend.fingerprint else None
    if "gradient" in model.can:
        gradient(model, images(), 0)
    if "patch" in model.can:
        name = model.layer("relu2", SIZE).name
        try:
            model.compile(patch_program, (name, "fail"))(images())
        except DeliberateError:
            pass
        else:
            raise AssertionError("an error inside a patch did not come out as it was raised")
    if backend.fingerprint and backend.fingerprint(model) != state:
        raise AssertionError("the state of the user's network changed")
    if not np.array_equal(values(model, images(), "scores")[0], before):
        raise AssertionError("the network computes otherwise than before")


def check_determinism(backend: Backend) -> None:
    """The same question gets the same bits twice."""
    model = backend.build(deep_network())
    if not np.array_equal(answer(model, images()), answer(model, images())):
        raise AssertionError("two runs differ")


def check_threads(backend: Backend) -> None:
    """Runs in several threads, with different rules, do not meet."""
    model = backend.build(deep_network())
    rules = [None, "guided", "deconvnet", None] * 3 if {"gradient", "relu"} <= model.can else [None] * 12
    serial = [answer(model, images(), rule) for rule in rules]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda rule: answer(model, images(), rule), rules))
    for rule, one, other in zip(rules, serial, parallel, strict=True):
        close(other, one, f"a run by the {rule or 'plain'} rule among other threads", 1e-6)


def check_errors(backend: Backend) -> None:
    """Unknown layers and classes are refused by name, with what there is."""
    model = backend.build(deep_network())
    expect(TargetError, "4 classes", lambda: Occlusion(window=3)(model, images(), 4))
    if "capture" in model.can:
        expect(LayerError, "relu2", lambda: model.layer("relu_2", SIZE))
        expect(LayerError, "nowhere", lambda: model.compile(run_program, ("nowhere",))(images()))


def check_parameters(backend: Backend) -> None:
    """Weights are shown in the order of their layers, as copies, and change in a copy of the network only."""
    x, closed = images(), Rectified(images())
    model = backend.build(rectified_network(), input_size=SIZE)
    needs(model, "weights")
    state = backend.fingerprint(model) if backend.fingerprint else None
    known, before = model.parameters(), values(model, x, "scores")[0]
    layers = [name.rpartition(".")[0] for name in known]
    conv, dense = (model.layer(name).name for name in ("conv", "dense"))
    if layers != [conv, conv, dense, dense]:
        raise AssertionError(f"two weights of {conv!r}, then two of {dense!r} were to be shown, not {list(known)}")
    close(values(model.with_parameters(known), x, "scores")[0], before, "scores with the network's own weights", 0.0)
    doubled = {name: 2 * weight for name, weight in known.items() if name.startswith(f"{dense}.")}
    changed = model.with_parameters(doubled)
    close(values(changed, x, "scores")[0], 2 * closed.scores, "scores with the last layer's weights doubled")
    blind = changed.with_parameters({name: 0 * weight for name, weight in known.items() if name.startswith(f"{conv}.")})
    bias = np.broadcast_to(2 * closed.network.layers["dense"].bias, closed.scores.shape)  # type: ignore[union-attr]
    close(values(blind, x, "scores")[0], bias, "scores with the first layer's weights set to 0 besides")
    for weight in known.values():
        weight[...] = 0
    if not np.array_equal(values(model, x, "scores")[0], before):
        raise AssertionError("the model itself changed with its copy, or with the arrays that it gave away")
    if backend.fingerprint and backend.fingerprint(model) != state:
        raise AssertionError("the state of the user's network changed")
    name = next(iter(known))
    expect(OptionError, name, lambda: model.with_parameters({f"{name}s": known[name]}))
    expect(OptionError, name, lambda: model.with_parameters({name: np.zeros((1, 2, 3))}))


def check_inputs(backend: Backend) -> None:
    """Inputs beside the image are bound by name, for batches of any length; two views do not meet."""
    if backend.build_shifted is None:
        raise SkipTest("no network of two inputs was given")
    x, scores = images(), Rectified(images()).scores
    model = backend.build_shifted(rectified_network(), input_size=SIZE)
    one, other = np.array([1.0, -2.0, 3.0, 0.5]), np.array([0.0, 5.0, 0.0, -1.0])
    first, second = model.bind(shift=one), model.bind(shift=other)
    for view, shift in ((first, one), (second, other), (first, one), (second.bind(shift=one), one)):
        close(values(view, x, "scores")[0], scores + shift, "scores with an input bound")
    close(values(first, x[:1], "scores")[0], scores[:1] + one, "scores of a single image with an input bound")
    chunks = Occlusion(window=3)(first, x, 1, batch_size=2).provenance.scores
    close(chunks, scores[:, 1] + one[1], "scores in chunks with an input bound")
    if "gradient" in model.can:
        close(gradient(first, x, 1)["images"], Rectified(x).at_image(1), "gradient with an input bound")
    expect(OptionError, "shift", lambda: model.layers(SIZE))
    expect(OptionError, "shift", lambda: model.bind(shfit=one))
    expect(OptionError, "shift", lambda: model.bind(shift=np.zeros((2, 3))).layers(SIZE))


def check_explainers(backend: Backend) -> None:
    """Every explainer gives what the NumPy oracle gives, for classes, neurons and channels."""
    model, oracle = backend.build(deep_network()), wrap(deep_network())
    asked: list[Any] = [None, 2]
    asked += [Neuron("conv2", 3, (1, 4)), Channel("relu2", 5)] if "capture" in model.can else []
    for explainer in (Saliency(), GuidedBackprop(), Deconvnet(), GradCAM("relu1"), Occlusion(window=3, stride=2)):
        if explainer.needs <= model.can:
            for target in asked:
                found, expected = explainer(model, images(), target), explainer(oracle, images(), target)
                close(found.values, expected.values, f"{explainer!r} of {target!r}", 5e-5)


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
    close(explainer(model, images(), 1, batch_size=2).values, whole, "chunks of two against one batch")
    alone = np.concatenate([explainer(model, images()[i : i + 1], 1).values for i in range(3)])
    close(alone, whole, "single images against a batch")
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


BACKEND_CHECKS: Final[tuple[Callable[[Any], None], ...]] = (
    *_checks_of("backend"),
    check_convolution,
    check_resampling,
    check_kernels,
)
EXPLAINER_CHECKS: Final = _checks_of("explainer")
