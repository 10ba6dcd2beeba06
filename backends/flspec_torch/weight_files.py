"""Reading of weights that torch saved, without running code in the file."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.core.reading import check_stored, open_regular
from flspec.errors import InputError

__all__ = ["read_torch"]

_MOST_BYTES = 2**35  # of a file
_MOST_PICKLE_BYTES = 2**22  # that name the tensors of a file; a thousand tensors take 200 KB
_NUM_PICKLES = 4  # of the older format: magic number, version, system, content
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
        with open_regular(path, _MOST_BYTES) as file:
            _check(file, path)
            file.seek(0)
            with warnings.catch_warnings(action="ignore"):
                return torch.load(file, map_location="cpu", weights_only=True)
    except InputError as error:
        raise ValueError(str(error)) from None
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


def _check(file: BinaryIO, path: Path) -> None:
    """Raise InputError if reading could take more memory than the file, ValueError if a part is damaged.

    Torch never compresses, but unpacks what is compressed, and it does not check the stored checksums.
    """
    if not zipfile.is_zipfile(file):  # as torch wrote until 2020: pickles, then the values
        file.seek(0)
        with suppress(ValueError):  # of what is no pickle torch says more
            for _ in range(_NUM_PICKLES):
                _check_pickle(file, path)
        return
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise ValueError("TorchScript")
        check_stored(archive, path)
        for member in archive.infolist():
            if member.filename.endswith(".pkl"):
                if member.file_size > _MOST_PICKLE_BYTES:
                    raise InputError(f"{path}: {member.filename} is larger than {_MOST_PICKLE_BYTES >> 20} MiB")
                _check_pickle(io.BytesIO(archive.read(member)), path)
        if archive.testzip():
            raise ValueError


def _check_pickle(file: IO[bytes], path: Path) -> None:
    """Raise InputError for a pickle that is not of weights: too long, or naming what makes values of any size."""
    start = file.tell()
    for opcode, argument, position in pickletools.genops(file):
        if opcode.name == "GLOBAL" and str(argument).endswith(" bytearray"):
            raise InputError(f"{path}: its pickle makes a bytearray, which weights do not need")
        if (position or 0) - start > _MOST_PICKLE_BYTES:
            raise InputError(f"{path}: its pickle is longer than {_MOST_PICKLE_BYTES >> 20} MiB")


def _to_array(name: object, value: object, file_size: int) -> NDArray[Any]:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is not a tensor but a {type(value).__name__}; save only a state dict")
    if value.layout is not torch.strided or value.is_quantized:
        raise ValueError(f"{name} is sparse or quantized; save it as a plain float32 tensor")
    if value.nbytes > file_size:  # a few bytes can claim to have any shape
        raise ValueError(f"{name} claims to be larger than the whole file; save it with torch.clone")
    return (value.float() if value.dtype is torch.bfloat16 else value).detach().numpy()
