"""How far can an explanation be trusted? Arrays in, one number per image out; no framework, no network.

    found = mass_accuracy(explanation.maps(), masks)
    print(summary(found))

Values that are not defined are NaN, and `summary` counts them. No single metric ranks methods: show several, with
their intervals, beside a constant and a random map.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.metrics.complexity import entropy, histogram_entropy, sparseness
from agnoscope.metrics.faithfulness import completeness, infidelity, mu_fidelity, sensitivity_n
from agnoscope.metrics.localisation import (
    auroc,
    average_precision,
    mass_accuracy,
    object_choice,
    pointing_game,
    rank_accuracy,
)
from agnoscope.metrics.perturbation import Curve, Road, deletion, insertion, road
from agnoscope.metrics.randomisation import Similarity, label_randomisation, parameter_randomisation
from agnoscope.metrics.robustness import Explain, max_sensitivity
from agnoscope.metrics.scores import Fill, Scores
from agnoscope.metrics.similarity import pearson, spearman, ssim
from agnoscope.metrics.statistics import Summary, summary

LOCALISATION: Final[Mapping[str, Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[np.float64]]]] = MappingProxyType(
    {
        "mass-accuracy": mass_accuracy,
        "rank-accuracy": rank_accuracy,
        "pointing-game": pointing_game,
        "auroc": auroc,
        "average-precision": average_precision,
    }
)
"""Metrics of maps and masks, by name."""

COMPLEXITY: Final[Mapping[str, Callable[[NDArray[Any]], NDArray[np.float64]]]] = MappingProxyType(
    {"sparseness": sparseness, "entropy": entropy, "histogram-entropy": histogram_entropy}
)
"""Metrics of maps alone, by name."""

__all__ = [
    "COMPLEXITY",
    "LOCALISATION",
    "Curve",
    "Explain",
    "Fill",
    "Road",
    "Scores",
    "Similarity",
    "Summary",
    "auroc",
    "average_precision",
    "completeness",
    "deletion",
    "entropy",
    "histogram_entropy",
    "infidelity",
    "insertion",
    "label_randomisation",
    "mass_accuracy",
    "max_sensitivity",
    "mu_fidelity",
    "object_choice",
    "parameter_randomisation",
    "pearson",
    "pointing_game",
    "rank_accuracy",
    "road",
    "sensitivity_n",
    "sparseness",
    "spearman",
    "ssim",
    "summary",
]
