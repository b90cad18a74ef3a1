"""The bundled networks and scenes: something to explain whose truth is known.

`honest` and `cheater` have one architecture and two sets of weights. Both were trained by `train.py` on the scenes of
`scenes.py`: one where things and grounds are independent, one where each thing lies on its own ground.
"""

from agnoscope.demo.architecture import load_weights
from agnoscope.demo.models import NAMES, load
from agnoscope.demo.networks import flax_network, keras_network, torch_network
from agnoscope.demo.scenes import BACKGROUNDS, CLASSES, Scene, make_scenes
from agnoscope.demo.show import mass_on, scene, show

__all__ = [
    "BACKGROUNDS",
    "CLASSES",
    "NAMES",
    "Scene",
    "flax_network",
    "keras_network",
    "load",
    "load_weights",
    "make_scenes",
    "mass_on",
    "scene",
    "show",
    "torch_network",
]
