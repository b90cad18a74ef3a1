"""Layer-wise relevance propagation: the score handed back from layer to layer, so that little is lost on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self, TypeAlias, final

from agnoscope.errors import LayerError, OptionError
from agnoscope.explainers.base import StepExplainer, answer, full_name
from agnoscope.explainers.gradients.relu_rule import unchanged_activations
from agnoscope.explainers.options import positive
from agnoscope.explainers.relevance.rules import Line, Part, Rule, Sums, linear_parts, lines_of, listener, weighed
from agnoscope.gradients import gradients
from agnoscope.model import Model
from agnoscope.patches import Array, LinearPatch, Patch
from agnoscope.target import Bound

Composite: TypeAlias = Literal["epsilon", "z-plus", "gamma", "epsilon-plus", "epsilon-gamma"]

RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "epsilon": {},
    "z-plus": {"conv": "z-plus", "dense": "z-plus"},
    "gamma": {"conv": "gamma", "dense": "gamma"},
    "epsilon-plus": {"conv": "z-plus"},
    "epsilon-gamma": {"conv": "gamma"},
}
"""Name to the rules by kind of layer, where they are not epsilon."""


@final
@dataclass(frozen=True)
class LRP(StepExplainer):
    """Layer-wise relevance propagation (Bach et al., PLoS ONE 2015; Montavon et al., Explainable AI 2019).

    A unit z = Σ a w + b hands its relevance R to its inputs, by one of three rules:

    - epsilon: in the shares a w / z;
    - z-plus: in the shares of the positive a w alone (α = 1, β = 0);
    - gamma: in the shares of a w, those of z's own sign counted 1 + γ times (Andéol et al., 2021, for either sign).

    The bias has a share like any input, which nobody gets, and ε is added to the absolute value of what a share is
    divided by. Between linear layers ReLUs and additions hand on what they get, and pooling as its gradient does.
    Written as a gradient, what arrives at the image is multiplied by the image (Ancona et al., ICLR 2018); the epsilon
    rule with ε = 0 is input × gradient. A convolution and the batch normalisation right after it are one linear layer;
    a normalisation by itself follows the epsilon rule. "Image" means what the network receives, after the
    normalisation that `wrap` was told of.

    The values are signed, in units of the score, shape (images, height, width, channels). Their sum falls short of
    the score by what biases and ε take.

    Attributes:
        epsilon: above 0; larger values drop what contradicts itself.
        layer: a layer at which to stop, in place of the image; the values then have its shape.
        rule: "epsilon", "z-plus" or "gamma" for all layers; or "epsilon-plus" or "epsilon-gamma", with the epsilon rule
            for dense layers and z-plus or gamma for convolutions (Kohlbrenner et al., IJCNN 2020).
        gamma: of the gamma rule, above 0.
    """

    name = "lrp"
    needs = frozenset({"capture", "patch", "gradient"})
    reduction = "signed"

    epsilon: float = 1e-6
    layer: str | None = None
    rule: Composite = "epsilon"
    gamma: float = 0.25

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        if positive("epsilon", self.epsilon, or_zero=True) == 0:
            raise OptionError(f"epsilon={self.epsilon!r} must be above 0; without it, use input-x-gradient.")
        if positive("gamma", self.gamma, or_zero=True) == 0:
            raise OptionError(f"gamma={self.gamma!r} must be above 0; without it, use rule='epsilon'.")
        if not isinstance(self.rule, str) or self.rule not in RULES:
            raise OptionError(f"rule={self.rule!r} is none of {', '.join(RULES)}.")
        layer = full_name(model, self.layer, size)
        for part in linear_parts(model, size, RULES[self.rule]):
            if layer == part.product != part.output and part.rule != "epsilon":
                raise LayerError(f"The layer {layer!r} is one with the normalisation after it: give {part.output!r}.")
        return replace(self, layer=layer)

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        at, capture = ((), ()) if self.layer is None else ((self.layer,), (self.layer,))
        back = gradients(
            model,
            images,
            target,
            needs=target.needs,
            at=at,
            capture=capture,
            wrt_images=self.layer is None,
            patch=self.patches(model, images),
        )
        if self.layer is None:
            centre = model.centre(images.dtype)
            return answer((images - centre) * back.images, back)
        return answer(back.values[self.layer] * back.layers[self.layer], back)

    def patches(self, model: Model, images: Array) -> dict[str, Patch]:
        """Patches that leave every linear part's value as it is and make its gradient that of its rule."""
        xp, size = model.xp, (images.shape[1], images.shape[2])
        parts = tuple(linear_parts(model, size, RULES[self.rule]))
        asked = tuple(part for part in parts if part.rule != "epsilon")
        lines = lines_of(model, size, images.dtype, asked) if asked else {}

        def listening(into: dict[str, Sums]) -> dict[str, Patch]:
            return {part.product: listener(xp, part, lines[part.output], into) for part in asked}

        clean: dict[str, Sums] = {}
        again: dict[str, Sums] = {}
        # Before anything is differentiated, and so constant in the patches.
        found = model.run(images, tuple(part.output for part in parts), listening(clean))
        patches = listening(again)
        for part in parts:
            name, z = part.output, found[part.output]
            back = self._plain(xp, z) if name not in lines else self._asked(xp, part, z, lines[name], clean, again)
            known = patches.get(name)
            patches[name] = known.then(back) if isinstance(known, LinearPatch) else back
        return patches

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return unchanged_activations(model, size)

    def _plain(self, xp: Any, z: Array) -> Patch:
        """The epsilon rule: forward z, backward its share."""
        share = z / self._stabilised(xp, z)
        return lambda again: z + share * (again - z)

    def _asked(
        self, xp: Any, part: Part, z: Array, line: Line, clean: Mapping[str, Sums], again: Mapping[str, Sums]
    ) -> Patch:
        """The other rules: forward z, backward its share of H, which was asked for before and is asked for again."""
        h, whole = weighed(xp, part.rule, self.gamma, z, line.bias, clean[part.output])
        share = z / self._stabilised(xp, whole)
        return lambda _: z + share * (weighed(xp, part.rule, self.gamma, z, line.bias, again[part.output])[0] - h)

    def _stabilised(self, xp: Any, z: Array) -> Array:
        return z + self.epsilon * xp.where(z >= 0, xp.ones_like(z), -xp.ones_like(z))
