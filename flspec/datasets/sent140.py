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
from flspec.data.column_types import Cells
from flspec.data.examples import Data
from flspec.data.leaf_files import UserExamples
from flspec.data.readings import FileFacts, array_facts
from flspec.data.synthetic.twins import TwinSize, held_labels
from flspec.data.tables import Rows, combine
from flspec.datasets.leaf_layout import LeafLayout, joined, leaf_labels, write_split
from flspec.datasets.table import NamedClasses
from flspec.datasets.text_remarks import text_remarks
from flspec.encodings import Tokenizer, parse_steps
from flspec.encodings.table import facts_of
from flspec.encodings.table import joined as joined_columns
from flspec.encodings.tokenizer import MOST_TOKENS

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
        Literal["words", "characters", "bytes"],
        Field(description="what a text is cut into, as the encodings of a table's texts: see `flspec list encodings`"),
    ] = "words"
    vocabulary: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_TOKENS,
            description="so many words or characters that occur most often in the training examples of all clients; "
            "any other is the unknown token",
        ),
    ] = 10_000
    length: Annotated[
        int, Field(ge=1, le=100_000, description="tokens of a text; more are cut off, and fewer filled up with padding")
    ] = 25

    def read(self, root: Path, stream: Stream) -> Data:
        parts = self.read_parts(root)
        texts = {name: [Cells.of(rows.features) for rows in files] for name, files in parts.items()}
        tokenizer = self._tokenizer.fitted(joined_columns(texts["train"]))
        numbered = {
            name: [
                replace(rows, features=tokenizer.encoded(cells).astype(self._stored))
                for rows, cells in zip(files, texts[name], strict=True)
            ]
            for name, files in parts.items()
        }
        data = combine(numbered, client_column="client", classes=self.known_classes)
        return replace(data, tokens=tokenizer.tokens_of, encodings=(facts_of("x", (tokenizer,), texts["train"][0]),))

    def remarks(self, data: Data) -> list[str]:
        return list(text_remarks(data))

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

    @property
    def _tokenizer(self) -> Tokenizer:
        known = {} if self.tokens == "bytes" else {"vocabulary": self.vocabulary}
        (tokenizer,) = parse_steps({"kind": self.tokens, "length": self.length} | known)
        assert isinstance(tokenizer, Tokenizer)
        return tokenizer

    @property
    def _stored(self) -> type[np.uint8] | type[np.float32]:
        return np.uint8 if self.tokens == "bytes" else np.float32


def _tweet(label: int, stream: Stream) -> str:
    """Return four to nine words of which one has the mood."""
    draws = stream.uniform(12)
    words = [_SAID[int(draw * len(_SAID))] for draw in draws[: 3 + int(draws[9] * 6)]]
    words.insert(int(draws[10] * (len(words) + 1)), _MOODS[label][int(draws[11] * len(_MOODS[label]))])
    return " ".join(words)
