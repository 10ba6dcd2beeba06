"""LEAF's Sent140: who wrote a tweet is a client, and whether its mood is good is the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens
from flspec.data.examples import Data
from flspec.data.leaf_files import UserExamples
from flspec.data.readings import FileFacts, array_facts
from flspec.data.synthetic.twins import TwinSize, held_labels
from flspec.data.tables import Rows, combine
from flspec.data.texts import MOST_WORDS, NUM_BYTES, most_frequent, number_bytes, number_words
from flspec.datasets.leaf_layout import LeafLayout, joined, leaf_labels, write_split
from flspec.datasets.table import NamedClasses

_TEXT = 4  # of an example in x: its number, date, query, user, text
_MOODS = (("sad", "missed", "awful", "lost", "tired"), ("happy", "love", "great", "won", "thanks"))  # of the twin
_SAID = ("the", "train", "today", "my", "friends", "and", "coffee", "again", "this", "morning")


class Sent140(LeafLayout, NamedClasses):
    """Sentiment of tweets, in the files of LEAF's scripts: `*.json` in `train/` and in `test/`.

    Caldas et al. LEAF: A Benchmark for Federated Settings. 2018. https://arxiv.org/abs/1812.01097; the tweets are of Go
    et al., 2009. In x an example is a list whose fifth item is the text, and in y its class. The column `client` has
    the users.
    """

    kind: Literal["sent140"] = "sent140"
    tokens: Annotated[
        Literal["words", "bytes"],
        Field(description="what a text is cut into: words, without regard to case, and marks; or bytes of UTF-8"),
    ] = "words"
    vocabulary: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_WORDS,
            description="of words: so many that occur most often in the training examples of all clients; any other "
            "is the unknown word",
        ),
    ] = 10_000
    length: Annotated[
        int, Field(ge=1, le=100_000, description="tokens of a text; more are cut off, and fewer filled up with padding")
    ] = 25

    def read(self, root: Path, stream: Stream) -> Data:
        parts = self.read_parts(root)
        known = most_frequent((text for rows in parts["train"] for text in rows.features), self.vocabulary)
        numbered = {
            name: [replace(rows, features=self._numbers(rows.features, known)) for rows in files]
            for name, files in parts.items()
        }
        data = combine(numbered, client_column="client", classes=self.known_classes)
        num = NUM_BYTES if self.tokens == "bytes" else len(known) + 2  # padding and the unknown word
        return replace(data, tokens=Tokens(num, are_padded=True))

    def file_facts(self, path: Path) -> FileFacts:
        rows = self.read_rows(path)
        columns = (
            array_facts("x", "feature", rows.features.astype(np.str_)).model_copy(update={"holds": "texts"}),
            array_facts("y", "label", np.asarray(rows.labels)),
            array_facts("client", "client", rows.columns["client"], "the users"),
        )
        return self.facts_of(path, len(rows), columns, rows.labels)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write users whose tweets have a word of a mood among others. A fifth of each is for evaluation."""
        holders, labels = held_labels(size.clients, size.examples, len(_MOODS), stream)
        tweets = [
            [str(number), "", "NO_QUERY", f"user_{holder:05d}", _tweet(label, stream.child("tweet", number))]
            for number, (holder, label) in enumerate(zip(holders.tolist(), labels.tolist(), strict=True))
        ]
        names = [f"user_{client:05d}" for client in range(size.clients)]
        write_split(folder, names, holders, tweets, labels.tolist())

    def to_features(self, rows: list[Any]) -> NDArray[Any]:
        texts = np.empty(len(rows), object)
        for place, row in enumerate(rows):
            if not isinstance(row, list) or len(row) <= _TEXT or not isinstance(row[_TEXT], str):
                raise ValueError(f"example {place + 1} is no list whose fifth item is a text")
            if "\0" in row[_TEXT]:
                raise ValueError(f"example {place + 1} holds a NUL character, which stands for padding; leave it out")
            texts[place] = row[_TEXT]
        return texts

    def rows_of(self, path: Path, user_data: Mapping[str, UserExamples]) -> Rows:
        features, labels, columns = joined(user_data)
        return Rows(str(path), features, leaf_labels(labels, path), columns)

    def _numbers(self, texts: NDArray[Any], vocabulary: tuple[str, ...]) -> NDArray[Any]:
        if self.tokens == "bytes":
            return number_bytes(texts.tolist(), self.length)
        return number_words(texts.tolist(), vocabulary, self.length)


def _tweet(label: int, stream: Stream) -> str:
    """Return four to nine words of which one has the mood."""
    draws = stream.uniform(12)
    words = [_SAID[int(draw * len(_SAID))] for draw in draws[: 3 + int(draws[9] * 6)]]
    words.insert(int(draws[10] * (len(words) + 1)), _MOODS[label][int(draws[11] * len(_MOODS[label]))])
    return " ".join(words)
