"""What is told of the features of a table: sizes that would spoil training, who learns of whom, unseen categories."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.data.spread import sizes_of
from flspec.errors import DataRemark
from flspec.spec.loading import load_spec
from tests.command_line import flspec

SPEC = """\
flspec: 1
name: told
rounds: 1
dataset: {kind: csv, file: t.csv, holdout: 0.25}
partition: {kind: iid, clients: 2}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 4, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    rows = [f"{100_000 + n},{n % 3 - 1},{'f' if n % 2 else 'm'},{'ab'[n // 20]}" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["charges,x,sex,label", *rows]))
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def told(home: Path, features: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compile(load_spec(home / "spec.yaml", [f"dataset.features={json.dumps(features)}"]), home)
    return [str(one.message) for one in caught if issubclass(one.category, DataRemark)]


def test_a_feature_of_another_size_is_told_with_the_line_to_add(home):
    (remark,) = told(home, ["charges", "x"])
    assert "charges about 100,02" in remark
    assert "x about" not in remark
    assert remark.endswith("standardise them: features: {charges: standardise}")
    assert told(home, {"charges": "standardise", "x": "as_is"}) == []
    assert told(home, ["x"]) == []


def test_the_line_keeps_what_is_done_with_the_column_and_with_the_others(home):
    (remark,) = told(home, {"charges": {"impute": "median"}})
    assert remark.endswith("features: {charges: [{impute: median}, standardise]}")
    (home / "t.csv").write_text((home / "t.csv").read_text().replace(",f,", ",1,").replace(",m,", ",0,"))
    (remark,) = told(home, None)
    assert remark.endswith('features: {charges: standardise, "*": as_is}')


def test_the_line_to_add_settles_it(home):
    given = ["--set", "dataset.features={charges: standardise, x: as_is, sex: one_hot}"]
    assert "sizes of features" in flspec(home, "plan", "spec.yaml", "--set", "dataset.features=[charges, x]").stdout
    assert "sizes of features" in flspec(home, "run", "spec.yaml", "--set", "dataset.features=[charges, x]").stderr
    assert "sizes of features" in flspec(home, "data", "info", "t.csv").stdout
    for command in (["plan"], ["run", "--out", "run"]):
        done = flspec(home, command[0], "spec.yaml", *command[1:], *given)
        assert done.returncode == 0
        assert "sizes of features" not in done.stdout + done.stderr


def test_sizes_are_root_mean_squares_over_all_blocks():
    values = np.random.default_rng(1).normal(3, 2, (50_000, 100)).astype(np.float32)
    assert sizes_of(values) == pytest.approx(np.sqrt((values.astype(np.float64) ** 2).mean(axis=0)))


def test_a_plan_says_which_encodings_were_fitted_on_all_clients(home):
    fitted = flspec(
        home, "plan", "spec.yaml", "--json", "--set", "dataset.features={charges: standardise, sex: one_hot}"
    )
    (remark,) = json.loads(fitted.stdout)["data"]["remarks"]
    assert remark.startswith("encodings of charges, sex are fitted on the training examples of all clients")
    given = "dataset.features={charges: {kind: standardise, mean: 1e5, deviation: 12}, sex: {one_hot: [f, m]}}"
    assert json.loads(flspec(home, "plan", "spec.yaml", "--json", "--set", given).stdout)["data"]["remarks"] == []


def test_a_plan_counts_test_examples_of_a_category_that_training_does_not_have(home):
    (home / "test.csv").write_text("charges,x,sex,label\n100001,1,d,a\n100002,0,f,b\n")
    (home / "t.csv").rename(home / "train.csv")
    (home / "spec.yaml").write_text(
        SPEC.replace("file: t.csv, holdout: 0.25", "file: train.csv, features: {sex: one_hot}")
    )
    remarks = json.loads(flspec(home, "plan", "spec.yaml", "--json").stdout)["data"]["remarks"]
    assert remarks[-1].endswith("which is all zeros: 1 of sex")


def test_a_column_that_is_called_like_the_sign_for_all_others_is_one_of_them(tmp_path):
    (tmp_path / "t.csv").write_text("*,y,label\n" + "".join(f"{n},{n % 5},{'ab'[n % 2]}\n" for n in range(20)))
    (tmp_path / "spec.yaml").write_text(SPEC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataRemark)
        for features in (None, {"y": "as_is", "*": "standardise"}):
            plan = compile(load_spec(tmp_path / "spec.yaml", [f"dataset.features={json.dumps(features)}"]), tmp_path)
            assert plan.settings.data.input_shape == (2,)


def test_columns_do_not_take_encodings(home):
    done = flspec(home, "plan", "spec.yaml", "--set", "dataset.columns={sex: one_hot}")
    assert done.returncode == 2
    assert "dataset.columns: names the columns to keep, as a list; what a model gets" in done.stderr
