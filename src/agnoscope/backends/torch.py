"""PyTorch: any `nn.Module`, seen through hooks on a shadow of it that shares its weights.

The hooks are always there and do nothing unless their thread is inside a run of ours; what a run wants is
thread-local. So the user's module is never touched, and runs in several threads do not meet.
"""

import copy
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Self, final

import array_api_compat.torch
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from agnoscope.backends.torch_relu import ReluMode
from agnoscope.backends.torch_run import Run, StopRun, channels_last, hook, tensor_of, wide
from agnoscope.backends.torch_shadow import Shadow, copied, unwrap
from agnoscope.backends.torch_trace import HeadMode, LayoutMode
from agnoscope.errors import CapabilityError, LayerError, ModelError
from agnoscope.images import InputSpec
from agnoscope.inputs import Input, Inputs
from agnoscope.model import RESERVED, Head, Layer, Model, Outline
from agnoscope.patches import Array, Patch
from agnoscope.trees import leaves, mapped

REFUSALS: Final = (
    *("inplace operation", "in-place operation", "modified inplace"),
    *("support automatic differentiation", "torch.utils.checkpoint"),
)
"""By these words PyTorch says that it cannot differentiate what a network does."""


def wrap(network: Any, params: Any, spec: InputSpec, labels: Sequence[str] | None) -> "TorchModel":
    """Make a PyTorch network explainable.

    Args:
        network: an `nn.Module`, or a program of `torch.export`. What `torch.compile` or DataParallel wrapped is
            unwrapped; a ScriptModule offers scores and input gradients only.
        params: None; a module brings its own.
        spec: what it expects of an image.
        labels: names of its classes.

    Raises:
        ModelError: parameters were given beside the module, or its weights have no values yet.
    """
    if params is not None:
        raise ModelError("A PyTorch module brings its own parameters: load them with load_state_dict, not params=.")
    return TorchModel(network, spec, labels)


@final
class TorchModel(Model):
    """A PyTorch network behind the protocol."""

    backend = "torch"

    def __init__(self, network: Any, spec: InputSpec, labels: Sequence[str] | None) -> None:
        super().__init__(spec, labels)
        exported = isinstance(network, torch.export.ExportedProgram)
        self.network: nn.Module = _module_of(network) if exported else unwrap(network)
        self.xp = array_api_compat.torch
        self.versions = MappingProxyType({"torch": torch.__version__})
        if isinstance(self.network, torch.jit.ScriptModule):
            self.can = frozenset({"gradient"})
        elif any(isinstance(module, torch.jit.ScriptModule) for module in self.network.modules()):
            self.can = self.EVERYTHING - {"relu", "weights"}
        self.inputs = _inputs_of(network) if exported else Inputs.of(self.network.forward)
        self._fresh = partial(_module_of, network) if exported else partial(copied, self.network)
        self._axes: dict[tuple[tuple[int, int], Hashable], dict[str, int]] = {}
        self._shadow = Shadow(self.network, hook, ours=exported)

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """Of the network's parameters as they are now."""
        return "float64" if self._weight.dtype == torch.float64 else "float32"

    @property
    def _weight(self) -> torch.Tensor:
        """The first weight, whose device and dtype are the network's."""
        weights = (t for ts in (self.network.parameters(), self.network.buffers()) for t in ts if t.is_floating_point())
        return next(weights, torch.empty(0, dtype=torch.float32, device="cpu"))

    # -- the protocol ------------------------------------------------------------------------------------------------

    def discover(self, size: tuple[int, int]) -> Outline:
        return self._in_some_order(lambda: self._discover(size))

    def _discover(self, size: tuple[int, int]) -> Outline:
        low, high = (b if np.isfinite(b) else d for b, d in zip(self.spec.bounds, (0.0, 1.0), strict=True))
        image = np.full((1, *size, self.spec.depth), (low + high) / 2)
        with self._quiet(), self._shadow.watched(), LayoutMode() as layout, HeadMode() as heads:
            x = self._tensor(image)
            layout.follow(x, x.ndim - 1)
            run = Run(layout=layout)
            output = self._forward(x, run)
            if output.ndim == 0 or output.shape[0] != 1:
                raise ModelError(
                    f"For one image the network returns a tensor of shape {tuple(output.shape)}; its first axis must "
                    "be the images, and so 1 long. Wrap a module that returns scores per image."
                )
            scores, head = heads.scores(output)
            run.axes |= {"scores": layout.axis(scores), "output": layout.axis(output)}
        self._axes[size, self.binding] = run.axes
        shape = tuple(channels_last(scores, run.axes["scores"]).shape[1:])
        return Outline(MappingProxyType(run.met), shape, head, _notes(output, head))

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        wanted = frozenset(capture) - frozenset(RESERVED)
        if wanted or patch:
            self.require("capture", f"looking at {', '.join(sorted(wanted | set(patch)))}")
        size = (images.shape[1], images.shape[2])
        outline = self.outline(size)
        self._shadow.watch((*wanted, *patch))
        run = Run(wanted, patch, len(wanted) < len(set(capture)), self._axes[size, self.binding])
        with ExitStack() as stack:
            # A function mode costs a little at every operation, so each is entered only where it is needed.
            if self.rule is not None:
                run.relus = stack.enter_context(ReluMode(self.rule, self.xp))
            if "scores" in capture and outline.head != "linear":
                run.heads = stack.enter_context(HeadMode())
            output = self._forward(images, run)
        missing = [name for name in wanted if name not in run.values]
        # A run that stopped early never came to the later layers.
        missing += [n for n in patch if n not in run.ran and (output is not None or n not in outline.layers)]
        if missing:
            raise LayerError(f"The layer {missing[0]!r} did not run in this pass; model.layers() lists those that do.")
        if run.relus is not None and run.relus.met == 0:
            raise CapabilityError(_no_relu(self.rule, outline.layers))
        if output is not None and images.requires_grad and not output.requires_grad:
            raise CapabilityError(
                "The network's output carries no gradient back to the image: something in it (no_grad, detach, a step "
                "outside PyTorch) cuts it off. Use a method without gradients: occlusion."
            )
        return self._named(capture, run, output)

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        def differentiated(tree: Any, *rest: Any) -> tuple[tuple[Any, Any], Any]:
            own = mapped(tree, lambda t: t.detach().requires_grad_())
            flat = leaves(own)
            slopes: Sequence[Any] = [None] * len(flat)
            with torch.enable_grad(), _refusals():
                value, aux = function(own, *rest)
                if value.requires_grad and flat:
                    slopes = torch.autograd.grad(value, flat, allow_unused=True)
            found = iter([torch.zeros_like(t) if g is None else g for t, g in zip(flat, slopes, strict=True)])
            return (value.detach(), mapped(aux, torch.Tensor.detach)), mapped(own, lambda _: next(found))

        return differentiated

    def conv2d(self, images: Array, kernel: Array, stride: int = 1) -> Array:
        # Both keep their channels last in memory, which is the faster order on CPUs, and costs no copy of the images.
        kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(images.permute(0, 3, 1, 2), kernel, stride=stride).permute(0, 2, 3, 1)

    def resample(self, images: Array, maps: Array, size: tuple[int, int], beyond: float) -> Array:
        # PyTorch speaks of places from -1 to 1, from the outer edge of the first pixel to that of the last one.
        from_pixels, to_pixels = unit_map(images.shape[1:3], maps), pixel_map(size, maps)
        whole = nn.functional.pad(maps, (0, 0, 0, 1))
        whole[:, 2, 2] = 1
        # It wants columns first.
        unit = (from_pixels @ whole @ to_pixels)[:, [1, 0]][:, :, [1, 0, 2]]
        x = (images - beyond).permute(0, 3, 1, 2)
        views = []
        for one in unit:
            places = nn.functional.affine_grid(one.expand(len(x), 2, 3), [len(x), 1, *size], align_corners=False)
            views.append(nn.functional.grid_sample(x, places, align_corners=False).permute(0, 2, 3, 1))
        # In memory, too, the channels come last: the order in which networks are run.
        return torch.stack(views, dim=1).flatten(0, 1) + beyond

    def compile(self, program: Callable[..., dict[str, Array]], static: Hashable) -> Callable[..., dict[str, Any]]:
        def compiled(*trees: Any) -> dict[str, Any]:
            self._follow()
            with self._quiet():
                given = [mapped(tree, self._tensor) for tree in trees]
                found = self._in_some_order(lambda: program(self, static, *given))
                return mapped(found, lambda t: wide(t).detach().cpu().numpy())

        return compiled

    def read_weights(self) -> dict[str, NDArray[Any]]:
        self._follow()
        with self._shadow.ready() as network:
            return {name: wide(weight).detach().cpu().numpy().copy() for name, weight in _weights(network).items()}

    def replace_weights(self, values: Mapping[str, NDArray[Any]]) -> Self:
        with torch.inference_mode(False), torch.no_grad():
            network = self._fresh()
            if network is None:
                raise CapabilityError(
                    f"This {type(self.network).__name__} cannot be copied: it holds what no copy can have for itself, "
                    "such as a function that refers to the module, a lock or an open file. Load the changed weights "
                    "into a second network of your own, and wrap that."
                )
            values = {**self.read_weights(), **values}  # what is copied may have changed before
            for name, weight in _weights(network).items():
                weight.copy_(torch.from_numpy(values[name]))
        view = copy.copy(self)
        view.network, view._shadow = network, Shadow(network, hook, ours=True)
        view._shadow.contiguous = self._shadow.contiguous
        view._outlines, view._axes = {}, {}
        return view

    # -- how it is done ----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Follow what the user did to the network since the last call, as long as its layers are the same."""
        if not self._shadow.refresh():
            return
        for (size, binding), outline in list(self._outlines.items()):
            if binding == self.binding and self.discover(size) != outline:
                self._outlines.clear()
                raise ModelError("The network has other layers than when it was wrapped: wrap it again.")

    def _in_some_order(self, work: Callable[[], Any]) -> Any:
        """Do the work with the channels last in memory, or in PyTorch's own order if the network insists on it."""
        try:
            return work()
        except RuntimeError as error:
            if self._shadow.contiguous or "view size is not compatible" not in str(error):
                raise
        self._shadow.contiguous = True
        return work()

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Neither gradients, nor the user's inference mode or autocast, on the network's own device."""
        device = self._weight.device
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            if torch.amp.is_autocast_available(device.type):
                stack.enter_context(torch.autocast(device.type, enabled=False))
            if device != torch.get_default_device():
                stack.enter_context(device)
            yield

    def _tensor(self, array: Any) -> torch.Tensor:
        array = np.asarray(array)
        array = array.astype(self.dtype if array.dtype.kind == "f" else np.int32, copy=False)
        # `a[None]` has a step of 0, in which PyTorch sees no order of channels and takes a slower way.
        array = array.copy() if 0 in array.strides else array
        # Sharing memory is enough, as `_forward` copies what the network gets; of a read-only array torch would warn.
        shared = array.flags.writeable and self._weight.device.type == "cpu"
        return torch.from_numpy(array) if shared else torch.tensor(array, device=self._weight.device)

    def _forward(self, images: torch.Tensor, run: Run) -> Any:
        """Send images through the network under one run; None where it stopped early."""
        x = self.spec.prepare(self.xp, images).to(self._weight.dtype)
        # The network may work in place on what it is given.
        x = x.clone() if x is images else x
        # Channels last in memory is the faster order on CPUs; elsewhere that is not known.
        first = self._shadow.contiguous or x.device.type != "cpu"
        x = x.permute(0, 3, 1, 2).contiguous() if first else x.contiguous().permute(0, 3, 1, 2)
        arguments, named = self.inputs.arguments(x, self._beside(x))
        with self._shadow.ready() as network, run.entered():
            try:
                output = network(*arguments, **named)
            except StopRun:
                return None
            except RuntimeError as error:
                if "Expected input at" not in str(error):
                    raise
                raise ModelError(
                    "The program was exported for one shape of input: export it with a dynamic first dimension "
                    f"(torch.export.Dim.DYNAMIC), or give the batch_size that it has. PyTorch says: {error}"
                ) from error
        tensor = tensor_of(output)
        if tensor is None:
            raise ModelError(f"The network returns a {type(output).__name__} in which there is no tensor.")
        return tensor

    def _beside(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """The bound inputs, in memory of their own: the network may work in place on them, too."""
        tensors = self.repeated(images)
        dtype = self._weight.dtype
        return {name: (t.to(dtype) if t.is_floating_point() else t).clone() for name, t in tensors.items()}

    def _named(self, capture: Sequence[str], run: Run, output: Any) -> dict[str, Array]:
        """What was asked for, by name."""
        values = dict(run.values)
        if "output" in capture:
            values["output"] = wide(channels_last(output, run.axes["output"]))
        if "scores" in capture:
            scores = output if run.heads is None else run.heads.scores(output)[0]
            values["scores"] = wide(channels_last(scores, run.axes["scores"]))
        return {name: values[name] for name in capture}


def unit_map(size: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """From pixels (row, column, 1) to places from -1 to 1."""
    height, width = size
    rows = [[2 / height, 0, 1 / height - 1], [0, 2 / width, 1 / width - 1], [0, 0, 1]]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def pixel_map(size: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """From places to pixels."""
    height, width = size
    rows = [[height / 2, 0, (height - 1) / 2], [0, width / 2, (width - 1) / 2], [0, 0, 1]]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def _inputs_of(program: torch.export.ExportedProgram) -> Inputs:
    names = tuple(map(str, program.graph_signature.user_inputs))
    by_place = len(program.example_inputs[0]) if program.example_inputs else len(names)
    return Inputs(dict.fromkeys(names, Input()), names[:by_place])


def _weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters, and the floating buffers that are saved with them: a tied one once."""
    saved = network.state_dict().keys()
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: weight for name, weight in named.items() if name in saved and weight.is_floating_point()}


def _module_of(program: torch.export.ExportedProgram) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's, about its own code
        return torch.export.unflatten(program)


@contextmanager
def _refusals() -> Iterator[None]:
    """Where PyTorch's refusal to differentiate a network is said in our words."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in REFUSALS):
            raise
        raise CapabilityError(
            "This network cannot be differentiated in PyTorch: an operation in place, one with out=, or gradient "
            f"checkpointing stands in the way. Change that, or use occlusion. PyTorch says: {error}"
        ) from error


def _notes(output: torch.Tensor, head: Head) -> tuple[str, ...]:
    if head == "linear" and output.ndim == 2 and output.shape[1] > 1:
        total = output.sum(dim=1)
        if bool((output >= 0).all()) and bool((total - 1).abs().max() < 1e-3):
            return ("The output sums to 1, but no softmax was recognised: the scores explained are probabilities.",)
    return ()


def _no_relu(rule: Any, layers: Mapping[str, Layer]) -> str:
    others = sorted({layer.type for layer in layers.values() if layer.kind == "activation"})
    return (
        f"{rule if isinstance(rule, str) else 'The rule'!r} changes the gradient of ReLUs, and none ran on the way to "
        f"this target (other activations: {', '.join(others) or 'none'}). Use saliency."
    )
