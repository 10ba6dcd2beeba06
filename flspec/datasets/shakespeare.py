"""LEAF's Shakespeare: the characters of the plays are clients, and each of their lines is continued by a letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens
from flspec.data.characters import LEAF_LETTERS, letter_name, number_letters
from flspec.data.classes import Classes
from flspec.data.examples import Data
from flspec.data.leaf_files import UserExamples
from flspec.data.readings import FileFacts, array_facts
from flspec.data.synthetic.twins import TwinSize, held_labels
from flspec.data.tables import Rows, combine
from flspec.datasets.leaf_layout import LeafLayout, joined, write_split
from flspec.errors import InputError

_LENGTH = 80
_NAMES = tuple(map(letter_name, LEAF_LETTERS))
_WORDS = ("to be ", "or not ", "that is ", "the question ", "nobler ", "in the mind ")  # of the twin


class Shakespeare(LeafLayout):
    """Next-character prediction, in the files of LEAF's scripts: `*.json` in `train/` and in `test/`.

    Caldas et al. LEAF: A Benchmark for Federated Settings. 2018. https://arxiv.org/abs/1812.01097; the task is of
    McMahan et al., AISTATS 2017. In x an example is 80 characters, and in y the one that follows. Characters are LEAF's
    80 letters; another one is refused. Their numbers are the tokens of a text and the classes. The column `client` has
    the characters of the plays.
    """

    kind: Literal["shakespeare"] = "shakespeare"

    def read(self, root: Path, stream: Stream) -> Data:
        known = Classes(_NAMES, are_positions=True)
        data = combine(self.read_parts(root), client_column="client", classes=known)
        return replace(data, tokens=Tokens(len(LEAF_LETTERS), are_padded=False))

    def file_facts(self, path: Path) -> FileFacts:
        rows = self.read_rows(path)
        named = np.array(_NAMES)[np.asarray(rows.labels)]
        columns = (
            array_facts("x", "feature", rows.features).model_copy(update={"holds": f"texts of {_LENGTH} characters"}),
            array_facts("y", "label", named),
            array_facts("client", "client", rows.columns["client"], "the users"),
        )
        kind = str(type(self).model_fields["kind"].default)
        return FileFacts(file=str(path), kind=kind, num_rows=len(rows), columns=columns, classes=_NAMES)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write speakers who repeat a few words, each in its own proportions. A fifth of each is for evaluation."""
        holders, _ = held_labels(size.clients, size.examples, len(_WORDS), stream)
        texts, following = list[str](), list[str]()
        for client in range(size.clients):
            num = int((holders == client).sum())
            said = _speech(num + _LENGTH, stream.child("speech", client))
            texts += [said[start : start + _LENGTH] for start in range(num)]
            following += [said[start + _LENGTH] for start in range(num)]
        names = [f"THE_TWIN_SPEAKER_{client:05d}" for client in range(size.clients)]
        write_split(folder, names, holders, texts, following)

    def to_features(self, rows: list[Any]) -> NDArray[np.uint8]:
        return number_letters(rows, _LENGTH)

    def features_of_texts(self, texts: list[str]) -> NDArray[np.uint8]:
        return self.to_features(texts)

    def rows_of(self, path: Path, user_data: Mapping[str, UserExamples]) -> Rows:
        features, labels, columns = joined(user_data)
        return Rows(str(path), features, _numbered(path, labels), columns)


def _numbered(path: Path, labels: Sequence[Any]) -> NDArray[np.int64]:
    try:
        return number_letters(labels, 1)[:, 0].astype(np.int64)
    except ValueError as error:
        raise InputError(f"{path}: y: {error}") from None


def _speech(length: int, stream: Stream) -> str:
    """Return words in proportions of their own, `length` characters or more."""
    edges = np.cumsum(stream.child("mix").dirichlet(1.0, len(_WORDS)))
    drawn = stream.child("words").uniform(length)  # no word is shorter than a character
    return "".join(_WORDS[int((draw > edges[:-1]).sum())] for draw in drawn)
