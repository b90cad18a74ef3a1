"""PyTorch networks with several inputs: all but the image are bound."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn

import agnoscope as ag
from agnoscope.testing import images
from tests.backends.torch_builder import capture, state_of

pytestmark = pytest.mark.torch

X = images()
SIZE = X.shape[1:3]
META = np.array([0.3, -2.0])
OTHER = np.array([1.0, 0.5])


class Fused(nn.Module):
    """Features of the image and numbers beside it, side by side into one linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.beside, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(2, 2), nn.Linear(6, 3)

    def forward(self, image, meta, *, scale=None):
        seen = torch.relu(self.conv(image)).mean(dim=(2, 3))
        scores = self.fc(torch.cat([seen, self.beside(meta)], dim=1))
        return scores if scale is None else scores * scale[:, None]


class Stereo(nn.Module):
    """Scores of two images, of which the right one counts twice."""

    def forward(self, left, right):
        return (left + 2 * right).mean(dim=(2, 3))


def nchw(array):
    return torch.tensor(array).permute(0, 3, 1, 2)


def expected(network, meta=META, **more):
    beside = torch.tensor(np.tile(meta, (len(X), 1)), dtype=torch.float32)
    with torch.no_grad():
        return network(nchw(X), beside, **more).numpy()


def scores(model, x=X):
    return capture(model, x, "scores")["scores"]


@pytest.mark.parametrize("size", [SIZE, None])
def test_scores_are_those_of_the_network_with_the_same_numbers_beside_each_image(size):
    network = Fused()
    model = ag.wrap(network, input_size=size)
    np.testing.assert_allclose(scores(model.bind(meta=META)), expected(network), rtol=1e-5)
    np.testing.assert_allclose(scores(model.bind(meta=OTHER)), expected(network, OTHER), rtol=1e-5)
    np.testing.assert_allclose(scores(model.bind(meta=OTHER).bind(meta=META)), expected(network), rtol=1e-5)


def test_an_optional_input_may_be_bound_and_need_not():
    network = Fused()
    model = ag.wrap(network, input_size=SIZE).bind(meta=META, scale=3.0)
    np.testing.assert_allclose(scores(model), 3 * expected(network), rtol=1e-5)


@pytest.mark.parametrize(("bound", "factor"), [("right", 1), ("left", 2)])
def test_either_of_two_images_can_be_explained(bound, factor):
    model = ag.wrap(Stereo(), input_size=SIZE).bind(**{bound: np.zeros((3, *SIZE))})
    found = ag.Saliency()(model, X, 0)
    np.testing.assert_allclose(found.values[..., 0], np.full((3, *SIZE), factor / np.prod(SIZE)), rtol=1e-5)


def test_every_method_gives_in_chunks_what_it_gives_in_one_batch():
    model = ag.wrap(Fused(), input_size=SIZE).bind(meta=META)
    for explainer in (ag.Saliency(), ag.GradCAM(), ag.GuidedBackprop(), ag.Occlusion(3)):
        whole, parts = (explainer(model, X, 1, batch_size=size).values for size in (3, 2))
        np.testing.assert_allclose(parts, whole, atol=1e-6 * np.abs(whole).max())


def test_layers_beside_the_image_are_seen_and_a_view_keeps_its_rule():
    model = ag.wrap(Fused(), input_size=SIZE).with_relu("guided").bind(meta=META)
    assert model.rule == "guided"
    assert list(model.layers()) == ["conv", "beside", "fc"]
    assert repr(model) == "<TorchModel of (5, 7), meta bound>"


def test_what_is_not_bound_is_asked_for_by_name():
    model = ag.wrap(Fused(), input_size=SIZE)
    for run in (model.layers, lambda: scores(model), lambda: ag.Saliency()(model, X)):
        with pytest.raises(ag.OptionError, match=r"inputs image, meta, scale.*model\.bind\(meta=array\)"):
            run()


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"metta": META}, "no input 'metta'.*'meta'"),
        ({"meta": META[:1]}, r"meta of shape \(1,\): give bind arrays of one example"),
        ({"meta": META[None]}, r"meta of shape \(1, 2\)"),
        ({"meta": "far"}, "array of numbers is needed, and a str"),
        ({"image": META, "meta": META, "scale": 1.0}, "all bound"),
    ],
)
def test_wrong_names_and_shapes_are_refused(bound, message):
    with pytest.raises(ag.OptionError, match=message):
        ag.wrap(Fused(), input_size=SIZE).bind(**bound)


def test_a_network_of_one_input_has_nothing_to_bind():
    with pytest.raises(ag.CapabilityError, match="bind fixes inputs beside the image"):
        ag.wrap(nn.Flatten(), input_size=SIZE).bind(meta=META)


def test_neither_the_network_nor_the_arrays_change():
    class Greedy(Fused):
        def forward(self, image, meta):
            meta.mul_(2)
            return super().forward(image, meta)

    network, meta = Greedy(), META.astype(np.float32)
    before = state_of(network)
    model = ag.wrap(network, input_size=SIZE).bind(meta=meta)
    first = scores(model)
    meta[:] = 100
    np.testing.assert_array_equal(scores(model), first)
    assert state_of(network) == before


@pytest.mark.parametrize("by_name", [False, True])
def test_an_exported_program_tells_its_inputs(by_name):
    network, free = Fused().eval(), {0: torch.export.Dim.DYNAMIC}
    beside = torch.zeros(3, 2)
    given = ((nchw(X),), {"meta": beside}) if by_name else ((nchw(X), beside), {})
    program = torch.export.export(network, *given, dynamic_shapes={"image": free, "meta": free})
    np.testing.assert_allclose(scores(ag.wrap(program).bind(meta=META)), expected(network), rtol=1e-5)


def test_whole_numbers_stay_whole():
    class Indexed(nn.Module):
        def forward(self, image, place):
            return image.mean(dim=(2, 3)).gather(1, place)

    model = ag.wrap(Indexed(), input_size=SIZE).bind(place=np.array([2, 0]))
    np.testing.assert_allclose(scores(model), X.mean(axis=(1, 2))[:, [2, 0]], rtol=1e-5)
