"""Layer-wise relevance propagation: the score handed back from layer to layer, so that little is lost on the way."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self, final

from agnoscope.errors import OptionError
from agnoscope.explainers.base import StepExplainer, answer, full_name
from agnoscope.explainers.gradients.relu_rule import unchanged_activations
from agnoscope.model import Array, Model, Patch, gradients
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class LRP(StepExplainer):
    """The epsilon rule of layer-wise relevance propagation (Bach et al., PLoS ONE 2015).

    A unit z = Σ a w + b hands its relevance R to its inputs in the shares a w / (z + ε sign z). Between linear layers
    ReLUs and additions hand on what they get, and pooling as its gradient does. Written as a gradient, each linear
    layer's is multiplied by z / (z + ε sign z), and what arrives at the image by the image (Ancona et al., ICLR 2018);
    with ε = 0 this is input × gradient. A convolution and the normalisation right after it are one linear layer.
    "Image" means what the network receives, after the normalisation that `wrap` was told of.

    The values are signed, in units of the score, shape (images, height, width, channels). Their sum falls short of
    the score by what biases and ε take.

    Attributes:
        epsilon: what is added to |z|, above 0; larger values drop what contradicts itself.
        layer: a layer at which to stop, in place of the image; the values then have its shape.
    """

    name = "lrp"
    needs = frozenset({"capture", "patch", "gradient"})
    reduction = "signed"

    epsilon: float = 1e-6
    layer: str | None = None

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        if not self.epsilon > 0:
            raise OptionError(f"epsilon={self.epsilon!r} must be above 0; without it, use input-x-gradient.")
        return replace(self, layer=full_name(model, self.layer, size))

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        xp = model.xp
        linear = tuple(linear_layers(model, (images.shape[1], images.shape[2])))
        found = model.run(images, linear)  # before anything is differentiated, and so constant below

        def rule(name: str) -> Patch:
            z = found[name]
            sign = xp.where(z >= 0, xp.ones_like(z), -xp.ones_like(z))
            share = z / (z + self.epsilon * sign)
            return lambda z_again: z_again * share + (z - z * share)  # forward z, backward its share

        at, capture = ((), ()) if self.layer is None else ((self.layer,), (self.layer,))
        back = gradients(
            model,
            images,
            target,
            needs=target.needs,
            at=at,
            capture=capture,
            wrt_images=self.layer is None,
            patch={name: rule(name) for name in linear},
        )
        if self.layer is None:
            centre = xp.asarray(model.spec.centre, dtype=images.dtype)
            return answer((images - centre) * back.images, back)
        return answer(back.values[self.layer] * back.layers[self.layer], back)

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return unchanged_activations(model, size)


def linear_layers(model: Model, size: tuple[int, int]) -> Iterator[str]:
    """The layers that add up weighted inputs; of a convolution and the normalisation after it, the latter."""
    layers = list(model.layers(size).values())
    for layer, after in pairwise([*layers, None]):
        if layer is None or layer.kind not in ("conv", "dense", "norm"):
            continue
        if layer.kind != "norm" and after is not None and after.kind == "norm" and after.shape == layer.shape:
            continue
        yield layer.name
