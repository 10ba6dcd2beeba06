"""Parquet files: pictures and numbers as Hugging Face shares them, and files that are not what they should be."""

from __future__ import annotations

import datetime
import io
import json
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from flspec.core.randomness import Stream
from flspec.data.examples import MISSING_INTEGER, is_missing
from flspec.data.parquet_files import ParquetFile
from flspec.datasets.parquet import ParquetTable
from flspec.errors import InputError

RED, BLUE = np.zeros((2, 5, 4, 3), np.uint8)
RED[..., 0], BLUE[..., 2] = 200, np.arange(20).reshape(5, 4)

NOISE = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


def png(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write(path, metadata=None, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    parquet.write_table(table, path, row_group_size=2)


def pictures(tmp_path, cells=None, metadata=None, test=None, **columns):
    """Three pictures to train on, in groups of two rows, and two to evaluate on."""
    cells = cells or [{"bytes": png(pixels), "path": "x.png"} for pixels in (RED, BLUE, RED)]
    test = test or [{"bytes": png(pixels), "path": "x.png"} for pixels in (BLUE, RED)]
    write(tmp_path / "train-0.parquet", metadata, image=cells, **{"label": [0, 1, 1]} | columns)
    there = {name: values[:2] for name, values in columns.items()}
    write(tmp_path / "test-0.parquet", metadata, image=test, **{"label": [1, 0]} | there)
    return ParquetTable()


def numbers(tmp_path, parameters=None, **columns):
    """Three rows of numbers in each split."""
    whole = {"age": [1, 2, 3], "height": [0.5, -2.0, 8.0], "name": ["a", "b", "c"], "label": ["yes", "no", "NO"]}
    whole = {name: values for name, values in (whole | columns).items() if values is not None}
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", None, **whole)
    return ParquetTable(**(parameters or {}))


def refusal(dataset, root):
    with pytest.raises(InputError) as refused:
        dataset.load(root, Stream(0))
    assert "\n" not in str(refused.value)
    return str(refused.value)


# ------------------------------------------------------------------------------------------------------------ pictures


def test_pictures_are_decoded_upright_with_their_labels_names_and_clients(tmp_path):
    described = {"info": {"features": {"label": {"names": ["cold", "warm", "hot"], "_type": "ClassLabel"}}}}
    dataset = pictures(tmp_path, metadata=described, client=["ann", "bob", "ann"])
    data = dataset.load(tmp_path, Stream(0))
    assert np.array_equal(data.train.features, np.stack([RED, BLUE, RED]).transpose(0, 3, 1, 2))
    assert np.array_equal(data.test.features, np.stack([BLUE, RED]).transpose(0, 3, 1, 2))
    assert (data.train.labels.tolist(), data.num_classes, data.label_names[2]) == ([0, 1, 1], 3, "hot")
    assert (data.client_column, data.train.columns["client"].tolist()) == ("client", ["ann", "bob", "ann"])
    assert dataset.load(tmp_path, Stream(0)).digest == data.digest


def test_bytes_alone_are_pictures_too_and_grey_stays_grey(tmp_path):
    grey = [png(pixels[..., 2]) for pixels in (RED, BLUE, RED)]
    data = pictures(tmp_path, grey, test=grey[:2]).load(tmp_path, Stream(0))
    assert np.array_equal(data.train.features[:, 0], np.stack([RED, BLUE, RED])[..., 2])


def test_shards_and_a_validation_split_are_read_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "parquet" / "data"
    for number in (1, 0):
        write(folder / f"train-0000{number}-of-00002.parquet", None, x=[number, number + 10], label=[0, 1])
    for split in ("test", "validation"):
        write(folder / f"{split}-00000-of-00001.parquet", None, x=[7], label=[0])
    data = ParquetTable().load(tmp_path, Stream(0))
    assert data.train.features.ravel().tolist() == [0, 10, 1, 11]
    assert list(data.splits) == ["train", "test", "validation"]


def test_pictures_of_any_size_are_scaled_where_a_size_is_given(tmp_path):
    cells = [{"bytes": png(pixels), "path": None} for pixels in (RED, BLUE[:3], RED)]
    dataset = pictures(tmp_path, cells)
    assert "train-0.parquet: row 2 is 3 by 4 pixels in colour, but should be 5 by 4 pixels" in refusal(
        dataset, tmp_path
    )
    data = ParquetTable(size=6, fit="stretch", colour="grey").load(tmp_path, Stream(0))
    assert data.input_shape == (1, 6, 6)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"bytes": None, "path": "/etc/passwd"}, "row 2 has only a path, which is not opened"),
        ({"bytes": None, "path": None}, "row 2 is empty"),
        (None, "row 2 is empty"),
        ({"bytes": b"hello", "path": "a.png"}, "row 2 is not a readable picture"),
        ({"bytes": png(NOISE)[:80], "path": "a.png"}, "row 2 is cut short or damaged"),
        (
            {"bytes": png(RED[..., 0]), "path": "a.png"},
            "row 2 is 5 by 4 pixels in grey, but should be 5 by 4 pixels in colour",
        ),
    ],
)
def test_a_picture_that_cannot_be_used_is_one_line_with_its_row(cell, message, tmp_path):
    fine = {"bytes": png(RED), "path": "x.png"}
    assert message in refusal(pictures(tmp_path, [fine, cell, fine]), tmp_path)


# ------------------------------------------------------------------------------------------------------------- numbers


def test_columns_of_numbers_are_features_and_text_is_left_out_or_kept(tmp_path):
    data = numbers(tmp_path, {"columns": ("name",)}).load(tmp_path, Stream(0))
    assert data.train.features.tolist() == [[1, 0.5], [2, -2], [3, 8]]
    assert (data.label_names, data.train.labels.tolist()) == (("NO", "no", "yes"), [2, 1, 0])
    assert data.train.columns["name"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 4), pa.large_list(pa.int16())])
def test_a_list_a_row_is_that_many_features(kind, tmp_path):
    lists = pa.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]], kind)
    dataset = numbers(tmp_path, {"features": ("x",), "shape": (1, 2, 2)}, x=lists)
    assert dataset.load(tmp_path, Stream(0)).train.features[1].tolist() == [[[4, 5], [6, 7]]]


def test_a_share_is_held_out_of_one_file(tmp_path):
    write(tmp_path / "a.parquet", None, x=list(range(40)), label=[0, 1] * 20)
    data = ParquetTable(file="a.parquet", holdout=0.25).load(tmp_path, Stream(0))
    assert np.bincount(data.test.labels).tolist() == [5, 5]
    assert sorted(np.concatenate([data.train.features, data.test.features]).ravel()) == list(range(40))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": [1, None, 3]}, "row 2: column age is empty"),
        ({"height": [0.0, 1.0, float("nan")]}, "row 3: column height: nan is not a finite float32 number"),
        ({"height": [0.0, 1e300, 1.0]}, "row 2: column height: 1e+300 is not a finite"),
        ({"height": [[1.0], [1.0, 2.0], [3.0]]}, "column height: lists have different lengths"),
        ({"height": [[1.0], None, [3.0]]}, "row 2: column height is empty"),
        ({"height": [[1.0], [None], [3.0]]}, "row 2: column height is empty"),
        ({"label": None}, "there is no column 'label'; its columns are age, height, name"),
        ({"label": [0, None, 1]}, "row 2: column label is empty"),
        ({"label": [0, -1, 1]}, "row 2: label -1 is negative"),
        ({"label": [0.5, 1.0, 1.0]}, "label 0.5 is not an integer"),
        ({"label": [[1], [2], [3]]}, "column label is list<"),
        ({"age": None, "height": None}, "neither a column of pictures nor one of numbers is left"),
        ({"client": ["a", None, "b"]}, "row 2: column client is empty"),
        ({"client": ["a", "x" * 300, "b"]}, "is longer than 256 characters"),
    ],
)
def test_a_bad_column_is_one_line(columns, message, tmp_path):
    told = refusal(numbers(tmp_path, None, **columns), tmp_path)
    assert message in told
    assert str(tmp_path / "train.parquet") in told


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"features": ("name",)}, "column name holds text, not numbers"),
        ({"features": ("aeg",)}, "did you mean 'age'?"),
        ({"image": "name"}, "column name holds text, not pictures"),
        ({"shape": (3,)}, "dataset.shape: [3] is 3 numbers"),
        ({"file": "none.parquet", "holdout": 0.5}, "dataset.file: "),
        ({"file": "train.parquet"}, "dataset.holdout, e.g. 0.2"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters, message, tmp_path):
    assert message in refusal(numbers(tmp_path, parameters), tmp_path)


@pytest.mark.parametrize("change", [lambda _: b"", lambda c: c[:100], lambda c: c[:-20], lambda c: b"hello" * 20])
def test_a_damaged_file_is_one_line(change, tmp_path):
    dataset = numbers(tmp_path)
    file = tmp_path / "train.parquet"
    file.write_bytes(change(file.read_bytes()))
    assert f"{file}: cannot be read as Parquet: " in refusal(dataset, tmp_path)


def test_columns_kept_in_other_files_are_not_read(tmp_path):
    numbers(tmp_path)
    metadata = parquet.read_metadata(tmp_path / "train.parquet")
    metadata.set_file_path("/etc/passwd")
    metadata.write_metadata_file(tmp_path / "elsewhere.parquet")
    with pytest.raises(InputError, match="keeps columns in other files, which are not read"):
        ParquetFile(tmp_path / "elsewhere.parquet")


def test_without_pyarrow_the_way_out_is_told(tmp_path, monkeypatch):
    dataset = numbers(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(dataset, tmp_path).endswith("install it with: pip install 'flspec[parquet]'")


# ------------------------------------------------------------------------------------------ what other tools write


def test_an_index_of_pandas_is_no_feature_unless_it_is_named(tmp_path):
    """Rows that were shuffled before they were written: here the index gives the label away."""
    for metadata in (None, {"index_columns": ["patient", {"kind": "range", "name": None}]}):
        index = "__index_level_0__" if metadata is None else "patient"
        table = pa.table({"a": [0.5, 1.5, 2.5], "label": [0, 1, 1], index: [0, 7, 8]})
        if metadata:
            table = table.replace_schema_metadata({"pandas": json.dumps(metadata)})
        for split in ("train", "test"):
            parquet.write_table(table, tmp_path / f"{split}.parquet")
        assert ParquetTable().load(tmp_path, Stream(0)).train.features.tolist() == [[0.5], [1.5], [2.5]]
        named = ParquetTable.model_validate_json(json.dumps({"features": ["a", index]})).load(tmp_path, Stream(0))
        assert named.train.features[:, 1].tolist() == [0, 7, 8]


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_text_is_text_however_it_is_stored(kind, tmp_path):
    clients = pa.array(["01", "1", "01"]).cast(kind)
    data = numbers(tmp_path, None, client=clients).load(tmp_path, Stream(0))
    assert data.train.columns["client"].tolist() == ["01", "1", "01"]


def day(number):
    return datetime.date(2024, 1, number)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, 2**64 - 1, 3], pa.uint64()), ["1", "18446744073709551615", "3"]),
        (pa.array([1, None, 3]), [1, MISSING_INTEGER, 3]),
        (pa.array([2**60 + 1, None, 2**60 + 2]), [2**60 + 1, MISSING_INTEGER, 2**60 + 2]),
        (pa.array([True, None, False]), [1, MISSING_INTEGER, 0]),
        (pa.array([0.5, None, 2.5]), [0.5, pytest.approx(np.nan, nan_ok=True), 2.5]),
        (pa.array([Decimal("1.50"), None, Decimal("2.00")]), ["1.50", "", "2.00"]),
        (pa.array([day(2), None, day(1)]), ["2024-01-02", "", "2024-01-01"]),
        (pa.array(["a", None, "b"]), ["a", "", "b"]),
        (pa.nulls(3), ["", "", ""]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_a_column_to_keep_loses_nothing_and_may_miss_values(values, expected, tmp_path):
    data = numbers(tmp_path, {"columns": ("kept",)}, kept=values).load(tmp_path, Stream(0))
    kept = data.train.columns["kept"]
    assert kept.tolist() == expected
    assert is_missing(kept).tolist() == [values.null_count == 3, values.null_count > 0, values.null_count == 3]


def test_decimals_are_features(tmp_path):
    values = pa.array([Decimal("1.50"), Decimal("-2.25"), Decimal("0.00")])
    assert numbers(tmp_path, None, age=values).load(tmp_path, Stream(0)).train.features[:, 0].tolist() == [
        1.5,
        -2.25,
        0,
    ]


def test_a_client_that_is_not_a_number_is_missing(tmp_path):
    told = refusal(numbers(tmp_path, None, client=[1.0, float("nan"), 2.0]), tmp_path)
    assert "row 2: column client is not a number" in told


def test_labels_of_another_type_in_the_test_file_are_equal_labels(tmp_path):
    write(tmp_path / "train.parquet", x=[1.0, 2.0], label=[0, 1])
    for labels in ([1.0, 0.0], ["1", "0"], [True, False]):
        write(tmp_path / "test.parquet", x=[1.0, 2.0], label=labels)
        data = ParquetTable().load(tmp_path, Stream(0))
        assert (data.test.labels.tolist(), data.num_classes, data.label_names) == ([1, 0], 2, ())
    write(tmp_path / "test.parquet", x=[1.0, 2.0], label=["one", "zero"])
    assert "test.parquet: row 1: label 'one' is no training label" in refusal(ParquetTable(), tmp_path)
