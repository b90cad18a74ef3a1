"""Networks of both layouts in PyTorch: activations are shown channels last wherever the network has its channels."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn
from torch.nn import functional as F

import agnoscope as ag
from agnoscope.arrays import affine_samples
from agnoscope.testing import images
from tests.backends.torch_builder import capture, slope

pytestmark = pytest.mark.torch

X = np.concatenate([images(), images()[:, ::-1]], axis=1)[:, :8, :6]  # sides that windows of 2 divide
SIZE = (8, 6)


class Permute(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(self.axes)


class LayerNorm2d(nn.LayerNorm):
    """A normalisation of the channels that takes and gives them first, as ConvNeXt has it."""

    def forward(self, x):
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            *(Permute(0, 2, 3, 1), nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU()),
            *(nn.Linear(2 * width, width), Permute(0, 3, 1, 2)),
        )

    def forward(self, x):
        return x + self.block(x)


class SwinBlock(nn.Module):
    """Attention within shifted windows of 2 × 2 pixels; channels last."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x):
        n, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-1, -1), (1, 2))
        y = y.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        y = self.attention(y, y, y, need_weights=False)[0]
        y = y.view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return x + self.drop(torch.roll(y, (1, 1), (1, 2)))


def convnext():
    stem = nn.Sequential(nn.Conv2d(3, 10, 2, 2), LayerNorm2d(10))
    down = nn.Sequential(LayerNorm2d(10), nn.Conv2d(10, 12, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), LayerNorm2d(12), nn.Flatten(1), nn.Linear(12, 5))
    return nn.Sequential(stem, ConvNeXtBlock(10), down, ConvNeXtBlock(12), head)


def swin():
    stem = nn.Sequential(nn.Conv2d(3, 10, 1), Permute(0, 2, 3, 1), nn.LayerNorm(10))
    head = nn.Sequential(Permute(0, 3, 1, 2), nn.ReLU(), nn.Conv2d(10, 7, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(stem, SwinBlock(10), SwinBlock(10), head, nn.Linear(7, 5))


class VisionTransformer(nn.Module):
    """Tokens (images, tokens, channels): 12 patches and one for the class."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 2, 2)
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], dim=1)
        return self.fc(self.blocks(tokens)[:, 0])


def made(network):
    torch.manual_seed(0)
    network = network()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return network.eval()


def test_convnext_is_shown_channels_last():
    shapes = {name: layer.shape for name, layer in ag.wrap(made(convnext)).layers(SIZE).items()}
    assert {shapes[name] for name in ("0.0", "0.1", "0", "1", "2.0")} == {(4, 3, 10)}
    assert {shapes[f"1.block.{i}"] for i in (0, 1, 2, 5, 6)} == {(4, 3, 10)}
    assert shapes["1.block.3"] == shapes["1.block.4"] == (4, 3, 20)
    assert {shapes[name] for name in ("2", "3", "3.block", "3.block.6")} == {(4, 3, 12)}
    assert (shapes["4.0"], shapes["4.1"], shapes["4.2"]) == ((1, 1, 12), (1, 1, 12), (12,))


def test_swin_is_shown_channels_last():
    shapes = {name: layer.shape for name, layer in ag.wrap(made(swin)).layers(SIZE).items()}
    blocks = ("0.0", "0.1", "0", "1.norm", "1.drop", "1", "2.norm", "2")
    assert {shapes[name] for name in blocks} == {(8, 6, 10)}
    assert {shapes[name] for name in ("3.0", "3.1")} == {(8, 6, 10)}
    assert (shapes["3.2"], shapes["3.3"], shapes["3"]) == ((8, 6, 7), (1, 1, 7), (7,))


def test_tokens_are_shown_with_their_channels_last():
    shapes = {name: layer.shape for name, layer in ag.wrap(made(VisionTransformer)).layers(SIZE).items()}
    assert (shapes["patches"], shapes["blocks.layers.0"], shapes["fc"]) == ((4, 3, 16), (13, 16), (5,))


@pytest.mark.parametrize("network", [convnext, swin])
@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_activations_and_gradients_come_in_the_layout_that_is_shown(network, layer):
    network = made(network)
    kept = {}
    network.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.update(output=output))
    score = network(torch.tensor(X.copy()).permute(0, 3, 1, 2)).sum()
    expected, by_hand = kept["output"], torch.autograd.grad(score, kept["output"])[0]
    if isinstance(network[1], ConvNeXtBlock):
        expected, by_hand = expected.permute(0, 2, 3, 1), by_hand.permute(0, 2, 3, 1)
    model = ag.wrap(network)
    scale = float(by_hand.abs().max())
    np.testing.assert_allclose(capture(model, X, layer)[layer], expected.detach(), atol=1e-4)
    np.testing.assert_allclose(slope(model, X, layer) / scale, by_hand / scale, atol=1e-5)
    weighted = (by_hand.mean(dim=(1, 2), keepdim=True) * expected).sum(dim=-1).detach().numpy()
    found = ag.GradCAM(layer, upsample=False)(model, X, lambda run: run["scores"].sum(-1))
    np.testing.assert_allclose(found.values, weighted, atol=1e-4 * np.abs(weighted).max())


def test_the_end_of_the_last_stage_is_found_in_both_layouts():
    assert ag.wrap(made(convnext)).last_map(SIZE).name == "3"
    assert ag.wrap(made(swin)).last_map(SIZE).name == "3.2"


def test_tokens_are_captured_and_patched_inside_an_encoder_that_has_a_fast_path():
    model = ag.wrap(made(VisionTransformer))
    for layer in ("blocks.layers.0.norm1", "blocks.layers.1.linear1", "blocks.layers.1"):
        assert capture(model, X, layer)[layer].shape[1] == 13
        assert slope(model, X, layer).any()
    neuron = ag.Saliency()(model, X, ag.Neuron("blocks.layers.0", 5, (7,)))
    assert neuron.values.any()


MOVES = {
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "torch.permute": lambda x: torch.permute(x, (0, 2, 3, 1)),
    "movedim": lambda x: x.movedim(1, -1),
    "moveaxis": lambda x: torch.moveaxis(x, 1, 3),
    "transposes": lambda x: x.transpose(1, 2).transpose(2, 3),
    "swapaxes": lambda x: x.swapaxes(1, 3).swapdims(1, 2),
    "tokens": lambda x: x.flatten(2).transpose(1, 2).reshape(len(x), *SIZE, -1),
    "tokens by mT": lambda x: x.flatten(2).mT.unflatten(1, SIZE),
    "unbound": lambda x: torch.stack(x.unbind(1), dim=-1) + x.permute(0, 2, 3, 1) * 0,
    "contiguous": lambda x: x.permute(0, 2, 3, 1).contiguous() * 2,
    "concatenated": lambda x: torch.cat([torch.zeros(len(x), *SIZE, 1), x.permute(0, 2, 3, 1)], dim=-1)[..., 1:],
    "patches": lambda x: F.unfold(x, 1).mT.reshape(len(x), 4, 2, 6, -1).reshape(len(x), *SIZE, -1),
    "tokens split": lambda x: x.flatten(2).mT.repeat(1, 1, 4).view(len(x), *SIZE, 4, -1).sum(dim=3),
    "split": lambda x: torch.cat(x.permute(0, 2, 3, 1).split([1, 9], dim=-1), dim=-1),
}


class Called(nn.Module):
    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return self.operation(x)


@pytest.mark.parametrize("move", MOVES)
def test_the_channels_are_followed_through_every_move(move):
    network = nn.Sequential(nn.Conv2d(3, 10, 1), Called(MOVES[move]), nn.Identity(), nn.ReLU())
    shapes = [layer.shape for layer in ag.wrap(network).layers(SIZE).values()]
    assert shapes == [(8, 6, 10)] * 4


def test_a_network_of_images_that_come_channels_last_is_shown_so():
    network = nn.Sequential(Permute(0, 2, 3, 1), nn.Identity(), nn.Linear(3, 9), nn.ReLU())
    shapes = [layer.shape for layer in ag.wrap(network).layers(SIZE).values()]
    assert shapes == [(8, 6, 3), (8, 6, 3), (8, 6, 9), (8, 6, 9)]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2)], ids=["last", "first"])
def test_channels_lie_last_in_memory_however_the_images_were_made(order):
    met = []
    look = Called(lambda x: met.append(x.is_contiguous(memory_format=torch.channels_last)) or x)
    model = ag.wrap(nn.Sequential(look, nn.Conv2d(3, 10, 1)))

    def program(model, static, x):
        back = tuple(np.argsort(order))
        return model.run(x.permute(order).contiguous().permute(back), ("output",))

    model.layers((8, 6))
    met.clear()
    model.compile(program, order)(np.repeat(X, 2, axis=0))
    assert met == [True]


def fresh(x):
    maps = torch.empty(len(x), *SIZE, x.shape[1])
    maps[:] = x.permute(0, 2, 3, 1)
    return maps


def test_convolutions_and_linear_layers_tell_the_channels_where_they_were_lost():
    lost = Called(lambda x: torch.einsum("nhwc -> nchw", x))
    network = nn.Sequential(Permute(0, 2, 3, 1), lost, nn.Conv2d(3, 10, 1), Called(fresh), nn.Linear(10, 9))
    shapes = [layer.shape for layer in ag.wrap(network).layers(SIZE).values()]
    assert (shapes[2], shapes[4]) == ((8, 6, 10), (8, 6, 9))


def test_a_map_made_of_features_has_its_channels_first():
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 480), nn.Unflatten(1, (10, 8, 6)), nn.ReLU())
    shapes = [layer.shape for layer in ag.wrap(network).layers(SIZE).values()]
    assert shapes == [(144,), (480,), (8, 6, 10), (8, 6, 10)]


@pytest.mark.parametrize(("size", "seen"), [((1, 50), (1, 50)), ((8, 6), (1, 1)), ((1, 1), (4, 3))])
def test_sides_of_one_pixel_are_resampled_as_in_array_code(size, seen):
    pixels = np.random.default_rng(0).uniform(size=(2, *size, 3)).astype(np.float32)
    maps = np.array([[[0.9, 0.1, 0.2], [-0.1, 1.1, 0.4]]], np.float32)
    model = ag.wrap(nn.Conv2d(3, 10, 1))

    def program(model, static, images, maps):
        return {"seen": model.resample(images, maps, seen, 0.5)}

    found = model.compile(program, (size, seen))(pixels, maps)["seen"]
    np.testing.assert_allclose(found, affine_samples(np, pixels, maps, seen, 0.5), atol=2e-5)
