"""Networks in a wrapping: compiled, parallel, scripted, exported, reparametrised, or such that cannot be copied."""

import threading
import warnings
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import weight_norm as old_weight_norm

import agnoscope as ag
from agnoscope.testing import deep_network, images
from tests.backends.torch_builder import as_module, capture, restless_threads, slope, state_of

pytestmark = pytest.mark.torch

X = images()
SIZE = X.shape[1:3]
EXPLAINERS = (ag.Saliency(), ag.GuidedBackprop(), ag.GradCAM("conv2"), ag.Occlusion(3, fill=0.5))


def same_as(model, network, explainers=EXPLAINERS):
    """Every explainer gives what it gives for the plain network."""
    plain = ag.wrap(network)
    for explainer in explainers:
        found, expected = explainer(model, X, 1).values, explainer(plain, X, 1).values
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# -- compiled and parallel -------------------------------------------------------------------------------------------


def compiled(network):
    network = torch.compile(network, backend="eager")
    network(torch.rand(1, 3, *SIZE))
    return network


def compiled_in_place(network):
    network.compile(backend="eager")
    network(torch.rand(1, 3, *SIZE))
    return network


def compiled_inside(network):
    network.conv2 = compiled_conv = torch.compile(network.conv2, backend="eager")
    compiled_conv(torch.rand(1, 6, *SIZE))
    return network


def parallel_inside(network):
    network.conv2 = nn.DataParallel(network.conv2)
    return network


def compiled_in_place_and_uncopyable(network):
    return compiled_in_place(with_lock(network))


WRAPPINGS = (
    compiled,
    compiled_in_place,
    compiled_inside,
    nn.DataParallel,
    parallel_inside,
    compiled_in_place_and_uncopyable,
)


@pytest.mark.parametrize("wrapping", WRAPPINGS, ids=lambda wrapping: wrapping.__name__)
def test_a_compiled_or_parallel_network_is_seen_like_the_plain_one(wrapping):
    model = ag.wrap(wrapping(as_module(deep_network())))
    assert list(model.layers(SIZE)) == list(deep_network().layers)
    same_as(model, as_module(deep_network()))


GRAPHS = []


def recording_compiler(graph, inputs):
    GRAPHS.append(graph)
    return graph.forward


class Decorated(nn.Sequential):
    @torch.compile(backend=recording_compiler)
    def forward(self, x):
        return super().forward(x)


def test_a_forward_that_is_compiled_where_it_is_defined_runs_as_it_was_written():
    network = Decorated(OrderedDict(as_module(deep_network()).named_children()))
    same_as(ag.wrap(network), as_module(deep_network()))
    assert GRAPHS == []
    network(torch.rand(1, 3, *SIZE))
    assert GRAPHS


def test_compiled_parallel_wrappers_come_off_together():
    network = as_module(deep_network())
    assert ag.wrap(compiled(nn.DataParallel(network))).network is network


# -- networks that cannot be copied ----------------------------------------------------------------------------------


def with_lock(network):
    network.lock = threading.Lock()
    return network


def with_own_forward(network):
    layers = list(network)

    def forward(x):
        for layer in layers:
            x = layer(x)
        return x

    network.forward = forward
    return network


def with_partial_forward(network):
    plain = network.forward
    network.forward = partial(lambda scale, x: plain(x) * scale, 1.0)
    return network


class Closing(nn.Sequential):
    """A part of the network is a function that holds on to the module itself, which a copy would share."""

    def __init__(self, layers, hold):
        super().__init__(layers)
        self.body = hold(self)

    def forward(self, x):
        return self.dense(self.gap(self.body(x)))


def body(network, x):
    return network.relu2(network.conv2(network.relu1(network.conv1(x))))


def with_closure(network):
    return Closing(OrderedDict(network.named_children()), lambda self: lambda x: body(self, x))


def with_closure_over_a_list(network):
    return Closing(
        OrderedDict(network.named_children()), lambda self: (lambda held: lambda x: body(held[0], x))([self])
    )


def with_default(network):
    return Closing(OrderedDict(network.named_children()), lambda self: lambda x, held=self: body(held, x))


UNCOPYABLE = (
    *(with_lock, with_own_forward, with_partial_forward, with_closure, with_closure_over_a_list, with_default),
    compiled_in_place_and_uncopyable,
)


@pytest.mark.parametrize("change", UNCOPYABLE, ids=lambda change: change.__name__)
def test_a_network_that_cannot_be_copied_is_borrowed_and_given_back(change):
    network = change(as_module(deep_network())).train()
    network.conv1.eval()
    state = state_of(network)
    same_as(ag.wrap(network), as_module(deep_network()))
    assert state_of(network) == state


def test_a_borrowed_network_is_given_back_after_an_error():
    network = with_lock(as_module(deep_network()))
    model = ag.wrap(network)
    model.outline(SIZE)
    state = state_of(network)
    with pytest.raises(KeyboardInterrupt):
        model.compile(_interrupted, None)(X)
    assert state_of(network) == state
    same_as(model, as_module(deep_network()))


def _interrupted(model, static, x):
    def patch(activation):
        raise KeyboardInterrupt

    return model.run(x, ("scores",), {"conv2": patch})


def test_a_borrowed_network_serves_several_threads():
    network = with_lock(as_module(deep_network()))
    network.drop = nn.Dropout()
    model = ag.wrap(network.train())
    layers = ["conv1", "relu1", "conv2", "relu2"] * 50
    expected = [slope(model, X, layer) for layer in layers]
    with restless_threads(), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda layer: slope(model, X, layer), layers))
    assert all(map(np.array_equal, found, expected))


# -- weights that are made of others ---------------------------------------------------------------------------------


def weight_normed(network):
    parametrizations.weight_norm(network.conv2)
    return network


def weight_normed_the_old_way(network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old_weight_norm(network.conv2)
    return network


def pruned(network):
    prune.identity(network.conv2, "weight")
    return network


@pytest.mark.parametrize("change", [weight_normed, weight_normed_the_old_way, pruned], ids=lambda c: c.__name__)
def test_a_reparametrised_network_is_seen_like_the_plain_one(change):
    network = change(as_module(deep_network()))
    network(torch.rand(1, 3, *SIZE)).sum().backward()  # leaves derived weights behind, with a history
    state = state_of(network)
    model = ag.wrap(network)
    layers = model.layers(SIZE)
    assert {name: layer.type for name, layer in layers.items()}["conv2"] == "Conv2d"
    assert (list(layers), layers["conv2"].kind) == (list(deep_network().layers), "conv")
    same_as(model, as_module(deep_network()))
    assert state_of(network) == state
    with torch.no_grad():
        for parameter in network.conv2.parameters():
            parameter.mul_(0.5)
    changed = network(torch.tensor(X).permute(0, 3, 1, 2)).detach()
    np.testing.assert_allclose(capture(model, X, "scores")["scores"], changed, rtol=1e-4, atol=1e-5)


# -- scripted and exported -------------------------------------------------------------------------------------------


def scripted(how, network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return how(network)


SCRIPTS = {
    "script": torch.jit.script,
    "trace": lambda network: torch.jit.trace(network, torch.rand(2, 3, *SIZE)),
    "frozen": lambda network: torch.jit.freeze(torch.jit.script(network.eval())),
}


@pytest.mark.parametrize("how", SCRIPTS)
def test_a_scripted_network_offers_the_input_gradient_and_occlusion_only(how):
    network = scripted(SCRIPTS[how], as_module(deep_network()))
    model = ag.wrap(network)
    same_as(model, as_module(deep_network()), (ag.Saliency(), ag.Occlusion(3)))
    assert not any(parameter.grad is not None for parameter in network.parameters())
    for explainer in (ag.GradCAM(), ag.GuidedBackprop(), ag.Deconvnet()):
        with pytest.raises(ag.CapabilityError, match="which this torch network does not offer"):
            explainer(model, X, 1)
    with pytest.raises(ag.CapabilityError, match="looking at conv2"):
        capture(model, X, "conv2")


def test_the_mode_of_a_scripted_network_stays():
    network = scripted(
        torch.jit.script, nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())
    )
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (ag.Saliency()(ag.wrap(network), X, 1).values for _ in range(2))
    assert np.array_equal(first, second)  # no dropout
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_scripted_part_keeps_the_rest_in_view_and_refuses_rules_for_relus():
    network = as_module(deep_network())
    network.conv2 = scripted(torch.jit.script, network.conv2)
    model = ag.wrap(network)
    assert list(model.layers(SIZE)) == [name for name in deep_network().layers if name != "conv2"]
    same_as(model, as_module(deep_network()), (ag.Saliency(), ag.GradCAM("relu2"), ag.GradCAM("conv1")))
    with pytest.raises(ag.CapabilityError, match="needs 'relu'"):
        ag.GuidedBackprop()(model, X, 1)
    with torch.no_grad():
        network.conv2.weight.mul_(2)
    scores = network(torch.tensor(X).permute(0, 3, 1, 2)).detach()
    np.testing.assert_allclose(capture(model, X, "scores")["scores"], scores, rtol=1e-5)


def exported(network, batch=torch.export.Dim.DYNAMIC):
    return torch.export.export(network.eval(), (torch.rand(2, 3, *SIZE),), dynamic_shapes=({0: batch},))


def test_an_exported_program_is_seen_like_the_module_that_it_was():
    model = ag.wrap(exported(as_module(deep_network())))
    layers = model.layers(SIZE)
    assert list(layers) == list(deep_network().layers)
    assert (layers["conv2"].kind, layers["conv2"].type, layers["relu2"].kind) == ("conv", "Conv2d", "relu")
    assert model.last_map(SIZE).name == "relu2"
    same_as(model, as_module(deep_network()))


def test_the_softmax_of_an_exported_program_is_recognised():
    network = nn.Sequential(nn.Conv2d(3, 4, SIZE), nn.Flatten(), nn.Softmax(dim=1))
    model = ag.wrap(exported(network))
    assert model.outline(SIZE).head == "softmax"
    same_as(model, network, (ag.Saliency(),))


def test_an_exported_program_of_fixed_shape_says_so():
    model = ag.wrap(exported(as_module(deep_network()), batch=torch.export.Dim.STATIC))
    with pytest.raises(ag.ModelError, match="exported for one shape of input"):
        ag.Saliency()(model, X, 1)
