"""Score-CAM against the algorithm of its paper."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import Network
from agnoscope.explainers.cams.ablation_cam import AblationCAM
from agnoscope.explainers.cams.score_cam import ScoreCAM
from agnoscope.testing import deep_network
from tests.explainers.cams.deep import CENTRE, DEEP, TARGETS, X, capture, captured, double


def score_cam(network: Network, x: NDArray[Any], target: int, used: slice | list[int]) -> NDArray[Any]:
    """The paper's algorithm for one image whose maps have its size."""
    options: Any = {"mean": tuple(CENTRE)}
    model = ag.wrap(network, **options)
    maps = model.compile(capture, "relu2")(x[None])["found"][0][..., used]
    masks = (maps - maps.min(axis=(0, 1))) / (np.ptp(maps, axis=(0, 1)) + (np.ptp(maps, axis=(0, 1)) == 0))
    masked = [CENTRE + (x - CENTRE) * masks[..., k, None] for k in range(masks.shape[-1])]
    scores = model.compile(capture, "dense")(np.stack(masked))["found"][:, target]
    powers = np.exp(scores)
    return maps @ (powers / powers.sum())


def with_dead_channels() -> Network:
    conv: Any = DEEP.layers["conv2"]
    kernel, bias = conv.kernel.copy(), conv.bias.copy()
    kernel[..., [1, 4]], bias[[1, 4]] = 0, (-1, 2)  # one is zero behind the ReLU, one is 2 everywhere
    return double(deep_network(), conv2=replace(conv, kernel=kernel, bias=bias))


@pytest.mark.parametrize("network", [DEEP, with_dead_channels()], ids=["all live", "two constant"])
def test_score_cam_is_the_papers_algorithm(network: Network) -> None:
    found = ScoreCAM()(ag.wrap(network, mean=tuple(CENTRE)), X, TARGETS, batch_size=3)
    expected = [score_cam(network, x, c, slice(None)) for x, c in zip(X, TARGETS, strict=True)]
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)


def test_score_cam_can_use_the_channels_that_vary_most() -> None:
    found = ScoreCAM(channels=3)(ag.wrap(DEEP, mean=tuple(CENTRE)), X[:1], 2)
    spread = captured(double(deep_network()), "relu2", X[:1] - CENTRE)[0].var(axis=(0, 1))
    expected = score_cam(DEEP, X[0], 2, list(np.argsort(-spread)[:3]))
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-10)


def images_run(explainer: ag.Explainer, network: Network, batch_size: int) -> int:
    """How many images go through the network, or what comes after the layer, in one explanation."""
    model, sizes = ag.wrap(network), []
    plain = model.run

    def run(x: Any, capture: Any, patch: Any = None) -> Any:
        values = plain(x, capture, patch or {})
        sizes.append(len(values[capture[0]]))
        return values

    model.run = run  # type: ignore[method-assign]
    explainer(model, X[:1], 1, batch_size=batch_size)
    return sum(sizes)


def test_constant_channels_never_go_through_the_network() -> None:
    # The clean run, one for the maps, one of nothing, and six of eight channels.
    assert images_run(ScoreCAM(), with_dead_channels(), 1) == 2 + 1 + 6
    # The channel that is 2 everywhere is not zero.
    assert images_run(AblationCAM(), with_dead_channels(), 1) == 2 + 7


@pytest.mark.parametrize("channels", [0, -1, 2.5])
def test_channels_must_be_a_number_of_them(channels: Any) -> None:
    with pytest.raises(ag.OptionError, match="must be a whole number, at least 1"):
        ScoreCAM(channels=channels)(ag.wrap(DEEP), X)
