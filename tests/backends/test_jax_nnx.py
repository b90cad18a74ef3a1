"""Networks in Flax nnx: explained for inference, as they are now, and left as they were."""

import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

from flax import nnx

from tests.backends.jax_builder import NnxBlock, NnxNet, X, captured, close, explained, slopes

pytestmark = pytest.mark.jax


def test_nnx_in_training_mode_is_explained_in_evaluation_mode():
    network = NnxNet(nnx.Rngs(0))
    network.train()
    before = nnx.split(network)
    model = explained(network)
    assert list(model.layers()) == [
        *("first.conv", "first.norm", "first.drop", "first", "second.conv", "second.norm", "second.drop", "second"),
        *("shared", "shared@1", "first.conv@1", "first.norm@1", "first.drop@1", "first@1", "linear"),
    ]
    found = captured(model, "output", "second.norm")
    slopes(model, "first@1")
    after = nnx.split(network)
    assert before[0] == after[0]
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before[1], after[1]))
    assert type(network.first) is NnxBlock
    assert not hasattr(network.first, "agnoscope_path")
    network.eval()
    close(found["output"], network(X))
    close(found["second.norm"], network.second.norm(network.second.conv(network.first(X))))


def test_an_nnx_network_trained_further_is_explained_as_it_is_now():
    network = NnxNet(nnx.Rngs(0))
    model = explained(network)
    captured(model, "output")
    kernel = network.linear.kernel
    kernel[...] = kernel[...] * 2
    network.eval()
    close(captured(model, "output")["output"], network(X))


def test_nnx_with_weights_and_modules_used_twice():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.last, self.first = (nnx.Conv(3, 3, (3, 3), rngs=rngs) for _ in range(2))
            self.first.kernel = self.last.kernel
            self.again = self.first

        def __call__(self, x):
            return self.last(self.again(self.first(x)))

    network = Tied(nnx.Rngs(0))
    model = explained(network)
    assert [layer.kind for layer in model.layers().values()] == ["conv"] * 3
    close(captured(model, "output")["output"], network(X))


def test_nnx_without_pytree():
    class Part(nnx.Module, **({"pytree": False} if hasattr(nnx, "Pytree") else {})):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 3, (3, 3), rngs=rngs)

        def __call__(self, x):
            return self.conv(x)

    class Whole(nnx.Module, **({"pytree": False} if hasattr(nnx, "Pytree") else {})):
        def __init__(self, rngs):
            self.part = Part(rngs)

        def __call__(self, x):
            return nnx.jit(lambda part, x: part(x))(self.part, x)

    network = Whole(nnx.Rngs(0))
    assert list(explained(network).layers()) == ["part.conv", "part"]
