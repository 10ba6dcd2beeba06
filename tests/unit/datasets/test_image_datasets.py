"""Data sets of pictures: their twins are read as they were written, can be learned, and train."""

from __future__ import annotations

import filecmp
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split

import flspec
from flspec.compiler.client_data import assign_examples
from flspec.core.randomness import Stream
from flspec.data.celeba_attributes import ATTRIBUTES
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets.celeba import CelebA
from flspec.datasets.flair import Flair
from flspec.datasets.image_folder import ImageFolder
from flspec.datasets.isic import Isic
from flspec.errors import InputError
from flspec.spec.study import load_study

EVERY = (Flair, CelebA, Isic, ImageFolder)
SPECS = Path(__file__).parents[3] / "specs"
SIZE = TwinSize(clients=12, examples=240)


def kind_of(cls):
    return cls.model_fields["kind"].default


def write(cls, folder, size=SIZE, seed=0):
    folder.mkdir(parents=True)
    cls.write_twin(folder, size, Stream(seed, "twin"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with the twin of every kind."""
    root = tmp_path_factory.mktemp("data")
    for cls in EVERY:
        write(cls, root / kind_of(cls))
    return root


def load(dataset, root):
    return dataset.load(root, Stream(0))


# ------------------------------------------------------------------------------------------------------------- twins


@pytest.mark.parametrize("cls", EVERY, ids=kind_of)
def test_a_twin_is_the_same_bytes_for_the_same_seed_and_others_for_another(tmp_path, cls):
    size = TwinSize(clients=10, examples=40)
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        write(cls, tmp_path / name, size, seed)
    files = [str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 40
    assert filecmp.cmpfiles(tmp_path / "one", tmp_path / "again", files, shallow=False)[1:] == ([], [])
    _, differ, absent = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", files, shallow=False)
    assert len(differ) + len(absent) >= 40


@pytest.mark.parametrize("cls", EVERY, ids=kind_of)
def test_a_twin_that_is_too_small_is_refused(tmp_path, cls):
    with pytest.raises(InputError, match="too few"):
        write(cls, tmp_path / "twin", TwinSize(clients=2, examples=3))


@pytest.mark.parametrize("cls", EVERY, ids=kind_of)
def test_clients_of_a_twin_hold_very_different_numbers_of_pictures(root, cls):
    options = {"metadata": "metadata.csv", "client_column": "client"} if cls is ImageFolder else {}
    data = load(cls(size=16, **options), root)
    everyone = np.concatenate([split.columns[data.client_column] for split in data.splits.values()])
    counts = np.unique(everyone, return_counts=True)[1]
    assert counts.sum() == 240
    assert counts.max() > 4 * counts.min()


def features(split):
    return split.inputs(slice(None)).reshape(len(split), -1)


@pytest.mark.parametrize(
    ("dataset", "least"),
    [
        (CelebA(size=32), 0.8),
        (CelebA(size=32, target="Male"), 0.8),
        (Isic(size=32), 0.9),
        (Flair(size=32, binary_label="equipment"), 0.8),
    ],
    ids=["Smiling", "Male", "melanoma", "equipment"],
)
def test_a_linear_model_learns_a_twin_and_not_its_labels_in_another_order(root, dataset, least):
    data = load(dataset, root)
    x = np.concatenate([features(split) for split in data.splits.values()])
    y = np.concatenate([split.labels for split in data.splits.values()])
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:160], order[160:]

    def score(labels):
        model = LogisticRegression(C=0.01, max_iter=500).fit(x[train], labels[train])
        return roc_auc_score(labels[test], model.decision_function(x[test]))

    assert score(y) > least
    assert score(np.random.default_rng(1).permutation(y)) < 0.7


def test_a_linear_model_learns_the_classes_of_a_folder(root):
    data = load(ImageFolder(size=16), root)
    model = LogisticRegression(C=0.1, max_iter=500).fit(features(data.train), data.train.labels)
    assert model.score(features(data.test), data.test.labels) > 0.7  # chance: 0.25


def test_several_labels_of_a_picture_are_learned_together(root):
    data = load(Flair(size=32), root)
    precisions, shares = [], []
    for label in np.flatnonzero((data.train.labels.sum(axis=0) > 20) & (data.test.labels.sum(axis=0) > 0)):
        model = LogisticRegression(C=0.01, max_iter=500).fit(features(data.train), data.train.labels[:, label])
        precisions.append(
            average_precision_score(data.test.labels[:, label], model.decision_function(features(data.test)))
        )
        shares.append(data.test.labels[:, label].mean())
    assert len(precisions) > 3
    assert np.mean(precisions) > np.mean(shares) + 0.25


# ------------------------------------------------------------------------------------------------------------- flair


def test_flair_has_users_of_their_own_in_every_split(root):
    data = load(Flair(size=16), root)
    users = {name: set(split.columns["user_id"].tolist()) for name, split in data.splits.items()}
    assert {name: len(members) for name, members in users.items()} == {"train": 10, "test": 1, "validation": 1}
    assert len(set.union(*users.values())) == 12
    assert (data.client_column, data.num_classes, data.input_shape) == ("user_id", 17, (3, 16, 16))
    assert sum(map(len, data.splits.values())) == 240


def test_flair_numbers_coarse_labels_in_alphabetical_order(root):
    data = load(Flair(size=16), root)
    assert (data.label_names[0], data.label_names[7], data.label_names[16]) == ("animal", "interior_room", "structure")
    assert list(data.label_names) == sorted(data.label_names)


@pytest.mark.parametrize(("labels", "key"), [("coarse", "labels"), ("fine", "fine_grained_labels")])
def test_flair_marks_the_labels_that_the_file_gives_each_picture(root, labels, key):
    entries = json.loads((root / "flair" / "labels_and_metadata.json").read_text())
    said = {entry["image_id"]: set(entry[key]) for entry in entries}
    data = load(Flair(size=16, labels=labels), root)
    for split in data.splits.values():
        for image, row in zip(split.columns["image_id"].tolist(), split.labels, strict=True):
            assert {data.label_names[number] for number in np.flatnonzero(row)} == said[image]
    assert data.num_classes == (17 if labels == "coarse" else len(set().union(*said.values())))


def test_one_label_of_flair_makes_two_classes(root):
    both, one = load(Flair(size=16), root), load(Flair(size=16, binary_label="plant"), root)
    assert (one.num_classes, one.label_names, one.train.labels.dtype) == (2, ("no plant", "plant"), np.int64)
    assert np.array_equal(one.train.labels, both.train.labels[:, 13])


def test_flair_is_read_from_where_its_archives_were_downloaded(root, tmp_path):
    shutil.copytree(root / "flair", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "images").mkdir()
    (tmp_path / "elsewhere" / "small_images").rename(tmp_path / "elsewhere" / "images" / "small")
    moved = load(Flair(size=16, folder="elsewhere"), tmp_path)
    assert moved.digest == load(Flair(size=16), root).digest


# ------------------------------------------------------------------------------------------------------------ celeba


def test_celeba_has_the_published_split(root):
    data = load(CelebA(size=16), root)
    parts = [line.split() for line in (root / "celeba" / "list_eval_partition.txt").read_text().splitlines()]
    for number, name in enumerate(("train", "validation", "test")):
        assert data.splits[name].columns["file"].tolist() == [file for file, part in parts if part == str(number)]
    assert not data.train.columns["identity_in_test"].any()
    assert data.test.columns["identity_in_test"].all()
    assert (data.client_column, data.label_names) == ("identity", ("not Smiling", "Smiling"))


def test_celeba_has_every_attribute_as_a_column(root):
    data = load(CelebA(size=16, target="Young"), root)
    line = (root / "celeba" / "list_attr_celeba.txt").read_text().splitlines()[2].split()
    where = data.train.columns["file"].tolist().index(line[0])
    assert [int(data.train.columns[name][where]) for name in ATTRIBUTES] == [int(sign == "1") for sign in line[1:]]
    assert np.array_equal(data.train.columns["Young"], data.train.labels)
    identities = dict(line.split() for line in (root / "celeba" / "identity_CelebA.txt").read_text().splitlines())
    assert data.train.columns["identity"][where] == int(identities[line[0]])


def test_the_challenge_shuffles_all_names_and_keeps_the_last_thousandth(root):
    data = load(CelebA(size=16, split="challenge"), root)
    names = [f"{number:06}.jpg" for number in range(1, 241)]
    random.seed(42)
    random.shuffle(names)
    assert data.train.columns["file"].tolist() == names[:239]
    assert data.test.columns["file"].tolist() == names[239:]
    person = data.test.columns["identity"][0]
    assert np.array_equal(data.train.columns["identity_in_test"], data.train.columns["identity"] == person)


def test_the_challenge_has_its_published_sizes():
    assert (int(202_599 * 0.999), 202_599 - int(202_599 * 0.999)) == (202_396, 203)


def test_people_are_numbered_as_they_come_in_the_identity_file(root):
    data = load(CelebA(size=16, split="challenge"), root)
    first: dict[Any, Any] = {}
    for line in (root / "celeba" / "identity_CelebA.txt").read_text().splitlines():
        first.setdefault(int(line.split()[1]), len(first))
    assert data.train.columns["identity_order"].tolist() == [first[int(i)] for i in data.train.columns["identity"]]


def challenged(folder, num):
    """The challenge's people: the first in the identity file of whom five pictures or more are all to train on."""
    owner = dict(line.split() for line in (folder / "identity_CelebA.txt").read_text().splitlines())
    names = sorted(owner)
    random.seed(42)
    random.shuffle(names)
    tested = {owner[name] for name in names[int(len(names) * 0.999) :]}
    owners = list(owner.values())
    walked = [person for person in dict.fromkeys(owners) if person not in tested and owners.count(person) >= 5]
    return [int(person) for person in walked[:num]]


def test_the_shipped_specs_take_the_people_of_the_challenge_in_its_order(root):
    known = load(CelebA(size=16, split="challenge"), root).examples
    by_identity, iid = (
        load_study(SPECS / f"celeba_smiling_{name}.yaml").cells[0].spec.partition for name in ("by_identity", "iid")
    )

    def people(partition):
        held, _ = assign_examples(partition, known, Stream(0))
        return [list(dict.fromkeys(known.columns["identity"][one].tolist())) for one in held]

    due = challenged(root / "celeba", 4)
    assert people(by_identity.model_copy(update={"clients": 4})) == [[person] for person in due]
    among = vars(iid)["among"].model_copy(update={"clients": 4})
    dealt = people(iid.model_copy(update={"clients": 3, "among": among}))
    assert {person for one in dealt for person in one} == set(due)
    # As they appear in the shuffled rows they are others, not only in another order.
    shuffled = people(by_identity.model_copy(update={"clients": 4, "order_by": None}))
    assert {person for [person] in shuffled} != set(due)


# -------------------------------------------------------------------------------------------------------------- isic


def test_isic_holds_out_the_share_of_each_class_that_the_reference_does(root):
    data = load(Isic(size=16), root)
    lines = [line.split(",") for line in (root / "isic" / "train_concat.csv").read_text().splitlines()[1:]]
    oracle = train_test_split(
        [line[0] for line in lines], stratify=[line[-1] for line in lines], test_size=0.2, random_state=42
    )
    assert [data.train.columns["image_name"].tolist(), data.test.columns["image_name"].tolist()] == list(oracle)
    assert {line[0]: int(line[-1]) for line in lines} == {
        name: label
        for split in data.splits.values()
        for name, label in zip(split.columns["image_name"].tolist(), split.labels.tolist(), strict=True)
    }


def test_isic_holds_out_whole_patients(root):
    data = load(Isic(size=16, split_by="patient", holdout=0.3), root)
    train, test = (set(split.columns["patient_id"].tolist()) for split in (data.train, data.test))
    assert train
    assert test
    assert not train & test
    assert 0.1 < len(data.test) / 240 <= 0.3


def test_isic_has_one_patient_for_all_of_whom_nothing_is_known(root):
    data = load(Isic(size=16), root)
    nameless = data.train.columns["patient_id"] == "nan"
    assert nameless.any()
    assert np.isnan(data.train.columns["age_approx"][nameless]).all()
    assert not np.isnan(data.train.columns["age_approx"][~nameless]).any()
    assert set(data.train.columns["sex"][nameless].tolist()) == {""}


def test_isic_tells_who_has_nothing_but_melanomas(root):
    data = load(Isic(size=16), root)
    joined = {name: np.concatenate([s.columns[name] for s in data.splits.values()]) for name in data.train.columns}
    targets = np.concatenate([split.labels for split in data.splits.values()])
    for patient in set(joined["patient_id"].tolist()):
        his = joined["patient_id"] == patient
        assert set(joined["patient_has_benign"][his].tolist()) == {int((targets[his] == 0).any())}
    assert 0 < joined["patient_has_benign"].mean() < 1


def test_isic_takes_a_second_table_to_test_on(root):
    lines = (root / "isic" / "train_concat.csv").read_text().splitlines()
    (root / "second").mkdir()
    (root / "second" / "train_concat.csv").write_text("\n".join(lines[:200]))
    (root / "second" / "test.csv").write_text("\n".join([lines[0], *lines[200:]]))
    (root / "second" / "train").symlink_to(root / "isic" / "train")
    data = load(Isic(size=16, folder="second", test_metadata="second/test.csv"), root)
    assert (len(data.train), len(data.test)) == (199, 41)


# ------------------------------------------------------------------------------------------------------ image folder


def test_image_folder_numbers_classes_and_takes_columns_from_the_metadata(root):
    data = load(ImageFolder(size=16, metadata="metadata.csv", client_column="client"), root)
    assert data.label_names == ("circle", "ring", "square", "triangle")
    assert (len(data.train), len(data.test), data.client_column) == (192, 48, "client")
    for file, label in zip(data.train.columns["file"].tolist(), data.train.labels.tolist(), strict=True):
        assert Path(file).parts[:2] == ("train", data.label_names[label])
    said = dict(line.split(",") for line in (root / "image_folder" / "metadata.csv").read_text().splitlines())
    assert [said[file] for file in data.test.columns["file"].tolist()] == data.test.columns["client"].tolist()


def test_classes_without_a_test_folder_have_a_share_held_out(root):
    data = load(ImageFolder(size=16, folder="image_folder/train", holdout=0.25), root)
    assert len(data.train) + len(data.test) == 192
    for label in range(4):
        both = [int((split.labels == label).sum()) for split in (data.train, data.test)]
        assert both[1] == -(-sum(both) // 4)
    other = load(ImageFolder(size=16, folder="image_folder/train", holdout=0.25, split_seed=1), root)
    assert set(other.test.columns["file"].tolist()) != set(data.test.columns["file"].tolist())


@pytest.mark.parametrize(
    ("tops", "splits"),
    [(("train", "val"), {"train", "test"}), (("train", "val", "test"), {"train", "test", "validation"})],
)
def test_val_is_tested_on_unless_there_is_a_test_folder(root, tmp_path, tops, splits):
    for top in tops:
        (tmp_path / top).symlink_to(root / "image_folder" / ("train" if top == "train" else "test"))
    assert set(load(ImageFolder(size=16), tmp_path).splits) == splits


# ---------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    ("model", "rounds", "least"), [({"kind": "softmax_regression"}, 8, 0.7), ({"kind": "cnn"}, 2, 0.0)]
)
def test_pictures_train_on_a_backend_through_transforms(root, make_spec, tmp_path, model, rounds, least):
    spec = make_spec(
        dataset={
            "kind": "celeba",
            "size": 32,
            "split": "published",
            "train_transforms": [{"kind": "horizontal_flip"}, {"kind": "centre_crop", "size": 28}],
            "test_transforms": [{"kind": "centre_crop", "size": 28}],
            "normalise": "half",
        },
        partition={"kind": "iid", "clients": 3},
        model=model,
        rounds=rounds,
        client={"epochs": 5, "batch_size": 16, "optimizer": {"kind": "sgd", "learning_rate": 0.01}},
        cohort={"kind": "all"},
    )
    plan = flspec.compile(spec, root)
    result = flspec.run(plan, backend="local", out=tmp_path / "run")
    assert plan.settings.data.input_shape == (3, 28, 28)
    assert result.status == "completed"
    assert result.final
    assert result.final.evaluation["test"]["accuracy"] >= least
