"""Images that share a part, so that what is drawn in one lies at the same place in its neighbours.

Made each by itself, the images on the way from one target to another have nothing in common but their style, and the
eye finds no way. Where steps move a shared part, too, and further than each image's own, the images agree wherever
their targets let them (Mordvintsev et al., Differentiable Image Parameterizations, Distill 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import share
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation, Tree
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.patches import Array
from agnoscope.trees import joined, mapped


@final
@dataclass(frozen=True)
class Aligned(Parameterisation):
    """Parameters of which a share is common to all images of a run (Mordvintsev et al., Distill 2018).

    For `ag.interpolated`, or for several targets in one layout. The common part is the projection of what steps make of
    it for each image, so that where images want different things of it they settle on a mean. Lucid adds common images
    of low resolution; here any parameterisation has a common part.

    Attributes:
        base: the parameterisation.
        share: of a step that goes to the common part, between 0 and 1.
        gradual: whether the common part may change evenly from the first image to the last, which leaves nothing in
            common of two; else it is the same for all.

    Raises:
        OptionError: the share or the base is none.
    """

    name = "aligned"

    base: Parameterisation = Fourier()
    share: float = 0.8
    gradual: bool = True

    def __post_init__(self) -> None:
        share("share", self.share)
        if not isinstance(self.base, Parameterisation):
            raise OptionError(f"base={self.base!r} is no parameterisation: give one such as ag.Fourier().")

    def start(self, canvas: Canvas, generators: Sequence[np.random.Generator]) -> Tree:
        own = self.base.start(canvas, generators)
        return {"own": own, "common": mapped(own, self._projected)}

    def images(self, xp: Any, canvas: Canvas, parameters: Tree, constants: Tree) -> Array:
        return self.base.images(xp, canvas, self._mixed(parameters["own"], parameters["common"]), constants)

    def constants(self, canvas: Canvas) -> Tree:
        return self.base.constants(canvas)

    def of(self, canvas: Canvas, images: NDArray[Any]) -> Tree:
        whole = self.base.of(canvas, images)
        common = mapped(whole, self._projected)
        return {"own": joined(self._rest, whole, common), "common": common}

    def kept(self, canvas: Canvas, parameters: Tree) -> Tree:
        common = mapped(parameters["common"], self._projected)
        whole = self.base.kept(canvas, self._mixed(parameters["own"], common))
        return {"own": joined(self._rest, whole, common), "common": common}

    def _mixed(self, own: Tree, common: Tree) -> Tree:
        return joined(lambda o, c: (1 - self.share) * o + self.share * c, own, common)

    def _rest(self, whole: NDArray[Any], common: NDArray[Any]) -> NDArray[Any]:
        """The own part that makes up the whole with this common one."""
        return (whole - self.share * common) / (1 - self.share)

    def _projected(self, leaf: NDArray[Any]) -> NDArray[Any]:
        """The nearest numbers that are the same for all images, or change evenly from the first to the last."""
        count = len(leaf)
        along = np.vander(np.arange(count), min(count, 1 + self.gradual))
        return np.tensordot(along @ np.linalg.pinv(along), leaf, axes=1).astype(leaf.dtype)
