"""What a linear layer in TensorFlow makes of another input or kernel: its operation once more, with them exchanged."""

from typing import Any, Final

import tensorflow as tf

from agnoscope.patches import Array, Patch, unasked

LINEAR: Final = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
AROUND: Final = ("BiasAdd", "Add", "AddV2", "Reshape", "Squeeze", "Cast", "Identity", "Relu", "Relu6")
"""What may follow the product within its layer; the first input of each is what it came from."""


def product(tensor: Array, start: int, of_input: Patch, of_kernel: Patch) -> Array:
    """What the layer that gave a tensor makes of its input and kernel, both changed, without its bias.

    Args:
        tensor: the layer's output, in the graph that is being traced.
        start: how many operations the graph had before the layer ran.
        of_input: changes what the operation receives, element by element.
        of_kernel: changes its kernel, which comes as (height, width, in, out) or (in, out).

    Raises:
        CapabilityError: the layer is not one convolution or product.
    """
    op, own = tensor.op, set(tensor.graph.get_operations()[start:])
    while op.type in AROUND:
        op = op.inputs[0].op
    if op not in own or op.type not in LINEAR or (op.type == "MatMul" and op.get_attr("transpose_b")):
        raise unasked()
    image, kernel = op.inputs
    # A depthwise kernel's output channels are those of its last two axes together, each made of one input channel.
    shape = [*kernel.shape[:2], 1, -1] if op.type == "DepthwiseConv2dNative" else kernel.shape
    changed = tf.cast(tf.reshape(of_kernel(tf.reshape(kernel, shape)), kernel.shape), kernel.dtype)
    result = tf.reshape(_again(op, of_input(image), changed), tf.shape(tensor))
    result.set_shape(tensor.shape)
    return result


def _again(op: Any, image: Array, kernel: Array) -> Array:
    """The same operation on other tensors."""
    attrs = {name: value for name, value in op.node_def.attr.items() if not name.startswith("_")}
    return op.graph.create_op(op.type, [image, kernel], [op.outputs[0].dtype], attrs=attrs).outputs[0]
