"""The pictures of methods that make images: what the bundled networks imagine, and what can be told from it."""

from typing import Any, Final

import numpy as np
import skimage.data

import agnoscope as ag
from _pictures.drawing import CONE, CRATE, Drawn, Picture, Rows, network, of
from agnoscope.demo import BACKGROUNDS, CLASSES, make_scenes
from agnoscope.fast_style.style_network import METHOD

DRAWN: Final[Drawn] = {}

NETWORKS: Final = ("honest", "cheater")
CAT: Final = skimage.data.chelsea()[:, 60:360]
LARGE: Final = 192
PAINTS: Final = ((18, 32, 110), (40, 110, 190), (245, 200, 60), (250, 240, 210), (200, 60, 40))


def first(made: ag.Synthesis) -> Picture:
    """The image, or the first of several."""
    return made.pictures()[0]


def waves(side: int) -> Picture:
    """A painting of waves in five colours."""
    y, x = np.mgrid[:side, :side] / side * 2 * np.pi
    height = 0.6 * np.sin(3 * x + 2 * np.sin(2 * y) + 1.5 * np.cos(x + y)) + 0.4 * np.sin(5 * y + 2 * np.sin(3 * x))
    steps = np.clip((height + 1) / 2 * len(PAINTS), 0, len(PAINTS) - 1).astype(np.intp)
    return np.array(PAINTS, dtype=np.uint8)[steps]


@of(DRAWN, "feature-visualization")
def feature_visualization() -> Rows:
    """A cone and a crate: the honest network imagines stripes and slats, the cheater gravel and brick."""
    asked = ["cone", "crate"]
    made = {name: ag.FeatureVisualization(seed=2)(network(name), asked).pictures() for name in NETWORKS}
    return [
        [
            (f"{name}: “{label}”", picture, "")
            for name, pictures in made.items()
            for label, picture in zip(asked, pictures, strict=True)
        ]
    ]


@of(DRAWN, "multifaceted")
def multifaceted() -> Rows:
    """To the cheater, ninety photos of cones are of three kinds: the three grounds on which the cones stand."""
    cones = [one.image for one in make_scenes(400, 2) if CLASSES[one.label] == "cone"][:90]
    made = ag.Multifaceted(facets=len(BACKGROUNDS))(network("cheater"), cones, "cone")
    counts = [f"{int(count)} photos" for count in made.extras["members"]]
    means = [("mean of a kind", photo, count) for photo, count in zip(made.photos, counts, strict=True)]
    return [means, [("its facet of “cone”", picture, "") for picture in made.pictures()]]


@of(DRAWN, "deep-dream")
def deep_dream() -> Rows:
    """In the same cat the honest network sees striped cones, and the cheater a wall."""
    dream = ag.DeepDream(size=LARGE, iterations=20)
    shots = [(f"{name}, relu5", first(dream(network(name), CAT, ag.Activity("relu5"))), "") for name in NETWORKS]
    return [[("the photo", CAT, ""), *shots]]


@of(DRAWN, "feature-inversion")
def feature_inversion() -> Rows:
    """Early layers know the whole scene. At the end the honest network has the cone left, and no wall."""
    row = ag.FeatureInversion(iterations=300).row(network("honest"), CONE.image, ["relu1", "relu3", "relu5"])
    distances = row.extras["distance"]
    told = zip(row.names, row.pictures(), distances, strict=True)
    return [[("the photo", CONE.image, ""), *((name, made, f"distance {gap:.3f}") for name, made, gap in told)]]


@of(DRAWN, "feature-accentuation")
def feature_accentuation() -> Rows:
    """To make a crate more of a cone, the honest network wants stripes, and the cheater gravel."""
    method = ag.FeatureAccentuation(nearness=10)
    shots = [(f"{name}: more “cone”", first(method(network(name), CRATE.image, "cone")), "") for name in NETWORKS]
    return [[("the photo", CRATE.image, ""), *shots]]


@of(DRAWN, "caricature")
def caricature() -> Rows:
    """From noise, what a layer sees in the scene and more of it: bright stripes on blue, where the cone is."""
    shots = [(layer, first(ag.Caricature(layer)(network("honest"), CONE.image)), "") for layer in ("relu4", "relu5")]
    return [[("the photo", CONE.image, ""), *shots]]


@of(DRAWN, "texture")
def texture() -> Rows:
    """Colours, grain and its direction are in these statistics of a small network; the order of things is not."""
    stained = skimage.data.immunohistochemistry()[:256, :256]
    method = ag.Texture(size=LARGE, iterations=150)
    shots: list[Any] = []
    for title, photo in (("stained tissue", stained), ("waves", waves(LARGE))):
        shots += [(title, photo, ""), ("its texture", first(method(network("honest"), photo)), "")]
    return [shots]


@of(DRAWN, "style-transfer")
def style_transfer() -> Rows:
    """The cat stays where it is, and takes on the colours and edges of the waves."""
    made = ag.StyleTransfer(size=LARGE)(network("honest"), CAT, waves(LARGE))
    return [[("content", CAT, ""), ("style", waves(LARGE), ""), ("both", first(made), "")]]


@of(DRAWN, METHOD)
def fast_style() -> Rows:
    """A scene that the trained network never saw: painted by optimisation, and in one pass."""
    style, photos = waves(96), [one.image for one in make_scenes(150, 1)]
    options: dict[str, Any] = {
        "content_layers": ("relu2",),  # late layers of so small a network forget the ground
        "style_layers": ("relu1", "relu2", "relu3"),
        "style_weight": 1.0,
        "total_variation": 0.01,
    }
    slow = ag.StyleTransfer(**options)(network("honest"), CONE.image, style)
    fast = ag.FastStyle(iterations=500, **options).train(network("honest"), photos, style)(CONE.image)
    shots = [("style transfer", first(slow), "up to 200 steps"), ("fast style", first(fast), "one pass")]
    return [[("content", CONE.image, ""), ("style", style, ""), *shots]]


@of(DRAWN, "fooling")
def fooling() -> Rows:
    """A change of each number by at most twenty of 255 makes a ball of the cone."""
    made = ag.Fooling(bound=20 / 255)(network("honest"), CONE.image, "ball")
    change = made.extras["change"][0]
    magnified = np.clip(0.5 + change / (2 * np.abs(change).max()), 0, 1)
    before, after = (str(made.extras[f"answer{when}"][0]).partition(" [")[0] for when in (" before", ""))
    largest, sure = made.extras["largest change"][0], made.extras["confidence"][0]
    return [
        [
            ("the photo", CONE.image, f"“{before}”"),
            ("the change, magnified", np.rint(255 * magnified).astype(np.uint8), f"at most {largest:.1%}"),
            ("both together", first(made), f"“{after}”, {sure:.0%}"),
        ]
    ]
