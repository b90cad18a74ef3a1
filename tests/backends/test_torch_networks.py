"""Networks as PyTorch users write them: in place, repeated, with outputs of every kind, of any precision."""

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, fields

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn
from torch.utils.checkpoint import checkpoint

import agnoscope as ag
from agnoscope.testing import images
from tests.backends.torch_builder import capture, slope

pytestmark = pytest.mark.torch

X = images()
SIZE = X.shape[1:3]


def nchw(array, dtype=torch.float32):
    return torch.tensor(array, dtype=dtype).permute(0, 3, 1, 2).contiguous()


def input_gradient(network, array, index):
    """The gradient of a score by hand, channels last."""
    x = nchw(array).requires_grad_()
    return torch.autograd.grad(network(x)[:, index].sum(), x)[0].permute(0, 2, 3, 1).numpy()


def close(found, expected, tolerance=1e-5):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


class Residual(nn.Module):
    """A residual network; in place, it overwrites what it can."""

    def __init__(self, in_place=False, width=4):
        super().__init__()
        torch.manual_seed(0)
        self.in_place = in_place
        self.conv1, self.conv2 = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=in_place)
        self.same = nn.Identity()
        self.fc, self.unused = nn.Linear(width, 5), nn.Linear(width, 5)
        self.norm.running_mean.uniform_(-1, 1)
        self.eval()

    def forward(self, x):
        x = self.relu(self.conv1(x))
        y = self.same(self.norm(self.conv2(x)))
        if self.in_place:
            y += x
            y.mul_(0.5)
        else:
            y = (y + x) * 0.5
        return self.fc(self.relu(y).mean(dim=(2, 3)))


# -- activations -----------------------------------------------------------------------------------------------------

LAYERS = ("conv1", "relu", "conv2", "norm", "same", "relu@1", "fc")


@pytest.mark.parametrize("layer", LAYERS)
def test_operations_in_place_reach_neither_a_captured_activation_nor_its_gradient(layer):
    in_place, plain = ag.wrap(Residual(in_place=True)), ag.wrap(Residual())
    close(capture(in_place, X, layer)[layer], capture(plain, X, layer)[layer])
    close(slope(in_place, X, layer), slope(plain, X, layer))
    many = capture(in_place, X, *LAYERS, "scores")
    assert all(np.array_equal(many[name], capture(in_place, X, name)[name]) for name in LAYERS)


def test_layers_are_those_that_ran_in_order_with_repeated_uses_counted():
    model = ag.wrap(Residual(), input_size=SIZE)
    assert list(model.layers()) == ["conv1", "relu", "conv2", "norm", "same", "relu@1", "fc"]
    assert {layer.kind for layer in model.layers().values()} == {"conv", "relu", "norm", "other", "dense"}
    assert model.layers()["relu@1"].shape == (*SIZE, 4)
    assert model.last_map().name == "relu@1"
    found = capture(model, X, "relu", "relu@1")
    assert not np.allclose(found["relu"], found["relu@1"])


def test_a_module_under_two_names_is_one_layer_used_twice():
    shared = nn.Conv2d(3, 3, 1)
    model = ag.wrap(nn.Sequential(OrderedDict(first=shared, second=shared, gap=nn.Flatten())), input_size=SIZE)
    assert list(model.layers()) == ["first", "first@1", "gap"]
    expected = shared(shared(nchw(X))).detach().permute(0, 2, 3, 1)
    close(capture(model, X, "first@1")["first@1"], expected)


def test_a_module_that_never_runs_is_no_layer():
    model = ag.wrap(Residual())
    for asked in ("unused", "relu@2"):
        with pytest.raises(ag.LayerError, match=f"no layer '{asked}'"):
            model.layer(asked, SIZE)
        with pytest.raises(ag.LayerError, match=f"'{asked}' did not run"):
            capture(model, X, asked)
        with pytest.raises(ag.LayerError, match=f"'{asked}' did not run"):
            model.compile(_patched, asked)(X)


def _patched(model, layer, x):
    return model.run(x, ("conv1",), {layer: lambda activation: activation})


def test_a_layer_may_have_the_name_of_a_reserved_word():
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 1), scores=nn.Flatten(), output=nn.Softmax(dim=1)))
    model = ag.wrap(network, input_size=SIZE)
    assert list(model.layers()) == ["conv", "scores@0", "output@0"]
    found = capture(model, X, "output", "output@0", "scores", "scores@0")
    assert np.array_equal(found["output"], found["output@0"])
    assert np.array_equal(found["scores"], found["scores@0"])


def test_the_network_may_work_in_place_on_its_input():
    class Scaling(Residual):
        def forward(self, x):
            return super().forward(x.sub_(0.5).mul_(2))

    plain = Residual()
    model = ag.wrap(Scaling())
    close(ag.Saliency()(model, X, 1).values, 2 * input_gradient(plain, 2 * X - 1, 1))
    twice = model.compile(_run_twice, None)(X)
    assert np.array_equal(twice["first"], twice["second"])


def _run_twice(model, static, x):
    return {name: model.run(x, ("scores",))["scores"] for name in ("first", "second")}


class Viewing(Residual):
    def forward(self, x):
        x = self.relu(self.conv1(x))
        return self.fc(self.same(x).view(len(x), -1).view(len(x), 4, -1).mean(dim=2))


def test_the_network_may_insist_on_contiguous_activations():
    network = Viewing()
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        network(torch.tensor(X).permute(0, 3, 1, 2))
    model = ag.wrap(network)
    close(ag.Saliency()(model, X, 1).values, input_gradient(network, X, 1))
    close(slope(model, X, "same"), np.broadcast_to(network.fc.weight.detach().sum(0) / np.prod(SIZE), (3, *SIZE, 4)))


@pytest.mark.parametrize("network", [Viewing, Residual])
def test_a_patch_may_return_what_lies_otherwise_in_memory(network):
    model = ag.wrap(network())
    np.testing.assert_array_equal(model.compile(_copied, "same")(X)["scores"], capture(model, X, "scores")["scores"])


def _copied(model, layer, x):
    return model.run(x, ("scores",), {layer: lambda activation: model.xp.asarray(activation, copy=True).contiguous()})


def test_a_leaf_that_a_patch_returns_is_not_overwritten_by_operations_in_place():
    in_place, plain = ag.wrap(Residual(in_place=True)), ag.wrap(Residual())
    activation = capture(plain, X, "conv1")["conv1"]
    close(in_place.compile(_replaced, "conv1")(X, activation)["slope"], slope(plain, X, "conv1"))


def _replaced(model, layer, x, activation):
    def total(leaf):
        scores = model.run(x, ("scores",), {layer: lambda _: leaf["activation"]})["scores"]
        return model.xp.sum(scores), {}

    return {"slope": model.value_and_grad(total)({"activation": activation})[1]["activation"]}


def test_a_patch_may_run_a_network_itself():
    model = ag.wrap(Residual())
    found = model.compile(_nested, None)(X)
    expected = capture(model, X, "relu", "scores")
    np.testing.assert_array_equal(found["relu"], expected["relu"])
    np.testing.assert_array_equal(found["inner"], expected["scores"])


def _nested(model, static, x):
    inner = {}

    def patch(activation):
        inner.update(model.run(x, ("scores",)))
        return activation

    return {**model.run(x, ("relu",), {"conv1": patch}), "inner": inner["scores"]}


def test_a_run_stops_at_the_last_layer_that_it_needs():
    calls = []
    network = Residual()
    network.fc.register_forward_hook(lambda *_: calls.append("fc"))
    model = ag.wrap(network)
    model.outline(SIZE)
    calls.clear()
    capture(model, X, "relu")
    ag.Saliency()(model, X, ag.Channel("norm", 1), batch_size=3)
    assert calls == []
    capture(model, X, "relu", "scores")
    assert calls == ["fc"]


def test_an_operation_in_place_that_pytorch_cannot_differentiate_is_refused():
    class Overwriting(Residual):
        def forward(self, x):
            y = torch.sigmoid(self.conv1(x))
            y.mul_(2)
            return self.fc(y.mean(dim=(2, 3)))

    model = ag.wrap(Overwriting())
    with pytest.raises(ag.CapabilityError, match=r"or use occlusion. PyTorch says: .*inplace"):
        ag.Saliency()(model, X)
    assert ag.Occlusion(3)(model, X).values.any()


def test_checkpointed_networks_are_explained_or_refused():
    class Checkpointed(Residual):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    network, model = Residual(), ag.wrap(Checkpointed())
    close(ag.Saliency()(model, X, 1).values, input_gradient(network, X, 1))
    close(ag.GuidedBackprop()(model, X, 1).values, ag.GuidedBackprop()(network, X, 1).values)
    with pytest.raises(ag.CapabilityError, match="gradient checkpointing stands in the way"):
        ag.GradCAM("norm")(model, X, 1)


# -- outputs ---------------------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", ["main", "more"])


@dataclass(frozen=True)
class Frozen:
    loss: None
    logits: torch.Tensor


@dataclass
class HuggingFaceOutput(OrderedDict):
    """A dictionary and dataclass at once, as `transformers.utils.ModelOutput` is one."""

    hidden: torch.Tensor | None = None
    logits: torch.Tensor | None = None

    def __post_init__(self):
        for field in fields(self):
            if getattr(self, field.name) is not None:
                super().__setitem__(field.name, getattr(self, field.name))

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __reduce__(self):
        return (type(self), tuple(getattr(self, field.name) for field in fields(self)))


OUTPUTS = {
    "tuple": (lambda y: (y, y * 2), lambda out: out[0]),
    "list": (lambda y: [None, y, y * 2], lambda out: out[1]),
    "nested tuple": (lambda y: ((), (y, 3)), lambda out: out[1][0]),
    "same tensor twice": (lambda y: (y, y), lambda out: out[0] * 0.5 + out[1] * 0.5),
    "named tuple": (lambda y: Pair(y, y * 2), lambda out: out.main),
    "dictionary": (lambda y: {"out": y, "aux": y * 2}, lambda out: out["out"]),
    "logits": (lambda y: {"features": y * 3, "logits": y}, lambda out: out["logits"]),
    "default dictionary": (lambda y: defaultdict(list, out=y), lambda out: out["out"]),
    "dataclass": (lambda y: Frozen(None, y), lambda out: out.logits),
    "ModelOutput": (lambda y: HuggingFaceOutput(y * 3, y), lambda out: out["logits"] * 0.5 + out.logits * 0.5),
}


class Packed(nn.Module):
    """A layer whose output is packed."""

    def __init__(self, layer, pack):
        super().__init__()
        self.layer, self.pack = layer, pack

    def forward(self, x):
        return self.pack(self.layer(x))


class Unpacking(nn.Module):
    def __init__(self, unpack):
        super().__init__()
        self.unpack = unpack

    def forward(self, x):
        return self.unpack(x)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_tensor_is_found_in_outputs_of_every_kind(kind):
    pack, unpack = OUTPUTS[kind]
    network = Residual()
    inner = nn.Sequential(Packed(network.conv1, pack), Unpacking(unpack), nn.Flatten(2), nn.AvgPool1d(35), nn.Flatten())
    packed = ag.wrap(nn.Sequential(inner, nn.ReLU(), Packed(nn.Linear(4, 5), pack)))
    plain = ag.wrap(nn.Sequential(network.conv1, *inner[2:], nn.ReLU(), packed.network[2].layer))
    close(ag.Saliency()(packed, X, 1).values, ag.Saliency()(plain, X, 1).values)
    close(slope(packed, X, "0.0"), slope(plain, X, "0"))
    close(capture(packed, X, "0.0")["0.0"], capture(plain, X, "0")["0"])


@pytest.mark.parametrize("output", [None, "text", {}, [1, 2], ()])
def test_an_output_without_a_tensor_is_refused(output):
    with pytest.raises(ag.ModelError, match="in which there is no tensor"):
        ag.Saliency()(ag.wrap(Unpacking(lambda x: output)), X)


@pytest.mark.parametrize("output", [torch.sum, lambda x: x[0], lambda x: torch.cat([x, x])])
def test_an_output_without_the_images_as_first_axis_is_refused(output):
    with pytest.raises(ag.ModelError, match="its first axis must be the images"):
        ag.Saliency()(ag.wrap(Unpacking(output)), X)


def test_an_output_without_a_gradient_is_refused_and_occlusion_works():
    for cut in (lambda x: x.detach(), lambda x: torch.tensor(x.detach().numpy()), lambda x: x.round().int()):
        model = ag.wrap(nn.Sequential(Residual(), Unpacking(cut)))
        with pytest.raises(ag.CapabilityError, match="carries no gradient"):
            ag.Saliency()(model, X, 1)
        assert np.isfinite(ag.Occlusion(3)(model, X, 1).values).all()


# -- precision, no parameters, NaN -----------------------------------------------------------------------------------


def test_a_float64_network_is_explained_in_float64():
    network = Residual().double()
    found = ag.GradCAM("relu@1", upsample=False)(ag.wrap(network), X.astype(np.float64), 1)
    assert found.values.dtype == np.float64
    activation = capture(ag.wrap(network), X.astype(np.float64), "relu@1")["relu@1"]
    assert activation.dtype == np.float64
    weights = network.fc.weight[1].detach().numpy() / np.prod(SIZE)
    close(found.values, activation @ weights, 1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_of_half_precision_is_explained_in_float32(dtype):
    model, full = ag.wrap(Residual().to(dtype)), ag.wrap(Residual())
    assert model.dtype == "float32"
    for explainer in (ag.Saliency(), ag.GradCAM("relu@1"), ag.GuidedBackprop(), ag.Occlusion(3)):
        found, expected = explainer(model, X, 1).values, explainer(full, X, 1).values
        assert found.dtype == np.float32
        assert np.linalg.norm(found - expected) < 0.5 * np.linalg.norm(expected)  # bfloat16 has 8 bits
    assert capture(model, X, "relu", "scores")["relu"].dtype == np.float32


def test_a_network_without_parameters_is_explained():
    model = ag.wrap(nn.Sequential(nn.ReLU(), nn.AvgPool2d(SIZE), nn.Flatten()))
    expected = np.zeros((3, *SIZE, 3))
    expected[..., 1] = 1 / np.prod(SIZE)
    close(ag.Saliency()(model, X, 1).values, expected)


@pytest.mark.parametrize("layer", ["conv2", "fc"])
def test_nan_in_a_weight_is_named_by_its_layer(layer):
    network = Residual()
    with torch.no_grad():
        network.get_submodule(layer).weight.view(-1)[0] = torch.nan
    for explainer in (ag.Saliency(), ag.Occlusion(3)):
        with pytest.raises(ag.NonFiniteError, match=f"'{layer}' is the first"):
            explainer(ag.wrap(network), X, 0)
