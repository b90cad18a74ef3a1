"""Renderers: draw explanations, never compute one.

Importing this loads neither Pillow nor scikit-image nor cmap; drawing does.
"""

from agnoscope.render.figures import compare, heatmap, keras_book, overlay
from agnoscope.render.look import Look

__all__ = ["Look", "compare", "heatmap", "keras_book", "overlay"]
