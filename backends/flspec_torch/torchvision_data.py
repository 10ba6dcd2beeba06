"""torchvision's own data sets as arrays, found by flspec in the entry point group `flspec.library_data`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.errors import InputError, choose, printable, shorten

__all__ = ["read_torchvision"]

_ROLES = ("train", "test")
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]  # pictures [num, channels, height, width], and labels


def read_torchvision(
    name: str, folder: Path, arguments: Mapping[str, Any], may_download: bool
) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """Return the splits of a class of `torchvision.datasets`, by "train" and "test", and its names of the classes.

    A class whose examples are in one piece gives "train" alone. Raises InputError if torchvision or the files are not
    there, or what it gives are no pictures of one size with one class each.
    """
    cls = _class(name)
    known = _parameters(cls)
    by = next((word for word in ("train", "split") if word in known - set(arguments)), None)
    names, splits = tuple[str, ...](), {}
    for role in _ROLES if by else _ROLES[:1]:
        chosen: dict[str, Any] = {by: role == "train" if by == "train" else role} if by else {}
        more = {"download": True} if may_download and "download" in known else {}
        made = _made(name, cls, folder, {**arguments, **chosen, **more})
        splits[role] = _arrays(f"torchvision's {name}, {role}", made)
        names = names or _names(made)
    return splits, names


def _class(name: str) -> type[Any]:
    try:
        library = import_module("torchvision.datasets")
    except ModuleNotFoundError:
        raise InputError("dataset: kind torchvision needs torchvision: pip install torchvision") from None
    except Exception as error:  # a build for another torch raises what it likes
        raise InputError(
            f"dataset: torchvision cannot be imported ({_shown(error)}); install the build that fits this torch"
        ) from None
    classes = {key for key in library.__all__ if inspect.isclass(getattr(library, key))}
    if name not in classes:
        raise InputError(f"dataset.name: {choose(name, sorted(classes))}")
    found: type[Any] = getattr(library, name)
    return found


def _parameters(cls: type[Any]) -> set[str]:
    """Return the parameters of a class and of those that it hands others to."""
    inits = (vars(one)["__init__"] for one in cls.__mro__ if "__init__" in vars(one))
    return {name for init in inits for name in inspect.signature(init).parameters}


def _made(name: str, cls: type[Any], folder: Path, arguments: Mapping[str, Any]) -> Any:
    if "root" in inspect.signature(cls).parameters:
        arguments = {"root": str(folder), **arguments}
    try:
        return cls(**arguments)
    except Exception as error:  # of torchvision, its downloads and its readers
        raise InputError(
            f"dataset: torchvision's {name} cannot be read in {folder} ({_shown(error)}); name its folder, set "
            "download: true where there is a network, or correct arguments"
        ) from None


def _arrays(what: str, made: Any) -> Arrays:
    pictures, labels = list[NDArray[np.uint8]](), list[int]()
    for number, (picture, label) in enumerate(_examples(what, made)):
        pixels = _pixels(picture, f"{what}: example {number + 1}")
        if pictures and pixels.shape != pictures[0].shape:
            raise InputError(
                f"{what}: example {number + 1} is {list(pixels.shape)}, but others {list(pictures[0].shape)}; read the "
                "files by kind: image_folder, which scales them"
            )
        if isinstance(label, bool) or not isinstance(label, int | np.integer):
            raise InputError(
                f"{what}: a label is {shorten(repr(label), 40)}, not the number of a class; choose another"
            )
        pictures.append(pixels)
        labels.append(int(label))
    if not pictures:
        raise InputError(f"{what}: has no examples; choose another data set")
    return np.stack(pictures), np.array(labels, np.int64)


def _examples(what: str, made: Any) -> Iterator[tuple[Any, Any]]:
    for number in range(len(made)):
        example = made[number]
        if not isinstance(example, tuple) or len(example) != 2:
            raise InputError(f"{what}: an example is no picture with a label; choose another data set")
        yield example


def _pixels(picture: Any, where: str) -> NDArray[np.uint8]:
    """Return a picture of Pillow as uint8 [channels, height, width]."""
    mode = getattr(picture, "mode", None)
    if mode not in ("L", "RGB", "1", "P", "RGBA"):
        raise InputError(f"{where} is {shorten(str(mode or type(picture).__name__), 40)}, not a picture of 8 bits")
    pixels = np.asarray(picture if mode in ("L", "RGB") else picture.convert("RGB" if mode != "1" else "L"), np.uint8)
    return pixels[np.newaxis] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _names(made: Any) -> tuple[str, ...]:
    names = getattr(made, "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _shown(error: Exception) -> str:
    return printable(shorten(f"{type(error).__name__}: {' '.join(str(error).split())}", 200))
