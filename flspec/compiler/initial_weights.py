"""Initial tensors of a model: drawn at random, or read by name from a file of weights.

`.safetensors` files are read here. Readers of other file types come from the entry point group `flspec.weight_files`,
by suffix. A reader takes a path and returns arrays by name, or raises ValueError with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.locations import locate_file
from flspec.core.randomness import Stream
from flspec.core.reading import JSON_VALUE, check_json, read_regular
from flspec.core.text import join_some
from flspec.errors import InputError, printable, shorten
from flspec.layers import Network, Tensor, TorchModule
from flspec.models import Model

__all__ = ["start_tensors"]

_MOST_BYTES = 2**35  # of a file
_MOST_NAMED = 3  # tensors that an error names for each kind of mismatch
_NO_NETWORKS: Mapping[str, Network] = MappingProxyType({})
Arrays = Mapping[str, NDArray[Any]]


def start_tensors(
    model: Model,
    parameters: Mapping[str, Tensor],
    root: Path,
    stream: Stream,
    field: str = "model",
    networks: Mapping[str, Network] = _NO_NETWORKS,
) -> dict[str, NDArray[np.float32]]:
    """Return the initial value of every tensor of `parameters`, by name and in their order.

    Without `pretrained` all tensors are drawn. With it, the head is drawn unless `keep_head` is set, and the rest is
    read, by own names or by those that a torch module gives, which also says what is drawn. `field` is where a spec has
    the model, `networks` are what it makes. Raises InputError if the file cannot be read, or does not hold exactly the
    tensors to read; where the module names them, the file may hold others, too.
    """
    if model.pretrained is None:
        return model.initial_tensors(networks, parameters, stream)
    given = _names_in_files(networks)
    read_as = {name: given.get(name, name) for name in parameters if not _is_replaced(model, name)}
    wanted = {stored: parameters[name] for name, stored in read_as.items() if stored is not None}
    path = locate_file(model.pretrained, root, f"{field}.pretrained")
    try:
        unused = _unused_names(networks)
        stored = {n: value for n, value in _read(path).items() if n not in unused and not _is_replaced(model, n)}
        if any(given.values()):
            stored = {name: value for name, value in stored.items() if name in wanted}
        _check_match(wanted, stored)
        values = {name: _as_float32(name, stored[name]) for name in wanted}
    except (ValueError, OSError) as error:
        raise InputError(printable(f"{field}.pretrained: {shorten(model.pretrained)}: {error}")) from None
    taken = {name: values[stored] for name, stored in read_as.items() if stored is not None}
    drawn = model.initial_tensors(networks, {n: t for n, t in parameters.items() if n not in taken}, stream)
    return {name: taken[name] if name in taken else drawn[name] for name in parameters}


def _is_replaced(model: Model, name: str) -> bool:
    """Return whether a tensor belongs to the head, which fits one task only and is drawn afresh."""
    return not model.keep_head and any(name.startswith(f"{layer}.") for layer in model.head_layers)


def _names_in_files(networks: Mapping[str, Network]) -> dict[str, str | None]:
    """Return by which names a torch module's tensors are in files, if it says so; None of what is in none."""
    layers = (layer for network in networks.values() for layer in network.layers)
    found = [layer.names_in_files for layer in layers if isinstance(layer, TorchModule)]
    return {name: stored for names in found for name, stored in names.items()}


def _unused_names(networks: Mapping[str, Network]) -> set[str]:
    """Return the names of what a torch module saves that is none of its tensors here, or is one again."""
    layers = (layer for network in networks.values() for layer in network.layers)
    return {name for layer in layers if isinstance(layer, TorchModule) for name in layer.unused_names}


def _read(path: Path) -> Arrays:
    """Return a file's tensors, without torch's counts of batches, which nothing here uses."""
    arrays = _plain_names(_reader(path.suffix)(path))
    return {name: value for name, value in arrays.items() if not name.endswith(".num_batches_tracked")}


def _reader(suffix: str) -> Callable[[Path], Arrays]:
    if suffix == ".safetensors":
        return _read_safetensors
    readers = {f".{point.name}": point for point in entry_points(group="flspec.weight_files")}
    if suffix not in readers:
        known = ", ".join(sorted([*readers, ".safetensors"]))
        raise ValueError(f"files of type {suffix or 'none'!r} are not read; known types: {known}")
    reader: Callable[[Path], Arrays] = readers[suffix].load()
    return reader


def _plain_names(arrays: Arrays) -> Arrays:
    """Remove the prefix `module.` that torch's DataParallel puts before each name."""
    wrapper = "module."
    if not all(name.startswith(wrapper) for name in arrays):
        return arrays
    return {name.removeprefix(wrapper): value for name, value in arrays.items()}


def _checked_safetensors(path: Path) -> bytes:
    """Read a file whose description of tensors, which may be of any length, fits into memory."""
    content = read_regular(path, _MOST_BYTES)
    check_json(content[8 : 8 + int.from_bytes(content[:8], "little")], path, JSON_VALUE)
    return content


def _read_safetensors(path: Path) -> Arrays:
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(_checked_safetensors(path))  # type: ignore[no-untyped-call]
        return {name: _decode(name, **tensor) for name, tensor in tensors}
    except SafetensorError as error:
        raise ValueError(f"is not a safetensors file, or is cut short or damaged: {error}") from None


def _decode(name: str, dtype: str, shape: list[int], data: bytearray) -> NDArray[Any]:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << np.uint32(16)).view("<f4").reshape(shape)
    known = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
    if dtype not in known:
        raise ValueError(f"{shorten(name)} is of type {dtype}; save it as float32")
    return np.frombuffer(data, known[dtype]).reshape(shape)


def _check_match(wanted: Mapping[str, Tensor], found: Arrays) -> None:
    """Raise ValueError unless the file has exactly the wanted tensors."""
    missing = [f"{name} {list(tensor.shape)}" for name, tensor in wanted.items() if name not in found]
    extra = [f"{shorten(name)} {list(value.shape)}" for name, value in found.items() if name not in wanted]
    misshaped = [
        f"{name} is {list(found[name].shape)} where the model has {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    troubles = {"lacks ": missing, "holds what the model does not: ": extra, "": misshaped}
    if mismatch := "; ".join(f"{what}{join_some(names, _MOST_NAMED)}" for what, names in troubles.items() if names):
        raise ValueError(f"{mismatch}; name weights of this very model{_why(missing, extra)}")


def _why(missing: list[str], extra: list[str]) -> str:
    """Return a hint at the most frequent cause of a mismatch."""
    statistics = ("running_mean ", "running_var ")
    if extra and all(any(part in name for part in statistics) for name in extra):
        return ", or give the model batch norm, of which these are the statistics"
    if missing and all(any(part in name for part in statistics) for name in missing):
        return ", with the statistics of its batch norm"
    return ""


def _as_float32(name: str, value: NDArray[Any]) -> NDArray[np.float32]:
    if value.dtype.kind != "f":
        raise ValueError(f"{name} is of type {value.dtype}; save it as float32")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} holds values that are not finite; name sound weights")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(value, np.float32)
    if not np.array_equal(converted, value):
        raise ValueError(f"{name} is float64, whose values float32 would round; save it as float32")
    return converted
