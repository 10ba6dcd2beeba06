"""The device that a plan's tensors are on: the way there and back, and how kernels are chosen.

Everything else makes tensors by `put`, or like a tensor that is there already, so one code trains and scores on any
device. Results come back as arrays in as few transfers as there can be, since each waits for the device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.errors import InputError, RunError
from flspec.protocol.devices import CPU, Device

__all__ = ["HOST", "TorchDevice", "find_device", "open_device"]

_AT_ONCE = 2**26  # bytes that are sent at a time of what a disk may hold
_NO_BOUND = 2**62


class TorchDevice:
    """A device, with its name in messages."""

    def __init__(self, device: torch.device, title: str = "cpu") -> None:
        self.device, self.title = device, title
        self._last: tuple[Mapping[str, NDArray[Any]], dict[str, Tensor]] | None = None

    @property
    def is_host(self) -> bool:
        """Whether arrays and tensors share memory."""
        return self.device.type == "cpu"

    def put(self, values: NDArray[Any]) -> Tensor:
        """Return an array as a tensor there; on the host in the same memory."""
        there = torch.from_numpy(values)
        return there if self.is_host else there.to(self.device)

    def store(self, values: NDArray[Any]) -> Tensor:
        """Copy an array there, a part at a time, since it may be mapped from a disk and larger than memory."""
        there = torch.empty(values.shape, dtype=_dtype(values), device=self.device)
        rows = max(1, len(values) * _AT_ONCE // max(1, values.nbytes))
        for start in range(0, len(values), rows):
            there[start : start + rows].copy_(torch.from_numpy(np.array(values[start : start + rows])))
        return there

    def copies(self, weights: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
        """Return tensors there that may be changed."""
        return {name: self.put(value.copy() if self.is_host else value) for name, value in weights.items()}

    def copies_of_round(self, weights: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
        """Return tensors there that may be changed. The same `weights` are sent once, for all clients of a round."""
        if self.is_host:
            return self.copies(weights)
        last = self._last
        if last is None or last[0] is not weights:
            last = self._last = weights, self.copies(weights)
        return {name: tensor.clone() for name, tensor in last[1].items()}

    def read(self, tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        """Return float32 tensors as arrays, in one transfer; on the host in the same memory."""
        if self.is_host or not tensors:
            return {name: tensor.detach().numpy() for name, tensor in tensors.items()}
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors.values()]).cpu().numpy()
        ends = np.cumsum([tensor.numel() for tensor in tensors.values()])
        parts = np.split(flat, ends[:-1])
        return {name: part.reshape(tensors[name].shape) for name, part in zip(tensors, parts, strict=True)}

    def has_room(self, num_bytes: int) -> bool:
        """Return whether so much may stay there for a whole run: at most half of what is free."""
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else _NO_BOUND
        return 2 * num_bytes <= free

    @contextmanager
    def in_words(self, what: str) -> Iterator[None]:
        """Raise RunError where the device runs out of memory, which is no error of the experiment."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"{what}: {self.title} is out of memory ({str(error).splitlines()[0]}); free it of other programs, or "
                "let fewer clients train at once (--workers 1), and go on with --resume"
            ) from error


HOST = TorchDevice(torch.device("cpu"))


def find_device(asked: str) -> Device:
    """Return the device of this name, or of `auto` the first of cuda, mps and cpu that there is.

    Raises InputError, saying what torch has, if there is no such device.
    """
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    match asked.partition(":"):
        case "cpu", _, _:
            return CPU
        case "mps", _, _ if _has_mps():
            return Device("mps", "Apple")
        case "cuda", _, number if int(number or 0) < _num_cuda():
            return Device(f"cuda:{int(number or 0)}", torch.cuda.get_device_name(int(number or 0)))
    raise InputError(f"device: there is no {asked}: torch {torch.__version__} has {_what_there_is()}; {_way_out()}")


@cache
def open_device(device: Device) -> TorchDevice:
    """Return a device that `find_device` found, of which this process uses no other kernels from now on than those that
    compute in float32 and to the same bits each time, as far as torch has them; it warns of others.
    """
    if device == CPU:
        return HOST
    if device.name.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read with the first product
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False  # by default convolutions have 10 bits of 23
        torch.backends.cudnn.benchmark = False  # which chooses by time
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return TorchDevice(torch.device(device.name), str(device))


def _dtype(values: NDArray[Any]) -> torch.dtype:
    return torch.from_numpy(np.zeros(0, values.dtype)).dtype


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _num_cuda() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _what_there_is() -> str:
    cuda = [f"cuda:{number} ({torch.cuda.get_device_name(number)})" for number in range(_num_cuda())]
    return ", ".join(["cpu", *cuda, *(["mps"] if _has_mps() else [])])


def _way_out() -> str:
    if torch.version.cuda or _has_mps():
        return "choose one of these, or auto"
    return "this torch is built without CUDA: choose cpu or auto, or install a build of torch for your GPU"
