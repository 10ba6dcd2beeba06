"""The first few of a list, and how many more there are."""

from __future__ import annotations

from flspec.core.text import and_more, join_some


def test_some_are_named_and_the_rest_counted():
    assert join_some([]) == ""
    assert join_some(["a", "b", "c"]) == "a, b, c"
    assert join_some([str(number) for number in range(1203)]) == "0, 1, 2 and 1,200 more"
    assert join_some(["a", "b"], most=1) == "a and 1 more"


def test_a_name_is_short_and_safe_to_print():
    assert join_some(["\x1b[31m" + "x" * 200]) == "\\x1b[31m" + "x" * 91 + "…"


def test_what_is_left_out_is_said_only_where_there_is_something():
    assert and_more(0, "labels") == ""
    assert and_more(-3) == ""
    assert and_more(1) == "and 1 more"
    assert and_more(1200, "labels") == "and 1,200 more labels"
