"""Texts of one's own tables as token numbers: the vocabulary is CountVectorizer's on the same rule and rows."""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from flspec.compiler.compile import compile
from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens
from flspec.data.column_types import Cells
from flspec.data.examples import Data
from flspec.data.store import open_data, store_data
from flspec.data.texts import words_of
from flspec.datasets import Dataset
from flspec.encodings import parse_steps, text_of
from flspec.encodings.table import encode, fit
from flspec.errors import InputError, SpecError
from flspec.spec.from_data import spec_of_data
from flspec.spec.loading import parse_spec

RULE = r"[\w']+|[.,!?;]"
WORDS = [
    "The",
    "film",
    "was",
    "GREAT",
    ",",
    "Ünfit",
    "don't",
    "it's",
    "boring",
    ";",
    "dull",
    "acting",
    "saw",
    "x_1",
    "4",
]


def review(number: int) -> str:
    draw = random.Random(number)
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 30))) + draw.choice([".", "?", " :)", '"'])


REVIEWS = [review(number) for number in range(120)]
TRAIN, TEST = REVIEWS[:80], [*REVIEWS[80:], "Unheard of, the film"]


def write(path: Path, texts: list[str], marks: str = "good bad") -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["who", "review", "stars"])
        rows.writerows([f"user {n % 4}", text, marks.split()[n % 2]] for n, text in enumerate(texts))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "train.csv", TRAIN)
    write(tmp_path / "test.csv", TEST)
    return tmp_path


def section(**given: Any) -> dict[str, Any]:
    return {
        "kind": "csv",
        "file": "train.csv",
        "label": "stars",
        "client": "who",
        "features": {"review": "words"},
    } | given


def load(folder: Path, **given: Any) -> Data:
    return parse_component(Dataset, section(**given)).load(folder, Stream(0))


def by_sklearn(fitted_on: list[str], texts: list[str], num: int, length: int) -> tuple[list[str], np.ndarray]:
    """The words by CountVectorizer, in the order of frequency, then of the alphabet; and each text's numbers."""
    counter = CountVectorizer(lowercase=True, token_pattern=RULE)
    counts = np.asarray(counter.fit_transform(fitted_on).sum(axis=0)).ravel()
    words = sorted(counter.vocabulary_, key=lambda word: (-counts[counter.vocabulary_[word]], word))[:num]
    cut = counter.build_analyzer()
    rows = [[words.index(word) + 2 if word in words else 1 for word in cut(text)][:length] for text in texts]
    return words, np.array([row + [0] * (length - len(row)) for row in rows])


def found_words(data: Data) -> list[str]:
    text = text_of(data.encodings)
    assert text
    return list(text.tokenizer.names()[2:])


@pytest.mark.parametrize(("num", "length"), [(1000, 40), (7, 12)])
def test_words_and_their_numbers_are_those_of_scikit_learn(folder, num, length):
    data = load(folder, features={"review": {"words": num, "length": length}})
    words, train = by_sklearn(TRAIN, TRAIN, num, length)
    assert found_words(data) == words
    assert np.array_equal(data.train.features, train)
    assert np.array_equal(data.test.features, by_sklearn(TRAIN, TEST, num, length)[1])
    assert data.tokens == Tokens(len(words) + 2, are_padded=True)


def test_a_vocabulary_of_the_test_texts_too_would_be_seen(folder):
    assert found_words(load(folder)) != by_sklearn([*TRAIN, *TEST], TRAIN, 1000, 40)[0]


def test_a_text_that_is_there_twice_counts_twice(tmp_path):
    write(tmp_path / "train.csv", ["b", "b", "b", "a c", "a"])
    write(tmp_path / "test.csv", ["a", "b"])
    assert found_words(load(tmp_path)) == ["b", "a", "c"]


def test_words_are_small_letters_and_marks_are_words():
    assert words_of("I can't, OK?  @ann :)") == ["i", "can't", ",", "ok", "?", "ann"]
    assert words_of("I can't, OK?", lower=False) == ["I", "can't", ",", "OK", "?"]


def test_a_drawn_test_set_is_left_out_of_the_vocabulary(tmp_path):
    write(tmp_path / "train.csv", [*["a b"] * 8, "only here", "and here"])
    for seed in range(4):
        data = load(tmp_path, holdout=0.2, split_seed=seed)
        trained = {name for row in data.train.features for name in row}
        assert trained - {0} == set(range(2, 2 + len(found_words(data))))


def test_the_length_is_what_95_of_100_training_texts_fit_into(tmp_path):
    texts = [" ".join("a" * (number + 1)) for number in range(40)]  # 1 to 40 words
    write(tmp_path / "train.csv", texts)
    write(tmp_path / "test.csv", ["a " * 100, "a"])
    assert load(tmp_path).train.features.shape == (40, 38)
    write(tmp_path / "train.csv", ["a " * 900] * 10)
    assert load(tmp_path).input_shape == (512,)


def test_a_missing_text_is_padding_alone_and_counted(tmp_path):
    write(tmp_path / "train.csv", ["a b", "", "NA", "b"])
    write(tmp_path / "test.csv", ["zz b", "a a"])
    dataset = parse_component(Dataset, section(missing=["NA"]))
    data = dataset.load(tmp_path, Stream(0))
    assert data.train.features.tolist() == [[3, 2], [0, 0], [0, 0], [2, 0]]
    assert list(dataset.remarks(data))[:4] == [
        "review is texts, of 4 token numbers with padding and the unknown token; most frequent: b, a",
        "texts of review have 0 tokens in the median, and 95% of them up to 2; 25.0% fill all 2, and what more they "
        "have is cut off",
        "tokens of review that are unknown: 0.0% of train, 25.0% of test",
        "texts of review without a token, missing ones among them, are padding alone: 2 of 4 train",
    ]
    assert dataset.urgent_remarks(data) == []
    told = parse_component(Dataset, section(missing=["NA"])).file_facts(tmp_path / "train.csv")
    assert told.problems == ()
    assert told.remarks[2] == "tokens of review that are unknown: 0.0% of rows"


def test_characters_and_bytes():
    texts = Cells.of(["abBé", "", "ab"])
    (characters,) = fit(texts, parse_steps({"characters": 3, "length": 4}))
    assert list(characters.names()) == ["(padding)", "(unknown)", "a", "b", "B"]  # type: ignore[attr-defined]
    assert encode(texts, (characters,)).tolist() == [[2, 3, 4, 1], [0, 0, 0, 0], [2, 3, 0, 0]]
    (by_byte,) = fit(texts, parse_steps("bytes"))
    assert encode(texts, (by_byte,))[0].tolist() == [97, 98, 66, 0xC3, 0xA9]
    assert [by_byte.names()[number] for number in (0, 10, 97, 255)] == ["(padding)", "0x0a", "a", "0xff"]  # type: ignore[attr-defined]


def test_a_parquet_file_gives_the_same_as_its_csv(folder):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    long = ["x " * 400, *TRAIN[1:]]  # longer than a label may be
    write(folder / "train.csv", long)
    for name, texts in (("train", long), ("test", TEST)):
        columns = {"who": [f"user {n % 4}" for n in range(len(texts))], "review": [text or None for text in texts]}
        stars = [["good", "bad"][n % 2] for n in range(len(texts))]
        parquet.write_table(arrow.table(columns | {"stars": stars}), folder / f"{name}.parquet")
    document = section(kind="parquet", folder=".") | {"features": {"review": "words"}}
    del document["file"]
    dataset = parse_component(Dataset, document)
    data, same = dataset.load(folder, Stream(0)), load(folder)
    assert (data.digest, data.encodings, data.tokens) == (same.digest, same.encodings, same.tokens)
    facts = dataset.file_facts(folder / "train.parquet")
    assert facts.remarks[0].startswith("review is texts, of ")
    parquet.write_table(arrow.table({"number": [1, 2], "stars": ["a", "b"]}), folder / "train.parquet")
    numbers = parse_component(Dataset, document | {"features": {"number": "words"}, "client": None})
    with pytest.raises(InputError, match="column number holds whole numbers, not texts; name another"):
        numbers.load(folder, Stream(0))


def test_the_vocabulary_is_in_the_plan_and_can_be_given(folder):
    data = load(folder)
    store_data(data)
    assert open_data(data.describe()).encodings == data.encodings
    given = {one["column"]: one["steps"] for one in json.loads(json.dumps(data.describe().encodings))}
    again = load(folder, features=given)
    assert (again.digest, again.encodings) == (data.digest, data.encodings)


def spec(folder: Path, **changed: Any) -> Any:
    document = {
        "flspec": 1,
        "name": "text",
        "seed": 0,
        "rounds": 1,
        "dataset": section(file=str(folder / "train.csv")),
        "partition": {"kind": "natural"},
        "model": {"kind": "recurrent", "units": [4]},
        "client": {"epochs": 1, "batch_size": 10, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
        "aggregator": {"kind": "fedavg"},
    }
    return parse_spec(json.dumps(document | changed))


def test_a_plan_names_its_tokens_and_another_word_is_another_plan(folder):
    plan = compile(spec(folder))
    text = text_of(plan.settings.data.encodings)
    assert text
    assert plan.weights["embedding.weight"].shape == (len(text.tokenizer.names()), 8)
    assert text.tokenizer.names()[:4] == ["(padding)", "(unknown)", *by_sklearn(TRAIN, TRAIN, 2, 9)[0]]
    for name, texts in (("train", TRAIN), ("test", TEST)):
        write(folder / f"{name}.csv", [text.replace("boring", "borinh") for text in texts])
    other = compile(spec(folder))
    assert other.settings.data.digest == plan.settings.data.digest  # the same numbers, of another word
    assert other.digest != plan.digest


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_new_spec_reads_texts_alone_where_they_tell_most(tmp_path, kind):
    long = [f"{text} {number}" for number, text in enumerate(REVIEWS)]
    write(tmp_path / "reviews.csv", long)
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        from pyarrow import csv as arrow_csv
        from pyarrow import parquet

        parquet.write_table(arrow_csv.read_csv(tmp_path / "reviews.csv"), tmp_path / "reviews.parquet")
    written = spec_of_data(tmp_path / f"reviews.{kind}", tmp_path / "my.yaml", {"dataset": {"client": "who"}})
    assert "    review: words  # texts of about 1" in written
    made = parse_spec(written).model_dump(mode="json")
    assert (made["model"]["kind"], made["partition"]["kind"]) == (
        "recurrent",
        "natural" if "client: " in written else "iid",
    )
    assert made["dataset"]["label"] == "stars"


def test_a_new_spec_leaves_short_texts_out_and_says_how_they_would_be_read(tmp_path):
    rows = [f"{n % 7},{n % 5},{n % 3},{n % 9},note {n} is here,{n % 2}" for n in range(90)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,d,note,label", *rows]) + "\n")
    written = spec_of_data(tmp_path / "table.csv", tmp_path / "my.yaml", {})
    assert "a: standardise" in written
    assert "# left out: note: texts of about 4 words, which are read alone: features: {note: words}" in written


def test_a_model_of_numbers_refuses_texts(folder):
    with pytest.raises(InputError, match="these examples are texts, of token numbers; choose a model of texts"):
        compile(spec(folder, model={"kind": "softmax_regression"}))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"features": {"review": "words", "age": "as_is"}}, "'review' becomes token numbers"),
        ({"features": {"*": "words"}}, "which a model of texts reads alone; name that column alone in features"),
        (
            {"features": {"review": ["words", "standardise"]}},
            "standardise after words: it takes numbers and gets token",
        ),
        ({"features": {"review": ["words", {"impute": "most_frequent"}]}}, "gets token numbers, which measure nothing"),
        (
            {"features": {"review": ["standardise", "words"]}},
            "words after standardise: it takes texts and gets numbers",
        ),
        (
            {"features": {"review": "words"}, "shape": [2, 4]},
            "shape is for numbers, but 'review' becomes token numbers",
        ),
        ({"features": {"review": {"words": 0}}}, "words.vocabulary: Input should be greater than or equal to 1, got 0"),
        ({"features": {"review": {"kind": "words", "lenght": 3}}}, "words: unknown 'lenght'; did you mean 'length'"),
    ],
)
def test_what_cannot_be_read_as_texts_is_refused_in_the_spec(folder, given, told):
    with pytest.raises(SpecError) as error:
        spec(folder, dataset=section(**given))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("features", "texts", "told"),
    [
        ({"review": "words"}, ["", ""], "review: no training text has a token; leave the column out, or mend it"),
        (
            {"review": [{"impute": "constant", "value": "x", "indicator": True}, "words"]},
            ["a", ""],
            "leave indicator out",
        ),
        ({"review": "words"}, ["a\0b", "c"], "holds a NUL character"),
    ],
)
def test_texts_that_cannot_be_read_are_refused_in_a_line(tmp_path, features, texts, told):
    write(tmp_path / "train.csv", texts)
    write(tmp_path / "test.csv", ["a", "b"])
    with pytest.raises(InputError) as error:
        load(tmp_path, features=features)
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_given_list_numbers_its_lines_from_2(folder):
    (folder / "vocabulary.txt").write_bytes(b"film\r\nwas\r\nnobody\r\n")
    data = load(folder, features={"review": {"given": "vocabulary.txt", "length": 12}})
    cut = CountVectorizer(token_pattern=RULE).build_analyzer()
    rows = [[{"film": 2, "was": 3}.get(word, 1) for word in cut(text)][:12] for text in TRAIN]
    assert data.train.features.tolist() == [row + [0] * (12 - len(row)) for row in rows]
    assert found_words(data) == ["film", "was", "nobody"]
    assert data.tokens == Tokens(5, are_padded=True)
    plan = data.describe().encodings[0]["steps"]
    (folder / "vocabulary.txt").unlink()  # the plan has it
    assert load(folder, features={"review": plan}).digest == data.digest


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty; give each token a line"),
        (b"a\n\nb\n", "line 2 of"),
        (b"a\nb\na\n", "'a' is in"),
        (b"a\n\xff\n", "is no UTF-8 from byte 2 on; save it as UTF-8"),
        (None, "vocabulary.txt is not a file; name one below the data root, beside the spec, or absolute"),
    ],
)
def test_a_list_that_cannot_be_used_is_told_in_a_line(folder, content, told):
    if content is not None:
        (folder / "vocabulary.txt").write_bytes(content)
    with pytest.raises(InputError) as error:
        load(folder, features={"review": {"given": "vocabulary.txt"}})
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1


class Encoding:
    def __init__(self, ids: list[int]) -> None:
        self.ids = ids


class FakeTokenizer:
    """Of the interface of Hugging Face's library what flspec uses: each letter is a token."""

    tokens = "abc"

    @classmethod
    def from_str(cls, text: str) -> FakeTokenizer:
        made = cls()
        made.tokens = json.loads(text)
        return made

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> Encoding:
        return Encoding([self.get_vocab()[letter] for letter in text])

    def no_padding(self) -> None: ...

    def no_truncation(self) -> None: ...


@pytest.mark.parametrize(
    ("tokens", "numbers"), [(["a", "b"], [[1, 2], [0, 0]]), (["[PAD]", "a", "b"], [[1, 2], [0, 0]])]
)
def test_a_tokenizer_of_hugging_face_keeps_its_numbers_where_0_is_padding(tmp_path, monkeypatch, tokens, numbers):
    monkeypatch.setitem(sys.modules, "tokenizers", library := ModuleType("tokenizers"))
    library.Tokenizer = FakeTokenizer  # type: ignore[attr-defined]
    (file := tmp_path / "tokenizer.json").write_text(json.dumps(tokens))
    steps = fit(texts := Cells.of(["ab", ""]), parse_steps({"hugging_face": str(file)}))
    assert encode(texts, steps).tolist() == numbers
    assert steps[0].names()[1] == "a"  # type: ignore[attr-defined]
    file.write_text(json.dumps([*tokens, "c"]))
    with pytest.raises(Exception, match="has changed: it has not the SHA-256"):
        encode(texts, steps)


def test_without_the_library_its_tokenizer_is_refused_with_the_way_out(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="needs the library tokenizers; install it with: pip install tokenizers"):
        load(folder, features={"review": {"hugging_face": "tokenizer.json"}})
