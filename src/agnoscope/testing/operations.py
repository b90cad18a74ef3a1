"""The checks of what stands beside the protocol: operations with numbers of a program's own, and kernels."""

from unittest import SkipTest

import numpy as np

from agnoscope.arrays import affine_samples
from agnoscope.errors import CapabilityError
from agnoscope.inspection.kernels import kernel
from agnoscope.testing.backend import Backend
from agnoscope.testing.networks import SIZE, deep_network, images
from agnoscope.testing.programs import close, convolution_program, needs, resampling_program


def check_convolution(backend: Backend) -> None:
    """The convolution that programs may use, and its gradients, equal the sums that define them."""
    model, x = backend.build(deep_network()), images(2)
    random = np.random.default_rng(17)
    kernel = random.normal(size=(2, 3, 3, 4)).astype(np.float32)
    for stride in (1, 2):
        rows, columns = (SIZE[0] - 2) // stride + 1, (SIZE[1] - 3) // stride + 1
        slope = random.normal(size=(2, rows, columns, 4)).astype(np.float32)
        y, at_x, at_kernel = np.zeros_like(slope), np.zeros_like(x), np.zeros_like(kernel)
        for u, v in np.ndindex(2, 3):
            seen = np.s_[:, u : u + rows * stride : stride, v : v + columns * stride : stride]
            y += x[seen] @ kernel[u, v]
            at_x[seen] += slope @ kernel[u, v].T
            at_kernel[u, v] = np.tensordot(x[seen], slope, ((0, 1, 2), (0, 1, 2)))
        found = model.compile(convolution_program, stride)(x, kernel, slope)
        close(found["y"], y, f"convolution of stride {stride}")
        if "gradient" in model.can:
            close(found["x"], at_x, f"gradient of a convolution of stride {stride} at its images")
            close(found["kernel"], at_kernel, f"gradient of a convolution of stride {stride} at its kernel")


def check_resampling(backend: Backend) -> None:
    """Images sampled under affine maps, and the gradient, equal the bilinear interpolation that defines them."""
    model, x = backend.build(deep_network()), images(2)
    turn = [[0.9, -0.4, 0.7], [0.3, 1.2, -0.6]]
    maps = np.array(
        [[[1, 0, 1], [0, 1, -2]], turn], np.float32
    )  # a shift by whole pixels, and a turn beyond the border
    size, beyond = (4, 6), 0.25
    wanted = affine_samples(np, x.astype(np.float64), maps.astype(np.float64), size, beyond)
    slope = np.random.default_rng(17).normal(size=wanted.shape).astype(np.float32)
    found = model.compile(resampling_program, (size, beyond))(x.copy(), maps, slope)
    close(found["y"], wanted, "samples under affine maps")
    shifted = np.full((2, *size, 3), beyond)
    shifted[:, :, 2:] = x[:, 1:5, :4]
    close(found["y"][::2], shifted, "samples shifted by whole pixels")
    if "gradient" in model.can:
        # The samples are linear in the image: the gradient's product with it is their own, but for what lies beyond.
        nothing = affine_samples(np, np.zeros_like(x, np.float64), maps.astype(np.float64), size, beyond)
        close(np.sum(found["x"] * x), np.sum(slope * (wanted - nothing)), "gradient of samples under affine maps")


def check_kernels(backend: Backend) -> None:
    """A layer that shows its kernel shows it as (height, width, in, out), or (in, out), whatever the framework has."""
    network = deep_network()
    model = backend.build(network)
    needs(model, "patch")
    for name in ("conv1", "conv2", "dense"):
        try:
            found = kernel(model, name, SIZE)
        except CapabilityError as error:
            raise SkipTest(f"kernels are not shown: {error}") from None
        close(found, network.layers[name].kernel, f"kernel of {name}")  # type: ignore[union-attr]
