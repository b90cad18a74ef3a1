"""Networks with several inputs: which there are, and the call with all but the image fixed.

A backend reads `Inputs` off the network. `Model.bind` has given arrays checked by them, and a run asks them for the
arguments of the call: the images take the place of the first input that is not bound.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import AgnoscopeError, CapabilityError, ModelError, OptionError, nearest


@final
@dataclass(frozen=True)
class Input:
    """One input of a network.

    Attributes:
        required: whether the network cannot run without it.
        shape: of one example, as the network itself takes it; None stands for any length, and for what the
            network does not declare.
    """

    required: bool = True
    shape: tuple[int | None, ...] | None = None


@final
@dataclass(frozen=True)
class Inputs:
    """The inputs of a network.

    Attributes:
        known: name to input, in the network's order; empty where the network does not tell them.
        places: the parameters of the call that can be given by place, in order.
    """

    known: Mapping[str, Input] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    @classmethod
    def of(cls, function: Callable[..., Any], left_out: Collection[str] = (), after: int = 0) -> Self:
        """Read the inputs off the signature of a function.

        Args:
            function: what is called on the images.
            left_out: names of parameters that are no inputs, such as "training".
            after: how many parameters come before the inputs, such as the weights of a plain function.
        """
        try:
            parameters = list(inspect.signature(function).parameters.values())[after:]
        except (TypeError, ValueError):  # built-in, or compiled
            return cls()
        named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        places = tuple(each.name for each in named if each.kind is not each.KEYWORD_ONLY)
        if not places and any(each.kind is each.VAR_POSITIONAL for each in parameters):
            return cls()  # `*args` take the images, under no name
        known = {each.name: Input(each.default is each.empty) for each in named if each.name not in left_out}
        return cls(known, places)

    def image(self, bound: Collection[str]) -> str | None:
        """The name of the input that is explained: the first one that is not bound, if a name is known."""
        return next((name for name in self.known if name not in bound), None)

    def missing(self, bound: Collection[str]) -> list[str]:
        """The names of inputs that the network needs beside the image and that are not bound."""
        free = [name for name, each in self.known.items() if name not in bound and each.required]
        return [name for name in free if name != self.image(bound)]

    def bound(
        self, already: Mapping[str, NDArray[Any]], given: Mapping[str, Any], dtype: str
    ) -> dict[str, NDArray[Any]]:
        """Arrays that are bound already and those given now, checked, in the network's order.

        Args:
            already: name to array.
            given: likewise; copies are taken.
            dtype: of the network, which floating arrays get.

        Raises:
            CapabilityError: the network has one input, or does not tell their names.
            OptionError: an array is given for an unknown input, is none, has another shape than the input
                declares, or no input is left for the image.
        """
        if len(self.known) < 2:
            raise CapabilityError(
                f"bind fixes inputs beside the image, and this network tells of {', '.join(self.known) or 'none'}. "
                "Where it has more, wrap a function or module that names them as parameters."
            )
        found = {**already, **{name: self._checked(name, value, dtype) for name, value in given.items()}}
        if self.image(found) is None:
            raise OptionError(
                f"The inputs {', '.join(self.known)} are all bound: leave out the one to be explained, the image."
            )
        return {name: found[name] for name in self.known if name in found}

    def arguments(self, images: Any, bound: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments by place and by name of the network's call."""
        image = self.image(bound)
        if image is None:
            return [images], dict(bound)
        values = {image: images, **bound}
        by_place = list(takewhile(values.__contains__, self.places))
        return [values.pop(name) for name in by_place], values

    def refusal(self, images: str, bound: Mapping[str, Any], error: Exception) -> AgnoscopeError:
        """What to raise where a network cannot run: an input is missing or unfit, or the images are.

        Args:
            images: what it was run on, in words.
            bound: name to array of one example.
            error: what the framework or the network raised.
        """
        if missing := self.missing(bound):
            call = ", ".join(f"{name}=array" for name in missing)
            return OptionError(
                f"The network takes the inputs {', '.join(self.known)}. Fix all but the one to be explained by "
                f"model.bind({call}), or others, each an array of one example. The framework says: {error}"
            )
        if bound:
            fixed = ", ".join(f"{name} of shape {tuple(array.shape)}" for name, array in bound.items())
            return OptionError(
                f"The network cannot run on {images} with {fixed}: give bind arrays of one example, without the axis "
                f"of the batch, and wrap the input_size and channels. The framework says: {error}"
            )
        return ModelError(
            f"The network cannot run on {images}: give wrap the input_size and channels that it was made for. "
            f"Its framework says: {error}"
        )

    def _checked(self, name: str, value: Any, dtype: str) -> NDArray[Any]:
        if name not in self.known:
            raise OptionError(f"The network has no input {name!r}. Near it: {nearest(name, self.known)}.")
        try:
            array = np.array(value)
        except Exception as error:
            raise OptionError(f"For the input {name!r} an array of numbers is needed: {error}") from error
        if array.dtype.kind not in "fiub":
            raise OptionError(
                f"For the input {name!r} an array of numbers is needed, and a {type(value).__name__} of dtype "
                f"{array.dtype} was given."
            )
        declared = self.known[name].shape
        if declared is not None and not fits(array.shape, declared):
            raise OptionError(
                f"The input {name!r} has shape {_written(declared)} for one example, and an array of shape "
                f"{array.shape} was given. Give one example, without the axis of the batch."
            )
        return array.astype(dtype) if array.dtype.kind == "f" else array


def fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    """Whether a shape is as declared, where None is any length."""
    return len(shape) == len(declared) and all(
        wanted in (None, length) for length, wanted in zip(shape, declared, strict=True)
    )


def _written(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"
