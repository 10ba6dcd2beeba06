"""Tables, arrays and LEAF's JSON: what they hold, and files that are not what they should be."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.data.examples import is_missing
from flspec.datasets.csv import CsvTable
from flspec.datasets.leaf import Leaf
from flspec.datasets.npz import NpzArrays
from flspec.errors import InputError


def refusal(dataset, root):
    """The one line with which a data set is refused."""
    with pytest.raises(InputError) as refused:
        dataset.load(root, Stream(0))
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


# ----------------------------------------------------------------------------------------------------------------- csv

PEOPLE = "label,age,height,client,region\nyes,30,1.5,ann,n\nno,40,-2e1,bob,s\nNO,50,0.25,ann,n\n"


def csv_of(tmp_path, train=PEOPLE, test=PEOPLE, **parameters):
    for name, text in (("train", train), ("test", test)):
        if text is not None:
            (tmp_path / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return CsvTable(**{"columns": ("region",)} | parameters)


def test_a_csv_gives_features_labels_columns_and_clients(tmp_path):
    data = csv_of(tmp_path).load(tmp_path, Stream(0))
    assert data.train.features.tolist() == [[30, 1.5], [40, -20], [50, 0.25]]
    assert (data.label_names, data.train.labels.tolist()) == (("NO", "no", "yes"), [2, 1, 0])
    assert {name: column.tolist() for name, column in data.train.columns.items()} == {
        "client": ["ann", "bob", "ann"],
        "region": ["n", "s", "n"],
    }
    assert data.client_column == "client"


def test_features_are_those_named_in_their_order_and_shape(tmp_path):
    data = csv_of(tmp_path, features=("height", "age"), shape=(1, 2, 1)).load(tmp_path, Stream(0))
    assert data.input_shape == (1, 2, 1)
    assert data.train.features[1].ravel().tolist() == [-20, 40]


def test_a_byte_order_mark_other_line_ends_quotes_and_separators_are_read(tmp_path):
    text = '\ufefflabel;"a;b"\r\n0;"1"\r\n1;2\r\n\r\n'
    data = csv_of(tmp_path, text, text, separator="semicolon", columns=()).load(tmp_path, Stream(0))
    assert (data.train.features.tolist(), data.train.labels.tolist()) == ([[1], [2]], [0, 1])


def test_a_class_that_only_the_test_file_has_is_refused_unless_all_are_named(tmp_path):
    dataset = csv_of(tmp_path, test=PEOPLE.replace("NO,", "maybe,"))
    told = refusal(dataset, tmp_path)
    assert f"{tmp_path / 'test.csv'}: row 3: label 'maybe' is no training label; those are 'NO', 'no', 'yes'" in told
    assert "dataset.classes" in told
    data = CsvTable(classes=("yes", "no", "NO", "maybe"), columns=("region",)).load(tmp_path, Stream(0))
    assert data.label_names == ("yes", "no", "NO", "maybe")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1, 2], [0, 1, 3])


def test_a_share_of_each_class_is_held_out_and_every_row_is_somewhere(tmp_path):
    rows = [f"{number % 4 and 1},{number}" for number in range(200)]  # 50 of label 0, 150 of label 1
    dataset = csv_of(tmp_path, "label,x\n" + "\n".join(rows), None, holdout=0.1, columns=())
    data = dataset.load(tmp_path, Stream(0))
    assert np.bincount(data.test.labels).tolist() == [5, 15]
    train, test = (split.features.ravel().tolist() for split in (data.train, data.test))
    assert sorted(train + test) == list(range(200))
    assert train == sorted(train)
    assert test == sorted(test)


def test_the_test_set_that_is_drawn_is_one_for_all_seeds_of_an_experiment(tmp_path):
    rows = "label,x\n" + "".join(f"{number % 2},{number}\n" for number in range(200))
    dataset = csv_of(tmp_path, rows, None, holdout=0.1, columns=())
    one, other = (dataset.load(tmp_path, Stream(seed)).digest for seed in (0, 1))
    assert one == other
    again = dataset.model_copy(update={"split_seed": 1}).load(tmp_path, Stream(0))
    assert again.digest != one
    assert np.bincount(again.test.labels).tolist() == [10, 10]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.csv: empty"),
        ("label,age\n", "no rows below its header"),
        ("label,age\n0\n", "row 1: 1 cells, but the header names 2"),
        ("label,age\n0,1\n0,1,2\n", "row 2: 3 cells, but the header names 2"),
        ("label,age\n0,1\n\n0,1\n", "row 2: empty, with rows below it"),
        ("label,age,age\n0,1,2\n", "the header names 'age' twice, columns 2 and 3"),
        (",label,age\n0,0,1\n", "column 1 has no name"),
        ("label,age\n0,nan\n", "row 1: column age: nan is not a finite float32 number"),
        ("label,age\n0,1\n0,-inf\n", "row 2: column age: -inf is not a finite"),
        ("label,age\n0,1e39\n", "row 1: column age: 1e+39 is not a finite float32 number"),
        ("label,age,size\n0,1,2\n0,1,=cmd()\n", "row 2: column size: '=cmd()' is no number"),
        ("label,age\n0,1_000\n", "row 1: column age: '1_000' is no number"),
        ("label,age\n0,٣\n", "row 1: column age: '٣' is no number"),
        ("label,age\n0,\n", "row 1: column age: '' is no number"),
        ("label,age\n0.5,1\n1,2\n", "label 0.5 is not an integer"),
        ("label,age\n0,1\n-1,1\n", "row 2: label -1 is negative"),
        ("label,age\nyes,1\n,1\n", "row 2: label '' is empty"),
        ("lable,age\n0,1\n", "there is no column 'label'; did you mean 'lable'? its columns are lable, age"),
        ("label;age\n0;1\n", "no column is left for features; is comma the separator"),
        ("label,age,client\n0,1,ann\n0,1,\n", "row 2: column client is empty"),
        ("label,age,client\n0,1,a\0b\n", "holds a NUL character"),
        ("label,age,client\n0,1," + "x" * 257 + "\n", "is longer than 256 characters"),
        ('label,age\n0,"1\n', ":2: not CSV (a cell begins with a quote and never ends with one)"),
        ('label,age\n0,"1"2\n', ":2: not CSV (',' expected after '\"')"),
        ("label,age\n" + "1" * 2**24 + "\n", "a row is longer than 16,777,216 characters"),
        (b"label,age\n0,1\n0,\xff\n", "not UTF-8"),
        ("label,age\n0,1\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_bad_csv_is_one_line_with_file_and_row(text, message, tmp_path):
    told = refusal(csv_of(tmp_path, text, text, columns=()), tmp_path)
    assert message in told
    assert str(tmp_path / "train.csv") in told


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"features": ("age", "age")}, "column 'age' is named twice"),
        ({"features": ("label",)}, "column 'label' is named twice"),
        ({"label": "client", "client": "client"}, "column 'client' is named twice"),
        ({"test_file": "a.csv", "holdout": 0.1}, "remove one"),
    ],
)
def test_a_column_has_one_role(parameters, message):
    with pytest.raises(ValueError, match=message):
        CsvTable(**parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"file": "none.csv"}, "dataset.file: "),
        ({"file": "."}, "is not a file"),
        ({"file": "train.csv", "test_file": "none.csv"}, "dataset.test_file: "),
        ({"shape": (3, 1)}, "dataset.shape: [3, 1] is 3 numbers, but "),
        ({"columns": ("regoin",)}, "did you mean 'region'?"),
        ({"client": "user"}, "there is no column 'user'"),
        ({"holdout": 0.01}, "dataset.holdout: 0.01 of 3 examples, class by class, is none"),
    ],
)
def test_parameters_that_do_not_fit_the_csv_are_refused(parameters, message, tmp_path):
    assert message in refusal(csv_of(tmp_path, **parameters), tmp_path)


def test_a_csv_without_anything_to_evaluate_on_says_what_to_do(tmp_path):
    assert "dataset.holdout, e.g. 0.2" in refusal(csv_of(tmp_path, test=None), tmp_path)
    (tmp_path / "train.csv").rename(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text(PEOPLE)
    assert "neither train.csv nor a single .csv is in" in refusal(CsvTable(), tmp_path)


# ----------------------------------------------------------------------------------------------------------------- npz


def npz_of(tmp_path, drop=(), **arrays):
    x, y = np.arange(24, dtype=np.uint8).reshape(4, 6), np.array([0, 1, 2, 1])
    whole = {"x_train": x, "y_train": y, "x_test": x[:2], "y_test": y[:2]} | arrays
    np.savez_compressed(tmp_path / "data.npz", **{name: whole[name] for name in whole if name not in drop})
    return NpzArrays()


def test_npz_gives_features_labels_and_columns(tmp_path):
    columns = {"client_train": np.array(["ann", "böb", "ann", "c"]), "client_test": np.array(["ann", "c"])}
    data = npz_of(tmp_path, **columns, age_train=np.arange(4), age_test=np.arange(2)).load(tmp_path, Stream(0))
    assert (data.train.features.dtype, data.train.divisor, data.num_classes) == (np.uint8, 255.0, 3)
    assert data.train.columns["client"].tolist() == ["ann", "böb", "ann", "c"]
    assert (data.client_column, sorted(data.train.columns)) == ("client", ["age", "client"])


def test_columns_of_npz_lose_nothing_and_may_miss_values(tmp_path):
    ids, ages = np.array([2**64 - 1, 1, 2, 3], np.uint64), np.array([30.5, np.nan, 2, 3])
    data = npz_of(tmp_path, id_train=ids, id_test=ids[:2], age_train=ages, age_test=ages[:2]).load(tmp_path, Stream(0))
    assert data.train.columns["id"].tolist() == ["18446744073709551615", "1", "2", "3"]
    assert is_missing(data.train.columns["age"]).tolist() == [False, True, False, False]
    told = refusal(npz_of(tmp_path, client_train=ages, client_test=ages[:2]), tmp_path)
    assert "client_train: row 2: not a finite number" in told


@pytest.mark.parametrize("change", [np.asfortranarray, lambda x: x.astype(">f4"), lambda x: x.astype(np.float64)])
def test_order_and_byte_order_and_precision_change_nothing(change, tmp_path):
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
    plain = npz_of(tmp_path, x_train=x, x_test=x[:2]).load(tmp_path, Stream(0))
    changed = npz_of(tmp_path, x_train=change(x), x_test=change(x[:2]), y_train=np.array([[0], [1], [2], [1]], ">i2"))
    assert changed.load(tmp_path, Stream(0)).digest == plain.digest
    assert np.array_equal(plain.train.features, x)


@pytest.mark.parametrize(
    ("shape", "channels", "stored"),
    [
        ((4, 5, 6), None, (1, 5, 6)),
        ((4, 3, 5, 6), None, (3, 5, 6)),
        ((4, 5, 6, 3), None, (3, 5, 6)),
        ((4, 3, 6, 3), "last", (3, 3, 6)),
        ((4, 3, 6, 3), "first", (3, 6, 3)),
    ],
)
def test_images_are_stored_with_their_colours_first(shape, channels, stored, tmp_path):
    x = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    npz_of(tmp_path, x_train=x, x_test=x[:2])
    data = NpzArrays(channels=channels).load(tmp_path, Stream(0))
    assert data.input_shape == stored
    last = channels == "last" or shape == (4, 5, 6, 3)
    assert np.array_equal(data.train.features[1], np.moveaxis(x[1], -1, 0) if last else x[1].reshape(stored))


def member(descr="'<f8'", shape="(4, 6)", body=4 * 6 * 8):
    """An array's file with a header that may promise anything."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(body)


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.array([[1, None]] * 4, dtype=object)}, "x_train: holds pickled objects, which are not loaded"),
        ({"x_train": np.full((4, 6), np.nan)}, "x_train: row 1: nan is not a finite float32 number"),
        ({"x_train": np.array([[0.0, 1]] * 3 + [[0, np.inf]])}, "x_train: row 4: inf is not a finite"),
        ({"x_train": np.zeros((4, 6), complex)}, "x_train: holds complex numbers; save it as numbers or text"),
        ({"x_train": np.zeros(4)}, "x_train: shape [4] has no rows of values"),
        ({"x_train": np.zeros((0, 6))}, "x_train: shape [0, 6] has no rows of values"),
        ({"x_train": np.zeros((4, 3, 5, 3))}, "channels first or last; say which with dataset.channels"),
        ({"x_train": np.zeros((4, 7), np.uint8)}, "dataset: the test examples are"),
        ({"y_train": np.zeros(3, int)}, "y_train has 3 rows, but x_train has 4"),
        ({"y_train": np.zeros((4, 2), int)}, "y_train: shape [4, 2] is not one value for each example"),
        ({"y_train": np.array([0, 1, -1, 0])}, "row 3: label -1 is negative"),
        ({"y_train": np.array([0, 0.5, 1, 1])}, "train: row 2: label 0.5 is not an integer"),
        ({"client_train": np.array(["a"] * 3)}, "client_train has 3 rows"),
        ({"client_train": np.array(["x" * 300] * 4)}, "is longer than 256 characters"),
    ],
)
def test_a_bad_array_is_one_line(arrays, message, tmp_path):
    assert message in refusal(npz_of(tmp_path, **arrays), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as .npz: File is not a zip file"),
        (zipped(x_train=member())[:-30], "cannot be read as .npz"),
        (zipped(x_train=b"hello"), "cannot be read as .npz"),
        (zipped(x_train=member(shape="(1000000000000,)")), "promises shape [1000000000000] of float64, but 192 bytes"),
        (zipped(x_train=member(shape="(4294967296, 4294967296)")), "promises shape [4294967296, 4294967296]"),
        (zipped(x_train=member(shape="(4, 7)")), "but 192 bytes follow, not 224"),
        (zipped(x_train=member(descr="'|O'")), "pickled objects"),
        (zipped(x_train=member(descr="[('a', '<f8')]")), "holds records of several fields"),
        (zipped(x_train=member()), "no array y_train; it holds x_train"),
        (zipped(**{"../evil": member(), "readme.txt": b""})[:0] + b"PK\x05\x06" + bytes(18), "no array x_train"),
    ],
)
def test_a_bad_npz_is_one_line(content, message, tmp_path):
    (tmp_path / "data.npz").write_bytes(content)
    assert message in refusal(NpzArrays(), tmp_path)


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path, monkeypatch):
    npz_of(tmp_path, x_train=np.zeros((1000, 6)))
    monkeypatch.setattr("flspec.datasets.npz._MOST_BYTES", 40_000)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("was read"))
    assert "4 arrays of 48," in refusal(NpzArrays(), tmp_path)


def test_a_size_that_the_archive_understates_is_refused(tmp_path):
    content = bytearray(zipped(x_train=member()))
    place = content.rfind(b"PK\x01\x02") + 24  # the size in the archive's directory
    content[place : place + 4] = struct.pack("<I", struct.unpack("<I", content[place : place + 4])[0] - 64)
    (tmp_path / "data.npz").write_bytes(content)
    assert "cannot be read as .npz: Bad CRC-32 for file 'x_train.npy'" in refusal(NpzArrays(), tmp_path)


# ---------------------------------------------------------------------------------------------------------------- leaf


def leaf_of(tmp_path, text=None, **changes):
    document = {
        "users": ["ann", "böb"],
        "num_samples": [2, 1],
        "user_data": {"ann": {"x": [[1, 2], [3, 4]], "y": [0, 1]}, "böb": {"x": [[5, 6.5]], "y": [2]}},
    }
    for part in ("train", "test"):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / "a.json").write_text(json.dumps(document), encoding="utf-8")
    if text is not None or changes:
        (tmp_path / "train" / "a.json").write_text(text if text is not None else json.dumps(document | changes))
    return Leaf()


def test_leaf_s_users_are_the_natural_clients(tmp_path):
    data = leaf_of(tmp_path).load(tmp_path, Stream(0))
    assert data.train.features.tolist() == [[1, 2], [3, 4], [5, 6.5]]
    assert data.train.labels.tolist() == [0, 1, 2]
    assert (data.client_column, data.train.columns["client"].tolist()) == ("client", ["ann", "ann", "böb"])


def test_leaf_s_files_are_read_in_the_order_of_their_names_and_may_name_classes(tmp_path):
    leaf_of(tmp_path)
    for part in ("train", "test"):
        more = {"users": [part], "num_samples": [1], "user_data": {part: {"x": [[0, 0]], "y": [0]}}}
        (tmp_path / part / "0.json").write_text(json.dumps(more))
    data = Leaf(shape=(1, 1, 2)).load(tmp_path, Stream(0))
    assert data.train.columns["client"].tolist() == ["train", "ann", "ann", "böb"]
    assert data.input_shape == (1, 1, 2)


def user(x, y=(0,)):
    return {"users": ["ann"], "num_samples": [len(y)], "user_data": {"ann": {"x": x, "y": list(y)}}}


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("", {}, "Expecting value"),
        ("[]", {}, "it should be a mapping with users, num_samples and user_data"),
        ("[" * 100_000, {}, "nested too deeply"),
        ('{"users": [], "users": []}', {}, "'users' appears twice"),
        (
            '{"users": ["a"], "num_samples": [1], "user_data": {"a": {"x": [[NaN]], "y": [0]}}}',
            {},
            "NaN is not a finite",
        ),
        (None, {"users": ["ann"]}, "are not of the same users"),
        (None, {"num_samples": [2, 2]}, "user 'böb': num_samples says 2, but there are 1"),
        (None, {"users": ["ann", "ann"]}, "are not of the same users"),
        (None, user([[1], [2]]), "user 'ann': 2 examples in x, but 1 labels in y"),
        (
            None,
            user(["hello"]),
            "user 'ann': example 1 is text; only lists of numbers are read; LEAF's texts are the kinds shakespeare",
        ),
        (None, user([["hello"]]), "example 1 is text"),
        (None, user([[1], [1, 2]], (0, 1)), "not lists of equally many numbers"),
        (None, user([[1e300, 1]]), "x: row 1: 1e+300 is not a finite float32 number"),
        (None, user([{"a": 1}]), "not lists of equally many numbers"),
        (None, user([[1, 2]], (0.5,)), "label 0.5 is not an integer"),
        (None, user([[1, 2]], (True,)), "label true is not an integer"),
        (None, user([[1, 2]], (-3,)), "row 1: label -3 is negative"),
        (None, user([[1, 2]], (2**70,)), "larger than a 64-bit integer"),
        (None, user([[1, 2, 3]] * 3, (0, 1, 2)), "dataset: the test examples are"),
        (None, user([], ()), "no user has any example"),
        (
            None,
            {"users": ["x" * 300], "num_samples": [1], "user_data": {"x" * 300: {"x": [[1, 2]], "y": [0]}}},
            "longer",
        ),
        (None, {"user_data": {"ann": 1, "böb": 2}}, "user 'ann': it should have x and y"),
    ],
)
def test_a_bad_json_is_one_line_that_names_the_user(text, changes, message, tmp_path):
    told = refusal(leaf_of(tmp_path, text, **changes), tmp_path)
    assert message in told
    assert "a.json" in told or "dataset: " in told


def test_leaf_s_labels_are_equal_however_they_are_written(tmp_path):
    data = leaf_of(tmp_path, **user([[1, 2], [3, 4], [5, 6]], (2.0, 0, 1.0))).load(tmp_path, Stream(0))
    assert (data.train.labels.tolist(), data.test.labels.tolist(), data.label_names) == ([2, 0, 1], [0, 1, 2], ())


def test_a_user_in_two_files_is_refused(tmp_path):
    leaf_of(tmp_path)
    (tmp_path / "train" / "b.json").write_bytes((tmp_path / "train" / "a.json").read_bytes())
    assert "b.json: user 'ann' is in a.json as well" in refusal(Leaf(), tmp_path)


def test_a_missing_half_is_told(tmp_path):
    leaf_of(tmp_path)
    (tmp_path / "test" / "a.json").unlink()
    assert f"no .json is in {tmp_path / 'leaf' / 'test'}" in refusal(Leaf(), tmp_path)
