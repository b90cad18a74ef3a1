"""What a linear layer in JAX makes of another input or kernel: its one step bound again, with them exchanged."""

from collections.abc import Mapping
from typing import Final

import jax.numpy as jnp
import numpy as np

from agnoscope.backends.jaxpr import Array, Graph, Step
from agnoscope.backends.jaxpr_patterns import find_relus
from agnoscope.patches import Patch, unasked

AROUND: Final = ("add", "reshape", "squeeze", "convert_element_type", "copy")
"""What may follow the product within its layer: the bias, and what changes no number."""


def product(graph: Graph, value: int, values: Mapping[int, Array], of_input: Patch, of_kernel: Patch) -> Array:
    """What the layer that gives a value makes of its input and kernel, both changed, without its bias.

    Args:
        graph: the network.
        value: number of the layer's activation.
        values: number to array, of what was computed before.
        of_input: changes what the step receives, element by element.
        of_kernel: changes its kernel, which comes as (height, width, in, out) or (in, out).

    Raises:
        CapabilityError: the layer is not one convolution or product with a kernel.
    """
    step = _linear_step(graph, value)
    place = int(step.inputs[0] in graph.moving)  # the kernel's among the two inputs
    image, kernel = values[step.inputs[1 - place]], values[step.inputs[place]]
    if image.shape != graph.avals[step.inputs[1 - place]].shape:  # a patch changed the batch
        raise unasked()
    order, output = _axes(step, place, kernel.ndim)
    changed = of_kernel(kernel.transpose(order)).transpose(np.argsort(order)).astype(kernel.dtype)
    pair = [of_input(image), changed]
    (result,) = step.bind(*(pair if place else pair[::-1]))
    return jnp.moveaxis(result, output, -1).reshape(graph.avals[value].shape)


def _linear_step(graph: Graph, value: int) -> Step:
    relus = find_relus(graph)
    step = graph.producers.get(value)
    if step is not None and step.name == "name":  # the layer's own; a further one is another layer's
        step = graph.producers.get(step.inputs[0])
    while step is not None and step.name not in ("conv_general_dilated", "dot_general"):
        moving = graph.moving.intersection(step.inputs)
        if len(moving) != 1 or (step.name not in AROUND and step.outputs[0] not in relus):
            raise unasked()
        step = graph.producers.get(*moving)
    if step is None or len(graph.moving.intersection(step.inputs)) != 1:
        raise unasked()
    return step


def _axes(step: Step, place: int, count: int) -> tuple[tuple[int, ...], int]:
    """The kernel's axes in the order (height, width, in, out), and the axis of the channels in what the step gives."""
    numbers = step.params["dimension_numbers"]
    if step.name == "conv_general_dilated":
        if place == 0:
            raise unasked()
        outputs, inputs, *places = numbers.rhs_spec
        return (*places, inputs, outputs), numbers.out_spec[1]
    (contracting, batched) = numbers
    free = [axis for axis in range(count) if axis not in (*contracting[place], *batched[place])]
    if len(free) != 1 or batched[place]:
        raise unasked()
    return (*contracting[place], *free), -1 if place else 0
