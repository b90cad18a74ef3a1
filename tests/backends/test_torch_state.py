"""The user's network and PyTorch's modes are as they were, and what the user changes is followed."""

import gc
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn

import agnoscope as ag
from agnoscope.testing import images
from tests.backends.torch_builder import capture, restless_threads, slope, state_of

pytestmark = pytest.mark.torch

X = images()
SIZE = X.shape[1:3]
EXPLAINERS = (ag.Saliency(), ag.GuidedBackprop(), ag.Deconvnet(), ag.GradCAM(), ag.Occlusion(3))


def made():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout2d()),
        *(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 4)),
    )


def trained():
    """A network in training mode, with gradients of an earlier step and one frozen weight."""
    network = made()
    network(nchw(X)).sum().backward()
    network[0].bias.requires_grad_(False)
    network[4].eval()
    return network


def nchw(array):
    return torch.tensor(array).permute(0, 3, 1, 2)


def explained(network, explainers=EXPLAINERS):
    return [explainer(network, X, 1).values for explainer in explainers]


def same(found, expected, tolerance=1e-5):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


# -- untouched -------------------------------------------------------------------------------------------------------


def test_everything_of_the_network_stays():
    network = trained()
    state = state_of(network)
    model = ag.wrap(network)
    assert state_of(network) == state
    explained(model)
    assert state_of(network) == state


def test_training_networks_are_explained_in_evaluation_mode():
    same(explained(trained()), explained(trained().eval()), 0)


class Failing(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        if torch.is_grad_enabled():
            raise self.error
        return x


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), MemoryError()])
def test_everything_stays_after_an_error_in_the_middle(error):
    network = nn.Sequential(trained(), Failing(error)).train()
    state = state_of(network)
    model = ag.wrap(network)
    modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    for explainer in (ag.Saliency(), ag.GuidedBackprop(), ag.GradCAM()):
        with pytest.raises(type(error)):
            explainer(model, X, 1)
    assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == modes
    assert state_of(network) == state
    expected = capture(ag.wrap(network[0]), X, "scores")["scores"]
    np.testing.assert_array_equal(capture(model, X, "scores")["scores"], expected)


def test_hooks_of_the_user_count_as_part_of_the_network():
    network = made().eval()
    plain = capture(ag.wrap(network), X, "scores")["scores"]
    model = ag.wrap(network)
    network[9].register_forward_hook(lambda module, args, output: output * 2)
    np.testing.assert_array_equal(capture(model, X, "scores")["scores"], 2 * plain)


def test_no_warning_is_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ag.wrap(made())
        X.flags.writeable = False
        try:
            explained(model)
            capture(model, X, "2", "scores")
        finally:
            X.flags.writeable = True


def tensors_alive():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_nothing_leaks():
    network = made()
    model = ag.wrap(network)
    explained(model)
    before = tensors_alive()
    hooks = [len(module._forward_hooks) for module in model._shadow._module.modules()]
    for _ in range(20):  # a hundred calls
        explained(model)
    assert tensors_alive() == before
    assert [len(module._forward_hooks) for module in model._shadow._module.modules()] == hooks
    alive = weakref.ref(model), weakref.ref(model._shadow._module), weakref.ref(network)
    del model, network
    assert [thing() for thing in alive] == [None] * 3  # without the garbage collector


# -- modes of PyTorch ------------------------------------------------------------------------------------------------

MODES = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_user_may_be_in_any_mode(mode):
    expected = explained(made())
    network = made()
    model = ag.wrap(network)
    with MODES[mode]():
        same(explained(model), expected, 0)
        same(explained(network), expected, 0)  # wrapped in that mode, too
    same(explained(model), expected, 0)


def test_the_default_dtype_does_not_matter():
    expected = explained(made())
    network = made()
    torch.set_default_dtype(torch.float64)
    try:
        same(explained(network), expected, 0)
    finally:
        torch.set_default_dtype(torch.float32)


def test_weights_made_under_inference_mode_are_explained_and_followed():
    with torch.inference_mode():
        network = made()
    model = ag.wrap(network)
    same(explained(model), explained(made()), 0)
    with torch.inference_mode():
        network[9].weight.mul_(2)
        scores = network.eval()(nchw(X)).numpy().copy()
    np.testing.assert_allclose(capture(model, X, "scores")["scores"], scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_network_that_switches_gradients_off_itself_can_be_looked_at_from_where_they_are_on(mode):
    class HalfFrozen(nn.Module):
        def __init__(self):
            super().__init__()
            network = made()
            self.backbone, self.head = network[:6], network[6:]

        def forward(self, x):
            with mode():
                x = self.backbone(x)
            return self.head(x)

    frozen, plain = ag.wrap(HalfFrozen()), ag.wrap(made())
    found, expected = slope(frozen, X, "backbone.5"), slope(plain, X, "5")
    np.testing.assert_array_equal(found, expected)
    found, expected = (ag.GradCAM(layer)(m, X, 1).values for m, layer in ((frozen, "backbone"), (plain, "5")))
    np.testing.assert_array_equal(found, expected)
    for explainer in (ag.Saliency(), ag.GuidedBackprop()):
        with pytest.raises(ag.CapabilityError, match="carries no gradient back to the image"):
            explainer(frozen, X, 1)
    np.testing.assert_array_equal(ag.Occlusion(3)(frozen, X, 1).values, ag.Occlusion(3)(plain, X, 1).values)


# -- followed --------------------------------------------------------------------------------------------------------


def in_place(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.7)


def by_training(network):
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network.train()(nchw(X)).sum().backward()  # moves the statistics of the normalisation, too
    optimizer.step()


def by_state_dict(network):
    torch.manual_seed(3)
    state = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in network.state_dict().items()}
    network.load_state_dict(state)


def by_assigned_state_dict(network):
    torch.manual_seed(3)
    state = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in network.state_dict().items()}
    network.load_state_dict(state, assign=True)


def by_data(network):
    network[4].weight.data = torch.rand_like(network[4].weight)


def by_another_layer(network):
    network[9] = nn.Linear(8, 4)


def by_an_attribute(network):
    network[1].eps = 3.0


def to_double(network):
    network.double()


def to_half_and_back(network):
    network.bfloat16().float()


CHANGES = (
    *(in_place, by_training, by_state_dict, by_assigned_state_dict, by_data, by_another_layer, by_an_attribute),
    *(to_double, to_half_and_back),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_the_user_changes_is_followed(change):
    network = made()
    model = ag.wrap(network)
    guided = model.with_relu("guided")
    before = explained(model)
    change(network)
    expected = explained(ag.wrap(network))
    assert not all(np.array_equal(one, other) for one, other in zip(before, expected, strict=True))
    same(explained(model), expected, 0)
    same([ag.Saliency()(guided, X, 1).values], expected[1:2], 0)
    assert model.dtype == ("float64" if change is to_double else "float32")


def test_other_layers_need_another_wrap():
    network = made()
    model = ag.wrap(network)
    explained(model)
    network[9] = nn.Linear(8, 2)
    with pytest.raises(ag.ModelError, match="wrap it again"):
        ag.Saliency()(model, X, 1)
    same(explained(ag.wrap(network)), explained(network))


# -- threads ---------------------------------------------------------------------------------------------------------


def test_eight_threads_mixing_methods_do_not_meet():
    network = made()
    model = ag.wrap(network)
    tasks = [(explainer, target) for explainer in EXPLAINERS for target in (0, 1, ag.Channel("2", 3))] * 3
    serial = [explainer(model, X, target).values for explainer, target in tasks]
    state = state_of(network)
    with restless_threads(), ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda task: task[0](model, X, task[1]).values, tasks))
    same(parallel, serial, 1e-6)
    assert state_of(network) == state


def test_the_network_may_be_used_while_it_is_explained():
    network = made().eval()
    expected = network(nchw(X)).detach()
    model = ag.wrap(network)
    found = []
    user = threading.Thread(target=lambda: found.extend(network(nchw(X)).detach() for _ in range(50)))
    user.start()
    explained(model)
    user.join()
    assert all(torch.equal(one, expected) for one in found)


# -- refused at the door ---------------------------------------------------------------------------------------------


def test_weights_without_values_are_refused():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(ag.ModelError, match=r"'0.weight' is on the 'meta' device, without values"):
        ag.wrap(network)
    with pytest.raises(ag.ModelError, match=r"'0.weight' has no shape yet: run the network once"):
        ag.wrap(nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten()))


def test_parameters_beside_a_module_are_refused():
    with pytest.raises(ag.ModelError, match="brings its own parameters"):
        ag.wrap(made(), made().state_dict())
