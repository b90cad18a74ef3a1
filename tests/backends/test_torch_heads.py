"""The scores before a softmax or sigmoid in PyTorch, however it is written."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn
from torch.nn import functional as F

import agnoscope as ag
from agnoscope.testing import images
from tests.backends.torch_builder import capture

pytestmark = pytest.mark.torch

X = images()
SIZE = X.shape[1:3]


class Headed(nn.Module):
    """Scores of `units` classes, turned into the output by `head`."""

    def __init__(self, head, units=4):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, units), head

    def logits(self, x):
        # a gate inside, as in squeeze-and-excitation, which is no head
        maps = F.relu(self.conv(x))
        return self.fc((maps * torch.sigmoid(maps.mean(dim=(2, 3), keepdim=True))).mean(dim=(2, 3)))

    def forward(self, x):
        return self.head(self.logits(x))


SOFTMAX = {
    "nn.Softmax": nn.Softmax(dim=1),
    "nn.LogSoftmax": nn.LogSoftmax(dim=-1),
    "nn.Sequential": nn.Sequential(nn.Identity(), nn.Softmax(dim=1), nn.Dropout()),
    "F.softmax": lambda z: F.softmax(z, dim=1),
    "F.softmax by keyword": lambda z: F.softmax(input=z, dim=1),
    "F.log_softmax": lambda z: F.log_softmax(z, 1),
    "torch.softmax": lambda z: torch.softmax(z, dim=-1),
    "torch.log_softmax": lambda z: torch.log_softmax(z, dim=-1),
    "torch.special.softmax": lambda z: torch.special.softmax(z, 1),
    "Tensor.softmax": lambda z: z.softmax(-1),
    "Tensor.log_softmax": lambda z: z.log_softmax(-1),
    "aten.softmax": lambda z: torch.ops.aten.softmax.int(z, 1),
    "exp of log_softmax": lambda z: F.log_softmax(z, 1).exp(),
    "then view": lambda z: z.softmax(1).view(len(z), -1),
    "then float": lambda z: z.half().softmax(1).float(),
    "then clone": lambda z: z.softmax(1).clone().contiguous(),
    "in a tuple": lambda z: (z.softmax(1), z),
}
SIGMOID = {
    "nn.Sigmoid": nn.Sigmoid(),
    "nn.LogSigmoid": nn.LogSigmoid(),
    "F.sigmoid": F.sigmoid,
    "torch.sigmoid": torch.sigmoid,
    "torch.special.expit": torch.special.expit,
    "Tensor.sigmoid": lambda z: z.sigmoid(),
    "Tensor.sigmoid_": lambda z: z.sigmoid_(),
    "torch.sigmoid_": torch.sigmoid_,
    "F.logsigmoid": F.logsigmoid,
    "then squeeze": lambda z: torch.sigmoid(z).squeeze(-1),
    "then indexing nothing": lambda z: torch.sigmoid(z).reshape(-1),
}


@pytest.mark.parametrize("form", SOFTMAX)
def test_scores_are_what_went_into_the_softmax(form):
    network = Headed(SOFTMAX[form]).eval()
    model = ag.wrap(network, input_size=SIZE)
    assert (model.outline().head, model.outline().scores) == ("softmax", (4,))
    expected = network.logits(torch.tensor(X).permute(0, 3, 1, 2)).detach()
    found = capture(model, X, "scores", "output")
    np.testing.assert_allclose(found["scores"], expected, atol=1e-3 if "float" in form else 1e-6)
    plain = ag.Saliency()(ag.wrap(Headed(nn.Identity()).eval()), X, 2).values
    np.testing.assert_allclose(ag.Saliency()(model, X, 2).values, plain, atol=1e-3 * np.abs(plain).max())


@pytest.mark.parametrize("form", SIGMOID)
def test_scores_are_what_went_into_the_sigmoid(form):
    network = Headed(SIGMOID[form], units=1).eval()
    model = ag.wrap(network, input_size=SIZE)
    assert (model.outline().head, model.outline().scores) == ("sigmoid", (1,))
    expected = network.logits(torch.tensor(X).permute(0, 3, 1, 2)).detach()
    np.testing.assert_allclose(capture(model, X, "scores")["scores"], expected, atol=1e-6)
    both = [ag.Saliency()(model, X, index).values for index in (0, 1)]
    assert both[1].any()
    np.testing.assert_array_equal(both[0], -both[1])


@pytest.mark.parametrize(
    "head",
    [
        *(nn.Identity(), nn.Tanh(), lambda z: z.softmax(1) * 2, lambda z: z * torch.sigmoid(z)),
        *(lambda z: z.softmax(1)[:, :2], lambda z: z + z.softmax(1)),
    ],
)
def test_what_is_no_head_is_left_alone(head):
    model = ag.wrap(Headed(head).eval(), input_size=SIZE)
    assert model.outline().head == "linear"
    found = capture(model, X, "scores", "output")
    np.testing.assert_array_equal(found["scores"], found["output"])


def test_probabilities_whose_softmax_was_not_seen_are_reported():
    model = ag.wrap(Headed(lambda z: z.exp() / z.exp().sum(dim=1, keepdim=True)).eval())
    assert model.outline(SIZE).head == "linear"
    assert "no softmax was recognised" in ag.Saliency()(model, X, 1).provenance.warnings[0]


def test_scores_stand_before_a_head_that_is_patched():
    model = ag.wrap(Headed(nn.Softmax(dim=1)).eval())
    found = model.compile(_doubled_head, None)(X)
    clean = capture(model, X, "scores", "output")
    np.testing.assert_array_equal(found["scores"], clean["scores"])
    np.testing.assert_array_equal(found["output"], 2 * clean["output"])


def _doubled_head(model, static, x):
    return model.run(x, ("scores", "output"), {"head": lambda output: output * 2})


def test_maps_of_scores_come_channels_last():
    class Segmenting(Headed):
        def forward(self, x):
            return self.head(self.conv(x))

    network = Segmenting(nn.Softmax(dim=1)).eval()
    model = ag.wrap(network, input_size=SIZE)
    assert model.outline().scores == (3, 5, 6)
    found = capture(model, X, "scores", "output", "conv")
    np.testing.assert_array_equal(found["scores"], found["conv"])
    np.testing.assert_allclose(found["output"].sum(axis=-1), 1, atol=1e-6)
