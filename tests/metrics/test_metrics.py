"""The package: what it lists, and that it is light."""

import numpy as np

from agnoscope import metrics
from tests.test_import import loaded


def test_the_public_names_are_sorted_and_there() -> None:
    capitals = [name for name in metrics.__all__ if name.isupper()]
    classes = [name for name in metrics.__all__ if name[0].isupper() and name not in capitals]
    functions = [name for name in metrics.__all__ if name.islower()]
    assert metrics.__all__ == [*sorted(capitals), *sorted(classes), *sorted(functions)]
    assert all(hasattr(metrics, name) for name in metrics.__all__)


def test_metrics_are_called_by_the_name_of_their_function() -> None:
    maps, masks = np.random.default_rng(0).normal(size=(2, 8, 8)), np.ones((2, 8, 8), dtype=bool)
    for name, localisation in metrics.LOCALISATION.items():
        assert localisation is getattr(metrics, name.replace("-", "_"))
        assert localisation(maps, masks).dtype == np.float64
    for name, complexity in metrics.COMPLEXITY.items():
        assert complexity is getattr(metrics, name.replace("-", "_"))
        assert complexity(maps).shape == (2,)


def test_it_is_light() -> None:
    assert loaded("import agnoscope.metrics") == set()
