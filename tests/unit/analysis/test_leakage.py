"""What is on two sides of an experiment, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.analysis.description import describe_plan
from flspec.analysis.in_words import leakage_in_words
from flspec.analysis.leakage import Leakage, Overlap, find_leakage, same_content
from flspec.data.examples import Data, Split
from flspec.protocol.plan import Plan
from tests.plan_settings import settings_with


def split(patients, features=None, **columns):
    patients = np.array(patients)
    features = np.arange(len(patients), dtype=np.float32).reshape(-1, 1) if features is None else features
    return Split(features, np.zeros(len(patients), np.int64), columns={"patient_id": patients, **columns})


def plan(*clients, holdout=(), partition=None):
    """A plan of who holds what, and nothing else."""
    parts = {"client": clients} | ({"held_out": holdout} if holdout else {})
    arrays = {}
    for name, client_indices in parts.items():
        arrays[f"{name}_examples"] = np.concatenate([np.array(held, np.int32) for held in client_indices])
        arrays[f"{name}_ends"] = np.cumsum([len(held) for held in client_indices])
    return Plan(settings_with(), arrays, {"partition": partition or {"kind": "natural", "column": "patient_id"}})


def overlap(clients=0, holdout=0, test=0, validation=0):
    return Overlap(
        between_clients=clients, train_and_holdout=holdout, train_and_test=test, train_and_validation=validation
    )


#                0    1    2    3    4    5    6    7
PATIENTS = ["a", "a", "b", "b", "c", "d", "", ""]


@pytest.mark.parametrize(
    ("clients", "holdout", "expected"),
    [
        (([0, 1], [2, 3], [4, 5]), (), overlap()),
        (([0, 2], [1, 3], [4, 5]), (), overlap(clients=2)),  # a and b
        (([0, 2, 6], [1], [4, 7]), (), overlap(clients=1)),  # a; whose 6 and 7 are nobody knows, and 3 is nobody's
        (([0], [2]), ([1], [3]), overlap(holdout=2)),
        (([0], [2]), ([3], [1]), overlap(clients=2, holdout=2)),
    ],
)
def test_values_on_two_clients_or_both_trained_on_and_held_out_are_counted(clients, holdout, expected):
    data = Data(train=split(PATIENTS), test=split(["x"]), num_classes=1)
    assert find_leakage(plan(*clients, holdout=holdout), data).groups == {"patient_id": expected}


def test_values_in_train_and_test_or_validation_are_counted_if_somebody_trains_on_them():
    data = Data(
        train=split(PATIENTS), test=split(["a", "a", "b", "", "x"]), validation=split(["d", "c", "x"]), num_classes=1
    )
    assert find_leakage(plan([0, 1], [2]), data).groups == {"patient_id": overlap(test=2)}
    assert find_leakage(plan([4], [5, 6]), data).groups == {"patient_id": overlap(validation=2)}


def test_the_columns_that_tell_origins_are_looked_at_and_no_others():
    same = np.zeros(8, np.int64)
    more = {"sex": same, "lesion_id": same, "humid": same, "site": same, "ward": same}
    data = Data(train=split(PATIENTS, **more), test=split(["x"]), num_classes=1, client_column="site")
    found = find_leakage(plan([0], [2], partition={"kind": "iid", "clients": 2, "holdout_by": "ward"}), data)
    assert list(found.groups) == ["lesion_id", "patient_id", "site", "ward"]
    assert found.groups["site"] == overlap(clients=1)  # which the test split does not have
    assert found.duplicates is None


def test_a_plan_of_a_kind_that_is_not_installed_is_looked_at_all_the_same():
    data = Data(train=split(PATIENTS), test=split(["x"]), num_classes=1)
    assert list(find_leakage(plan([0], partition={"kind": "no such"}), data).groups) == ["patient_id"]


# --------------------------------------------------------------------------------------------------------- duplicates


def pictures(count, side=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def test_images_that_are_the_same_to_the_last_byte_are_counted_by_content():
    train, test = pictures(8), pictures(3, seed=1)
    train[3] = train[0]  # on two clients
    train[1] = train[2]  # on one
    train[7] = train[5]  # 7 is nobody's
    test[0] = test[1] = train[4]
    data = Data(train=split(PATIENTS, train), test=split(["x"] * 3, test), num_classes=1)
    found = find_leakage(plan([0, 1, 2], [3, 4, 5]), data)
    assert found.duplicates == overlap(clients=1, test=1)


@pytest.mark.parametrize("place", [0, -1])
def test_images_that_differ_in_a_byte_anywhere_are_not_the_same(place):
    images = pictures(4)
    images[1] = images[0]
    images[2] = images[0]
    images[2].reshape(-1)[place] ^= 1  # far from the middle, which alone is looked at first
    found = same_content([images])
    assert np.asarray(found[0]).tolist() == [0, 0, -1, -1]


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 8, 8), (3, 37, 41)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_contents_of_any_size_and_type_are_told_apart(shape, dtype):
    features = (np.arange(200 * int(np.prod(shape))) % 251).astype(dtype).reshape(200, *shape)
    features[150] = features[20]
    numbers = same_content([features[:100], features[100:]])
    every = [one.tobytes() for one in features]
    seen = np.concatenate(numbers)
    assert [number >= 0 for number in seen] == [every.count(one) > 1 for one in every]
    assert seen[150] == seen[20] >= 0


def test_images_by_the_thousand_have_no_duplicates_by_chance():
    found = same_content([pictures(20_000, side=4), pictures(10, 4, seed=3)])
    assert all(np.all(np.equal(numbers, -1)) for numbers in found)


def test_what_would_read_too_much_is_left_and_told():
    images = pictures(50)
    assert same_content([images], most_bytes=100_000) == (
        "50 images are not searched for duplicates, which would read 0.0 GiB or more"
    )
    images[:] = images[0]
    assert "50 of 50 images look alike at first sight; to compare them would read" in same_content([images], 220_000)


# --------------------------------------------------------------------------------------------------------------- told


def test_leakage_is_told_in_words():
    found = Leakage(
        groups={"patient_id": overlap(clients=12, test=3), "site": overlap()}, duplicates=overlap(holdout=1)
    )
    assert leakage_in_words(found) == [
        "patient_id: 12 values held by more than one client; 3 values in train and test",
        "site: none on two sides",
        "identical images: 1 image both trained on and held out",
    ]
    assert leakage_in_words(Leakage(groups={}, duplicates=None, not_checked="too many")) == ["too many"]
    assert leakage_in_words(Leakage(groups={}, duplicates=None)) == []


def test_a_plan_is_described_with_its_leakage_or_without_where_the_data_are_not_here(make_plan, monkeypatch, tmp_path):
    digits = make_plan(dataset={"kind": "digits"}, model={"kind": "mlp", "hidden": [4]})
    assert describe_plan(digits).leakage == Leakage(groups={}, duplicates=overlap())
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path))
    assert describe_plan(digits).leakage is None
