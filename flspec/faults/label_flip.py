"""Label flipping: training on wrong labels, the data poisoning that papers on robust aggregation start from."""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import NDArray

from flspec.faults.base import ExampleFault


class LabelFlip(ExampleFault):
    """Label y becomes C - 1 - y, of C classes (Fang et al., USENIX Security 2020, arXiv:1911.11815).

    Where an example may have several labels, each that it has is one that it has not, and the other way round.
    """

    kind: Literal["label_flip"] = "label_flip"

    def labels(self, labels: NDArray[Any], num_classes: int) -> NDArray[Any]:
        return 1 - labels if labels.ndim == 2 else num_classes - 1 - labels
