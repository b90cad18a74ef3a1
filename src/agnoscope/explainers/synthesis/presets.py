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
        # Fel et al.: magnitudes fixed, long steps, many views of parts, and a transparency map. The authors' parts
        # shrink along the run from 50 % of the side to 5 %, 32 of them at 512 pixels; here they are 8, of 25 % to 90 %,
        # which makes clearer pictures. Their magnitudes are ImageNet's; `FixedMagnitude(photos)` takes photos.
        "xplique:maco": FeatureVisualization(
            iterations=150,
            size=384,
            parameterisation=FixedMagnitude(contrast=1.5),
            views=Views((Crop(0.25, 0.9),), count=8),
            optimiser=Adam(1.0),
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
