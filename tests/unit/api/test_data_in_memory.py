"""Arrays, tensors, torch data sets and frames in memory are data sets like any other, in files named by content."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flspec
from flspec.core.cache import cache_folder
from flspec.core.randomness import Stream
from flspec.data.examples import Data
from flspec.errors import InputError
from flspec.spec.spec import Spec

X = np.arange(40, dtype=np.float64).reshape(20, 2) / 40
Y = np.array(["ill", "healthy"] * 10)
VALUES: dict[str, Any] = {
    "flspec": 1,
    "name": "memory",
    "rounds": 1,
    "partition": {"kind": "iid", "clients": 2},
    "model": {"kind": "softmax_regression"},
    "client": {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
}


class Tensor:
    """A tensor as far as it matters: on some device, with a gradient."""

    def __init__(self, values: Any) -> None:
        self.values, self.shape = np.asarray(values), np.asarray(values).shape

    def detach(self) -> Any:
        return type("Detached", (), {"cpu": lambda _: type("OnCpu", (), {"numpy": lambda _: self.values})()})()


class Pairs:
    """A torch Dataset: items by number, no end that is told by an IndexError."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y, self.asked = x, y, list[int]()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int) -> Any:
        self.asked.append(number)
        return Tensor(self.x[number]), self.y[number]


class Frame:
    """A frame of pandas as far as it matters."""

    def __init__(self, **columns: Any) -> None:
        self.values, self.columns = columns, list(columns)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def load(section: dict[str, Any]) -> Data:
    spec: Spec = flspec.load_spec({**VALUES, "dataset": section})
    return spec.dataset.load(Path("nowhere"), Stream(0))


def numbers_and_names(data: Data) -> tuple[Any, ...]:
    found: list[Any] = []
    for split in (data.train, data.test):
        found += [split.features.tolist(), [data.label_names[label] for label in split.labels]]
    return tuple(found)


def test_arrays_tensors_and_pairs_are_the_same_data_set() -> None:
    pairs = Pairs(X, Y)
    sections = [
        flspec.dataset_of(X, Y, test=(X[:4], Y[:4])),
        flspec.dataset_of(Tensor(X), list(Y), test=(X[:4].tolist(), Y[:4].astype(object))),
        flspec.dataset_of(pairs, test=Pairs(X[:4], Y[:4])),
        flspec.dataset_of(iter(list(zip(X, Y, strict=True))), test=(X[:4], Y[:4].reshape(4, 1))),
    ]
    assert sections[0] == sections[1] == sections[2]
    assert pairs.asked == list(range(20))
    for section in (sections[0], sections[3]):
        data = load(section)
        as_stored = X.astype(np.float32).tolist()
        assert numbers_and_names(data) == (as_stored, list(Y), as_stored[:4], list(Y[:4]))


def test_clients_columns_and_names_of_classes_are_kept() -> None:
    ages = np.arange(20) + 30
    section = flspec.dataset_of(
        X, np.tile([1, 0], 10), test=(X[:4], [0, 1, 1, 0], {"age": [1, 2, 3, 4]}),
        clients=[f"c{number % 3}" for number in range(20)], columns={"age": ages}, classes=["no", "yes"],
    )  # fmt: skip
    data = load(section)
    assert data.label_names == ("no", "yes")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([1, 0] * 10, [0, 1, 1, 0])
    assert data.train.columns["age"].tolist() == ages.tolist()
    assert data.test.columns["age"].tolist() == [1, 2, 3, 4]
    spec = flspec.load_spec({**VALUES, "dataset": section, "partition": {"kind": "natural"}})
    assert flspec.compile(spec).num_clients == 3


def test_a_share_of_each_class_is_drawn_and_every_row_is_in_one_part() -> None:
    y = np.array([0] * 10 + [1] * 5 + [2] * 5)
    data = load(flspec.dataset_of(X, y, holdout=0.2, columns={"row": np.arange(20)}))
    assert np.bincount(data.test.labels).tolist() == [2, 1, 1]
    rows = np.concatenate([data.train.columns["row"], data.test.columns["row"]])
    assert sorted(rows) == list(range(20))
    assert all(data.test.features[:, 0] == X[data.test.columns["row"], 0].astype(np.float32))
    other = load(flspec.dataset_of(X, y, holdout=0.2, split_seed=1, columns={"row": np.arange(20)}))
    assert other.test.columns["row"].tolist() != data.test.columns["row"].tolist()


def test_pictures_of_bytes_stay_bytes() -> None:
    pictures = np.arange(20 * 3 * 4 * 4, dtype=np.uint8).reshape(20, 3, 4, 4)
    data = load(flspec.dataset_of(pictures, np.arange(20) % 2, holdout=0.5))
    assert str(data.train.features.dtype) == "uint8"
    assert data.train.features.shape == (10, 3, 4, 4)


@pytest.mark.parametrize("make", [lambda **columns: columns, Frame], ids=["mapping", "frame"])
def test_a_frame_is_a_table_with_its_roles(make: Callable[..., Any]) -> None:
    frame = make(
        ward=np.array(["01", "1"] * 10),
        age=np.array([*range(50, 69), np.nan]),
        smokes=[True, False] * 10,
        sex=["male", None, "female", "male"] * 5,
        outcome=Y,
    )
    features = {"age": [{"impute": "mean"}, "standardise"], "smokes": "as_is"}
    section = flspec.dataset_of(
        frame, label="outcome", client="ward", features=features, columns=["sex"], holdout=0.2, split_seed=3
    )
    data = load(section)
    assert (len(data.train), len(data.test), data.label_names) == (16, 4, ("healthy", "ill"))
    assert set(data.train.columns["ward"]) == {"01", "1"}
    assert set(data.train.columns["sex"]) == {"", "female", "male"}
    assert data.feature_names == ("age", "smokes")
    assert abs(data.train.features[:, 0].mean()) < 1e-6
    ill = np.flatnonzero(data.train.labels == 1)
    assert data.train.features[ill, 1].tolist() == [1.0] * len(ill)
    apart = load(flspec.dataset_of(frame, label="outcome", features=["smokes"], test=frame))
    assert len(apart.test) == len(apart.train) == 20


def test_numbers_of_a_frame_keep_every_bit() -> None:
    values = np.random.default_rng(0).normal(size=20).astype(np.float32)
    data = load(flspec.dataset_of({"v": values.astype(np.float64), "label": [0, 1] * 10}, holdout=0.2))
    assert set(data.train.features[:, 0]) <= set(values)


def test_the_same_content_is_one_file_and_any_other_another(monkeypatch: pytest.MonkeyPatch) -> None:
    first = flspec.dataset_of(X, Y, holdout=0.25)
    assert flspec.dataset_of(X.copy(), Y.tolist(), holdout=0.25) == first
    assert first["file"].startswith("${cache}/given/")
    others = [flspec.dataset_of(X + 1, Y, holdout=0.25), flspec.dataset_of(X, Y[::-1], holdout=0.25)]
    assert len({one["file"] for one in (first, *others)}) == 3


def test_a_cleaned_cache_is_told_and_the_same_call_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    spec = flspec.load_spec({**VALUES, "dataset": flspec.dataset_of(X, Y, holdout=0.25)})
    digest = flspec.compile(spec).digest
    shutil.rmtree(cache_folder() / "given")
    with pytest.raises(
        InputError, match=r"dataset.file: \$\{cache\}/given/\w+/data.npz is gone, .* call flspec.data"
    ) as no:
        flspec.compile(spec)
    assert "\n" not in str(no.value)
    flspec.dataset_of(X, Y, holdout=0.25)
    assert flspec.compile(spec).digest == digest


def bad(values: Any, row: int, value: Any) -> Any:
    changed = np.array(values)
    changed[row] = value
    return changed


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "rows": ({"x": X, "y": Y[:7]}, "y: has 7 rows, but x has 20; each is one of an example"),
    "missing label": ({"x": X, "y": bad(np.ones(20), 3, np.nan)}, "y: row 3 is missing; every example needs a value"),
    "measure": ({"x": X, "y": bad(np.ones(20), 2, 0.5)}, "y: row 2 is 0.5, but labels are whole numbers or names; "),
    "one-hot": ({"x": X, "y": np.eye(20)}, r"y: shape \[20, 20\] is not one value a row; for one-hot rows give"),
    "objects": ({"x": X, "y": np.array([{}] * 20)}, "y: object is neither numbers nor text; convert it"),
    "object features": ({"x": X.astype(object), "y": Y}, "x: object is not a type of numbers; encode it, or give a fr"),
    "flat": ({"x": X[:, 0], "y": Y}, r"x: shape \[20\] has no rows of values; give it as \[rows, values\]"),
    "empty": ({"x": X[:0], "y": Y[:0]}, r"x: shape \[0, 2\] has no rows of values"),
    "missing feature": ({"x": bad(X, 5, np.nan), "y": Y}, "x: row 5 has a value that is missing or not finite; leave"),
    "clients": ({"x": X, "y": Y, "clients": [""] * 20}, "client: row 0 is empty; every example needs a value"),
    "no labels": ({"x": X}, "y: there are no labels; give one for each row of x"),
    "name": ({"x": X, "y": Y, "columns": {"x": Y}}, "columns: 'x' cannot be a column's name here; choose another"),
    "triples": ({"x": [(1, 2, 3)]}, "x: item 0 is a tuple, not a pair of features and label"),
    "shapes": ({"x": [([1], 0), ([1, 2], 0)]}, r"x: items have the shapes \[\(1,\), \(2,\)\]; give them one shape"),
    "column": (
        {"x": {"a": [1], "label": [0]}, "features": ["b"]},
        "frame: no column is called 'b'; .*columns are a, l",
    ),
    "unequal": ({"x": {"a": [1], "label": [0, 1]}}, r"frame: columns of \{'a': 1, 'label': 2\} rows; make them alike"),
    "no rows": ({"x": {"a": [], "label": []}}, "frame: has no rows; give some"),
    "no label": ({"x": {"a": [1, 2], "label": [0, None]}}, "label: row 1 is missing; every example needs a value"),
    "nested": ({"x": {"a": [[1], [2]], "label": [0, 1]}}, "a: holds a list; give numbers or texts, one a row"),
    "names": (
        {"x": X, "y": Y, "columns": ["sex"]},
        "columns: arrays have no names; give the values of each column, by",
    ),
    "role": (
        {"x": X, "y": Y, "label": "y"},
        "label: arrays have no column of that name; leave it out, or give a frame",
    ),
    "share": ({"x": X, "y": Y, "holdout": 1.5}, "holdout: 1.5 is no share; give a number between 0 and 1, as 0.2"),
    "both": ({"x": X, "y": Y, "test": (X, Y)}, "test or holdout: give one of them"),
    "none": ({"x": X[:2], "y": Y[:2]}, "holdout: 0.2 of 2 examples, class by class, is none; raise it"),
}


@pytest.mark.parametrize("slip", sorted(WRONG))
def test_what_is_wrong_with_data_is_told_by_its_name_and_nothing_is_written(slip: str) -> None:
    given, message = WRONG[slip]
    before = sorted((cache_folder() / "given").glob("*"))
    with pytest.raises(InputError, match=f"^{message}"):
        flspec.dataset_of(**{"holdout": 0.2, **given})
    assert sorted((cache_folder() / "given").glob("*")) == before


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InputError) as refused:
        flspec.dataset_of(bad(X, 1, np.inf), Y[:3], clients=bad(np.ones(20), 4, np.nan), holdout=0.2)
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["x", "y", "client"]
