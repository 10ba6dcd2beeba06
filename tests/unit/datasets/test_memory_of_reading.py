"""What reading takes is what the estimate of a plan's memory counts for it."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.datasets.csv import CsvTable
from flspec.datasets.leaf import Leaf
from flspec.datasets.npz import NpzArrays

VALUES, LABELS = np.random.default_rng(0).standard_normal((2_000, 200)), np.arange(2_000) % 3


def written(kind, folder):
    """A data set of 200 numbers a row."""
    if kind == "csv":
        header = ",".join([*(f"x{number}" for number in range(200)), "label"])
        rows = [
            f"{','.join(f'{value:.4f}' for value in row)},{number % 3}\n" for number, row in enumerate(VALUES[:100])
        ]
        (folder / "a.csv").write_text(f"{header}\n" + "".join(rows) * 150)
        return CsvTable(file="a.csv", holdout=0.2)
    if kind == "npz":
        np.savez(folder / "a.npz", x_train=VALUES, y_train=LABELS, x_test=VALUES, y_test=LABELS)
        return NpzArrays(file="a.npz")
    users = {"users": ["u"], "num_samples": [2_000], "user_data": {"u": {"x": VALUES.tolist(), "y": LABELS.tolist()}}}
    for part in ("train", "test"):
        (folder / part).mkdir()
        (folder / part / "a.json").write_text(json.dumps(users))
    return Leaf(folder=".")


def as_texts(folder):
    """A column of texts, most of whose words are known."""
    rows = [" ".join(f"w{number * place % 997}" for place in range(40)) for number in range(8_000)]
    (folder / "a.csv").write_text("text,label\n" + "".join(f"{row},{n % 3}\n" for n, row in enumerate(rows)))
    return CsvTable.model_validate({"file": "a.csv", "holdout": 0.2, "features": {"text": "words"}})


def peak_while_loading(dataset, folder):
    """The most bytes that were in use at once, and those of the features that came out."""
    tracemalloc.start()
    data = dataset.load(folder, Stream(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, sum(split.features.nbytes for split in data.splits.values())


def test_reading_texts_takes_the_memory_that_an_estimate_counts(tmp_path):
    dataset = as_texts(tmp_path)
    peak, stored = peak_while_loading(dataset, tmp_path)
    counted = dataset.copies_while_encoded * stored
    assert counted / 2 < peak < counted * 1.2


@pytest.mark.parametrize("kind", ["csv", "npz", "leaf"])
def test_reading_takes_the_memory_that_an_estimate_counts(kind, tmp_path):
    dataset = written(kind, tmp_path)
    peak, stored = peak_while_loading(dataset, tmp_path)
    counted = dataset.copies_while_read * stored
    assert counted / 2 < peak < counted * 1.2
