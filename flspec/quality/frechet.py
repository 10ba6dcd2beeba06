"""Fréchet Inception Distance (Heusel et al., NeurIPS 2017), of any features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flspec.quality.compared import Features, blocks

__all__ = ["frechet_distance"]


def frechet_distance(real: Features, fake: Features) -> float:
    """Return |mu - nu|^2 + tr(S + T - 2 (S T)^(1/2)), of means and covariances (divided by n - 1).

    (S T)^(1/2) has the trace of (S^(1/2) T S^(1/2))^(1/2), which is symmetric: the sum of the roots of its eigenvalues.
    """
    (mu, s), (nu, t) = _moments(real), _moments(fake)
    values, vectors = np.linalg.eigh(s)
    root = (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T
    # Rounding makes eigenvalues of 0 slightly negative.
    overlap = np.sqrt(np.clip(np.linalg.eigvalsh(root @ t @ root), 0.0, None)).sum()
    return float(((mu - nu) ** 2).sum() + np.trace(s) + np.trace(t) - 2.0 * overlap)


def _moments(x: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean [d] and covariance [d, d]."""
    mean = x.mean(axis=0, dtype=np.float64)
    products = np.zeros((x.shape[1], x.shape[1]))
    for _, rows in blocks(x):
        products += (rows - mean).T @ (rows - mean)
    return mean, products / (len(x) - 1)
