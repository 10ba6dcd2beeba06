"""Somebody's torch module as a function of named tensors, the same in every process and thread."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from flspec.core.references import find_object
from flspec.errors import RunError
from flspec.execution.part_checks import PartCall
from flspec.layers import Shape, TorchModule

__all__ = [
    "build_module",
    "check_output",
    "construct",
    "digest_of_buffer",
    "fresh_module",
    "module_call",
    "run",
    "seeded",
    "without_draws",
]

_CLASS_SEED = 0  # under which an instance is made whose tensors are replaced


class _Turns:
    """Turns of threads: one that draws, or any number that must not, since all share the generators of torch, numpy
    and Python.
    """

    def __init__(self) -> None:
        self._changed, self._num_without = threading.Condition(threading.RLock()), 0

    @contextmanager
    def drawing(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._num_without == 0)
            yield

    @contextmanager
    def without_draws(self) -> Iterator[None]:
        with self._changed:
            self._num_without += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_without -= 1
                self._changed.notify_all()


_turns = _Turns()


def build_module(layer: TorchModule) -> Callable[[Mapping[str, Tensor], Sequence[Tensor], Any], Tensor]:
    """Return the function from tensors, one input and in training what chance does, to the module's output."""
    instances = _instances(layer.model_dump_json(), find_object(layer.module))

    def apply(tensors: Mapping[str, Tensor], inputs: Sequence[Tensor], masks: Mapping[str, Tensor] | None) -> Tensor:
        with instances.borrowed() as module:
            seed = int(masks[layer.name][0]) if masks and layer.name in masks else None
            return run(layer, module, tensors, inputs[0], masks is not None, seed)

    return apply


def run(
    layer: TorchModule, module: nn.Module, tensors: Mapping[str, Tensor], x: Tensor, training: bool, seed: int | None
) -> Tensor:
    """Return the output for a batch, with `tensors` in place of the module's own. Training changes its statistics."""
    _set_mode(layer, module, training)
    given = {name: tensors[name] for name in layer.tensors}
    given |= {name: module.get_buffer(name).to(x.device) for name in layer.fixed}
    given |= {name: module.get_buffer(name).to(x.device, copy=True) for name in layer.counters}
    call = module_call(module)
    with seeded(seed) if seed is not None else without_draws(call, training), call.guarded():
        output = torch.func.functional_call(module, given, (x,))
    _take_over(layer, given, tensors)
    return check_output(call, output, (len(x), *layer.output))


def module_call(module: nn.Module) -> PartCall:
    """Return what names the module's `forward` in errors."""
    return PartCall("model", module, "forward", way_out="repair it there")


def check_output(call: PartCall, output: Any, shape: tuple[int | None, ...]) -> Tensor:
    """Return the output if it is what every module promises: float32 of `shape`, None being any size.

    Of a mapping, as Hugging Face's models return, it is the value named `logits`.
    """
    output = output.get("logits", output) if isinstance(output, Mapping) else output
    if not isinstance(output, Tensor):
        raise call.error(
            f"gave a {type(output).__name__}; return its logits, a tensor [batch, outputs], alone or by the name logits"
        )
    if output.dtype is not torch.float32:
        raise call.error(f"gave {_plain(output.dtype)}; return float32, as by .float()")
    if len(output.shape) != len(shape) or any(b not in (None, a) for a, b in zip(output.shape, shape, strict=True)):
        wanted = ", ".join("outputs" if size is None else str(size) for size in shape)
        raise call.error(f"gave outputs of shape {list(output.shape)}, not [{wanted}]")
    return output


def construct(cls: Callable[..., Any], arguments: Mapping[str, Any], input_shape: Shape, seed: int) -> nn.Module:
    """Return an instance whose class draws under `seed`. Lazy modules get their shapes from one example."""
    with seeded(seed):
        module: nn.Module = cls(**arguments)
        if isinstance(module, nn.Module) and any(map(is_lazy, (*module.parameters(), *module.buffers()))):
            module.eval()
            with torch.no_grad():
                module(torch.zeros(1, *input_shape))
    return module


def fresh_module(layer: TorchModule, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return an instance of a described module that has copies of these tensors. Raises as `_fresh` does."""
    module = _fresh(layer, find_object(layer.module))
    with torch.no_grad():
        for name, tensor in _named_tensors(module):
            if name in layer.tensors:
                tensor.copy_(tensors[name])
    return module


def _fresh(layer: TorchModule, cls: Callable[..., Any]) -> nn.Module:
    """Return an instance of a described module. Raises RunError if it is not made as it was when it was described."""
    module = construct(cls, layer.arguments, layer.input, _CLASS_SEED)
    found = {name: tuple(tensor.shape) for name, tensor in _named_tensors(module) if name in layer.tensors}
    buffers = dict(module.named_buffers())
    digests = {name: digest_of_buffer(buffers[name]) for name in layer.fixed if name in buffers}
    if found != {name: tensor.shape for name, tensor in layer.tensors.items()} or digests != layer.fixed:
        raise RunError(
            f"model: {layer.module} makes other tensors here than when the plan was compiled; compile its spec again"
        )
    return module


def digest_of_buffer(buffer: Tensor) -> str:
    """Return the SHA-256 of a buffer's type, shape and values."""
    array = buffer.detach().contiguous()
    head = f"{_plain(array.dtype)} {list(array.shape)}\n".encode()
    return hashlib.sha256(head + bytes(array.flatten().view(torch.uint8).numpy())).hexdigest()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Have torch, numpy and Python draw from `seed`, one thread at a time, and afterwards go on as before."""
    with _turns.drawing():
        before = torch.get_rng_state(), np.random.get_state(), random.getstate()
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            torch.set_rng_state(before[0])
            np.random.set_state(before[1])
            random.setstate(before[2])


@contextmanager
def without_draws(call: PartCall, training: bool) -> Iterator[None]:
    """Raise RunError if torch draws: nobody planned what."""
    with _turns.without_draws():
        before = torch.get_rng_state()
        yield
        has_drawn = not torch.equal(before, torch.get_rng_state())
    if has_drawn:
        when = "in a step, but not when it was described" if training else "in evaluation"
        raise call.error(f"drew random numbers {when}, so that no plan can hold them")


class _Instances:
    """Instances of one module, each used by one thread at a time, because its tensors are exchanged for each call."""

    def __init__(self, layer: TorchModule, cls: Callable[..., Any]) -> None:
        self._layer, self._class = layer, cls
        self._idle, self._lock = list[nn.Module](), threading.Lock()

    @contextmanager
    def borrowed(self) -> Iterator[nn.Module]:
        with self._lock:
            module = self._idle.pop() if self._idle else None
        module = module or _fresh(self._layer, self._class)
        yield module
        with self._lock:
            self._idle.append(module)


@lru_cache(maxsize=4)
def _instances(document: str, cls: Callable[..., Any]) -> _Instances:
    return _Instances(TorchModule.model_validate_json(document), cls)


def _set_mode(layer: TorchModule, module: nn.Module, training: bool) -> None:
    module.train(training)
    for name in layer.still:
        module.get_submodule(name).training = False


@torch.no_grad()
def _take_over(layer: TorchModule, given: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy statistics that a module replaced, rather than changed, to where the caller finds them."""
    for name, tensor in layer.tensors.items():
        if not tensor.is_learned and given[name] is not tensors[name]:
            tensors[name].copy_(given[name])


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
