"""Encodings of a table's columns: the values are scikit-learn's, fitted on the training rows alone."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Data
from flspec.data.store import open_data, store_data
from flspec.datasets import Dataset
from flspec.encodings.steps import parse_steps, write_steps
from flspec.errors import InputError

FEATURES: dict[str, Any] = {
    "age": "standardise",
    "sex": "one_hot",
    "bmi": [{"impute": "median", "indicator": True}, "standardise"],
    "charges": [{"log": 1}, "standardise"],
    "smoker": [{"impute": "constant", "value": "unknown"}, "one_hot"],
    "ward": [{"impute": "most_frequent"}, "one_hot"],
    "stage": {"ordinal": ["I", "II", "III"]},
    "visits": [{"impute": "mean"}],
    "beds": {"impute": "most_frequent"},
}
COLUMNS = ["id", *FEATURES, "outcome"]


def patient(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    return {
        "id": number,
        "age": draw.randint(20, 90),
        "sex": draw.choice(["female", "male", "diverse"]),
        "bmi": "" if draw.random() < 0.2 else round(draw.gauss(27, 4), 1),
        "charges": round(draw.lognormvariate(9, 1), 2),
        "smoker": draw.choice(["yes", "no", ""]),
        "ward": draw.choice(["9", "10", "11", "11", ""]),
        "stage": draw.choice(["I", "II", "III"]),
        "visits": "" if draw.random() < 0.2 else draw.randint(0, 9),
        "beds": "" if draw.random() < 0.2 else draw.randint(1, 3),
        "outcome": draw.choice(["healthy", "ill"]),
    }


PATIENTS = [patient(number) for number in range(120)]
TRAIN, TEST = PATIENTS[:80], PATIENTS[80:]


def write_csv(path: Path, rows: list[dict[str, Any]], separator: str = ",") -> None:
    path.write_text("\n".join(separator.join(map(str, row)) for row in [COLUMNS, *(r.values() for r in rows)]) + "\n")


def load(folder: Path, **given: Any) -> Data:
    document = {"kind": "csv", "file": "train.csv", "label": "outcome", "features": FEATURES} | given
    return parse_component(Dataset, document).load(folder, Stream(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_csv(tmp_path / "train.csv", TRAIN)
    write_csv(tmp_path / "test.csv", TEST)
    return tmp_path


def by_sklearn(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The same columns by scikit-learn. An indicator comes behind what its column gives."""
    hot = {"handle_unknown": "ignore", "sparse_output": False}
    numbers = ["9", "10", "11"]
    bmi = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    made = ColumnTransformer(
        [
            ("age", StandardScaler(), [0]),
            ("sex", OneHotEncoder(**hot), [1]),
            ("bmi", bmi, [2]),
            ("bmi missing", FunctionTransformer(lambda column: np.isnan(column.astype(float)).astype(float)), [2]),
            ("charges", make_pipeline(FunctionTransformer(lambda c: np.log1p(c.astype(float))), StandardScaler()), [3]),
            (
                "smoker",
                make_pipeline(SimpleImputer(strategy="constant", fill_value="unknown"), OneHotEncoder(**hot)),
                [4],
            ),
            (
                "ward",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(categories=[numbers], **hot)),
                [5],
            ),
            ("stage", OrdinalEncoder(categories=[["I", "II", "III"]]), [6]),
            ("visits", SimpleImputer(strategy="mean"), [7]),
            ("beds", SimpleImputer(strategy="most_frequent"), [8]),
        ]
    )
    tables = []
    for rows in (train, test):
        cells = [[np.nan if row[name] == "" else row[name] for name in FEATURES] for row in rows]
        tables.append(np.array(cells, dtype=object))
    return made.fit_transform(tables[0]).astype(float), made.transform(tables[1]).astype(float)


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_array_max_ulp(found, expected.astype(np.float32), 1)


def test_every_encoding_gives_what_scikit_learn_gives(folder):
    data, (train, test) = load(folder), by_sklearn(TRAIN, TEST)
    assert_equal(data.train.features, train)
    assert_equal(data.test.features, test)
    assert data.feature_names[:6] == ("age", "sex=diverse", "sex=female", "sex=male", "bmi", "bmi missing")


def test_fitting_on_the_test_rows_too_would_be_seen(folder):
    wrong, _ = by_sklearn(TRAIN + TEST, TEST)
    with pytest.raises(AssertionError):
        assert_equal(load(folder).train.features, wrong[: len(TRAIN)])


def test_a_drawn_test_set_is_left_out_of_the_fit(tmp_path):
    write_csv(tmp_path / "train.csv", PATIENTS)
    data = load(tmp_path, holdout=0.25, columns=["id"])
    train, test = ([PATIENTS[number] for number in split.columns["id"]] for split in (data.train, data.test))
    assert 0 < len(test) < len(train)
    for found, expected in zip((data.train.features, data.test.features), by_sklearn(train, test), strict=True):
        assert_equal(found, expected)


def test_a_parquet_file_gives_the_same_as_its_csv(folder):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    import pyarrow as arrow

    (folder / "shards").mkdir()
    for name, rows in (("train", TRAIN), ("test", TEST)):
        columns = {one: [None if row[one] == "" else row[one] for row in rows] for one in COLUMNS}
        pyarrow.write_table(arrow.table(columns), folder / "shards" / f"{name}.parquet")
    document = {"kind": "parquet", "folder": "shards", "label": "outcome", "features": FEATURES}
    data = parse_component(Dataset, document).load(folder, Stream(0))
    assert data.digest == load(folder).digest
    assert data.encodings == load(folder).encodings


def test_semicolons_decimal_commas_and_marks_for_no_value_change_nothing(folder):
    text = (folder / "train.csv").read_text().splitlines()
    spelt = [";".join(cell or "NA" for cell in line.replace(",", ";").replace(".", ",").split(";")) for line in text]
    (folder / "german.csv").write_text("\n".join(spelt))
    write_csv(folder / "test.csv", TEST, ";")
    given = {"separator": "semicolon", "decimal": "comma", "missing": ["NA"], "test_file": "test.csv"}
    assert load(folder, file="german.csv", **given).digest == load(folder, file="german.csv", **given).digest
    write_csv(folder / "test.csv", TEST)
    plain = load(folder)
    write_csv(folder / "test.csv", TEST, ";")
    assert load(folder, file="german.csv", **given).digest == plain.digest


def test_what_was_fitted_is_kept_and_can_be_given(folder):
    data = load(folder)
    ages = [row["age"] for row in TRAIN]
    mean = math.fsum(ages) / len(ages)
    deviation = math.sqrt(math.fsum((age - mean) ** 2 for age in ages) / len(ages))
    assert data.encodings[0]["steps"] == [{"kind": "standardise", "mean": mean, "deviation": deviation}]
    store_data(data)
    settings = json.loads(json.dumps(data.describe().encodings))
    assert open_data(data.describe()).feature_names == data.feature_names
    given = {one["column"]: one["steps"] for one in settings}
    assert load(folder, features=given).digest == data.digest


def test_a_category_that_only_the_test_has_is_all_zeros(folder):
    write_csv(folder / "test.csv", [TEST[0] | {"sex": "unseen"}])
    data = load(folder, features={"sex": "one_hot", "age": "standardise"})
    assert data.test.features[0, :3].tolist() == [0, 0, 0]
    assert data.feature_names == ("sex=diverse", "sex=female", "sex=male", "age")


def test_all_others_come_where_the_star_stands(folder):
    data = load(
        folder,
        features={"stage": {"ordinal": ["I", "II", "III"]}, "*": "one_hot"},
        columns=["bmi", "visits", "beds", "ward", "smoker", "charges", "id", "age"],
    )
    assert data.feature_names == ("stage", "sex=diverse", "sex=female", "sex=male")


def test_all_problems_of_a_table_come_at_once_with_their_rows_and_ways_out(folder):
    rows = [*TRAIN[:6], TRAIN[6] | {"age": "old", "stage": "IV"}, TRAIN[7] | {"charges": -3}]
    write_csv(folder / "train.csv", rows)
    features = FEATURES | {"bmi": "standardise", "id": {"kind": "one_hot", "most": 5}, "smoker": "one_hot"}
    with pytest.raises(InputError) as error:
        load(folder, features=features)
    told = str(error.value).splitlines()
    assert [line.partition(": column ")[2].partition(":")[0] for line in told] == [
        "age",
        "bmi",
        "charges",
        "smoker",
        "stage",
        "id",
    ]
    assert "row 7: column age: 'old' is no number" in told[0]
    assert "impute it: features: {bmi: [{impute: median}, standardise]}" in told[1]
    assert "row 8: column charges: -3 has no logarithm" in told[2]
    assert "features: {smoker: [{impute: constant, value: unknown}, one_hot]}" in told[3]
    assert "row 7: column stage: 'IV' is none of I, II, III; add it to the order" in told[4]
    assert "8 categories" in told[5]


def test_all_wrong_columns_without_encodings_come_at_once(folder):
    with pytest.raises(InputError) as error:
        load(folder, features=None)
    told = str(error.value).splitlines()
    assert {line.partition("column ")[2].partition(":")[0] for line in told} >= {"sex", "bmi", "smoker", "stage"}
    assert any('features: {sex: one_hot, "*": as_is}' in line for line in told)


def test_columns_that_never_have_a_value_are_refused(folder):
    write_csv(folder / "train.csv", [row | {"bmi": "", "smoker": ""} for row in TRAIN])
    with pytest.raises(InputError, match="bmi: no training example has a value") as error:
        load(folder, features={"bmi": "standardise", "smoker": "one_hot", "age": "as_is"})
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("standardize", "did you mean 'standardise'"),
        ({"impute": "medan"}, "impute: unknown 'medan'; did you mean 'median'"),
        ({"impute": "constant"}, "constant needs a value"),
        ({"impute": "median", "one_hot": None}, "make it a list"),
        ([{"impute": "mean"}, "one_hot"], "it takes categories and gets numbers"),
        ("ordinal", "ordinal needs order, e.g. {ordinal: [low, middle, high]}"),
        ({"ordinal": ["a", "a"]}, "a category is named twice"),
        ([], "give one to 8"),
        (3, "expected an encoding"),
        ({"standardise": 1}, "standardise has no main parameter"),
        ({"log": -1}, "log.plus"),
    ],
)
def test_a_wrong_encoding_is_told_with_a_way_out(given, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_steps(given)


@pytest.mark.parametrize("given", [*FEATURES.values(), {"kind": "standardise", "mean": 1.0, "deviation": 2.0}])
def test_encodings_are_written_as_they_are_read(given):
    written = write_steps(parse_steps(given))
    assert parse_steps(json.loads(json.dumps(written))) == parse_steps(given)
    assert given in (written, [written])
