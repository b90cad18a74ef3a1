"""The small vision transformer as a functional Keras model, channels last."""

from functools import partial

from keras import Input, KerasTensor, Model, layers, ops

from tests.networks.vit import CHANNELS, CLASSES, DEPTH, EPSILON, GRID, HEADS, HIDDEN, PATCH, SIZE, vit_weights


class Tokens(layers.Layer):
    """Puts the leading tokens before the patches, and says to each where it stands."""

    def __init__(self, leading: int, **options: object) -> None:
        super().__init__(**options)
        self.leading = self.add_weight(shape=(1, leading, CHANNELS))
        self.places = self.add_weight(shape=(1, leading + GRID[0] * GRID[1], CHANNELS))

    def call(self, x: KerasTensor) -> KerasTensor:
        leading = ops.tile(self.leading, (ops.shape(x)[0], 1, 1))
        return ops.concatenate([leading, x], axis=1) + self.places


def vit(leading: int, dtype: str = "float32") -> Model:
    """The network with its seeded weights."""
    dense, norm = partial(layers.Dense, dtype=dtype), partial(layers.LayerNormalization, epsilon=EPSILON, dtype=dtype)
    count = leading + GRID[0] * GRID[1]

    def heads(x: KerasTensor) -> KerasTensor:
        return ops.transpose(ops.reshape(x, (-1, count, HEADS, CHANNELS // HEADS)), (0, 2, 1, 3))

    x = images = Input((*SIZE, 3), dtype=dtype)
    x = layers.Conv2D(CHANNELS, PATCH, PATCH, name="patches", dtype=dtype)(x)
    x = Tokens(leading, name="tokens", dtype=dtype)(layers.Reshape((-1, CHANNELS), dtype=dtype)(x))
    for i in range(DEPTH):
        y = dense(3 * CHANNELS, name=f"blocks.{i}.qkv")(norm(name=f"blocks.{i}.norm1")(x))
        q, k, v = (heads(part) for part in ops.split(y, 3, axis=-1))
        shares = ops.softmax(q @ ops.transpose(k, (0, 1, 3, 2)) / (CHANNELS // HEADS) ** 0.5)
        mixed = ops.reshape(ops.transpose(shares @ v, (0, 2, 1, 3)), (-1, count, CHANNELS))
        x = x + dense(CHANNELS, name=f"blocks.{i}.proj")(mixed)
        y = dense(HIDDEN, name=f"blocks.{i}.fc1")(norm(name=f"blocks.{i}.norm2")(x))
        x = x + dense(CHANNELS, name=f"blocks.{i}.fc2")(
            y * (1 + ops.erf(y / 2**0.5)) / 2
        )  # Keras' own gelu is off by 5e-9
    x = norm(name="norm")(x)
    x = dense(CLASSES, name="head")(x[:, 0] if leading else ops.mean(x, axis=1))
    model = Model(images, x)
    weights = vit_weights(leading)
    for layer in model.layers:
        if layer.weights:  # in Keras' order, which is that of the file
            layer.set_weights([w for name, w in weights.items() if name.rpartition(".")[0] == layer.name])
    return model
