"""The pictures of explainers: what a method finds, and where it misleads, on scenes whose truth is known."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import agnoscope as ag
from _pictures.drawing import BALL, BESIDE, CONE, CRATE, TWIN, Drawn, Rows, answer, explained, of, on_thing, together
from agnoscope.explainers.fillings import blurred

DRAWN: Final[Drawn] = {}

BOTH: Final = together(CONE, BESIDE)
"""A cone and a crate on one wall."""
TWINS: Final = together(CONE, TWIN)
"""Two cones on one wall."""
SURE: Final = ag.ClassScore("cone", space="probability")
"""A target that one cone nearly exhausts."""


def both_networks(method: Any, one: Any = CONE) -> Rows:
    """A scene, and a method's map of it by the honest network and by the cheater."""
    found = {name: explained(name, method, one) for name in ("honest", "cheater")}
    shots = [(f"{name}: {answer(each)}", each, on_thing(each, one)) for name, each in found.items()]
    return [[("the scene", one.image, ""), *shots]]


def sums(explanation: ag.Explanation) -> str:
    """What the values add up to."""
    return f"adds up to {float(explanation.values.sum()):.2f}"


# Gradients.


@of(DRAWN, "saliency")
def saliency() -> Rows:
    """The honest network's slopes lie on the cone; most of the cheater's are strewn over the wall."""
    return both_networks(ag.Saliency())


@of(DRAWN, "input-x-gradient")
def input_x_gradient() -> Rows:
    """A slope alone, and the slope times the pixel: what is as gray as zero counts nothing."""
    slope, product = explained("honest", ag.Saliency()), explained("honest", ag.InputXGradient())
    return [[("the scene", CONE.image, ""), ("saliency", slope, "no sign"), ("input × gradient", product, "signed")]]


@of(DRAWN, "integrated-gradients")
def integrated_gradients() -> Rows:
    """Two baselines, two maps: each adds up to the rise of the score from its own baseline."""
    shots = []
    for colour in ("black", "white"):
        found = explained("honest", ag.IntegratedGradients(baseline=colour))
        rise = float(found.values.sum() - found.extras["delta"][0])
        shots.append((f"from {colour}", found, f"{sums(found)} of {rise:.2f}"))
    return [[("the scene", CONE.image, ""), *shots]]


@of(DRAWN, "expected-gradients")
def expected_gradients() -> Rows:
    """Random points between black, white and the picture: few leave grain, many make it calm."""
    shots = []
    for samples in (10, 1000):
        found = explained("honest", ag.ExpectedGradients(samples=samples))
        shots.append((f"{samples} points", found, f"off by {abs(float(found.extras['delta'][0])):.2f}"))
    return [[("the scene", CONE.image, ""), *shots]]


@of(DRAWN, "blur-ig")
def blur_ig() -> Rows:
    """The path begins at a blur in which colours survive and forms do not; what comes with the forms is explained."""
    found = explained("honest", ag.BlurIG())
    start = blurred(CONE.image / 255, 50 / 224 * 96)
    return [
        [
            ("the scene", CONE.image, ""),
            ("its strongest blur", np.rint(255 * start).astype(np.uint8), ""),
            ("blur IG", found, on_thing(found)),
        ]
    ]


@of(DRAWN, "guided-ig")
def guided_ig() -> Rows:
    """On a path that goes around steep places (`max_dist=0.2`), less is gathered on the gravel beside the ball."""
    straight, guided = (
        explained("honest", method, BALL) for method in (ag.IntegratedGradients(), ag.GuidedIG(max_dist=0.2))
    )
    titled = (("integrated gradients", straight), ("guided IG", guided))
    return [[("the scene", BALL.image, ""), *((title, each, on_thing(each, BALL)) for title, each in titled)]]


@of(DRAWN, "xrai")
def xrai() -> Rows:
    """The same attribution pixel by pixel and as ranked regions: the outlines are the picture's own."""
    inner = ag.IntegratedGradients(baseline=("black", "white"))
    pixels, regions = (explained("honest", method) for method in (inner, ag.XRAI()))
    return [
        [
            ("the scene", CONE.image, ""),
            ("integrated gradients", pixels, on_thing(pixels)),
            ("XRAI", regions, on_thing(regions)),
        ]
    ]


@of(DRAWN, "deep-lift")
def deep_lift() -> Rows:
    """One pass compares two pictures unit by unit; integrated gradients take fifty, and find much the same."""
    lifted, integrated = (explained("honest", method) for method in (ag.DeepLift(), ag.IntegratedGradients()))
    return [
        [
            ("the scene", CONE.image, ""),
            ("DeepLIFT", lifted, sums(lifted)),
            ("integrated gradients", integrated, sums(integrated)),
        ]
    ]


@of(DRAWN, "guided-backprop")
def guided_backprop() -> Rows:
    """The gradient, and the gradient that only follows what excites: the grain is gone, the patterns stay."""
    plain, guided = (explained("honest", method) for method in (ag.Saliency(), ag.GuidedBackprop()))
    return [[("the scene", CONE.image, ""), ("saliency", plain, ""), ("guided backprop", guided, "")]]


def two_questions(method: Any) -> Rows:
    """One picture of two things, and the honest network asked for each of them."""
    shots = [(f"target {t!r}", explained("honest", method, BOTH, t), "") for t in ("cone", "crate")]
    return [[("two things", BOTH, ""), *shots]]


@of(DRAWN, "deconvnet")
def deconvnet() -> Rows:
    """Two pictures, one pattern: without max pooling nothing of the picture gets into it."""
    maps = [explained("honest", ag.Deconvnet(), one, "cone") for one in (CONE, CRATE)]
    return [[("one scene", CONE.image, ""), ("", maps[0], ""), ("another scene", CRATE.image, ""), ("", maps[1], "")]]


@of(DRAWN, "smoothgrad")
def smoothgrad() -> Rows:
    """The gradient, and its mean over fifty noisy copies of the scene."""
    plain, smooth = (explained("honest", method) for method in (ag.Saliency(), ag.SmoothGrad()))
    return [
        [
            ("the scene", CONE.image, ""),
            ("saliency", plain, on_thing(plain)),
            ("SmoothGrad", smooth, on_thing(smooth)),
        ]
    ]


@of(DRAWN, "smoothgrad-squared")
def smoothgrad_squared() -> Rows:
    """Over the same noisy copies: signs cancel in the mean, and not in the mean of the squares."""
    mean, squared = (explained("honest", method) for method in (ag.SmoothGrad(), ag.SmoothGradSquared()))
    return [
        [
            ("the scene", CONE.image, ""),
            ("SmoothGrad", mean, on_thing(mean)),
            ("SmoothGrad squared", squared, on_thing(squared)),
        ]
    ]


@of(DRAWN, "vargrad")
def vargrad() -> Rows:
    """How large the gradient is under noise, and how much of that is change from copy to copy."""
    squared, varied = (explained("honest", method) for method in (ag.SmoothGradSquared(), ag.VarGrad()))
    return [
        [
            ("the scene", CONE.image, ""),
            ("SmoothGrad squared", squared, on_thing(squared)),
            ("VarGrad", varied, on_thing(varied)),
        ]
    ]


@of(DRAWN, "guided-grad-cam")
def guided_grad_cam() -> Rows:
    """Grad-CAM says where the crate is, guided backprop what is seen; their product has both."""
    methods = {"Grad-CAM": ag.GradCAM(), "guided backprop": ag.GuidedBackprop(), "the product": ag.GuidedGradCAM()}
    shots = [(title, explained("honest", method, BOTH, "crate"), "") for title, method in methods.items()]
    return [[("“crate”?", BOTH, ""), *shots]]


# Class activation maps.


@of(DRAWN, "cam")
def cam() -> Rows:
    """One picture of two things, and where the honest network's scores for each of them are made."""
    return two_questions(ag.CAM())


@of(DRAWN, "grad-cam")
def grad_cam() -> Rows:
    """Both networks have the same layers. One looks at the cone, the other at the wall behind it."""
    return both_networks(ag.GradCAM())


@of(DRAWN, "grad-cam++")
def grad_cam_plus_plus() -> Rows:
    """At a middle layer: what is negative of a map's gradient is taken off in Grad-CAM, and left out in Grad-CAM++."""
    return at_layer("relu3", {"Grad-CAM": ag.GradCAM, "Grad-CAM++": ag.GradCAMPlusPlus})


def at_layer(layer: str, methods: dict[str, Any]) -> Rows:
    """A scene, and methods at one layer of the honest network."""
    found = {title: explained("honest", method(layer)) for title, method in methods.items()}
    shots = [(f"{title}, {layer}", each, on_thing(each)) for title, each in found.items()]
    return [[("the scene", CONE.image, ""), *shots]]


@of(DRAWN, "hires-cam")
def hires_cam() -> Rows:
    """At a middle layer: one weight for a whole map, and one for each of its places."""
    return at_layer("relu3", {"Grad-CAM": ag.GradCAM, "HiRes-CAM": ag.HiResCAM})


@of(DRAWN, "layer-cam")
def layer_cam() -> Rows:
    """From fine maps early in the network to coarse ones at its end."""
    found = {layer: explained("honest", ag.LayerCAM(layer)) for layer in ("relu1", "relu3", "relu5")}
    return [[("the scene", CONE.image, ""), *((layer, each, on_thing(each)) for layer, each in found.items())]]


@of(DRAWN, "xgrad-cam")
def xgrad_cam() -> Rows:
    """At a middle layer: the gradient averaged over a map, and averaged where the map is active."""
    return at_layer("relu3", {"Grad-CAM": ag.GradCAM, "XGrad-CAM": ag.XGradCAM})


@of(DRAWN, "score-cam")
def score_cam() -> Rows:
    """Asked for a ball that is not there, Grad-CAM finds what speaks against it; Score-CAM cannot."""
    signed = explained("honest", ag.GradCAM(), CONE, "ball")
    masked = explained("honest", ag.ScoreCAM(), CONE, "ball")
    cone = explained("honest", ag.ScoreCAM(), CONE, "cone")
    return [
        [
            ("the scene", CONE.image, ""),
            ("Score-CAM, “cone”", cone, ""),
            ("Grad-CAM, “ball”", replace(signed, provenance=replace(signed.provenance, reduction="signed")), ""),
            ("Score-CAM, “ball”", masked, ""),
        ]
    ]


@of(DRAWN, "ablation-cam")
def ablation_cam() -> Rows:
    """Each map is silenced in turn; those that the score misses make the picture."""
    return both_networks(ag.AblationCAM())


@of(DRAWN, "eigen-cam")
def eigen_cam() -> Rows:
    """Asked for the cone and asked for the crate, Eigen-CAM gives the same map."""
    return two_questions(ag.EigenCAM())


@of(DRAWN, "eigen-grad-cam")
def eigen_grad_cam() -> Rows:
    """Times the gradient, the principal component knows which of the two things was asked for."""
    return two_questions(ag.EigenGradCAM())


@of(DRAWN, "full-grad")
def full_grad() -> Rows:
    """All depths in one map: finer than a class activation map, and without a sign."""
    return both_networks(ag.FullGrad())


@of(DRAWN, "channel-mean")
def channel_mean() -> Rows:
    """What Grad-CAM shows beyond the plain mean of the maps is what it says about the crate."""
    mean, crate = (explained("honest", method, BOTH, "crate") for method in (ag.ChannelMean(), ag.GradCAM()))
    return [[("two things", BOTH, ""), ("channel mean", mean, "any target"), ("Grad-CAM", crate, "target 'crate'")]]


@of(DRAWN, "several-layers")
def several_layers() -> Rows:
    """Layer-CAM at two depths, and their mean."""
    early, late = (explained("honest", ag.LayerCAM(layer)) for layer in ("relu2", "relu5"))
    fused = explained("honest", ag.SeveralLayers(ag.LayerCAM(), ("relu2", "relu5")))
    return [[("the scene", CONE.image, ""), ("relu2", early, ""), ("relu5", late, ""), ("both", fused, "")]]


# The image is changed, and the score watched.


@of(DRAWN, "occlusion")
def occlusion() -> Rows:
    """Hiding the cone lowers the honest network's score. The cheater's rises: the cone was in the way of its wall."""
    return both_networks(ag.Occlusion(window=20, stride=5))


@of(DRAWN, "rise")
def rise() -> Rows:
    """Few masks leave their own grain; many make the place plain."""
    shots = [(f"{n} masks", explained("honest", ag.RISE(samples=n)), "") for n in (100, 8000)]
    return [[("the scene", CONE.image, ""), *shots]]


@of(DRAWN, "lime")
def lime() -> Rows:
    """The honest network's score can be imitated by the segments of the cone, the cheater's by those of the wall."""
    found = {name: explained(name, ag.LIME()) for name in ("honest", "cheater")}
    shots = [(name, each, f"fit {float(each.extras['fit'][0]):.2f}") for name, each in found.items()]
    return [[("the scene", CONE.image, ""), *shots]]


def players() -> NDArray[np.int64]:
    """The number of each pixel's segment: the wall, one cone, the other."""
    return CONE.mask + 2 * TWIN.mask.astype(np.int64)


@of(DRAWN, "kernel-shap")
def kernel_shap() -> Rows:
    """Of two cones either would do: hidden alone, neither counts for much; Shapley values share the rise out."""
    methods = {"feature ablation": ag.FeatureAblation, "KernelSHAP": ag.KernelSHAP}
    return [twins({title: method(segments=players()) for title, method in methods.items()})]


@of(DRAWN, "feature-ablation")
def feature_ablation() -> Rows:
    """Hiding the one cone of a scene costs the answer; of two cones, hiding either costs hardly anything."""
    alone = explained("honest", ag.FeatureAblation(segments=CONE.mask.astype(np.int64)), CONE, SURE)
    cost = float(alone.values[0][CONE.mask][0])
    one = [("one cone", CONE.image, ""), ("hidden", alone, f"probability falls by {cost:.2f}")]
    return [[*one, *twins({"each hidden": ag.FeatureAblation(segments=players())})]]


def twins(methods: dict[str, Any]) -> list[Any]:
    """Two cones, each a segment, and what methods say that they are worth to the probability of a cone."""
    shots: list[Any] = [("two cones", TWINS, "")]
    for title, method in methods.items():
        found = explained("honest", method, TWINS, SURE)
        one, other = (float(found.values[0][players() == number][0]) for number in (1, 2))
        shots.append((title, found, f"cones {one:.2f} and {other:.2f}"))
    return shots


@of(DRAWN, "shapley-sampling")
def shapley_sampling() -> Rows:
    """Few orders leave much chance in the single segments, though the sum is exact."""
    found = {n: explained("honest", ag.ShapleySampling(samples=n)) for n in (1, 50)}
    return [[("the scene", CONE.image, ""), *((f"orders: {n}", each, "") for n, each in found.items())]]


@of(DRAWN, "extremal-perturbation")
def extremal_perturbation() -> Rows:
    """The tenth of the picture that by itself keeps each network's answer best."""
    return both_networks(ag.ExtremalPerturbation())


# The score handed back, and the controls.


@of(DRAWN, "lrp")
def lrp() -> Rows:
    """Three rules, three maps of one answer."""
    rules = ag.LRP(), ag.LRP(rule="epsilon-gamma"), ag.LRP(rule="epsilon-plus")
    found = {str(method.rule): explained("honest", method) for method in rules}
    return [[("the scene", CONE.image, ""), *((rule, each, on_thing(each)) for rule, each in found.items())]]


@of(DRAWN, "random")
def random() -> Rows:
    """As much of it lies on the cone as the cone covers of the picture."""
    return control(ag.RandomMap())


@of(DRAWN, "edge-filter")
def edge_filter() -> Rows:
    """It looks as if somebody had looked at the cone; no network was asked."""
    return control(ag.EdgeFilter())


@of(DRAWN, "constant")
def constant() -> Rows:
    """Everything alike: as much on the cone as the cone covers of the picture."""
    return control(ag.ConstantMap())


def control(method: Any) -> Rows:
    """A scene, its thing's mask, and a control."""
    found = explained("honest", method)
    mask = np.repeat(255 * CONE.mask.astype(np.uint8)[..., None], 3, axis=2)
    return [
        [
            ("the scene", CONE.image, ""),
            ("where the cone is", mask, f"{CONE.mask.mean():.0%} of the picture"),
            ("the control", found, on_thing(found)),
        ]
    ]
