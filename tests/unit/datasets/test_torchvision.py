"""torchvision's data sets: files in its layout are read as its classes read them, and with the names of classes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.datasets.torchvision import Torchvision
from flspec.errors import InputError
from tests.conftest import idx_bytes
from tests.published import torchvision_models


@pytest.fixture(autouse=True)
def _there() -> None:
    torchvision_models()  # skips where there is none


@pytest.fixture
def clothes(tmp_path: Path) -> Path:
    """Fashion-MNIST's files as torchvision keeps them: 20 pictures of 28 by 28 in each split."""
    raw = tmp_path / "torchvision" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, shift in (("train", 0), ("t10k", 100)):
        pictures = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None] + np.uint8(shift), (20, 28, 28))
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx_bytes(pictures))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(20, dtype=np.uint8) % 10))
    return tmp_path


def refusal(root: Path, name: str, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        Torchvision(name=name, **more).load(root, Stream(0))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_both_splits_are_those_of_the_files_with_the_names_of_the_classes(clothes):
    data = Torchvision(name="FashionMNIST").load(clothes, Stream(0))
    assert data.train.features.shape == (20, 1, 28, 28)
    assert data.train.features[:, 0, 0, 0].tolist() == list(range(20))
    assert data.test.features[:, 0, 27, 27].tolist() == list(range(100, 120))
    assert data.test.labels.tolist() == [*range(10)] * 2
    assert data.label_names[:2] == ("T-shirt/top", "Trouser")
    assert data.train.inputs(np.array([5]))[0, 0, 0, 0] == pytest.approx(5 / 255)


def test_a_class_without_splits_has_a_share_drawn_for_evaluation(tmp_path):
    fake: Any = {"size": 30, "image_size": [3, 4, 5], "num_classes": 3}
    data = Torchvision(name="FakeData", arguments=fake, holdout=0.2).load(tmp_path, Stream(0))
    assert (len(data.train) + len(data.test), data.train.features.shape[1:]) == (30, (3, 4, 5))
    assert "FakeData has no test split; set dataset.holdout" in refusal(tmp_path, "FakeData", arguments=fake)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("FasionMNIST", {}, "dataset.name: unknown 'FasionMNIST'; did you mean 'FashionMNIST'? choose one of "),
        ("MNIST", {}, "torchvision's MNIST cannot be read in "),
        (
            "MNIST",
            {},
            "Dataset not found. You can use download=True to download it); name its folder, set download: true",
        ),
        ("FashionMNIST", {"arguments": {"colour": 3}}, "unexpected keyword argument 'colour'"),
    ],
)
def test_what_is_not_there_is_refused_with_the_way_out(clothes, name, more, message):
    assert message in refusal(clothes, name, **more)


def test_without_torchvision_the_way_out_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    assert refusal(tmp_path, "MNIST") == "dataset: kind torchvision needs torchvision: pip install torchvision"
