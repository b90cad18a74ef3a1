"""PyTorch: any `nn.Module`, seen through hooks on a shadow of it that shares its weights.

The hooks are always there and do nothing unless their thread is inside a run of ours; what a run wants is
thread-local. So the user's module is never touched, and runs in several threads do not meet.
"""

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from types import MappingProxyType
from typing import Any, final

import array_api_compat.torch
import numpy as np
import torch
from torch import nn

from agnoscope.backends.kinds import kind_of
from agnoscope.backends.torch_relu import HeadMode, ReluMode
from agnoscope.backends.torch_shadow import borrowed, same_storage, shadow_of, unwrap
from agnoscope.errors import CapabilityError, LayerError, ModelError
from agnoscope.images import InputSpec
from agnoscope.model import RESERVED, Array, Head, Layer, Model, Outline, Patch

CHANNELS_FIRST = (
    *(nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.pooling._MaxPoolNd),
    *(nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd, nn.GroupNorm),
)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm)


def wrap(network: nn.Module, params: Any, spec: InputSpec, labels: Sequence[str] | None) -> "TorchModel":
    """Make a PyTorch module explainable.

    Args:
        network: an `nn.Module`; compiled, DataParallel and exported ones are unwrapped, scripted ones offer
            scores and input gradients only.
        params: None; a module brings its own.
        spec: what it expects of an image.
        labels: names of its classes.

    Raises:
        ModelError: parameters were given beside the module.
    """
    if params is not None:
        raise ModelError(
            "A PyTorch module brings its own parameters: load them with load_state_dict, not params=."
        )
    return TorchModel(network, spec, labels)


class _StopRun(BaseException):
    """Ends a run at the last layer that it needs; not an Exception, which a user's code may catch."""


@dataclass
class _Run:
    """What one run of one thread wants, and what it has met."""

    wanted: frozenset[str]
    patch: Mapping[str, Patch]
    complete: bool
    values: dict[str, Any] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)
    met: dict[str, Layer] | None = None
    channels_last: bool = False


@final
class TorchModel(Model):
    """A PyTorch module behind the protocol."""

    backend = "torch"

    def __init__(self, network: nn.Module, spec: InputSpec, labels: Sequence[str] | None) -> None:
        super().__init__(spec, labels)
        self.xp = array_api_compat.torch
        self.versions = MappingProxyType({"torch": torch.__version__})
        self.network = unwrap(network)
        if isinstance(self.network, torch.jit.ScriptModule):
            self.can = frozenset({"gradient"})
        self._local = threading.local()
        self._lock = threading.RLock()
        self._cast_shadow()

    def _cast_shadow(self) -> None:
        self._shadow = shadow_of(self.network)
        seen = self.network if self._shadow is None else self._shadow
        self._names = {module: name for name, module in seen.named_modules() if name}
        tensors = [t for t in [*seen.parameters(), *seen.buffers()] if t.is_floating_point()]
        self._device = tensors[0].device if tensors else torch.device("cpu")
        self._inner = tensors[0].dtype if tensors else torch.float32
        self.dtype = "float64" if self._inner == torch.float64 else "float32"
        if self._shadow is not None and "capture" in self.can:
            for module in self._names:
                module.register_forward_hook(self._hook)

    # -- the protocol ----------------------------------------------------------------------------------------

    def discover(self, size: tuple[int, int]) -> Outline:
        low, high = (b if np.isfinite(b) else d for b, d in zip(self.spec.bounds, (0.0, 1.0), strict=True))
        images = np.full((1, *size, self.spec.depth), (low + high) / 2, dtype=self.dtype)
        run = _Run(frozenset(), {}, complete=True, met={})
        with self._quiet(), HeadMode() as mode:
            output = self._forward(torch.as_tensor(images, device=self._device), run)
            scores, head = mode.scores(output)
        return Outline(MappingProxyType(run.met or {}), tuple(scores.shape[1:]), head, _notes(output, head))

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        layers = frozenset(capture) - frozenset(RESERVED)
        if layers or patch:
            self.require("capture", f"looking at {', '.join(sorted(layers | set(patch)))}")
        size = (images.shape[1], images.shape[2])
        head = self.outline(size).head
        run = _Run(layers, patch, complete=bool(set(capture) & set(RESERVED)))
        with ExitStack() as stack:
            # A function mode costs a little at every operation, so each is entered only where it is needed.
            relus = stack.enter_context(ReluMode(self.rule, self.xp)) if self.rule is not None else None
            heads = stack.enter_context(HeadMode()) if "scores" in capture and head != "linear" else None
            output = self._forward(images, run)
        missing = [name for name in (*layers, *patch) if name not in run.ran]
        if missing:
            raise LayerError(
                f"The layer {missing[0]!r} did not run in this pass; model.layers() lists those that do."
            )
        if relus is not None and relus.met == 0:
            raise CapabilityError(_no_relu(self.rule, self.layers(size)))
        values = dict(run.values)
        if "output" in capture:
            values["output"] = _wide(output)
        if "scores" in capture:
            values["scores"] = _wide(output if heads is None else heads.scores(output)[0])
        return {name: values[name] for name in capture}

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        def differentiated(tree: Any, *rest: Any) -> tuple[tuple[Any, Any], Any]:
            leaves = _mapped(tree, lambda t: t.detach().requires_grad_())
            flat = _flat(leaves)
            with torch.enable_grad():
                value, aux = function(leaves, *rest)
            slopes: Sequence[Any] = [None] * len(flat)
            if value.requires_grad and flat:
                slopes = _slopes(value, flat)
            found = iter([torch.zeros_like(t) if g is None else g for t, g in zip(flat, slopes, strict=True)])
            return (value.detach(), _mapped(aux, torch.Tensor.detach)), _mapped(leaves, lambda _: next(found))

        return differentiated

    def compile(
        self, program: Callable[..., dict[str, Array]], static: Hashable
    ) -> Callable[..., dict[str, Any]]:
        def compiled(*trees: Any) -> dict[str, Any]:
            if self._shadow is not None and not same_storage(self.network, self._shadow):
                self._cast_shadow()
            with self._quiet():
                found = program(self, static, *(_mapped(tree, self._tensor) for tree in trees))
            return _mapped(found, lambda t: _wide(t).detach().cpu().numpy())

        return compiled

    # -- how it is done --------------------------------------------------------------------------------------

    def _quiet(self) -> ExitStack:
        """Neither gradients, nor the user's inference mode or autocast, on the network's own device."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(self._device.type, enabled=False))
        if self._device.type != "cpu":
            stack.enter_context(self._device)
        return stack

    def _tensor(self, array: Any) -> torch.Tensor:
        array = np.asarray(array)
        array = array.astype(self.dtype if array.dtype.kind == "f" else np.int32, copy=False)
        # A read-only array would make torch warn; it is never written to.
        return torch.tensor(array, device=self._device)

    def _forward(self, images: torch.Tensor, run: _Run) -> Any:
        """Send images through the network under one run; None where it stopped early."""
        x = self.spec.prepare(self.xp, images).to(self._inner).permute(0, 3, 1, 2)
        network = self.network if self._shadow is None else self._shadow
        guard: AbstractContextManager[Any] = nullcontext()
        if self._shadow is None:
            guard = ExitStack()
            guard.enter_context(self._lock)
            guard.enter_context(borrowed(network, self._hook))
        outer = getattr(self._local, "run", None)
        with guard:
            self._local.run = run
            try:
                return _tensor_of(network(x))
            except _StopRun:
                return None
            finally:
                self._local.run = outer

    def _hook(self, module: nn.Module, args: Any, output: Any) -> Any:
        run: _Run | None = getattr(self._local, "run", None)
        if run is None or module not in self._names:
            return None
        if isinstance(module, CHANNELS_FIRST):
            run.channels_last = False
        tensor = _tensor_of(output)
        if tensor is None:
            return None
        if isinstance(module, CHANNELS_LAST) and tensor.ndim == 4:
            run.channels_last = True
        use = run.uses.get(self._names[module], 0)
        run.uses[self._names[module]] = use + 1
        name = self._names[module] + (f"@{use}" if use else "")
        run.ran.add(name)
        if run.met is not None:
            run.met[name] = _layer(name, module, _last(tensor, run.channels_last))
        if name not in run.wanted and name not in run.patch:
            return None
        with torch.enable_grad():  # a no_grad inside the network must not cut a tap off
            tensor = self._visit(run, name, tensor)
        return _with_tensor(output, tensor)

    def _visit(self, run: _Run, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Patch and capture one activation; returns what the network goes on with."""
        moved = run.channels_last
        if name in run.patch:
            tensor = _first(run.patch[name](_last(tensor, moved)), moved)
        if name in run.wanted:
            run.values[name] = _last(tensor, moved)
            if not run.complete and len(run.values) == len(run.wanted):
                raise _StopRun
        # A later in-place operation must reach neither what was captured nor a leaf that a patch returned.
        return tensor.clone()


def _slopes(value: torch.Tensor, leaves: list[torch.Tensor]) -> Sequence[Any]:
    try:
        return torch.autograd.grad(value, leaves, allow_unused=True)
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise
        raise CapabilityError(
            "This network cannot be differentiated in PyTorch: an in-place operation overwrites an activation that "
            f"its gradient needs. Write that operation out of place, or use occlusion. PyTorch says: {error}"
        ) from error


def _last(tensor: torch.Tensor, already: bool) -> torch.Tensor:
    return tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 and not already else tensor


def _first(tensor: torch.Tensor, already: bool) -> torch.Tensor:
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 and not already else tensor


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """Half-precision values as float32: NumPy knows no bfloat16, and scores deserve it."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _layer(name: str, module: nn.Module, seen: torch.Tensor) -> Layer:
    composed = any(True for _ in module.children())
    return Layer(name, kind_of(type(module).__name__, composed), tuple(seen.shape[1:]), type(module).__name__)


def _notes(output: torch.Tensor, head: Head) -> tuple[str, ...]:
    if head == "linear" and output.ndim == 2 and output.shape[1] > 1:
        total = output.sum(dim=1)
        if bool((output >= 0).all()) and bool((total - 1).abs().max() < 1e-3):
            return (
                "The output sums to 1, but no softmax was recognised: the scores explained are probabilities.",
            )
    return ()


def _no_relu(rule: Any, layers: Mapping[str, Layer]) -> str:
    others = sorted({layer.type for layer in layers.values() if layer.kind == "activation"})
    return (
        f"{rule if isinstance(rule, str) else 'The rule'!r} changes the gradient of ReLUs, and none ran on the way to "
        f"this target (other activations: {', '.join(others) or 'none'}). Use saliency."
    )


def _tensor_of(output: Any) -> Any:
    """The tensor of an output: itself, "logits", or the first one in a tuple, dictionary or dataclass."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        return _tensor_of(output["logits"]) if "logits" in output else _first_tensor(output.values())
    if isinstance(output, tuple | list):
        return _first_tensor(output)
    if is_dataclass(output):
        items = {f.name: getattr(output, f.name) for f in fields(output)}
        return _tensor_of(items)
    return None


def _first_tensor(items: Any) -> Any:
    return next((found for item in items if (found := _tensor_of(item)) is not None), None)


def _with_tensor(output: Any, tensor: torch.Tensor) -> Any:
    """The same output with its tensor replaced."""
    old = _tensor_of(output)
    if output is old:
        return tensor
    if isinstance(output, Mapping):
        changed = {k: _with_tensor(v, tensor) if _tensor_of(v) is old else v for k, v in output.items()}
        return type(output)(**changed) if is_dataclass(output) else type(output)(changed)  # type: ignore[call-arg]
    if isinstance(output, tuple | list):
        items = [_with_tensor(item, tensor) if _tensor_of(item) is old else item for item in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    items_ = {f.name: getattr(output, f.name) for f in fields(output)}
    return replace(output, **{k: _with_tensor(v, tensor) for k, v in items_.items() if _tensor_of(v) is old})


def _mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(tree, Mapping):
        return {name: _mapped(branch, function) for name, branch in tree.items()}
    return function(tree)


def _flat(tree: Any) -> list[Any]:
    return (
        [leaf for branch in tree.values() for leaf in _flat(branch)] if isinstance(tree, Mapping) else [tree]
    )
