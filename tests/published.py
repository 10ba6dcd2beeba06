"""torchvision's models, to which the zoo is held, where they can be imported."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import pytest
import torch


def torchvision_models() -> ModuleType:
    """`torchvision.models`; skips the test, with the reason, where there is none."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed; make setup installs it")
    declare_operators_if_absent()
    return importlib.import_module("torchvision.models")


def declare_operators_if_absent() -> None:
    """Name two operators of torchvision's compiled part, which cannot load beside a torch without CUDA.

    Its Python part asks for them when it is imported, and no model of images alone ever calls them.
    """
    if hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)


_kept: list[torch.library.Library] = []  # operators are gone with the library that declares them
