"""What is written is what is read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flspec.spec.yaml_reader import read_value, read_yaml
from flspec.spec.yaml_writer import write_value, write_yaml

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
def test_a_document_comes_back(value: dict[str, Any]) -> None:
    assert read_yaml(write_yaml(value).encode(), "again").value == value


@given(values)
def test_a_value_comes_back_in_one_line(value: object) -> None:
    assert len(write_value(value).splitlines()) == 1
    assert read_value(write_value(value), "again") == value


@pytest.mark.parametrize("text", ["no", "1e-3", "010", "1:30", "null", "~", "", ".nan", "0x1F", "y", "a: b", "- a"])
def test_text_that_could_be_something_else_is_quoted(text: str) -> None:
    assert write_value(text) == f'"{text}"'


def test_plain_text_needs_no_quotes() -> None:
    assert write_yaml({"kind": "iid", "hidden": [64, 32]}) == "kind: iid\nhidden: [64, 32]\n"
