"""Synthetic twins: read by their data sets, learnable, unevenly held, and decided by their seed."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.data.idx import read_idx
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets.cifar10 import Cifar10
from flspec.datasets.csv import CsvTable
from flspec.datasets.fashion_mnist import FashionMnist
from flspec.datasets.leaf import Leaf
from flspec.datasets.mnist import Mnist
from flspec.datasets.npz import NpzArrays
from flspec.datasets.parquet import ParquetTable
from flspec.errors import InputError

TWINS = [Cifar10, CsvTable, FashionMnist, Leaf, Mnist, NpzArrays, ParquetTable]


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make(cls, folder, seed=1, clients=6, examples=700):
    folder.mkdir()
    cls.write_twin(folder, TwinSize(clients=clients, examples=examples), Stream(seed))
    return folder


def by_nearest_centre(data, labels):
    """The share of test examples that are nearest to the mean of their class."""
    train, test = (split.inputs(slice(None)).reshape(len(split), -1) for split in (data.train, data.test))
    centres = np.stack([train[labels == label].mean(axis=0) for label in range(data.num_classes)])
    nearest = ((test[:, np.newaxis] - centres) ** 2).sum(axis=2).argmin(axis=1)
    return (nearest == data.test.labels).mean()


@pytest.mark.parametrize("cls", TWINS)
def test_a_twin_is_read_and_can_be_learned(cls, tmp_path):
    folder = make(cls, tmp_path / "twin")
    data = cls().load(folder, Stream(0))
    assert len(data.train) + len(data.test) == 700
    assert len(set(data.train.labels.tolist())) == data.num_classes
    assert by_nearest_centre(data, data.train.labels) > 0.9
    assert by_nearest_centre(data, (data.train.labels + 1) % data.num_classes) < 0.3


@pytest.mark.parametrize("cls", TWINS)
def test_a_twin_is_decided_by_its_seed(cls, tmp_path):
    one, same, other = (make(cls, tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert files_of(one) == files_of(same)
    assert files_of(one) != files_of(other)


@pytest.mark.parametrize("cls", [CsvTable, Leaf, NpzArrays, ParquetTable])
def test_a_twin_has_clients_of_uneven_sizes_and_labels(cls, tmp_path):
    data = cls().load(make(cls, tmp_path / "twin", clients=20), Stream(0))
    assert data.client_column == "client"
    clients, sizes = np.unique(data.train.columns["client"], return_counts=True)
    assert len(clients) == 20
    assert sizes.max() > 4 * sizes.min() > 0
    largest = data.train.labels[data.train.columns["client"] == clients[sizes.argmax()]]
    whole = np.bincount(data.train.labels, minlength=data.num_classes) / len(data.train)
    assert abs(np.bincount(largest, minlength=data.num_classes) / len(largest) - whole).sum() > 0.25


@pytest.mark.parametrize("cls", TWINS)
def test_too_few_examples_for_a_twin_are_refused_with_how_many_are_needed(cls, tmp_path):
    with pytest.raises(InputError, match=r"examples: 9 are too few for .*; ask for \d+ or more"):
        cls.write_twin(tmp_path, TwinSize(clients=30, examples=9), Stream(0))


# ---------------------------------------------------------------------------------------------------------------- idx


@pytest.mark.parametrize("cls", [Mnist, FashionMnist])
def test_the_twin_of_an_idx_data_set_has_its_four_files_and_differs_in_number(cls, tmp_path):
    folder = make(cls, tmp_path / "twin")
    names = [f"{prefix}-{what}-ubyte.gz" for prefix in ("t10k", "train") for what in ("images-idx3", "labels-idx1")]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert read_idx(folder / names[2], dimensions=3).shape == (600, 28, 28)
    told = ["train: 600 examples, 60,000 were published", "test: 100 examples, 10,000 were published"]
    assert cls().findings(folder) == told


def test_mnist_is_as_it_was_published(mnist_root):
    assert Mnist().findings(mnist_root) == []


def test_fashion_mnist_names_its_labels_and_mnist_keeps_its_digest(tmp_path):
    folder = make(FashionMnist, tmp_path / "fashion_mnist")
    assert FashionMnist().load(tmp_path, Stream(0)).label_names[9] == "Ankle boot"
    assert not Mnist().load(folder, Stream(0)).describe().label_names


def test_findings_tell_a_damaged_file_another_shape_and_each_label(write_mnist, monkeypatch):
    root = write_mnist()
    monkeypatch.setattr(Mnist, "published", {"train": (2,) * 10, "test": (1, 3) + (2,) * 8})
    wrong_shape = "images of shape [1, 4, 4], published are [1, 28, 28]"
    assert Mnist().findings(root) == [
        f"train: {wrong_shape}",
        f"test: {wrong_shape}",
        "test: 2 examples of label 0, 1 were published",
        "test: 2 examples of label 1, 3 were published",
    ]
    (root / "train-images-idx3-ubyte").write_bytes(b"")
    assert "not an IDX file" in Mnist().findings(root)[0]
    assert len(Mnist().findings(root)) == 4


def test_mnist_s_files_are_not_taken_for_fashion_mnist(mnist_root):
    with pytest.raises(InputError, match="train-labels-idx1-ubyte is MNIST's, not Fashion-MNIST's"):
        FashionMnist(folder=str((mnist_root / "mnist").absolute())).load(mnist_root, Stream(0))
