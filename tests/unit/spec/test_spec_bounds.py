"""Each list of a spec has a most, so a spec of one megabyte cannot ask for hours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flspec.errors import SpecError
from flspec.spec.loading import parse_spec
from flspec.spec.schema import spec_schema

SPEC = """
flspec: 1
name: long
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 2}
model: {kind: mlp, hidden: [HIDDEN]}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


def unbounded(schema: Any, path: str = "") -> Iterator[str]:
    """The lists of a JSON Schema that may be of any length."""
    if isinstance(schema, dict):
        if schema.get("type") == "array" and "maxItems" not in schema:
            yield path
        schema = schema.items()
    elif isinstance(schema, list):
        schema = enumerate(schema)
    else:
        return
    for key, inner in schema:
        yield from unbounded(inner, f"{path}/{key}")


def test_every_list_of_a_spec_has_a_most() -> None:
    assert list(unbounded(spec_schema())) == []


def test_a_list_without_a_most_is_found() -> None:
    assert list(unbounded({"anyOf": [{"type": "array", "items": {"type": "array", "maxItems": 2}}]})) == ["/anyOf/0"]


@pytest.mark.timeout(30)
def test_a_model_of_a_hundred_thousand_layers_is_refused_at_once() -> None:
    with pytest.raises(SpecError, match=r"model\.hidden: .*100"):
        parse_spec(SPEC.replace("HIDDEN", "2, " * 99_999 + "2"))
    assert parse_spec(SPEC.replace("HIDDEN", "2, " * 99 + "2"))


@pytest.mark.timeout(30)
def test_a_hundred_thousand_columns_are_checked_at_once() -> None:
    names = ", ".join(f"a{number}" for number in range(100_000))
    dataset = f"dataset: {{kind: csv, features: [{names}]}}"
    assert parse_spec(SPEC.replace("dataset: {kind: digits}", dataset).replace("HIDDEN", "2"))
    with pytest.raises(SpecError, match="'a7' is named twice"):
        parse_spec(SPEC.replace("dataset: {kind: digits}", dataset.replace("a9,", "a7,", 1)).replace("HIDDEN", "2"))
