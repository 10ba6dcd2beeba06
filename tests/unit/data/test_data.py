"""Examples, their digest, and the store that shares them between processes."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from flspec.core.cache import cache_folder
from flspec.data.examples import Data, Split
from flspec.data.store import open_data, store_data
from flspec.errors import InputError
from flspec.protocol.settings import write_settings


def make_data(value=7, divisor=255.0, num_classes=3):
    features = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 1, 3, 3)
    features[0, 0, 0, 0] = value
    split = Split(features, np.array([0, 2]), divisor)
    return Data(split, split, num_classes)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A store of this test's own."""
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def test_a_model_sees_features_divided_in_float32():
    pixels = np.arange(256, dtype=np.uint8).reshape(256, 1)
    seen = Split(pixels, np.zeros(256, np.int64), divisor=255.0).inputs(slice(None))
    assert seen.dtype == np.float32
    assert np.array_equal(seen, pixels.astype(np.float32) / np.float32(255))
    assert not np.array_equal(seen, pixels.astype(np.float32) * np.float32(1 / 255))  # other last bits


def test_inputs_are_chosen_by_index_in_the_order_asked():
    split = Split(np.array([[1.0], [2.0], [3.0]], np.float32), np.arange(3))
    assert split.inputs(np.array([2, 0, 0])).tolist() == [[3.0], [1.0], [1.0]]
    assert split.inputs(slice(1, 3)).tolist() == [[2.0], [3.0]]


def test_data_describes_itself():
    data = make_data()
    assert write_settings(data.describe()) == {
        "digest": data.digest,
        "input_shape": [1, 3, 3],
        "num_classes": 3,
        "feature_type": "uint8",
        "divisor": 255.0,
        "num_train": 2,
        "num_test": 2,
    }


def test_equal_data_have_equal_digests():
    assert make_data().digest == make_data().digest


def variants():
    data = make_data()
    features, labels = data.train.features, data.train.labels
    yield make_data(value=8)
    yield make_data(divisor=256.0)
    yield make_data(num_classes=4)
    yield dataclasses.replace(data, train=Split(features, np.array([0, 1]), 255.0))
    yield dataclasses.replace(data, test=Split(features, np.array([0, 1]), 255.0))
    yield dataclasses.replace(data, train=Split(features[::-1], labels[::-1], 255.0))
    yield both(data, lambda split: Split(split.features.reshape(len(split), 9), split.labels, 255.0))
    yield both(data, lambda split: Split(split.features.astype(np.float32), split.labels, 255.0))


def both(data, change):
    return dataclasses.replace(data, train=change(data.train), test=change(data.test))


def test_the_digest_changes_with_values_order_shape_type_divisor_and_classes():
    digests = [data.digest for data in (make_data(), *variants())]
    assert len(set(digests)) == len(digests) == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda split: Split(split.features[:, :, :2], split.labels, 255.0), "(shape, type, divisor)"),
        (lambda split: Split(split.features.astype(np.float32), split.labels, 255.0), "(shape, type, divisor)"),
        (lambda split: Split(split.features, split.labels, 16.0), "(shape, type, divisor)"),
        (lambda split: Split(split.features[:0], split.labels[:0], 255.0), "not 0"),
        (lambda split: Split(split.features, split.labels[:1], 255.0), "same number"),
        (lambda split: Split(split.features, split.labels + 3, 255.0), "outside 0..2"),
        (lambda split: Split(split.features.astype(np.float64), split.labels, 255.0), "float64"),
    ],
)
def test_examples_to_evaluate_on_that_do_not_look_like_those_to_train_on_are_refused(change, message):
    data = make_data()
    with pytest.raises(InputError, match=re.escape(message)):
        dataclasses.replace(data, test=change(data.test))


def test_stored_data_come_back_the_same():
    data = make_data()
    store_data(data)
    opened = open_data(data.describe())
    assert opened.digest == data.digest
    assert opened.input_shape == (1, 3, 3)
    assert np.array_equal(opened.test.inputs(slice(None)), data.test.inputs(slice(None)))


def test_opened_data_are_mapped_and_cannot_be_changed():
    store_data(make_data())
    features = open_data(make_data().describe()).train.features
    assert isinstance(features, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        features[0] = 0


def test_storing_twice_writes_once_and_leaves_nothing_else(store):
    folder = store_data(make_data())
    written = folder.stat().st_mtime_ns
    assert store_data(make_data()) == folder
    assert folder.stat().st_mtime_ns == written
    assert [path.name for path in store.iterdir()] == [make_data().digest]


def test_a_store_that_fails_half_way_leaves_nothing(store, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InputError, match=r"nothing can be stored in .*: no space left on device; set FLSPEC_CACHE"):
        store_data(make_data())
    assert list(store.iterdir()) == []


def test_the_loser_of_a_race_takes_what_the_winner_stored(store, monkeypatch):
    data, rename = make_data(), Path.rename

    def overtaken(partial, target):
        shutil.copytree(partial, target)
        return rename(partial, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    assert store_data(data) == store / data.digest
    assert open_data(data.describe()).digest == data.digest
    assert [path.name for path in store.iterdir()] == [data.digest]


def test_data_that_are_not_there_are_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"are not in .*compile the spec here again"):
        open_data(make_data().describe())


@pytest.mark.parametrize("name", ["train_features", "train_labels", "test_features", "test_labels"])
def test_a_missing_file_of_the_store_is_refused(name):
    (store_data(make_data()) / f"{name}.npy").unlink()
    with pytest.raises(InputError, match="compile the spec here again"):
        open_data(make_data().describe())


@pytest.mark.parametrize("length", [0, 1, 5, 60, 130, -1], ids=lambda length: f"{length} bytes")
def test_a_file_of_the_store_that_was_cut_short_is_refused(length):
    file = store_data(make_data()) / "train_features.npy"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InputError, match="compile the spec here again"):
        open_data(make_data().describe())


def test_the_cache_is_where_flspec_cache_says(monkeypatch, tmp_path):
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLSPEC_CACHE", "here")
    assert cache_folder() == tmp_path / "here"


def test_the_cache_is_otherwise_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("FLSPEC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "flspec"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "flspec"
