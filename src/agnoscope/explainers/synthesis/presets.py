"""Recipes for made images: the numbers of other libraries, under `LIBRARY:RECIPE`.

    PRESETS["keras-book:filters"](network, ag.channels("block3_conv1", 64)).draw()

Lengths are brought to pixels from 0 to 1 and weights to means over pixels, so that they hold for any network. What a
library does to the finished image to show it is left out: here an image is what the network saw.
"""

from collections.abc import Mapping
from math import hypot, sqrt
from types import MappingProxyType
from typing import Final, TypeAlias

from agnoscope.explainers.synthesis.caricature import Caricature
from agnoscope.explainers.synthesis.deep_dream import DeepDream
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.optimisers import Adam, Ascent
from agnoscope.optimisation.parameterisations.aligned import Aligned
from agnoscope.optimisation.parameterisations.fixed_magnitude import FixedMagnitude
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.regularisers import L1, TotalVariation
from agnoscope.optimisation.rmsprop import RMSprop
from agnoscope.optimisation.transformations import Crop, Flip, Jitter, Rotate, Scale, Views

Recipe: TypeAlias = FeatureVisualization | Caricature | DeepDream

BOOK: Final = 200
EXAMPLE: Final = 180
"""Sides in pixels of the images of Chollet's book and of his example, by which their rates hold for any size."""

LEVELS: Final = 255
"""The span of pixels of which tf-keras-vis' lengths and weights are."""

PRESETS: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        # Olah, Mordvintsev and Schubert: the defaults, at the library's own size; Lucent's, too.
        "lucid:visualization": FeatureVisualization(size=128),
        # For `ag.interpolated`. Lucid's common part has low resolutions only.
        "lucid:interpolation": FeatureVisualization(size=128, parameterisation=Aligned()),
        "lucid:caricature": Caricature(power=0.0, iterations=512, views=Views()),
        # Fel et al.'s library. A view has 176 of the image's 512 pixels, which are scaled by 0.92 to 0.96 before that,
        # from around the middle. Its blur of views is left out, and its stretching of each image to the bounds.
        "xplique:visualization": FeatureVisualization(
            iterations=256,
            size=512,
            parameterisation=Fourier(decay=0.85),
            views=Views(
                (*map(Jitter, (64, 64, 128, 128, 128, 34, 34)), Scale(512 * 0.92 / 176, 512 * 0.96 / 176), Flip())
            ),
        ),
        # Fel et al.: magnitudes fixed, long steps, many views of parts, and a transparency map. The parts shrink along
        # the run from 50 % of the side to 5 %, and here are of all these sizes at every step; the noise is normal and
        # uniform. Magnitudes are ImageNet's; `FixedMagnitude(photos)` takes those of photos. A sixth of the time is
        # enough for 150 steps at 384 pixels, `FixedMagnitude(contrast=1.5)` and `Views((Crop(0.25, 0.9),), count=8)`.
        "xplique:maco": FeatureVisualization(
            iterations=256,
            size=512,
            parameterisation=FixedMagnitude(),
            views=Views((Crop(0.05, 0.5),), count=32, noise=hypot(0.08, 0.08 / sqrt(12)) / 2),
            optimiser=Adam(1.0, nesterov=True),
            transparency=True,
        ),
        # By the same authors, for PyTorch and large pictures; its parts are of 25 % to 30 %.
        "horama:maco": FeatureVisualization(
            iterations=1000,
            size=1280,
            parameterisation=FixedMagnitude(),
            views=Views((Crop(0.25, 0.3),), count=6, noise=hypot(0.05, 0.05 / sqrt(12)) / 5),
            optimiser=Adam(1.0, nesterov=True),
            transparency=True,
        ),
        # Begins from noise all over the bounds. It moves and turns the image itself, which goes on so, and cuts it off
        # at the bounds at the end; and what it calls L1 is the distance from black.
        "tf-keras-vis:activation-maximization": FeatureVisualization(
            iterations=200,
            parameterisation=Pixels(deviation=0.5, uniform=True),
            views=Views((Jitter(8), Rotate(1, still=0)), border="wrap"),
            optimiser=RMSprop(1 / LEVELS, decay=0.999),
            penalties=(TotalVariation(1.0 * LEVELS / 2), L1(0.3 * LEVELS / 2)),
        ),
        # F. Chollet's book: from gray noise between 0.4 and 0.6, steps of length 10 along the whole gradient. It leaves
        # the bounds on its way, and scales the image at the end; here pixels are cut off at the bounds.
        "keras-book:filters": FeatureVisualization(
            iterations=40,
            parameterisation=Pixels(deviation=0.1, uniform=True),
            views=None,
            optimiser=Ascent(rate=10 / sqrt(3 * BOOK**2), norm="l2"),
        ),
        # His example for keras.io, of pixels from -1 to 1, likewise. It leaves two places at the border of the map out.
        "keras-io:filters": FeatureVisualization(
            iterations=30,
            size=EXAMPLE,
            parameterisation=Pixels(deviation=0.0625, uniform=True),
            views=None,
            optimiser=Ascent(rate=10 / 2 / sqrt(3 * EXAMPLE**2), norm="l2"),
        ),
        # His DeepDream for keras.io: of the layers mixed4 to mixed7 of Inception v3, weighted 1, 1.5, 2 and 2.5. It
        # stops where the objective exceeds 15.
        "keras-io:deep-dream": DeepDream(iterations=20, octaves=3, factor=1.4, rate=0.01 / 2, jitter=0),
    }
)
"""Name to method."""
