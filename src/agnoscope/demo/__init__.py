"""The bundled networks and scenes: something to explain whose truth is known.

`honest`, `cheater` and `memoriser` have one architecture and three sets of weights. They were trained by `train.py` on
the scenes of `scenes.py`: one where things and grounds are independent, one where each thing lies on its own ground,
and one with shuffled labels, for sanity checks: it knows its scenes by heart, and nothing of the things.
"""

from agnoscope.demo.architecture import load_weights
from agnoscope.demo.models import NAMES, load
from agnoscope.demo.networks import flax_network, keras_network, torch_network
from agnoscope.demo.scenes import BACKGROUNDS, CLASSES, Scene, make_scenes
from agnoscope.demo.show import scene, show

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
    "scene",
    "show",
    "torch_network",
]
