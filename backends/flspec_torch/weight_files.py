"""Reading of weights that torch saved, without running code in the file."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["read_torch"]

_WRAPPERS = ("state_dict", "model")  # keys under which training scripts save a state dict beside other values


def read_torch(path: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a state dict by name, bfloat16 as float32. Raises ValueError if `path` holds none.

    The state dict may be the whole content of the file, or be in it under `state_dict` or `model`.
    """
    return {str(name): _to_array(name, value, path.stat().st_size) for name, value in _state_dict(path).items()}


def _state_dict(path: Path) -> Mapping[Any, Any]:
    loaded = _load(path)
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            return dict(loaded[key])
    if not isinstance(loaded, Mapping) or not loaded:
        raise ValueError("holds no state dict; save one with torch.save(model.state_dict(), FILE)")
    return loaded


def _load(path: Path) -> object:
    try:
        _check_sums(path)
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The name that the file would call, if torch reports it. The rest of torch's message advises to call it.
        names = re.search(r"(?:GLOBAL|class|function) ([\w.]*\w)", str(error))
        what = f", {names[1]}," if names else ""
        raise ValueError(
            f"holds something other than weights{what} and pickled objects are not loaded; if you trust the file, "
            "convert it with torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as error:
        # For a damaged file torch may raise anything: EOFError, KeyError, RuntimeError, OSError, …
        if "TorchScript" in str(error):
            raise ValueError("is TorchScript; save its weights with torch.save(model.state_dict(), FILE)") from None
        raise ValueError(_DAMAGED) from None


_DAMAGED = "is not a file that torch.save wrote, or is cut short or damaged; save or download it again"


def _check_sums(path: Path) -> None:
    """Raise ValueError if a part does not match its stored checksum, which torch itself does not check."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():
                raise ValueError


def _to_array(name: object, value: object, file_size: int) -> NDArray[Any]:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is not a tensor but a {type(value).__name__}; save only a state dict")
    if value.layout is not torch.strided or value.is_quantized:
        raise ValueError(f"{name} is sparse or quantized; save it as a plain float32 tensor")
    if value.nbytes > file_size:  # a few bytes can claim to have any shape
        raise ValueError(f"{name} claims to be larger than the whole file; save it with torch.clone")
    return (value.float() if value.dtype is torch.bfloat16 else value).detach().numpy()
