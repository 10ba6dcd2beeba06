"""Outputs and labels of which a metric may have no value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from flspec.metrics import Scores

__all__ = ["any_scores"]


@st.composite
def any_scores(draw: Callable[..., Any]) -> Scores:
    """A few examples, extreme and equal outputs, and often no positive, or nothing else."""
    num, width = draw(st.integers(0, 6)), draw(st.integers(1, 4))
    outputs = draw(st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.5, 80.0, -1e30, 1e30]), min_size=24, max_size=24))
    loss = draw(st.sampled_from(["cross_entropy", "binary_cross_entropy", "mean_squared_error"]))
    is_multi_label = loss == "binary_cross_entropy" and draw(st.booleans())
    width = width if is_multi_label else 1 if loss == "binary_cross_entropy" else max(2, width)
    size = num * width if is_multi_label else num
    classes = 2 if is_multi_label or width == 1 else width
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))
    shaped = np.array(labels, np.uint8).reshape(num, width) if is_multi_label else np.array(labels, np.int64)
    return Scores(np.array(outputs[: num * width], np.float32).reshape(num, width), shaped, loss)
