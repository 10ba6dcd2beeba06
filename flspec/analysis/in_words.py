"""Skew and leakage in words, as terminals and pages say them."""

from __future__ import annotations

from flspec.analysis.leakage import Leakage, Overlap
from flspec.protocol.records import Skew

__all__ = ["leakage_in_words", "skew_in_words"]


def skew_in_words(skew: Skew) -> list[str]:
    """Return one line for each measure, with its range."""
    entropy = skew.label_entropy
    span = f"{entropy.min:.2f} to {entropy.max:.2f}, mean {entropy.mean:.2f}, of at most {entropy.greatest:.2f} nats"
    return [
        f"label entropy {span}",
        f"label distance from all (EMD) mean {skew.emd.mean:.2f}, most {skew.emd.max:.2f}, of at most 2",
        f"Gini of client sizes {skew.size_gini:.2f}, from 0, all equal, to 1",
    ]


def leakage_in_words(leakage: Leakage) -> list[str]:
    """Return the overlaps found, or that there are none; no line if nothing could be checked."""
    lines = [f"{name}: {_overlap(overlap, 'value')}" for name, overlap in leakage.groups.items()]
    lines += [f"identical images: {_overlap(leakage.duplicates, 'image')}"] if leakage.duplicates else []
    return [*lines, *([leakage.not_checked] if leakage.not_checked else [])]


def _overlap(overlap: Overlap, one: str) -> str:
    """Return `12 values held by more than one client; 3 values in train and test`, where `one`
    names what is counted.
    """
    counts = {
        "held by more than one client": overlap.between_clients,
        "both trained on and held out": overlap.train_and_holdout,
        "in train and test": overlap.train_and_test,
        "in train and validation": overlap.train_and_validation,
    }
    found = [f"{num:,} {one if num == 1 else f'{one}s'} {where}" for where, num in counts.items() if num]
    return "; ".join(found) or "none on two sides"
