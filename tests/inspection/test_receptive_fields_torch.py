"""Receptive fields of networks with branches, skips, attention and odd steps, written in PyTorch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import Tensor, nn

import agnoscope as ag
from agnoscope.inspection.receptive_fields import receptive_fields
from tests.inspection.chains import Step, spans
from tests.networks.vit import GRID, LEADING, PATCH, SIZE
from tests.networks.vit_torch import vit

pytestmark = pytest.mark.torch


def fields(network: nn.Module, size: tuple[int, int] = (20, 26), **options):
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return receptive_fields(ag.wrap(network.eval(), input_size=size), **options)


def check(found, rows, columns) -> None:
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.columns, columns)


def hull(several):
    """From the first to the last pixel that one of several layers' units sees."""
    first, last = np.moveaxis(several, -1, 0)
    return np.stack([first.min(axis=0), last.max(axis=0)], axis=1)


class Branches(nn.Module):
    """Kernels of several shapes beside one another, the input added, everything concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, padding=1)
        self.flat = nn.Conv2d(4, 4, (1, 7), padding=(0, 3))
        self.wide = nn.Conv2d(4, 4, 3, padding=4, dilation=4)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.join = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.join(torch.cat([self.flat(x) + x, self.wide(x).relu(), self.pool(x)], dim=1))


def test_branches_join_as_the_hull_of_what_each_sees() -> None:
    found = fields(Branches())
    stem, wide, pool = Step(3, 2, 1, 1, 1), Step(3, 1, 4, 4, 4), Step(3, 1, 1, 1, 1)
    row, column = Step(1), Step(7, 1, 1, 3, 3)
    check(found["flat"], spans(20, [stem, row]), spans(26, [stem, column]))
    check(found["wide"], spans(20, [stem, wide]), spans(26, [stem, wide]))
    check(found["pool"], spans(20, [stem, pool]), spans(26, [stem, pool]))
    ways = [(wide, wide), (pool, pool), (row, column)]
    rows, columns = ([spans(length, [stem, way[axis]]) for way in ways] for axis, length in enumerate((20, 26)))
    check(found["join"], hull(rows), hull(columns))


class OddSteps(nn.Module):
    """Takes even rows and odd columns, so that no pixel of the diagonal is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, :, ::2, 1::2])


def test_steps_that_pass_over_the_diagonal_are_measured_by_whole_lines() -> None:
    found = fields(OddSteps(), (8, 8))["conv"]
    check(found, [(i, i + 1) for i in (0, 2, 4, 6)], [(i, i + 1) for i in (1, 3, 5, 7)])


class Gated(nn.Module):
    """Squeeze-and-excitation: each channel times a number made of the means of all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1))
        self.after = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.after(x * nn.functional.hardsigmoid(self.squeeze(x)))


def test_a_gate_sees_the_whole_image_unless_it_is_left_out() -> None:
    three = Step(3, 1, 1, 1, 1)
    found = fields(Gated(), (16, 16))
    check(found["conv"], spans(16, [three]), spans(16, [three]))
    assert found["after"].whole
    local = fields(Gated(), (16, 16), local=True)["after"]
    assert local.local
    check(local, spans(16, [three, three]), spans(16, [three, three]))


class Negated(nn.Module):
    """A ReLU of the negative of what is positive everywhere, and no layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second((-self.first(x)).relu())


def test_a_relu_that_only_lets_negatives_through_hides_nothing() -> None:
    network = Negated().eval()
    nn.init.constant_(network.first.bias, 100)
    found = receptive_fields(ag.wrap(network, input_size=(20, 26)))
    check(found["second"], spans(20, [Step(3)] * 2), spans(26, [Step(3)] * 2))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 5)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(self.relu(self.conv(x))))


def test_a_layer_that_runs_twice_has_a_field_each_time() -> None:
    found = fields(Twice())
    check(found["conv"], spans(20, [Step(5)]), spans(26, [Step(5)]))
    check(found["relu@1"], spans(20, [Step(5)] * 2), spans(26, [Step(5)] * 2))


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4)], ids=["instance", "group"])
def test_a_normalisation_over_the_image_sees_all_of_it_and_one_over_channels_does_not(norm: nn.Module) -> None:
    found = fields(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), norm))
    check(found["1"], spans(20, [Step(3)]), spans(26, [Step(3)]))
    assert found["2"].whole


def test_random_networks_of_positive_weights_have_gradients_exactly_where_the_boxes_are() -> None:
    random = np.random.default_rng(5)
    for _ in range(6):
        network, inputs = nn.Sequential(), 3
        for i in range(3):
            side, stride, dilation = random.integers(1, 5), random.integers(1, 3), random.integers(1, 3)
            padding = random.integers(0, side)
            network.append(nn.Conv2d(inputs, 2, int(side), int(stride), int(padding), int(dilation)))
            network.append(nn.LeakyReLU() if i else nn.AvgPool2d(2, 1, padding=1))
            inputs = 2
        for parameter in network.parameters():
            nn.init.uniform_(parameter, 0.5, 1)
        found = list(receptive_fields(ag.wrap(network.eval(), input_size=(25, 31))).values())[-1]
        image = torch.ones(1, 3, 25, 31, requires_grad=True)
        units = network(image)[0].sum(dim=0)
        assert units.shape == (len(found.rows), len(found.columns))
        for y, x in random.integers(0, units.shape, (12, 2)):
            (slope,) = torch.autograd.grad(units[y, x], image, retain_graph=True)
            seen = slope[0].sum(dim=0) != 0
            rows, columns = torch.where(seen)
            hull = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) if len(rows) else (0, 0, 0, 0)
            box = found.box(int(y), int(x))
            assert tuple(map(int, hull)) == box or (not len(rows) and (box.top == box.bottom or box.left == box.right))


@pytest.mark.parametrize("leading", LEADING.values(), ids=LEADING)
def test_tokens_see_their_patch_until_attention_shows_them_everything(leading: int) -> None:
    found = receptive_fields(ag.wrap(vit(leading), input_size=SIZE))
    rows, columns = ([(i * PATCH, (i + 1) * PATCH) for i in range(count)] for count in GRID)
    check(found["patches"], rows, columns)
    check(found["blocks.0.qkv"], rows, columns)
    assert found["blocks.0"].whole
    assert found["norm"].whole


class Windows(nn.Module):
    """Folds windows of the image into the first axis, as window attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(3, 4, 3, padding=1)
        self.after = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, _ = x.shape
        cut = x.unflatten(2, (2, h // 2)).permute(0, 2, 1, 3, 4).flatten(0, 1)
        y = self.inside(cut).unflatten(0, (n, 2)).permute(0, 2, 1, 3, 4).flatten(2, 3)
        return self.after(y)


def test_a_layer_of_windows_is_left_out_and_those_after_it_are_not() -> None:
    found = fields(Windows(), (16, 16))
    half = spans(8, [Step(3, 1, 1, 1, 1)])
    assert list(found) == ["after"]
    check(found["after"], np.concatenate([half, half + 8]), spans(16, [Step(3, 1, 1, 1, 1)]))
    with pytest.raises(ag.LayerError, match="first axis of the activations of 'inside'"):
        fields(Windows(), (16, 16), layers=["inside"])


def test_the_network_of_the_user_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fields_found = receptive_fields(ag.wrap(network.eval(), input_size=(12, 12)))
    assert fields_found
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
