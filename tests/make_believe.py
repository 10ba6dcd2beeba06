"""A device without hardware: its tensors compute on the CPU, and refuse to meet tensors of the CPU.

It is stricter than a GPU, on which a number of the CPU may take part in a sum. Tensors say that they are on `meta`,
since autograd follows no device that this torch has no driver of. All numbers are real,
so what is trained there can be held against the CPU to the last bit.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from flspec_torch.devices import TorchDevice

__all__ = ["THERE", "Traffic", "make_believe"]

THERE = torch.device("meta")
_aten = torch.ops.aten
_CROSSES = {_aten._to_copy.default, _aten.copy_.default}  # from one device to another, where it is asked for


class Traffic:
    """What happened between the two devices."""

    def __init__(self) -> None:
        self.sent = Counter[tuple[int, ...]]()  # transfers to the device, by shape
        self.read = 0  # tensors that came back
        self.items = 0  # numbers that came back one by one
        self.peak = 0  # bytes that tensors there held at once
        self._held, self._users = 0, Counter[int]()  # by the place of their memory

    def hold(self, made: torch.Tensor, memory: torch.UntypedStorage) -> None:
        """Count the memory of a tensor for as long as a tensor uses it."""
        place, size = memory.data_ptr(), memory.nbytes()
        self._held += 0 if self._users[place] else size
        self._users[place] += 1
        self.peak = max(self.peak, self._held)
        weakref.finalize(made, self._let_go, place, size)

    def _let_go(self, place: int, size: int) -> None:
        self._users[place] -= 1
        self._held -= 0 if self._users[place] else size


class _There(torch.Tensor):
    """A tensor of the device; `held` has its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=THERE,
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"There({self.held})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _call(function, args, kwargs or {}, Traffic())


class _Device(TorchDispatchMode):
    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(function, args, kwargs or {}, self._traffic)


def _call(function: Any, args: Any, kwargs: dict[str, Any], traffic: Traffic) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, _There)]
    if there and len(there) < len(tensors) and function not in _CROSSES:
        raise RuntimeError(f"{function} is given tensors of two devices")
    asked = kwargs.get("device")
    goes_there = bool(there) if asked is None else torch.device(asked) == THERE
    if function in _CROSSES:
        source = args[-1] if function is _aten.copy_.default else args[0]
        traffic.sent[tuple(source.shape)] += goes_there and not isinstance(source, _There)
        traffic.read += not goes_there and isinstance(source, _There)
    given = {**kwargs, "device": torch.device("cpu")} if asked is not None else kwargs
    result = function(*tree_map(_held, args), **tree_map(_held, given))
    if function is _aten._local_scalar_dense.default:
        traffic.items += bool(there)
        return result
    if not goes_there:
        return result
    given_there = {id(tensor.held): tensor for tensor in there}  # an operation in place gives back what it was given
    return tree_map(lambda leaf: _there(leaf, given_there, traffic) if isinstance(leaf, torch.Tensor) else leaf, result)


def _there(held: torch.Tensor, known: dict[int, _There], traffic: Traffic) -> torch.Tensor:
    if id(held) in known:
        return known[id(held)]
    made: torch.Tensor = _There(held)
    traffic.hold(made, held.untyped_storage())
    return made


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, _There) else leaf


class _Believed(TorchDevice):
    """The device for any thread that sends tensors there or trains on it."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__(THERE, "meta (make-believe)")
        self._traffic = traffic

    def put(self, values: NDArray[Any]) -> torch.Tensor:
        with _Device(self._traffic):
            return super().put(values)

    def store(self, values: NDArray[Any]) -> torch.Tensor:
        with _Device(self._traffic):
            return super().store(values)

    @contextmanager
    def in_words(self, what: str) -> Iterator[None]:
        with _Device(self._traffic), super().in_words(what):
            yield


@contextmanager
def make_believe() -> Iterator[tuple[TorchDevice, Traffic]]:
    """Yield the device, which there is in this thread for as long as the context lasts.

    Torch's inference mode knows no tensors such as these, so gradients are turned off without it.
    """
    traffic = Traffic()
    with _Device(traffic), patch.object(torch, "inference_mode", torch.no_grad):
        yield _Believed(traffic), traffic
