"""What looks into a network uses the array API standard and nothing else."""

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.inspection.feature_maps import feature_maps
from agnoscope.inspection.kernels import kernel
from agnoscope.inspection.receptive_fields import receptive_fields
from agnoscope.testing import SIZE, deep_network
from tests.inspection.chains import Step, spans

pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
from tests.strict import StrictModel


@pytest.mark.parametrize("local", [False, True])
def test_receptive_fields_keep_to_the_standard(local: bool) -> None:
    found = receptive_fields(StrictModel(deep_network()), SIZE, local=local)
    steps = [Step(3, 1, 1, 1, 1)] * 2
    np.testing.assert_array_equal(found["relu2"].rows, spans(SIZE[0], steps))
    np.testing.assert_array_equal(found["relu2"].columns, spans(SIZE[1], steps))


def test_kernels_and_feature_maps_keep_to_the_standard() -> None:
    network = deep_network()
    model = StrictModel(network)
    np.testing.assert_allclose(kernel(model, "conv2", SIZE), network.layers["conv2"].kernel)  # type: ignore[union-attr]
    image = np.random.default_rng(0).uniform(size=(*SIZE, 3))
    found = feature_maps(model, image, ["relu1"]).maps["relu1"]
    assert found.shape == (*SIZE, 6)
    assert isinstance(found, np.ndarray)
    assert isinstance(model, ag.Model)
