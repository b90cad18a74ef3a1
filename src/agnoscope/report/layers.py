"""What chosen layers make of one image, drawn small."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from agnoscope.inspection.feature_maps import feature_maps
from agnoscope.model import Model
from agnoscope.report.contents import LayerPicture

SHOWN: Final = 16
"""Channels of a layer that are shown: those that vary most over the image."""
SIDE: Final = 56
"""Of a channel's map in pixels."""


def layer_pictures(model: Model, image: Any, names: Sequence[str]) -> tuple[LayerPicture, ...]:
    """The maps of these layers, all from one run.

    Args:
        model: the network.
        image: one image, as for an explainer.
        names: of layers with maps.

    Raises:
        AgnoscopeError: as `agnoscope.inspection.feature_maps.feature_maps` raises.
    """
    found = feature_maps(model, image, list(names))
    pictures = []
    for name, maps in found.maps.items():
        dead, count = len(found.dead[name]), maps.shape[-1]
        about = f"{min(SHOWN, count)} of {count} channels, {dead or 'none'} of them dead in this image"
        pictures.append(LayerPicture(name, about, np.asarray(found.draw(name, most=SHOWN, side=SIDE))))
    return tuple(pictures)
