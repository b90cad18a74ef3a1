"""The pictures of the README: what MobileNet v2 imagines.

    python -m benchmarks.gallery [--model SCHEME:NAME] [--out docs/imagined.jpg] [--quick]

Without --model the network of the tests in PyTorch: MobileNet v2 with ImageNet's weights, which are not in the
repository. Photos are scikit-image's. Some ten minutes on two cores.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.explanation import save_picture
from agnoscope.render.panels import Panel, compose

SIDE = 224
CLASSES = ("hen", "zebra", "volcano", "daisy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="such as torchvision:mobilenet_v2; with labels")
    parser.add_argument("--out", type=Path, default=Path("docs/imagined.jpg"))
    parser.add_argument("--quick", action="store_true", help="an eighth of the steps, to try it out")
    args = parser.parse_args()
    model = network(args.model)
    share = 8 if args.quick else 1
    rows = [row(model, share) for row in (classes, parts, dreams, knowledge, manners, fooled)]
    save_picture(compose(rows), args.out)
    print(args.out)


def network(name: str | None) -> ag.Model:
    if name is not None:
        from agnoscope.sources import load_model

        return load_model(name)
    from tests.test_parity import network as tested

    return tested("torch", "mobilenet_v2", "float32")


def classes(model: ag.Model, share: int) -> list[Panel]:
    made = ag.FeatureVisualization(iterations=256 // share)(model, list(CLASSES))
    return panels(made, [f"“{name}”" for name in CLASSES], "feature visualisation")


def parts(model: ag.Model, share: int) -> list[Panel]:
    """From edges to parts: one channel of each of four layers."""
    maps = [name for name, layer in model.layers().items() if layer.spatial and layer.kind == "relu"]
    chosen = [maps[round(place * (len(maps) - 1))] for place in (0.1, 0.4, 0.7, 0.95)]
    made = ag.FeatureVisualization(iterations=256 // share)(model, [ag.Channel(layer, 8) for layer in chosen])
    return panels(made, chosen, "channel 8")


def dreams(model: ag.Model, share: int) -> list[Panel]:
    photo = square(skimage.data.astronaut())
    dreamt = ag.DeepDream(iterations=max(2, 16 // share), size=SIDE)(model, photo)
    accentuated = ag.FeatureAccentuation(iterations=128 // share)(model, square(skimage.data.chelsea()), "tabby")
    exaggerated = ag.Caricature(iterations=256 // share)(model, square(skimage.data.chelsea()))
    return [
        Panel(photo, "a photo"),
        *panels(dreamt, ["DeepDream"]),
        *panels(accentuated, ["accentuation: “tabby”"]),
        *panels(exaggerated, ["caricature"]),
    ]


def knowledge(model: ag.Model, share: int) -> list[Panel]:
    photo = square(skimage.data.coffee())
    maps = [name for name, layer in model.layers().items() if layer.spatial and layer.kind == "relu"]
    chosen = [maps[round(place * (len(maps) - 1))] for place in (0.2, 0.6, 1.0)]
    made = ag.FeatureInversion(iterations=400 // share).row(model, photo, chosen)
    return [Panel(photo, "a photo"), *panels(made, [f"what {name} knows" for name in chosen], "feature inversion")]


def manners(model: ag.Model, share: int) -> list[Panel]:
    style, content = skimage.data.immunohistochemistry(), square(skimage.data.chelsea())
    texture = ag.Texture(iterations=100 // share, size=SIDE)(model, square(style))
    painted = ag.StyleTransfer(iterations=100 // share, size=SIDE)(model, content, square(style))
    return [
        Panel(square(style), "a texture"),
        *panels(texture, ["texture synthesis"]),
        Panel(content, "a photo"),
        *panels(painted, ["style transfer"]),
    ]


def fooled(model: ag.Model, share: int) -> list[Panel]:
    """And MaCo, of which what mattered little has faded."""
    parts = ag.Views((ag.Crop(0.25, 0.9),), count=8)
    cheap = {"iterations": 128 // share, "parameterisation": ag.FixedMagnitude(contrast=1.5), "views": parts}
    maco = ag.FeatureVisualization(size=SIDE, optimiser=ag.Adam(1.0), transparency=True, **cheap)(model, "zebra")
    opaque = maco.transparency[0][..., None]
    faded = (maco.pictures()[0] * opaque + 255 * (1 - opaque)).astype(np.uint8)
    made = ag.Fooling()(model, square(skimage.data.chelsea()), "volcano")
    change = made.extras["change"][0]
    shown = np.clip(0.5 + change / (2 * np.abs(change).max()), 0, 1)
    before, after = (made.extras[f"answer{when}"][0] for when in (" before", ""))
    return [
        Panel(made.photos[0], "a photo", str(before)),
        Panel((255 * shown).astype(np.uint8), "a change", f"at most {made.extras['largest change'][0]:.1%}, magnified"),
        Panel(made.pictures()[0], "both together", f"{after} {made.extras['confidence'][0]:.0%}"),
        Panel(faded, "“zebra”", "MaCo: only phases are optimised"),
    ]


def panels(made: ag.Synthesis, titles: Sequence[str], subtitle: str = "") -> list[Panel]:
    return [Panel(picture, title, subtitle) for picture, title in zip(made.pictures(), titles, strict=True)]


def square(photo: NDArray[Any]) -> NDArray[np.uint8]:
    """The middle of a photo, uint8."""
    from PIL import Image

    side = min(photo.shape[:2])
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    picture = Image.fromarray(photo[top : top + side, left : left + side]).convert("RGB")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
