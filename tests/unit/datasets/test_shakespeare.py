"""LEAF's Shakespeare: texts as numbers of LEAF's letters, speakers as clients, and files that are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.data.characters import LEAF_LETTERS, number_letters
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets.shakespeare import Shakespeare
from flspec.errors import InputError

LINE = ("O Romeo, Romeo! wherefore art thou Romeo?\n" * 2)[:80]


def write(folder, x=(LINE,), y=("D",), users=("JULIET",)):
    whole = {
        "users": list(users),
        "num_samples": [len(y)] * len(users),
        "user_data": {user: {"x": list(x), "y": list(y)} for user in users},
    }
    for part in ("train", "test"):
        (folder / part).mkdir()
        (folder / part / "all_data_niid_0.json").write_text(json.dumps(whole), encoding="utf-8")
    return Shakespeare()


def test_letters_are_leaf_s_in_its_order():
    assert len(LEAF_LETTERS) == len(set(LEAF_LETTERS)) == 80
    places = {"\n": 0, " ": 1, "!": 2, '"': 3, "&": 4, "0": 11, "A": 25, "Z": 50, "[": 51, "a": 53, "z": 78, "}": 79}
    assert {letter: LEAF_LETTERS.find(letter) for letter in places} == places


def test_a_text_is_the_places_of_its_letters_and_the_label_that_of_the_next(tmp_path):
    data = write(tmp_path, users=("JULIET", "NURSE")).load(tmp_path, Stream(0))
    assert data.train.features.dtype == np.uint8
    assert data.train.features[0].tolist() == [LEAF_LETTERS.find(letter) for letter in LINE]
    assert data.train.labels.tolist() == [LEAF_LETTERS.find("D")] * 2
    assert data.train.columns["client"].tolist() == ["JULIET", "NURSE"]
    assert (data.num_classes, data.tokens.num, data.tokens.are_padded) == (80, 80, False)
    assert data.train.inputs([0])[0].tolist() == data.train.features[0].tolist()  # whole numbers, not scaled


def test_another_text_is_another_digest(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder, last in zip(folders, "?!", strict=True):
        folder.mkdir()
        write(folder, x=(LINE[:-1] + last,))
    one, other = (Shakespeare().load(folder, Stream(0)).digest for folder in folders)
    assert one != other


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([LINE[:79]], ["D"], "user 'JULIET': example 1 has 79 characters; each should have 80"),
        ([LINE, LINE[:-1] + "é"], ["D", "D"], "example 2 has 'é', which is none of the 80 letters"),
        ([LINE, LINE[:-1] + "\udcff"], ["D", "D"], "which is none of the 80 letters"),
        ([[1, 2]], ["D"], "example 1 is no text"),
        ([LINE], [""], "y: example 1 has 0 characters"),
        ([LINE], ["é"], "y: example 1 has"),
        ([LINE], [3], "y: example 1 is no text"),
        ([LINE], ["De"], "y: example 1 has 2 characters"),
    ],
)
def test_a_bad_text_is_one_line_that_names_file_and_example(x, y, message, tmp_path):
    with pytest.raises(InputError) as told:
        write(tmp_path, x, y).load(tmp_path, Stream(0))
    assert message.replace("'é'", ascii("é")) in str(told.value)
    assert "all_data_niid_0.json" in str(told.value)
    assert "\n" not in str(told.value)


def test_no_letter_is_taken_for_another_one():
    numbers = number_letters([LEAF_LETTERS], 80)
    assert numbers.tolist() == [list(range(80))]


def test_a_twin_says_what_follows(tmp_path):
    """In the twin the last three letters decide the next one most of the time; in no order they do not."""
    Shakespeare.write_twin(tmp_path, TwinSize(clients=6, examples=900), Stream(0))
    data = Shakespeare().load(tmp_path, Stream(0))
    assert len(data.train) + len(data.test) == 900
    assert len(set(data.train.columns["client"].tolist())) == 6

    def accuracy(labels):
        seen: dict[tuple[int, ...], list[int]] = {}
        for text, label in zip(data.train.features[:, -3:].tolist(), labels.tolist(), strict=True):
            seen.setdefault(tuple(text), []).append(label)
        guesses = [
            max(set(known), key=known.count) if (known := seen.get(tuple(text))) else -1
            for text in data.test.features[:, -3:].tolist()
        ]
        return (np.array(guesses) == data.test.labels).mean()

    assert accuracy(data.train.labels) > 0.8
    assert accuracy(np.roll(data.train.labels, 1)) < 0.3
