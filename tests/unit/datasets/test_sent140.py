"""LEAF's Sent140: tweets as words or bytes of one length, with padding behind, and files that are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.core.randomness import Stream
from flspec.datasets.sent140 import Sent140
from flspec.encodings import text_of
from flspec.errors import InputError
from flspec.spec.loading import parse_spec


def tweet(text):
    return ["1467810369", "Mon Apr 06", "NO_QUERY", "ann", text]


def write(folder, train, test=("good good",), labels=None):
    for part, texts in (("train", train), ("test", test)):
        x = [tweet(text) if isinstance(text, str) else text for text in texts]
        y = labels if labels and part == "train" else [row % 2 for row in range(len(x))]
        whole = {"users": ["ann"], "num_samples": [len(x)], "user_data": {"ann": {"x": x, "y": y}}}
        (folder / part).mkdir()
        (folder / part / "all_data_0.json").write_text(json.dumps(whole))


def test_the_vocabulary_is_of_the_training_texts_alone(tmp_path):
    write(tmp_path, ["good day", "bad day"], test=["unheard day", "good night"])
    data = Sent140(length=2).load(tmp_path, Stream(0))
    assert data.tokens
    assert data.tokens.num == 3 + 2  # day, bad, good
    assert data.train.features.tolist() == [[4, 2], [3, 2]]
    assert data.test.features.tolist() == [[1, 2], [4, 1]]
    assert data.train.columns["client"].tolist() == ["ann", "ann"]
    text = text_of(data.describe().encodings)
    assert text
    assert (text.column, text.tokenizer.names()) == ("x", ["(padding)", "(unknown)", "day", "bad", "good"])


def test_a_plan_tells_words_apart_that_get_the_same_numbers(tmp_path):
    (one := tmp_path / "one").mkdir()
    (other := tmp_path / "other").mkdir()
    write(one, ["good"], test=["good"])
    write(other, ["evil"], test=["evil"])
    found = [Sent140(length=2).load(folder, Stream(0)) for folder in (one, other)]
    assert found[0].digest == found[1].digest
    assert found[0].describe() != found[1].describe()  # which the plan's digest covers


def test_bytes_need_no_vocabulary(tmp_path):
    write(tmp_path, ["good", "bad"])
    data = Sent140(tokens="bytes", length=4).load(tmp_path, Stream(0))
    assert data.train.features.dtype == np.uint8
    assert data.tokens
    assert (data.train.features[1].tolist(), data.tokens.num) == ([98, 97, 100, 0], 256)


@pytest.mark.parametrize("tokens", ["words", "bytes"])
def test_another_word_another_order_and_another_length_are_other_digests(tokens, tmp_path):
    digests = set()
    for number, (texts, length) in enumerate(
        [(["a b", "c"], 4), (["a d", "c"], 4), (["a b", "c"], 5), (["b a", "c"], 4)]
    ):
        (folder := tmp_path / str(number)).mkdir()
        write(folder, texts, test=("a",))
        digests.add(Sent140(tokens=tokens, length=length).load(folder, Stream(0)).digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([["1", "2"]], "user 'ann': example 1 is no list whose fifth item is a text"),
        (["fine", [1, 2, 3, 4, 5]], "example 2 is no list whose fifth item is a text"),
        ([{"text": "a"}], "example 1 is no list"),
        (["a\0b"], "example 1 holds a NUL character"),
    ],
)
def test_a_bad_tweet_is_one_line_that_names_file_and_example(texts, message, tmp_path):
    write(tmp_path, texts)
    with pytest.raises(InputError) as told:
        Sent140().load(tmp_path, Stream(0))
    assert message in str(told.value)
    assert "all_data_0.json" in str(told.value)


def test_padded_texts_are_planned_with_their_padding_told_apart():
    document = {
        "flspec": 1,
        "name": "text",
        "seed": 0,
        "rounds": 1,
        "dataset": {"kind": "sent140", "twin": {"clients": 4, "examples": 60}},
        "partition": {"kind": "natural"},
        "model": {"kind": "recurrent", "units": [4]},
        "client": {"epochs": 1, "batch_size": 10, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
        "aggregator": {"kind": "fedavg"},
    }
    plan = compile(parse_spec(json.dumps(document)))
    (last,) = [layer for layer in plan.settings.layers if layer["kind"] == "last_step"]
    assert list(last["inputs"]) == ["lstm_1", "input"]
    assert len(plan.weights["embedding.weight"]) <= 20 + 2  # the twin has twenty words
