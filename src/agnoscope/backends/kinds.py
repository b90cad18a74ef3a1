"""One word for a layer's kind in every framework, read off the name of its class."""

import re

# The first match wins: "SpatialDropout2D" is no pool, "ZeroPadding2D" no addition.
PATTERNS = (
    (
        "other",
        r"pad|dropout|identity|flatten|reshape|permute|crop|upsampl|droppath|stochasticdepth|inputlayer",
    ),
    ("conv", r"conv(?!next)(?!nextblock)|conv_general_dilated"),
    ("norm", r"norm"),
    ("pool", r"pool|reduce_window"),
    ("dense", r"^(linear|dense|densegeneral|lineargeneral|einsum|dot|nondynamicallyquantizablelinear)$"),
    ("relu", r"^(relu|relu6|relu_\d+|re_lu)$"),
    ("add", r"^(add|floatfunctional)$"),
    ("softmax", r"softmax"),
    ("activation", r"relu|gelu|silu|swish|elu|sigmoid|tanh|hardtanh|mish|softplus|activation"),
)


def kind_of(type_name: str, composed: bool) -> str:
    """The kind of a layer, as `agnoscope.model.Layer` lists them.

    Args:
        type_name: the framework's name of the class, such as "Conv2d".
        composed: whether the layer is made of other layers: it is then a "block", whatever its name.
    """
    if composed:
        return "block"
    name = type_name.lower()
    return next((kind for kind, pattern in PATTERNS if re.search(pattern, name)), "other")
