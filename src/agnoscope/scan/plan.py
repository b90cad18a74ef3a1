"""What a scan keeps of every image; equal plans of equal networks give equal shards."""

from dataclasses import dataclass
from typing import final

from agnoscope.errors import LayerError, OptionError
from agnoscope.model import Layer, Model
from agnoscope.targets.units import Neuron


@final
@dataclass(frozen=True)
class Plan:
    """What a scan keeps.

    Attributes:
        layers: whose channels are looked at: the mean over the positions of each channel is kept of every image, and
            of each channel the images and places where it was largest. Empty for the end of the last convolutional
            stage.
        neurons: single units, `agnoscope.Neuron`, whose largest values are kept.
        maps: layers whose whole maps are kept, in half precision.
        keep: how many images each channel and neuron keeps, at least 1.
        shard: how many images a file holds, at least 1.
        size: height and width at which the network sees the images; by default its own.
        batch_size: images at once; by default as many as keep the largest activation below 32 MiB, 64 at the most.
            What a network computes may depend on it in the last bit, so it belongs to the plan.
    """

    layers: tuple[str, ...] = ()
    neurons: tuple[Neuron, ...] = ()
    maps: tuple[str, ...] = ()
    keep: int = 64
    shard: int = 256
    size: tuple[int, int] | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("keep", "shard", "batch_size"):
            value = getattr(self, name)
            if not (value is None and name == "batch_size") and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name}={value!r} must be a whole number from 1.")

    def settled(self, model: Model) -> "Settled":
        """The plan with every automatic choice made.

        Raises:
            OptionError: neither the network nor the plan tells the size of images.
            LayerError: there is no such layer, or one without maps is to be kept whole.
            TargetError: there is no such neuron.
        """
        from agnoscope.batches import comfortable_batch

        size = model.spec.size_or(self.size)
        layers = tuple(model.layer(name, size) for name in self.layers) or (model.last_map(size),)
        maps = tuple(model.layer(name, size) for name in self.maps)
        for layer in maps:
            if not layer.spatial:
                raise LayerError(f"The layer {layer.name!r} has no maps to keep: its shape is {layer.shape}.")
        neurons = tuple(_placed(neuron, model, size) for neuron in self.neurons)
        batch = min(self.batch_size or comfortable_batch(model, size), self.shard)
        return Settled(unique(layers), neurons, unique(maps), self.keep, self.shard, size, batch)


@final
@dataclass(frozen=True)
class Settled:
    """A plan for one network, in which nothing is left open; fields as in `Plan`."""

    layers: tuple[Layer, ...]
    neurons: tuple[tuple[Layer, int, int], ...]
    """Layer, channel and flat position of each."""
    maps: tuple[Layer, ...]
    keep: int
    shard: int
    size: tuple[int, int]
    batch_size: int


def unique(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Each layer once, in the order given."""
    return tuple(dict.fromkeys(layers))


def _placed(neuron: Neuron, model: Model, size: tuple[int, int]) -> tuple[Layer, int, int]:
    arrays = neuron.bind(model, 1, size).arrays
    return model.layer(neuron.layer, size), neuron.channel, int(arrays.get("position", [0])[0])
