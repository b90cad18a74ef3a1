"""A small vision transformer, described once: its plan and its weights, for `vit_torch`, `vit_linen` and `vit_keras`.

Patches of 4 × 4 pixels, three blocks of two heads with the normalisation first, a last normalisation, one linear
head. `leading` tokens stand before the patches: none (the head reads the mean), the class token alone, or the class
token and registers (the head reads the class token). Images of 24 × 16 pixels make 6 × 4 patches.
"""

import numpy as np

SIZE = (24, 16)
PATCH, GRID = 4, (6, 4)
CHANNELS, HEADS, DEPTH, HIDDEN, CLASSES = 16, 2, 3, 32, 5
EPSILON = 1e-6

LEADING = {"mean": 0, "class token": 1, "class token and registers": 5}


def vit_weights(leading: int) -> dict[str, np.ndarray]:
    """Seeded weights by name, `blocks.1.qkv.kernel`; kernels channels last, (inputs, outputs)."""
    rng = np.random.default_rng(leading)

    def dense(inputs: int, outputs: int) -> dict[str, np.ndarray]:
        return {"kernel": rng.normal(size=(inputs, outputs)) / np.sqrt(inputs), "bias": 0.3 * rng.normal(size=outputs)}

    def norm() -> dict[str, np.ndarray]:
        return {"scale": rng.uniform(0.5, 1.5, CHANNELS), "bias": 0.3 * rng.normal(size=CHANNELS)}

    layers = {"patches": dense(PATCH * PATCH * 3, CHANNELS)}
    layers["patches"]["kernel"] = layers["patches"]["kernel"].reshape(PATCH, PATCH, 3, CHANNELS)
    layers["tokens"] = {
        "leading": rng.normal(size=(1, leading, CHANNELS)),
        "places": 0.5 * rng.normal(size=(1, leading + GRID[0] * GRID[1], CHANNELS)),
    }
    for i in range(DEPTH):
        layers |= {f"blocks.{i}.norm1": norm(), f"blocks.{i}.qkv": dense(CHANNELS, 3 * CHANNELS)}
        layers |= {f"blocks.{i}.proj": dense(CHANNELS, CHANNELS), f"blocks.{i}.norm2": norm()}
        layers |= {f"blocks.{i}.fc1": dense(CHANNELS, HIDDEN), f"blocks.{i}.fc2": dense(HIDDEN, CHANNELS)}
    layers |= {"norm": norm(), "head": dense(CHANNELS, CLASSES)}
    return {f"{layer}.{name}": array for layer, arrays in layers.items() for name, array in arrays.items()}
