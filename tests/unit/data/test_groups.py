"""Groups: each example is in one group of a column, and what would be ambiguous or endless is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from flspec.data.examples import MISSING_INTEGER, Data, Split
from flspec.data.groups import ExampleGroup, check_groups, parse_groups
from flspec.errors import InputError
from flspec.spec.schema import spec_schema

AGES = np.array([29.0, 30.0, np.nan, 49.5, 50.0, 80.0])


def names(group: ExampleGroup, values: list[Any]) -> dict[str, list[int]]:
    return {name: np.flatnonzero(mask).tolist() for name, mask in group.masks(np.array(values)).items()}


def data_with(**columns: list[Any]) -> Data:
    num = len(next(iter(columns.values())))
    split = Split(
        np.zeros((num, 2), np.float32),
        np.arange(num) % 2,
        columns={name: np.array(values) for name, values in columns.items()},
    )
    return Data(split, split, num_classes=2)


def test_each_value_is_a_group_and_so_is_what_is_missing():
    assert names(ExampleGroup(column="sex"), ["f", "m", "", "f"]) == {"sex=f": [0, 3], "sex=m": [1], "sex missing": [2]}
    assert names(ExampleGroup(column="Male"), [0, 1, 1]) == {"Male=0": [0], "Male=1": [1, 2]}


def test_a_whole_number_keeps_its_name_where_others_are_missing():
    values = [30, MISSING_INTEGER, 7]
    assert names(ExampleGroup(column="age"), values) == {"age=7": [2], "age=30": [0], "age missing": [1]}
    assert names(ExampleGroup(column="age", edges=(10.0,)), values) == {
        "age=(-inf,10)": [2],
        "age=[10,inf)": [0],
        "age missing": [1],
    }


def test_bins_hold_their_lower_edge_and_not_their_upper():
    found = names(ExampleGroup(column="age", edges=(30.0, 50.0)), AGES.tolist())
    assert found == {"age=(-inf,30)": [0], "age=[30,50)": [1, 3], "age=[50,inf)": [4, 5], "age missing": [2]}


def test_numbers_in_text_are_put_in_bins_too():
    """As a table has them, some of whose cells are empty."""
    assert names(ExampleGroup(column="age", edges=(30.0,)), ["29", "", "30.5"]) == {
        "age=(-inf,30)": [0],
        "age=[30,inf)": [2],
        "age missing": [1],
    }


def test_a_bin_of_nobody_is_no_group():
    assert list(names(ExampleGroup(column="age", edges=(0.5, 10.0, 20.0)), [12, 0])) == [
        "age=(-inf,0.5)",
        "age=[10,20)",
    ]


@pytest.mark.parametrize("group", [ExampleGroup(column="age"), ExampleGroup(column="age", edges=(30.0, 50.0))])
def test_every_example_is_in_exactly_one_group(group):
    assert np.array_equal(sum(mask.astype(int) for mask in group.masks(AGES).values()), np.ones(6))


def test_a_group_is_written_as_briefly_as_it_is_read():
    adapter = TypeAdapter(tuple[ExampleGroup, ...])
    text = b'["Male",{"column":"age","edges":[30.0,50.0]}]'
    assert adapter.dump_json(adapter.validate_json(text)) == text
    assert parse_groups(["Male", {"column": "age", "edges": [30, 50]}]) == adapter.validate_json(text)


def test_the_schema_takes_a_name_or_bins():
    definitions = spec_schema()["definitions"]
    name, bins = definitions["Evaluation"]["properties"]["groups"]["items"]["anyOf"]
    assert name["type"] == "string"
    assert bins["$ref"].endswith("/ExampleGroup")
    assert (list(definitions["ExampleGroup"]["properties"]), definitions["ExampleGroup"]["required"]) == (
        ["column", "edges"],
        ["column"],
    )


@pytest.mark.parametrize("edges", [(50.0, 30.0), (30.0, 30.0)])
def test_edges_ascend(edges):
    with pytest.raises(ValidationError, match="edges should ascend, but are"):
        ExampleGroup(column="age", edges=edges)


@pytest.mark.parametrize(
    ("group", "columns", "told"),
    [
        (ExampleGroup(column="sexx"), {"sex": ["f", "m"]}, "evaluation.groups: unknown 'sexx'; did you mean 'sex'?"),
        (
            ExampleGroup(column="sex", edges=(1.0,)),
            {"sex": ["f", "m"]},
            "sex holds text, but edges divide numbers; remove its",
        ),
        (
            ExampleGroup(column="id"),
            {"id": list(range(40))},
            "id has 40 values, but at most 32 can be groups; name another",
        ),
        (ExampleGroup(column="id"), {"id": [f"p{n}" for n in range(40)]}, "can be groups; name another"),
    ],
)
def test_a_column_that_cannot_be_measured_by_is_refused(group, columns, told):
    with pytest.raises(InputError) as refused:
        check_groups([group], data_with(**columns))
    assert told in str(refused.value)


def test_each_split_has_the_groups_that_its_own_examples_are_of():
    validation, test = (data_with(sex=list(values), age=[20, 40]).test for values in (["f", ""], ["m", "f"]))
    data = Data(test, test, num_classes=2, validation=validation)
    told = check_groups([ExampleGroup(column="sex"), ExampleGroup(column="age", edges=(30.0,))], data)
    ages = ["age=(-inf,30)", "age=[30,inf)", "age gap"]
    assert told == {
        "test": ["sex=f", "sex=m", "sex gap", *ages],
        "validation": ["sex=f", "sex missing", "sex gap", *ages],
    }


def test_two_groups_of_one_name_are_refused_in_any_split():
    clash = data_with(**{"a": ["x missing", "y"], "a=x": ["", "z"]}).test
    clear = data_with(**{"a": ["x", "y"], "a=x": ["", "z"]}).test
    for test, validation in ((clash, clear), (clear, clash)):
        with pytest.raises(InputError, match="two would be named 'a=x missing'; remove one"):
            check_groups(
                [ExampleGroup(column="a"), ExampleGroup(column="a=x")],
                Data(clear, test, num_classes=2, validation=validation),
            )
    assert check_groups([ExampleGroup(column="a"), ExampleGroup(column="a=x")], Data(clear, clear, num_classes=2))


def test_two_groups_of_one_name_are_refused():
    clash = data_with(**{"a": ["x missing", "y"], "a=x": ["", "z"]})
    with pytest.raises(InputError, match="two would be named 'a=x missing'; remove one"):
        check_groups([ExampleGroup(column="a"), ExampleGroup(column="a=x")], clash)
    with pytest.raises(InputError, match="two would be named 'sex=f'"):
        check_groups([ExampleGroup(column="sex"), ExampleGroup(column="sex")], data_with(sex=["f", "m"]))
