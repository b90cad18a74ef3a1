"""Small explanations to draw, made of arrays: no network has to run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agnoscope.explanation import Explanation, Provenance

Make = Callable[..., Explanation]


@pytest.fixture
def photo() -> Any:
    """A noisy photo in full colour, 30 × 40."""
    return np.random.default_rng(7).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def make(photo: Any) -> Make:
    """Makes an explanation of values, shape (images, height, width[, channels]); anything else of it by name."""

    def make(values: Any, **facts: Any) -> Explanation:
        values = np.asarray(values, dtype=np.float32)
        count = len(values)
        provenance: dict[str, Any] = {
            "method": "grad-cam",
            "options": {},
            "reduction": "signed",
            "targets": ("Egyptian cat [286]",) * count,
            "space": "score",
            "scores": (12.345,) * count,
            "backend": "torch",
            "versions": {},
            "input": {},
            "batch_size": 1,
            "layer": "features.18",
        }
        names = facts.pop("names", tuple(f"photo{i}.jpg" for i in range(count)))
        photos = facts.pop("photos", (photo,) * count)
        return Explanation(values, photos, names, Provenance(**{**provenance, **facts}))

    return make
