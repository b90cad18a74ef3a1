"""What is undefined is told, and never looks like an answer."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).uniform(size=(2, 8, 10, 3)).astype(np.float32)


class Undefined(torch.nn.Module):  # type: ignore[misc, name-defined]
    """The slope of x log x at 0, which a `where` hides forward and not backward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu, self.dense = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        a = self.relu(self.conv(x))
        return self.dense(torch.where(a > 0, a * torch.log(a), 0.0).mean((2, 3)))


class Standardised(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Divides the image by its own deviation, which a plain picture does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x: Any) -> Any:
        return self.conv((x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)).mean((2, 3))


@pytest.mark.parametrize("method", ["grad-cam++", "pytorch-grad-cam:grad-cam", "keras-io:grad-cam", "grad-cam"])
def test_a_gradient_that_is_no_number_is_told(method: str) -> None:
    with pytest.raises(ag.NonFiniteError):
        ag.explain(ag.wrap(Undefined().eval(), input_size=(8, 10)), X, method, 0, layer="relu")


@pytest.mark.parametrize("method", ["integrated-gradients", "expected-gradients"])
def test_a_baseline_without_a_score_is_told(method: str) -> None:
    with pytest.raises(ag.NonFiniteError, match="on the baseline 'black'"):
        ag.explain(ag.wrap(Standardised().eval(), input_size=(8, 10)), X, method, 0)
