"""Flax and Keras networks keep the contract; PyTorch's and the reference's tests stand beside their own."""

from typing import Any

import pytest

import agnoscope as ag
from agnoscope.backends.reference import AveragePool, Conv, Dense, GlobalAverage, Network, Relu, Sigmoid, Softmax
from agnoscope.testing import Backend, parametrize_with_checks


def linen(network: Network, **options: Any) -> ag.Model:
    """The described network as a flax.linen module, a submodule for each operation under its name."""
    nn = pytest.importorskip("flax.linen", reason="Flax is not installed")

    class ReLU(nn.Module):
        high: float | None = None

        def __call__(self, x: Any) -> Any:
            return nn.relu(x) if self.high is None else nn.relu6(x)

    class Described(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for name, operation in network.layers.items():
                match operation:
                    case Conv(kernel, _, stride, padding):
                        x = nn.Conv(kernel.shape[-1], kernel.shape[:2], stride, padding, name=name)(x)
                    case Dense(kernel):
                        x = nn.Dense(kernel.shape[-1], name=name)(x)
                    case Relu(high):
                        x = ReLU(high, name=name)(x)
                    case AveragePool(size):
                        x = nn.avg_pool(x, (size, size), (size, size))
                    case GlobalAverage():
                        x = x.mean(axis=(1, 2))
                    case Softmax():
                        x = nn.softmax(x)
                    case Sigmoid():
                        x = nn.sigmoid(x)
            return x

    params = {
        name: {"kernel": operation.kernel, "bias": operation.bias}
        for name, operation in network.layers.items()
        if isinstance(operation, Conv | Dense)
    }
    return ag.wrap(Described(), {"params": params}, **options)


def keras(network: Network, **options: Any) -> ag.Model:
    """The described network as a functional Keras model."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    layers = keras.layers
    start = x = keras.Input((None, None, 3))
    for name, operation in network.layers.items():
        match operation:
            case Conv(kernel, _, stride, padding):
                x = layers.ZeroPadding2D(padding)(x) if padding else x
                x = layers.Conv2D(kernel.shape[-1], kernel.shape[:2], stride, name=name)(x)
            case Dense(kernel):
                x = layers.Dense(kernel.shape[-1], name=name)(x)
            case Relu(high):
                x = layers.ReLU(high, name=name)(x)
            case AveragePool(size):
                x = layers.AveragePooling2D(size, name=name)(x)
            case GlobalAverage():
                x = layers.GlobalAveragePooling2D(name=name)(x)
            case Softmax():
                x = layers.Softmax(name=name)(x)
            case Sigmoid():
                x = layers.Activation("sigmoid", name=name)(x)
    model = keras.Model(start, x)
    for name, operation in network.layers.items():
        if isinstance(operation, Conv | Dense):
            model.get_layer(name).set_weights([operation.kernel, operation.bias])
    return ag.wrap(model, **options)


def linen_shifted(network: Network, **options: Any) -> ag.Model:
    """The described network, in a function of two inputs."""
    plain = linen(network)._network
    return ag.wrap(lambda p, x, shift: plain.apply(p, x, {}) + shift, plain.parameters(), backend="jax", **options)


def keras_shifted(network: Network, **options: Any) -> ag.Model:
    """The described network with a second `Input`."""
    import keras as k

    inner = keras(network).network
    shift = k.Input((4,), name="shift")
    return ag.wrap(k.Model([inner.input, shift], k.layers.Add()([inner.output, shift])), **options)


def keras_state(model: Any) -> Any:
    """Weights, flags and attributes of every layer, comparable."""
    layers = model.network._flatten_layers()
    weights = [weight.numpy().tobytes() for weight in model.network.weights]
    return weights, [(layer.trainable, sorted(vars(layer))) for layer in layers]


@pytest.mark.jax
@parametrize_with_checks([Backend("jax", linen, None, "agnoscope.builtin", linen_shifted)])
def test_flax_conforms(check: Any) -> None:
    check()


@pytest.mark.tensorflow
@parametrize_with_checks([Backend("tensorflow", keras, keras_state, "agnoscope.builtin", keras_shifted)])
def test_keras_conforms(check: Any) -> None:
    check()
