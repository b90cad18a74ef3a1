"""Recipes for images of features: the numbers of other libraries, under `LIBRARY:RECIPE`.

    PRESETS["keras-book:filters"](network, ag.channels("block3_conv1", 64)).draw()

What a library does to the finished image to show it is left out: here an image is what the network saw.
"""

from collections.abc import Mapping
from math import sqrt
from types import MappingProxyType
from typing import Final

from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.optimisers import Adam, Ascent
from agnoscope.optimisation.parameterisations.fixed_magnitude import FixedMagnitude
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.transformations import Crop, Views

BOOK: Final = 200
"""Side of the book's images in pixels, by which its rate becomes one of any size."""

PRESETS: Final[Mapping[str, FeatureVisualization]] = MappingProxyType(
    {
        # Fel et al.: magnitudes fixed, long steps, small views, and a transparency map. The size of the views is drawn
        # anew from all of xplique's, which shrinks it along the run, and there are 8 of them instead of 32; its
        # magnitudes are ImageNet's, for which `FixedMagnitude(photos)` takes photos.
        "xplique:maco": FeatureVisualization(
            iterations=256,
            size=512,
            parameterisation=FixedMagnitude(),
            views=Views((Crop(0.05, 0.5),), count=8),
            optimiser=Adam(1.0, nesterov=True),
            transparency=True,
        ),
        # Olah, Mordvintsev and Schubert: the defaults, at the library's own size.
        "lucid:visualization": FeatureVisualization(size=128),
        # F. Chollet's book: from gray noise between 0.4 and 0.6, steps of length 10 along the whole gradient. It leaves
        # the bounds on its way, and scales the image at the end; here pixels are cut off at the bounds.
        "keras-book:filters": FeatureVisualization(
            iterations=40,
            parameterisation=Pixels(deviation=0.1, uniform=True),
            views=None,
            optimiser=Ascent(rate=10 / sqrt(3 * BOOK**2), norm="l2"),
        ),
    }
)
"""Name to method."""
