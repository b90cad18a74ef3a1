"""What PyTorch networks do that a careless method gets wrong."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).uniform(size=(2, 8, 10, 3)).astype(np.float32)


class Counting(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Averages over places, by a number of images that it looked up at its very beginning, or not."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early, self.conv, self.dense = early, torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Linear(6, 4)

    def forward(self, x: Any) -> Any:
        count = len(x)
        a = torch.relu(self.conv(x))
        return self.dense(a.permute(0, 2, 3, 1).reshape(count, -1, 6).mean(1) if self.early else a.mean((2, 3)))


class Branches(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Two convolutions that are normalised after both have run, or one whose sum with the image is normalised.

    `apart` puts a layer that does nothing before each normalisation, so that none looks like a convolution's own.
    """

    def __init__(self, apart: bool, summed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.apart, self.summed = apart, summed
        self.a, self.b = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(3, 4, 3, padding=1)
        self.na, self.nb = torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4)
        for norm in (self.na, self.nb):
            norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
            norm.weight.data.normal_(), norm.bias.data.normal_()
        self.between, self.dense = torch.nn.Identity(), torch.nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        if self.summed:
            y = self.b(x) + x.mean(1, keepdim=True)
            y = self.na(self.between(y) if self.apart else y)
        else:
            a, b = self.a(x), self.b(x)
            y = self.na(self.between(a) if self.apart else a) + self.nb(self.between(b) if self.apart else b)
        return self.dense(torch.relu(y).mean((2, 3)))


def test_ablation_cam_tells_channels_apart_in_a_network_that_counts_its_images_early() -> None:
    early, late = (ag.wrap(Counting(early).eval(), input_size=(8, 10)) for early in (True, False))
    found = ag.AblationCAM("conv")(early, X, 1).values
    np.testing.assert_allclose(found, ag.AblationCAM("conv")(late, X, 1).values, atol=1e-6)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("rule", ["epsilon", "z-plus", "gamma", "epsilon-plus"])
def test_lrp_joins_no_normalisation_to_a_convolution_that_does_not_feed_it_alone(rule: Any, summed: bool) -> None:
    apart, joined = (ag.wrap(Branches(how, summed).eval(), input_size=(8, 10)) for how in (True, False))
    found = ag.LRP(0.01, rule=rule)(joined, X, 1).values
    np.testing.assert_allclose(found, ag.LRP(0.01, rule=rule)(apart, X, 1).values, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "explainer", [ag.InputXGradient(), ag.LRP(), ag.FullGrad(), ag.ScoreCAM()], ids=lambda e: e.name
)
def test_a_network_of_blue_green_red_with_a_mean_for_each(explainer: ag.Explainer) -> None:
    class Flipped(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = Counting(early=False)

        def forward(self, x: Any) -> Any:
            return self.network(x.flip(1))

    rgb = ag.wrap(Counting(early=False).eval(), input_size=(8, 10), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    bgr = ag.wrap(Flipped().eval(), input_size=(8, 10), mean=(0.3, 0.2, 0.1), std=(0.6, 0.5, 0.4), channels="BGR")
    np.testing.assert_allclose(explainer(bgr, X, 1).values, explainer(rgb, X, 1).values, rtol=1e-4, atol=1e-6)
