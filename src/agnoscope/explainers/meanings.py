"""What a method's map or image means, and where it misleads: two plain sentences each, shown beside the pictures."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, final


@final
@dataclass(frozen=True)
class Meaning:
    """What a picture of a method says.

    Attributes:
        shows: a sentence on what it means.
        hides: a sentence on what it does not mean, or where it misleads.
    """

    shows: str
    hides: str


CAUTION: Final = (
    "This method comes from a plugin, and agnoscope cannot vouch for it: set it beside the controls 'random' and "
    "'edge-filter', and beside a second method."
)
"""What is said of a method that is not agnoscope's own."""


def meaning(name: str) -> Meaning:
    """What a method's pictures mean.

    A preset, such as "captum:smoothgrad", means what the method means whose recipe it is. Of a plugin's method the
    first sentence of its class's docstring tells what it shows, and `CAUTION` stands for what it hides.

    Args:
        name: of an explainer, of a method that makes images, or of a preset; as in `Provenance.method` and
            `Making.method`.

    Raises:
        OptionError: nothing has this name.
        PluginError: several plugins provide it, or its class does not exist.
        MissingFrameworkError: a module that it needs is not installed.
    """
    if name in MEANINGS:
        return MEANINGS[name]
    return MEANINGS[_behind(name)] if ":" in name else _told_by(_plugged_in(name), name)


def _behind(preset: str) -> str:
    """The method whose recipe a preset is."""
    from agnoscope.explainers.synthesis.presets import PRESETS as IMAGINED
    from agnoscope.presets import preset as recipe

    return IMAGINED[preset].name if preset in IMAGINED else recipe(preset).explainer.name


def _plugged_in(name: str) -> Any:
    """A plugin's class."""
    from agnoscope.plugins import plugins

    known = plugins()
    return known.synthesizer(name) if name in known.names("synthesizer") else known.explainer(name)


def _told_by(method: Any, name: str) -> Meaning:
    """The first sentence of a class's own docstring; dataclasses without one have a list of their fields there."""
    written = method.__doc__ or ""
    if not written.strip() or written.startswith(f"{method.__name__}("):
        return Meaning(f"{name}, a method without a description.", CAUTION)
    paragraph = " ".join(inspect.cleandoc(written).partition("\n\n")[0].split())
    return Meaning(paragraph.partition(". ")[0].rstrip(".") + ".", CAUTION)


MEANINGS: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        # Gradients.
        "saliency": Meaning(
            "How steeply the score changes when a pixel changes a little: a slope for every pixel, here and now.",
            "A slope is no share of the score: a pixel on which the answer rests can have none where the network is "
            "saturated, and much of the grain is the gradient's own noise.",
        ),
        "input-x-gradient": Meaning(
            "What each pixel would add to the score, counted from the picture that arrives as zeros, if the slope at "
            "this picture held all the way.",
            "The slope holds only nearby, so the values seldom add up to the score, and a pixel of the colour that "
            "arrives as zero counts nothing, whatever it means.",
        ),
        "integrated-gradients": Meaning(
            "How much each pixel adds to the rise of the score from the baseline to this picture; the values add up "
            "to that rise.",
            "Another baseline gives another map, what has the baseline's colour counts nothing, and the pictures on "
            "the way are unlike any that the network was trained on.",
        ),
        "expected-gradients": Meaning(
            "How much each pixel adds to the score, averaged over several baselines instead of a single one.",
            "It is estimated from random points and grainy where they are few, and it still depends on which "
            "baselines were chosen.",
        ),
        "blur-ig": Meaning(
            "How much each pixel adds to the score while the picture comes into focus, from its strongest blur on.",
            "What survives the strongest blur, such as the colour of a large area, is left out, and values gather at "
            "edges because that is where blurring changes pixels.",
        ),
        "guided-ig": Meaning(
            "How much each pixel adds to the rise of the score from the baseline, along a path that changes first "
            "what the score hardly feels.",
            "The path is made from the network's own gradients, so that a calm map is in part a choice of path, and "
            "another baseline gives another map.",
        ),
        "xrai": Meaning(
            "Which regions of similar colour hold the most of another attribution for their area, best first.",
            "The clean outlines come from the picture's colours and not from the network, and the ranking is only as "
            "faithful as the attribution behind it.",
        ),
        "deep-lift": Meaning(
            "How much each pixel accounts for the score's difference from that of a baseline, handed back unit by "
            "unit through the network.",
            "Max pooling and activations other than ReLUs keep their plain gradient, so that the values may not add "
            "up, and another baseline gives another map.",
        ),
        "guided-backprop": Meaning(
            "Which edges and patterns get through all ReLUs to the score: what the network sees, in fine detail.",
            "In deep networks the picture hardly depends on the class or on what the last layers learned: it does not "
            "tell why the network decides (Adebayo et al., NeurIPS 2018).",
        ),
        "deconvnet": Meaning(
            "The pattern of pixels that positive signals draw when they run back from the target through the network.",
            "It ignores which ReLUs were open: in a network without max pooling the pattern is the same for every "
            "picture, and so explains none of them.",
        ),
        "smoothgrad": Meaning(
            "What another method, by default the gradient, says on average of noisy copies of the picture.",
            "A smoother map is not a truer one: noisy copies are unlike what the network was trained on, and with "
            "much noise the question becomes another.",
        ),
        "smoothgrad-squared": Meaning(
            "How large the values of another method, by default the gradient, are over noisy copies of the picture, "
            "whatever their sign.",
            "What speaks against the target looks like what speaks for it, and squares let a few large values "
            "outshine all others.",
        ),
        "vargrad": Meaning(
            "Where the values of another method, by default the gradient, differ most between noisy copies of the "
            "picture.",
            "A pixel whose value is large and steady stays dark: the map tells how the explanation varies, not how "
            "much the pixel counts.",
        ),
        "guided-grad-cam": Meaning(
            "The fine detail of guided backprop, shown only in the places that Grad-CAM finds for the target.",
            "In deep networks only the coarse map behind it depends on the target; the detail is guided backprop's and "
            "hardly does.",
        ),
        # Class activation maps.
        "cam": Meaning(
            "Where in the last maps the score of the class is made: the mean of the values is the score but for its "
            "bias.",
            "A place of the last maps sees a large part of the picture, so the smooth outlines, which come from "
            "enlarging, are finer than what is known.",
        ),
        "grad-cam": Meaning(
            "Where those maps of a layer are active that the score rises with: the coarse places that speak for the "
            "target.",
            "It is as coarse as its layer, and averages the gradient over each map, so that places can light up that "
            "did not raise this score.",
        ),
        "grad-cam++": Meaning(
            "Where the maps of a layer are active that the score rises with, weighted so that several objects of a "
            "class all count.",
            "Only positive gradients make a map's weight, so that what speaks against the target is not taken off, "
            "and the map is as coarse as its layer.",
        ),
        "hires-cam": Meaning(
            "What each place of a layer adds to the score by its own gradient; exact where one linear layer follows.",
            "Before deeper layers it is an estimate by slopes and no sharing out of the score, and it is as coarse as "
            "its layer.",
        ),
        "layer-cam": Meaning(
            "The places of a layer with which the score rises, each by its own gradient; made for fine, early layers "
            "too.",
            "Falling places are dropped and cancel nothing, so the values are no shares of the score, and early "
            "layers show edges rather than things.",
        ),
        "xgrad-cam": Meaning(
            "The maps of a layer, each weighted so that it adds up to its own first-order share of the score.",
            "Within a map the share is spread by activity alone, wherever the gradient was, and a map that nearly "
            "cancels to zero can get a huge weight.",
        ),
        "score-cam": Meaning(
            "Where those maps of a layer lie that, used as masks on the picture, keep the score highest.",
            "Masked pictures are strange to the network, one or two maps often take all the weight, and nothing can "
            "show as speaking against the target.",
        ),
        "ablation-cam": Meaning(
            "The maps of a layer, each weighted by how far the score falls when this map alone is silenced.",
            "Maps that can stand in for one another all seem to count little, and the result is as coarse as its "
            "layer.",
        ),
        "eigen-cam": Meaning(
            "The pattern that the maps of a layer have most in common: often the most striking thing in the picture.",
            "It is the same for every target, so that it cannot say why the network gave one answer and not another.",
        ),
        "eigen-grad-cam": Meaning(
            "The pattern that the maps of a layer, times the target's gradient, have most in common.",
            "One component is kept and all others are dropped, so the values add up to nothing, and what they leave "
            "out may be what decided.",
        ),
        "full-grad": Meaning(
            "How strongly each place takes part in the score, over the input and the biases of all layers together.",
            "There is no sign, and every channel is stretched to the same range first, so that one that hardly counts "
            "shows as much as one that decides.",
        ),
        "channel-mean": Meaning(
            "Where a layer is active at all, averaged over its channels.",
            "It knows nothing of the target: whatever another map has in common with it says nothing about the class.",
        ),
        "several-layers": Meaning(
            "What one method finds at several depths, joined: fine places from early layers, meaning from late ones.",
            "Every layer is scaled to its own largest value, so that one that hardly counts weighs as much as one "
            "that decides, and only positive parts remain.",
        ),
        # The image is changed, and the score watched.
        "occlusion": Meaning(
            "How far the score falls when a window at this place is hidden: what is positive, the score needs.",
            "Pictures with holes are strange to the network, a thing that is there twice seems not needed, and window "
            "and filling change the map.",
        ),
        "rise": Meaning(
            "How much higher than elsewhere the score is, on average, when random masks show this place.",
            "Random masks leave grain of their own and blur the map by their cells; only differences within a picture "
            "mean something.",
        ),
        "lime": Meaning(
            "The weights of the linear model that best imitates the score while segments are shown and hidden.",
            "The imitation can be poor (see the extra 'fit'), and the map depends on the segments, the filling and "
            "the random draws.",
        ),
        "kernel-shap": Meaning(
            "The fair share (the Shapley value) of each segment in the score's rise from the filled picture to this "
            "one; the shares add up to it.",
            "Fair means averaged over sets of segments that no camera would ever show, and few samples, the filling "
            "and the segments all change the shares.",
        ),
        "shapley-sampling": Meaning(
            "What each segment adds to the score, on average, when segments enter the picture in random orders; "
            "all together add up to its rise.",
            "The sum is exact but single segments keep much chance where orders are few, and what the filling looks "
            "like to the network is counted in.",
        ),
        "feature-ablation": Meaning(
            "How far the score falls when this segment alone is hidden.",
            "Segments that stand in for one another all seem not to count, and a large segment weighs more than a "
            "small one by its size alone.",
        ),
        "extremal-perturbation": Meaning(
            "The part of the picture, of an area that you choose, that by itself keeps the score highest.",
            "A search found the mask, and another search may find another one as good; within it nothing tells which "
            "place counts most.",
        ),
        # The score handed back.
        "lrp": Meaning(
            "How the score is handed back from layer to layer, by what each unit took in, down to the pixels.",
            "Another rule gives another map, biases keep a part of the score, and the z-plus rule drops what speaks "
            "against the target and hardly depends on the class.",
        ),
        # Controls.
        "random": Meaning(
            "Nothing: numbers drawn at random, which every explanation has to be better than.",
            "Any shape that you see in it is chance, and if a measure rates it highly, doubt the measure.",
        ),
        "edge-filter": Meaning(
            "The edges of the gray picture, found without the network: what a map looks like that explains nothing.",
            "It convinces by its outlines alone; a method whose maps look like this may be no more than an edge "
            "filter, too.",
        ),
        "constant": Meaning(
            "The same value everywhere: what the area alone is worth to a measure.",
            "It points at no place; a measure that prefers it to an explanation rewards spreading out, not being "
            "right.",
        ),
        # Images that a network imagines.
        "feature-visualization": Meaning(
            "A picture made from noise that excites a unit or class as strongly as the steps could reach.",
            "It is one of many such pictures and shaped by the parameterisation and the views; in photos the unit may "
            "answer to quite other things as well.",
        ),
        "multifaceted": Meaning(
            "One picture for each kind of photo, among those given, that the unit answers to.",
            "How many kinds there are was your choice, a kind that no photo shows is not found, and the mean photo "
            "from which each began still shines through.",
        ),
        "deep-dream": Meaning(
            "The photo, changed until a layer is more active: what the layer saw in it, exaggerated.",
            "What appears is what the layer has detectors for and not what is in the photo, and it says nothing about "
            "the network's answer.",
        ),
        "feature-inversion": Meaning(
            "A picture made from nothing but a layer's features of the photo: what the layer still knows of it.",
            "What is missing may be lost to the layer or only not found by the steps, and what is there may be "
            "invented where the layer does not care.",
        ),
        "feature-accentuation": Meaning(
            "The photo, changed where and how the target wants it, and held near to itself by an early layer.",
            "It shows what would raise the target, which need not be what raised it in this photo, and you choose how "
            "far it goes.",
        ),
        "caricature": Meaning(
            "A picture made from noise that has what a layer sees in the photo, and more of it than the photo itself.",
            "The layer is exaggerated as a whole, so that no single unit and no class can be read off it.",
        ),
        "texture": Meaning(
            "A new picture in which a network's channels vary together as in the photo: its stuff without its scene.",
            "It tells what these statistics hold and nothing about the network's answer; order over long distances is "
            "lost by design.",
        ),
        "style-transfer": Meaning(
            "A picture with the features of one photo in a late layer and the statistics of another in several layers.",
            "It is a picture and no explanation: content and style are whatever these layers hold, in the balance "
            "that you gave them.",
        ),
        "fast-style": Meaning(
            "The photo, repainted in one pass by a network that was trained to meet a style's statistics.",
            "It is a picture and no explanation, and what the network paints was learned from its training photos: "
            "others may come out worse.",
        ),
        "fooling": Meaning(
            "A change of the picture, often too small to see, that makes the network answer with another class.",
            "It proves that this network can be misled, not what it goes by on other days; and that no change was "
            "found does not prove that there is none.",
        ),
        # What other libraries make of a method.
        "finished": Meaning(
            "The values of another method after the steps that its options name, such as scaling them from 0 to 1.",
            "Once they are cut or scaled, values no longer compare between pictures and no longer add up to a score.",
        ),
    }
)
"""Name to meaning; "fast-style" and "finished" are no registered methods, and yet results bear their names."""
