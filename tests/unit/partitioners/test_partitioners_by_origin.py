"""Partitioners that look at whom examples belong to, or at a list: whole users, patients, slices, a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners import Partitioner
from flspec.partitioners.group_sizes import GroupSizes

# Twelve examples of five users, one of whom is not known; d and the unknown one are in the test set too.
USERS = np.array(["b", "a", "b", "", "c", "b", "a", "", "d", "d", "d", "d"])
LABELS = np.array([0, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0])
KNOWN = Examples(LABELS, 2, {"user": USERS}, "user", {"user": np.array(["d", "", "e"])})


def split(known=KNOWN, seed=0, **document):
    return parse_component(Partitioner, document).split(known, Stream(seed, "partition"))


def lists(held):
    return [one.tolist() for one in held]


# ------------------------------------------------------------------------------------------------------------ natural


def test_a_client_is_a_user_with_all_examples_as_users_first_appear_and_the_unknown_are_one():
    assert lists(split(kind="natural")) == [[0, 2, 5], [1, 6], [3, 7], [4], [8, 9, 10, 11]]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"min_examples": 3}, [[0, 2, 5], [8, 9, 10, 11]]),
        ({"clients": 2}, [[0, 2, 5], [1, 6]]),
        ({"clients": 2, "order": "largest"}, [[8, 9, 10, 11], [0, 2, 5]]),
        ({"absent_from_test": True}, [[0, 2, 5], [1, 6], [4]]),
        ({"absent_from_test": True, "min_examples": 2, "clients": 1}, [[0, 2, 5]]),
        ({"column": "user"}, [[0, 2, 5], [1, 6], [3, 7], [4], [8, 9, 10, 11]]),
    ],
)
def test_users_can_be_left_out(document, expected):
    assert lists(split(kind="natural", **document)) == expected


def test_of_too_many_examples_so_many_are_drawn():
    drawn = {tuple(split(seed=seed, kind="natural", max_examples=2)[4].tolist()) for seed in range(40)}
    assert len(drawn) == 6  # every pair of d's four
    assert [len(one) for one in split(kind="natural", max_examples=2)] == [2, 2, 2, 1, 2]


def test_users_in_random_order_are_drawn():
    drawn = {tuple(split(seed=seed, kind="natural", order="random", clients=1)[0].tolist()) for seed in range(40)}
    assert len(drawn) == 5


# Of the users' least values d's is the lowest, b's and the unknown one's are equal, and a's is the highest.
SINCE = np.array([7, 9, 3, 3, 5, 4, 8, 6, 9, 1, 9, 9])
DATED = Examples(LABELS, 2, {**KNOWN.columns, "since": SINCE, "when": np.char.mod("2024-01-%02d", SINCE)}, "user")


@pytest.mark.parametrize("column", ["since", "when"])
def test_users_come_in_the_order_of_their_least_value_of_a_column_and_as_they_appear_where_it_is_equal(column):
    by_column = [[8, 9, 10, 11], [0, 2, 5], [3, 7], [4], [1, 6]]
    assert lists(split(DATED, kind="natural", order_by=column)) == by_column
    assert lists(split(DATED, kind="natural", order_by=column, clients=2, min_examples=3)) == by_column[:2]
    assert lists(split(DATED, kind="natural", order_by=column, order="largest"))[2:] == [[3, 7], [1, 6], [4]]
    assert lists(split(DATED, kind="natural")) == [[0, 2, 5], [1, 6], [3, 7], [4], [8, 9, 10, 11]]


def test_whose_examples_are_dealt_can_be_told_by_a_column_too():
    among = {"clients": 1, "order_by": "since"}
    assert lists(split(DATED, kind="deal", clients=2, shuffle=False, among=among)) == [[8, 10], [9, 11]]


def test_an_order_by_nothing_is_not_told_so_that_no_digest_moves():
    said = [parse_component(Partitioner, {"kind": "natural", **more}).model_dump() for more in ({}, {"order_by": "a"})]
    assert ["order_by" in one for one in said] == [False, True]
    deal = parse_component(Partitioner, {"kind": "deal", "clients": 2, "among": {}})
    assert "order_by" not in deal.model_dump()["among"]


def test_any_order_is_not_that_of_a_column():
    with pytest.raises(ValidationError, match="order is random, but order_by is since; remove one"):
        parse_component(Partitioner, {"kind": "natural", "order": "random", "order_by": "since"})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"clients": 4, "min_examples": 2, "absent_from_test": True},
            r"clients is 4, but of 5 values of user 2 have 2 or more examples and no example in the test set "
            r"\(the most is 4\)",
        ),
        ({"min_examples": 9}, "but of 5 values of user 0 have 9 or more examples"),
        ({"column": "usr"}, "partition.column: unknown 'usr'; did you mean 'user'"),
        ({"order_by": "usr"}, "partition.order_by: unknown 'usr'; did you mean 'user'"),
    ],
)
def test_users_that_are_not_there_are_told_in_numbers(document, message):
    with pytest.raises(InputError, match=message):
        split(kind="natural", **document)


def test_a_dataset_without_clients_of_its_own_says_which_columns_it_has():
    known = Examples(LABELS, 2, {"site": USERS, "age": np.arange(12.0)})
    with pytest.raises(InputError, match=r"has no column of owners; .* \(age, site\)"):
        split(known, kind="natural")
    with pytest.raises(InputError, match="absent_from_test: the test examples have no column site"):
        split(known, kind="natural", column="site", absent_from_test=True)


# ---------------------------------------------------------------------------------------------------- grouped natural


@pytest.mark.parametrize(
    ("document", "users"),
    [
        ({"ids_per_client": 2}, ["ab", "?c", "d"]),
        ({"ids_per_client": 2, "remainder": "larger"}, ["?ab", "cd"]),
        ({"ids_per_client": 2, "remainder": "drop"}, ["ab", "?c"]),
        ({"ids_per_client": 2, "order": "sorted"}, ["?a", "bc", "d"]),
        ({"ids_per_client": 2, "clients": 1}, ["ab"]),
        ({"ids_per_client": 10}, ["?abcd"]),
        ({"ids_per_client": None, "clients": 2}, ["?ab", "cd"]),
    ],
)
def test_whole_users_are_dealt_to_clients(document, users):
    held = split(kind="grouped_natural", **document)
    named = np.where(USERS == "", "?", USERS)
    assert ["".join(sorted(set(named[one]))) for one in held] == users
    assert sum(map(len, held)) == sum(np.isin(named, [*"".join(users)]))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"ids_per_client": 2, "remainder": "refuse"}, "5 values make 2 clients of 2 and leave 1"),
        ({"ids_per_client": 2, "clients": 3}, "3 clients of 2 values need 6, but the column has 5"),
        ({"ids_per_client": 6, "remainder": "drop"}, "ids_per_client is 6, but the column has 5 values"),
        ({"ids_per_client": None, "clients": 6}, "clients is 6, but the column has 5 values"),
    ],
)
def test_groups_that_cannot_be_are_refused(document, message):
    with pytest.raises(InputError, match=message):
        split(kind="grouped_natural", **document)


# --------------------------------------------------------------------------------------------------------------- deal


def test_examples_are_dealt_round_and_round():
    assert lists(split(kind="deal", clients=5, shuffle=False)) == [[0, 5, 10], [1, 6, 11], [2, 7], [3, 8], [4, 9]]


def test_only_the_examples_of_some_users_are_dealt():
    held = split(kind="deal", clients=2, among={"min_examples": 2, "absent_from_test": True})
    assert sorted(np.concatenate(held)) == [0, 1, 2, 5, 6]
    assert [len(one) for one in held] == [3, 2]


def test_more_clients_than_there_is_to_deal_are_refused():
    with pytest.raises(InputError, match="clients is 4, but there are only 3 examples to deal"):
        split(kind="deal", clients=4, among={"clients": 1})


# -------------------------------------------------------------------------------------------------------- group sizes


def grouped(sizes):
    """Examples of groups of these sizes."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return Examples(np.zeros(len(groups), np.int64), 1, {"patient": groups}, "patient"), groups


def test_sizes_are_met_to_the_example_where_there_are_small_groups():
    known, groups = grouped([*[30] * 20, *[7] * 20, *[1] * 90])
    held = split(known, kind="group_sizes", sizes=[100, 200, 333])
    assert [len(one) for one in held] == [100, 200, 333]
    together = [set(groups[one]) for one in held]
    assert sum(map(len, together)) == len(set.union(*together))


def test_a_client_takes_a_group_too_many_where_that_is_nearer():
    known, _ = grouped([10] * 6)
    held = split(known, kind="group_sizes", sizes=[16, 14], tolerance=0.5)
    assert [len(one) for one in held] == [20, 10]


def test_how_far_the_sizes_are_off_is_told():
    partitioner = GroupSizes(sizes=(16, 14, 10))
    assert partitioner.remarks(np.array([16, 14, 10])) == ()
    assert partitioner.remarks(np.array([20, 10, 10])) == (
        "2 of 3 are not the size asked for, since groups stay whole; furthest off is client 0, with 20 of 16",
    )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            [16, 14],
            r"client 0 is to hold 16 examples, and whole values of patient come no nearer than 20, .* 25\.0% off",
        ),
        ([4], "client 0 is to hold 4 examples, and whole values of patient come no nearer than 0"),
        ([50, 11], "sizes sum to 61, but there are 60 examples"),
    ],
)
def test_sizes_that_whole_groups_do_not_make_are_refused_with_what_they_make(sizes, message):
    with pytest.raises(InputError, match=message):
        split(grouped([10] * 6)[0], kind="group_sizes", sizes=sizes)


def test_which_groups_a_client_gets_is_drawn():
    known, groups = grouped([5] * 10)
    drawn = {tuple(sorted(set(groups[split(known, seed, kind="group_sizes", sizes=[10])[0]]))) for seed in range(30)}
    assert len(drawn) > 15


# ------------------------------------------------------------------------------------------------------------- slices


def test_slices_are_of_the_file_s_order():
    held = split(kind="slices", clients=2, slices=[[[0, 2]], [[5, 9]]])
    assert lists(held) == [[0, 1], [5, 6, 7, 8]]


def test_equal_slices_are_of_everything():
    assert lists(split(kind="slices", clients=5)) == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9], [10, 11]]


def test_slices_can_be_of_users():
    held = split(kind="slices", clients=2, groups="user", slices=[[[0, 2]], [[4, 5]]])
    assert lists(held) == [[0, 1, 2, 5, 6], [8, 9, 10, 11]]


def test_with_strata_there_is_a_list_of_users_for_each_and_a_user_is_of_the_lowest():
    # With an example of label 0: b, the unknown, d. With label 1 alone: a, c.
    held = split(kind="slices", clients=2, groups="user", strata="label", slices=[[[0, 2], [1, 2]], [[2, 3], [0, 1]]])
    assert ["".join(sorted(set(USERS[one]))) for one in held] == ["bc", "ad"]


def test_a_stratified_order_has_the_labels_in_their_shares_in_every_stretch():
    labels = np.repeat([0, 1], [900, 100])
    known = Examples(labels, 2, {})
    held = split(known, kind="slices", clients=20, order="stratified")
    assert {int(labels[one].sum()) for one in held} == {5}
    assert max(labels[one].sum() for one in split(known, kind="slices", clients=20, order="random")) > 6


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"slices": [[[0, 5]], [[4, 6]]]}, "client 1 has entries 4 to 5 of list 0, of which client 0 has 1 too"),
        ({"slices": [[[0, 5]], [[5, 13]]]}, r"client 1 has \[5, 13\] of list 0, which has 12 entries; end it at 12"),
        ({"slices": [[[0, 5]], [[5, 6], [0, 1]]]}, "client 1 has 2 slices, but there are 1 lists"),
        ({"slices": None, "clients": 13}, "clients is 13, but the longest list has 12 entries"),
    ],
)
def test_slices_that_do_not_fit_are_refused(document, message):
    with pytest.raises(InputError, match=message):
        split(**{"kind": "slices", "clients": 2} | document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"slices": [[[3, 2]], [[0, 1]]]}, r"client 0 has \[3, 2\], which ends before it begins"),
        ({"slices": [[[3, 3]], [[0, 1]]]}, "client 0 gets nothing"),
        ({"slices": [[[0, 1]]]}, "slices has 1 rows for 2 clients"),
        (
            {"order": "stratified", "groups": "user"},
            "order: stratified needs lists of examples, but groups makes lists of groups",
        ),
    ],
)
def test_slices_that_mean_nothing_are_refused(document, message):
    with pytest.raises(ValidationError, match=message):
        split(kind="slices", clients=2, **document)


# ----------------------------------------------------------------------------------------------------------- explicit


def from_file(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return split(Examples(LABELS, 2, root=folder), kind="explicit", file=name)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "client,example\n1,5\n0,3\n1,2\n", [[3], [2, 5]]),
        ("a.csv", "example,client\r\n5, b\r\n\r\n3,ä\r\n", [[5], [3]]),
        ("a.csv", "\ufeffclient,example\nNO,0\n", [[0]]),
        ("a.CSV", 'client,example\n"a,b",0\n2,1\n', [[0], [1]]),
        ("a.json", '{"1": [5, 2], "0": [3]}', [[3], [2, 5]]),
        ("a.json", '{"x": [5], "0": [3]}', [[5], [3]]),
        ("a.json", json.dumps([1, None, 0, "1"] + [None] * 8), [[2], [0, 3]]),
    ],
)
def test_a_file_says_who_holds_what(tmp_path, name, content, expected):
    assert lists(from_file(tmp_path, name, content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "its heading is empty, not client,example"),
        ("a.csv", "client,index\n", "its heading is client,index, not client,example"),
        ("a.csv", "client,example\n", "gives no example to any client"),
        ("a.csv", "client,example\na,1\na\n", "line 3 is not a client and an example: 'a'"),
        ("a.csv", "client,example\na,1.0\n", "line 2: '1.0' is no index"),
        ("a.csv", "client,example\na,-1\n", "line 2: '-1' is no index"),
        ("a.csv", "client,example\na,12\n", "client a has example 12, but there are 12, from 0"),
        ("a.csv", "client,example\na,1\nb,1\n", "example 1 is given to client a and client b"),
        ("a.csv", b"client,example\n\xff,1\n", "is not UTF-8 text"),
        ("a.json", '{"a": [1], "a": [2]}', "client a appears twice"),
        ("a.json", '{"a": 1}', "client a has no list of examples"),
        ("a.json", '{"a": [true]}', "client a: 'True' is no index"),
        ("a.json", '{"a": [1e1]}', "client a: '10.0' is no index"),
        ("a.json", '{"a": []}', "gives no example to any client"),
        ("a.json", '{"a"', "is no JSON"),
        ("a.json", "7", "is neither a mapping of clients to examples nor a list of clients"),
        ("a.json", "[1, 2]", "lists 2 clients for 12 examples"),
        ("a.json", json.dumps([1.5] + [None] * 11), "the client of example 0 is 1.5"),
        ("a.txt", "", "'?.txt'? is not known; give a .csv or .json file"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_the_place(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message) as refused:
        from_file(tmp_path, name, content)
    assert f"partition.file: {tmp_path / name}" in str(refused.value)


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(InputError, match=r"partition\.file: .*none\.csv does not exist"):
        split(kind="explicit", file="none.csv")
