"""PyTorch's weights are shown by name, and replaced in a copy."""

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn
from torch.nn.utils import parametrizations

import agnoscope as ag
from agnoscope.testing import images
from tests.backends.torch_builder import capture, state_of

pytestmark = pytest.mark.torch

X = images()
SIZE = X.shape[1:3]


class Backwards(nn.Module):
    """Defined in another order than run, with what weights come as: plain, tied, statistics, parametrized."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = parametrizations.weight_norm(nn.Linear(4, 2))
        self.tied = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 1)
        self.stem = nn.Conv2d(3, 4, 3)
        self.tied.weight = self.conv.weight
        self.register_buffer("table", torch.ones(2), persistent=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(self.stem(x))))
        return self.fc(self.tied(x).mean(dim=(2, 3)))


def scores(model):
    return capture(model, X, "scores")["scores"]


def test_weights_come_in_the_order_of_their_layers_under_names_that_begin_with_them():
    model = ag.wrap(Backwards().eval(), input_size=SIZE)
    found = model.parameters()
    assert list(found) == [
        *("stem.weight", "stem.bias", "conv.bias"),
        *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
        *("tied.weight", "tied.bias"),
        *("fc.bias", "fc.parametrizations.weight.original0", "fc.parametrizations.weight.original1"),
    ]
    assert all(name.partition(".")[0] in model.layers() for name in found)
    assert {array.dtype.name for array in found.values()} == {"float32"}


def test_without_a_size_the_order_is_the_networks_own():
    assert next(iter(ag.wrap(Backwards()).parameters())) == "fc.bias"


def test_the_same_weights_give_the_same_scores_and_others_those_of_a_network_that_has_them():
    network = Backwards().eval()
    model = ag.wrap(network, input_size=SIZE)
    np.testing.assert_array_equal(scores(model.with_parameters(model.parameters())), scores(model))
    changed = model.with_parameters({"norm.running_mean": np.full(4, 0.2), "tied.weight": np.ones((4, 4, 1, 1))})
    with torch.no_grad():
        network.norm.running_mean.fill_(0.2)
        network.tied.weight.fill_(1)  # the convolution's, too
    np.testing.assert_allclose(scores(changed), scores(model), rtol=1e-6)


def test_the_users_network_stays_and_is_followed_no_more():
    network = Backwards()
    before = state_of(network)
    model = ag.wrap(network, input_size=SIZE, labels=["a", "b"])
    copy = model.with_relu("guided").with_parameters({"stem.bias": np.zeros(4)})
    found = copy.parameters()
    found["stem.bias"][:] = 7
    assert state_of(network) == before
    assert (copy.rule, copy.labels, copy.spec) == ("guided", ("a", "b"), model.spec)
    assert not copy.parameters()["stem.bias"].any()
    with torch.no_grad():
        network.fc.bias.add_(1)
    assert not np.array_equal(copy.parameters()["fc.bias"], model.parameters()["fc.bias"])


def test_changes_add_up():
    model = ag.wrap(Backwards(), input_size=SIZE)
    zeros = {name: np.zeros_like(array) for name, array in model.parameters().items() if name.startswith("fc.")}
    zeros["fc.parametrizations.weight.original1"] += 1  # a direction, which must have a length
    flat = model.with_parameters(zeros).with_parameters({"fc.bias": np.array([1.0, 2.0])})
    np.testing.assert_allclose(scores(flat), np.tile([1.0, 2.0], (3, 1)))


def test_weights_of_an_exported_program_change():
    program = torch.export.export(
        Backwards().eval(), (torch.zeros(2, 3, *SIZE),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    model = ag.wrap(program, input_size=SIZE)
    before = scores(model)
    np.testing.assert_array_equal(scores(model.with_parameters({})), before)
    again = model.with_parameters({"stem.weight": np.zeros((4, 3, 3, 3))}).with_parameters({"stem.bias": np.ones(4)})
    assert np.ptp(scores(again), axis=0).max() == 0  # no image is seen any more
    np.testing.assert_array_equal(scores(model), before)


def test_half_precision_comes_as_single_and_goes_back_exactly():
    model = ag.wrap(Backwards().to(torch.bfloat16), input_size=SIZE)
    found = model.parameters()
    assert found["stem.weight"].dtype == np.float32
    np.testing.assert_array_equal(scores(model.with_parameters(found)), scores(model))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stem.wieght": 1}, "no weight 'stem.wieght'.*'stem.weight'"),
        ({"stem.bias": np.ones(3)}, r"\(4,\), and \(3,\)"),
    ],
)
def test_unknown_names_and_other_shapes_are_refused(changed, message):
    with pytest.raises(ag.OptionError, match=message):
        ag.wrap(Backwards()).with_parameters(changed)


def test_what_cannot_be_copied_says_so_but_shows_its_weights():
    network = Backwards()
    network.lock = threading.Lock()
    model = ag.wrap(network, input_size=SIZE)
    assert "stem.weight" in model.parameters()
    with pytest.raises(ag.CapabilityError, match=r"cannot be copied.*Load the changed weights into a second network"):
        model.with_parameters({})


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning")
def test_a_script_has_no_weights_to_change():
    model = ag.wrap(torch.jit.trace(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, *SIZE)), input_size=SIZE)
    with pytest.raises(ag.CapabilityError, match="needs 'weights'"):
        model.parameters()
