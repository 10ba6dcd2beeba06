"""What a spec names by a path that is not absolute is found below the data root, or else beside the spec."""

import warnings
from pathlib import Path

import pytest

from flspec.compiler.compile import compile
from flspec.errors import InputError, RunWarning
from flspec.spec.loading import load_spec, parse_spec
from flspec.spec.study import load_study
from tests.command_line import flspec

ROWS = "x,y,label\n" + "".join(f"{n},{n * n % 7},{'ab'[n % 2]}\n" for n in range(12))
SPEC = """\
flspec: 1
name: beside
rounds: 1
dataset: {kind: csv, file: patients.csv, holdout: 0.3}
partition: {kind: iid, clients: 2}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 2, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a spec and its table; beside it an empty data root."""
    (home := tmp_path / "home").mkdir()
    (tmp_path / "data").mkdir()
    (home / "patients.csv").write_text(ROWS)
    (home / "spec.yaml").write_text(SPEC)
    return home


def test_a_table_is_found_beside_its_spec_from_any_working_folder(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "data")
    beside = compile(load_spec("../home/spec.yaml"), tmp_path / "data")
    (home / "patients.csv").rename(tmp_path / "data" / "patients.csv")
    assert compile(load_spec("../home/spec.yaml"), tmp_path / "data").digest == beside.digest
    assert str(tmp_path) not in str(beside.spec)


def test_a_table_below_the_data_root_comes_first_and_the_other_is_told(home, tmp_path):
    (tmp_path / "data" / "patients.csv").write_text(ROWS.replace("11,", "12,"))
    with pytest.warns(RunWarning, match="home/patients.csv is not read"):
        found = compile(load_spec(home / "spec.yaml"), tmp_path / "data")
    (home / "patients.csv").unlink()
    assert compile(load_spec(home / "spec.yaml"), tmp_path / "data").digest == found.digest


def test_one_file_in_two_places_is_not_ambiguous(home, tmp_path):
    (tmp_path / "data" / "patients.csv").symlink_to(home / "patients.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(load_spec(home / "spec.yaml"), tmp_path / "data")


def test_a_table_is_found_beside_the_file_that_the_spec_extends(home, tmp_path):
    (home / "bases").mkdir()
    (home / "patients.csv").rename(home / "bases" / "patients.csv")
    (home / "spec.yaml").rename(home / "bases" / "base.yaml")
    (home / "spec.yaml").write_text("extends: bases/base.yaml\nrounds: 2\n")
    assert compile(load_spec(home / "spec.yaml"), tmp_path / "data").num_rounds == 2


def test_every_experiment_of_a_matrix_finds_its_files_beside_the_spec(home, tmp_path):
    (home / "other.csv").write_text(ROWS.replace("3,", "4,"))
    (home / "spec.yaml").write_text(SPEC + "matrix: {axes: {dataset.file: [patients.csv, other.csv]}}\n")
    plans = [compile(cell.spec, tmp_path / "data") for cell in load_study(home / "spec.yaml").cells]
    assert plans[0].settings.data.digest != plans[1].settings.data.digest


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ("dataset: {kind: npz, file: none.npz}", "dataset.file"),
        ("dataset: {kind: parquet, file: none.parquet, holdout: 0.2}", "dataset.file"),
        ("dataset: {kind: csv, file: patients.csv, test_file: none.csv}", "dataset.test_file"),
        ("dataset: {kind: image_folder, folder: none}", "dataset: no folder"),
        ("dataset: {kind: mnist, folder: none}", "dataset: "),
        ("dataset: {kind: isic, folder: none}", ""),
    ],
)
def test_an_error_names_both_places(home, tmp_path, section, field):
    (home / "spec.yaml").write_text(SPEC.replace("dataset: {kind: csv, file: patients.csv, holdout: 0.3}", section))
    with pytest.raises(InputError) as error:
        compile(load_spec(home / "spec.yaml"), tmp_path / "data")
    assert field in str(error.value)
    assert f"{tmp_path / 'data' / 'none'}" in str(error.value)
    assert f"{home / 'none'}" in str(error.value)


def test_a_partition_is_found_beside_the_spec_too(home, tmp_path):
    (home / "split.json").write_text('{"a": [0, 1], "b": [2, 3]}')
    (home / "spec.yaml").write_text(SPEC.replace("{kind: iid, clients: 2}", "{kind: explicit, file: split.json}"))
    plan = compile(load_spec(home / "spec.yaml"), tmp_path / "data")
    assert plan.client_examples(1).tolist() == [2, 3]


def test_a_text_has_no_folder_and_where_a_spec_lay_is_no_part_of_it(home):
    spec = load_spec(home / "spec.yaml")
    assert parse_spec(SPEC).folders == ()
    assert parse_spec(SPEC) == spec
    assert hash(parse_spec(SPEC)) == hash(spec)
    assert spec.model_copy(update={"rounds": 3}).folders == (home,)


def test_a_run_in_another_working_folder_runs_the_same_plan(home, tmp_path):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    given = {"FLSPEC_DATA": str(tmp_path / "data")}
    assert flspec(elsewhere, "run", "../home/spec.yaml", "--out", "one", **given).returncode == 0
    assert flspec(home, "run", "spec.yaml", "--out", "two", **given).returncode == 0
    one, two = ((folder / "plan" / "plan.json").read_bytes() for folder in (elsewhere / "one", home / "two"))
    assert one == two
