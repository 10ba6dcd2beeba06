"""Clipping of gradients by their norm: Pascanu, Mikolov and Bengio, ICML 2013, Algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["clip", "norm_of"]

_PIECE = 2**16  # values converted to float64 at a time: half a megabyte, which fits a processor's cache


def clip(gradients: Sequence[Tensor], norm: float, by: str) -> list[Tensor]:
    """Return g * min(1, norm / ||g||_2), with the norm of all tensors together or of each tensor.

    A gradient with a value that is not finite still has one afterwards, so the server can notice it. (torch's
    `clip_grad_norm_` adds 1e-6 to the norm before it divides, so its results are shorter than `norm`.)
    """
    if by == "tensor":
        return [_scaled(gradient, norm, norm_of(gradient)) for gradient in gradients]
    length = math.hypot(*map(norm_of, gradients))
    return [_scaled(gradient, norm, length) for gradient in gradients]


def _scaled(gradient: Tensor, norm: float, length: float) -> Tensor:
    return gradient.mul(norm / length) if length > norm else gradient  # false for a length of NaN


def norm_of(gradient: Tensor) -> float:
    """Return the Euclidean norm, summed in float64. float32 loses four digits over ten million values or overflows."""
    pieces = torch.split(gradient.reshape(-1), _PIECE) if gradient.numel() > _PIECE else (gradient,)
    return math.hypot(*(torch.linalg.vector_norm(piece.double()).item() for piece in pieces))
