"""Backends and explainers with one mistake each, of the kind that people make, and the checks that find it.

The conformance kit must find every one of them, by the check made for it, and let it pass all checks that look at
something else.
"""

from typing import Any

from agnoscope import Explainer
from agnoscope.testing import Backend
from tests.flaws import backends, explainers
from tests.flaws.sound import Sound


def of(flaw: type[Sound], **more: Any) -> Backend:
    """A backend under test that has this flaw."""
    return Backend(flaw.__name__, flaw, **more)


FLAWS: list[tuple[Backend | Explainer, str]] = [
    (of(backends.ForgetsOrderOfChannels), "check_output"),
    (of(backends.OverlooksHead), "check_head"),
    (of(backends.TellsNoHead), "check_head"),
    (of(backends.ListsLayersAsDefined), "check_layers"),
    (of(backends.CapturesWhatReluOverwrote), "check_activation check_explainers"),
    (of(backends.SwapsAxes), "check_activation check_gradient_at_layer check_explainers"),
    (of(backends.DifferentiatesPreparedImage), "check_gradient"),
    (of(backends.CountsDeepReluTwice), "check_finite_differences check_explainers"),
    (of(backends.NegatesGradientAtLayer), "check_gradient_at_layer check_explainers"),
    (of(backends.FlipsKernel), "check_convolution"),
    (of(backends.TakesColumnsForRows), "check_resampling"),
    (of(backends.ShowsKernelsItsOwnWay), "check_kernels"),
    (of(backends.KeepsBatch), "check_patch"),
    (
        of(backends.IgnoresPatch),
        "check_patch check_gradient_at_layer check_state_restored check_kernels check_explainers",
    ),
    (of(backends.ForgetsUpperEnd), "check_relu_rules"),
    (of(backends.IgnoresRule), "check_relu_rules check_relu_rule_without_relu check_explainers"),
    (of(backends.PassesWithoutRelu), "check_relu_rule_without_relu"),
    (of(backends.MixesImages), "check_batch_independence check_patch check_explainers"),
    (of(backends.WritesToInput), "check_input_untouched check_relu_rules check_parameters check_explainers"),
    (of(backends.NeedsWritableInput), "check_input_untouched"),
    (of(backends.LeavesHookBehind), "check_state_restored"),
    (of(backends.SwallowsErrors), "check_state_restored"),
    (of(backends.Wavers), "check_determinism"),
    (of(backends.SharesRule), "check_threads"),
    (of(backends.RaisesItsOwnErrors), "check_errors"),
    (of(backends.CountsFromOne), "check_explainers"),
    (of(backends.ChangesItsOwnWeights), "check_parameters"),
    (of(backends.GivesItsWeightsAway), "check_parameters"),
    (of(backends.NamesWeightsByItself), "check_parameters"),
    (Backend("KeepsFirstBinding", Sound, build_shifted=backends.KeepsFirstBinding), "check_inputs"),
    (of(Sound, entry="heavy"), "check_light_import"),
    (
        of(Sound, fingerprint=lambda model, seen=[]: seen.append(0) or len(seen)),
        "check_state_restored check_parameters",
    ),
    (explainers.Transposes(), "check_explainer_shape"),
    (explainers.NormalisesByBatch(), "check_explainer_batch"),
    (explainers.Draws(), "check_explainer_batch"),
    (explainers.IsHeavy(), "check_explainer_imports_no_framework"),
]
