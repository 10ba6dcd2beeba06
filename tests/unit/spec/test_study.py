"""Matrices: which experiments a spec asks for, what they are called, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flspec.core.text import short_names
from flspec.errors import InputError, SpecError
from flspec.spec.loading import load_spec
from flspec.spec.provenance import provenance
from flspec.spec.study import Study, load_study

BASE = """\
flspec: 1
name: sweep
rounds: 10
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 10, alpha: 0.5}
model: {kind: mlp, hidden: [64, 32]}
client:
  epochs: 2
  batch_size: 16
  optimizer: {kind: sgd, learning_rate: 0.1}
"""
LINES = len(BASE.splitlines())


@pytest.fixture
def study(tmp_path: Path):
    def load(matrix: str, *settings: str, **options: Any) -> Study:
        path = tmp_path / "s.yaml"
        path.write_text(f"{BASE}matrix:\n{matrix}")
        return load_study(path, settings, **options)

    return load


@pytest.fixture
def problems(study, tmp_path):
    def told(matrix: str, *settings: str, **options: Any) -> list[str]:
        with pytest.raises(SpecError) as refused:
            study(matrix, *settings, **options)
        return [str(problem).replace(f"{tmp_path}/s.yaml:", "") for problem in refused.value.problems]

    return told


def labels(study: Study) -> list[str]:
    return [cell.label for cell in study.cells]


# ------------------------------------------------------------------------------------------------------ which there are


def test_a_spec_without_a_matrix_is_a_study_of_one(tmp_path):
    (tmp_path / "s.yaml").write_text(BASE)
    study = load_study(tmp_path / "s.yaml")
    assert (study.is_matrix, labels(study), study.cells[0].text) == (False, [""], BASE)
    assert study.cell(None).spec == load_spec(tmp_path / "s.yaml")


def test_every_combination_is_run_with_every_seed(study):
    found = study("  axes:\n    partition.alpha: [0.1, 1]\n    client.epochs: [1, 2, 3]\n  seeds: [0, 5]\n")
    assert len(found.cells) == 12
    assert labels(found)[:3] == ["alpha=0.1,epochs=1,seed=0", "alpha=0.1,epochs=1,seed=5", "alpha=0.1,epochs=2,seed=0"]
    told = {(c.spec.partition.alpha, c.spec.client.epochs, c.spec.seed) for c in found.cells}
    assert told == {(a, e, s) for a in (0.1, 1) for e in (1, 2, 3) for s in (0, 5)}
    assert found.cells[0].values == {"partition.alpha": 0.1, "client.epochs": 1, "seed": 0}


def test_seeds_alone_make_a_matrix(study):
    assert labels(study("  seeds: [3, 4]\n")) == ["seed=3", "seed=4"]


def test_whole_sections_can_vary(study):
    found = study(
        "  axes:\n    partition: [{kind: iid, clients: 4}, {kind: dirichlet, clients: 4, alpha: 1}, "
        "{kind: dirichlet, clients: 4, alpha: 2}]\n"
    )
    assert labels(found) == ["partition=iid", "partition=dirichlet_alpha=1", "partition=dirichlet_alpha=2"]
    assert [cell.spec.partition.kind for cell in found.cells] == ["iid", "dirichlet", "dirichlet"]


def test_what_is_excluded_is_left_out_and_what_is_included_is_added(study):
    found = study(
        "  axes: {partition.alpha: [0.1, 1], client.epochs: [1, 2]}\n  seeds: [0, 1]\n"
        "  exclude: [{partition.alpha: 1, client.epochs: 2}, {partition.alpha: 0.1, seed: 1}]\n"
        "  include: [{partition.alpha: 7}, {rounds: 3, seed: 9}]\n"
    )
    assert labels(found) == [
        "alpha=0.1,epochs=1,seed=0",
        "alpha=0.1,epochs=2,seed=0",
        "alpha=1,epochs=1,seed=0",
        "alpha=1,epochs=1,seed=1",
        "alpha=7,seed=0",
        "alpha=7,seed=1",
        "rounds=3,seed=9",
    ]
    assert found.cells[4].spec.client.epochs == 2


def test_included_experiments_need_no_axes(study):
    found = study("  include: [{rounds: 1}, {rounds: 2}]\n  seeds: [0, 1]\n")
    found = [(cell.spec.rounds, cell.spec.seed) for cell in found.cells]
    assert found == [(10, 0), (10, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert [cell.spec.rounds for cell in study("  include: [{rounds: 1}, {rounds: 2}]\n").cells] == [1, 2]


def test_a_setting_holds_for_every_cell_and_may_change_the_matrix(study):
    found = study("  axes: {partition.alpha: [0.1, 1]}\n  seeds: [0, 1]\n", "rounds=3", "matrix.seeds=[7]")
    assert {(cell.spec.rounds, cell.spec.seed) for cell in found.cells} == {(3, 7)}


def test_a_cell_s_text_stands_for_itself(study, tmp_path):
    for cell in study("  axes: {partition: [{kind: iid, clients: 4}]}\n  seeds: [0, 1]\n").cells:
        (tmp_path / "cell.yaml").write_text(cell.text)
        assert load_spec(tmp_path / "cell.yaml") == cell.spec


def test_a_cell_s_values_know_where_they_were_written(study):
    cell = study("  axes:\n    partition.alpha: [0.1, 1]\n").cells[1]
    told = {one.path: one for one in provenance(cell.spec, cell.draft)}["partition.alpha"]
    assert told.value == 1
    assert told.origin.endswith(f"s.yaml:{LINES + 3}")
    assert [(one.value, one.origin.rpartition(":")[2]) for one in told.replaced] == [(0.5, "5")]


def test_cells_are_chosen_by_their_label(study):
    found = study("  seeds: [3, 4]\n")
    assert found.cell("seed=4").spec.seed == 4
    with pytest.raises(InputError, match=r"choose one with --cell, e\.g\. seed=3"):
        found.cell(None)
    with pytest.raises(InputError, match="--cell: unknown 'seed=5'; did you mean"):
        found.cell("seed=5")


# -------------------------------------------------------------------------------------------------------------- labels


def test_names_are_as_short_as_they_can_be_told_apart():
    paths = ["client.optimizer.learning_rate", "aggregator.learning_rate", "partition.alpha", "seed"]
    assert list(short_names(paths).values()) == [
        "optimizer.learning_rate",
        "aggregator.learning_rate",
        "alpha",
        "seed",
    ]
    assert short_names(["rounds"]) == {"rounds": "rounds"}


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("model.hidden: [[64, 32], [8]]", ["hidden=64-32", "hidden=8"]),
        ("client.shuffle: [true, false]", ["shuffle=true", "shuffle=false"]),
        ("dataset.folder: [../a, ~]", ["folder=..-a", "folder=null"]),
    ],
)
def test_labels_are_safe_in_a_file_s_name(study, axis, expected):
    settings = ["dataset={kind: mnist}"] if "folder" in axis else []
    assert labels(study(f"  axes: {{{axis}}}\n", *settings)) == expected


def test_labels_differ_where_values_differ_only_in_what_is_left_out_of_them(study):
    found = study("  axes: {dataset.folder: [a/b, a:b]}\n", "dataset={kind: mnist}")
    assert len(set(labels(found))) == 2


def test_a_label_is_never_too_long(study):
    found = study(f"  axes: {{dataset.folder: [{'a' * 500}, {'a' * 501}]}}\n", "dataset={kind: mnist}")
    assert len(set(labels(found))) == 2
    assert max(map(len, labels(found))) < 140


# ------------------------------------------------------------------------------------------------------------- refusals

MISTAKES = {
    "  {}\n": "matrix: asks for nothing; add axes, seeds or include",
    "  axis: {rounds: [1]}\n": "matrix.axis: unknown key 'axis'; did you mean 'axes'?",
    "  axes: {rounds: 3}\n": "matrix.axes.rounds: expected a list, got 3",
    "  axes: {rounds: []}\n": "matrix.axes.rounds: expected at least 1 of them",
    "  axes: {rounds: [1, 2, 1]}\n": "matrix.axes.rounds.2: 1 is given twice; remove one",
    "  seeds: [1, 1]\n": "matrix.seeds.1: 1 is given twice",
    "  seeds: [-1]\n": "matrix.seeds.0: expected at least 0, got -1",
    "  axes: {seed: [1, 2]}\n": "matrix.axes.seed: write seeds: beside axes instead",
    "  axes: {backend: [local, tff]}\n": "a matrix runs on one backend; compare backends with flspec certify",
    "  axes: {rounds: [1, 1.0]}\n": "matrix.axes.rounds.1: 1 is given twice; remove one",
    "  axes: {client.epochs: [1, 2]}\n  include: [{client: {epochs: 2}}]\n": "the same experiment more than",
    "  axes: {client.optimizer.lr: [1, 2, 3]}\n": "unknown key 'lr'; did you mean 'learning_rate'?",
    "  axes: {name: [a, b]}\n": "matrix.axes.name: name cannot differ within a matrix",
    "  axes: {a..b: [1]}\n": "matrix.axes.a..b: expected a path, as client.optimizer.learning_rate",
    "  axes: {client.epochs: [1], client: [{steps: 1}]}\n": "matrix.axes.client.epochs: lies inside client",
    "  axes: {rounds: [1, 2]}\n  exclude: [{round: 1}]\n": "exclude.0.round: unknown 'round'; did you mean 'rounds'?",
    "  axes: {rounds: [1, 2]}\n  exclude: [{rounds: 3}]\n": "3 is not a value of this axis, which has 1, 2",
    "  axes: {rounds: [1, 2]}\n  exclude: [{rounds: true}]\n": "true is not a value of this axis",
    "  axes: {rounds: [1]}\n  exclude: [{rounds: 1}]\n": "matrix.exclude: excludes every experiment",
    "  axes: {rounds: [1, 2]}\n  include: [{rounds: 1}]\n": "matrix: asks for the same experiment more than once",
    "  axes: {partition.alpa: [1]}\n": "partition.alpa: unknown key 'alpa'; did you mean 'alpha'?",
    "  axes: {partition.alpha: [1, -1]}\n": "partition.alpha: expected a number above 0, got -1",
    "  axes: {cohort: [{kind: uniform, size: 99}]}\n": "cohort: cohort.size is 99, but partition.clients is 10",
}


@pytest.mark.parametrize("matrix", MISTAKES)
def test_a_mistake_is_told_once_at_its_place(problems, matrix):
    (told,) = problems(matrix)
    assert MISTAKES[matrix] in told
    assert int(told.partition(":")[0]) > LINES


def test_a_mistake_of_the_spec_itself_is_told_once_for_all_cells(problems):
    told = problems("  seeds: [1, 2, 3]\n", "rounds=0", "client.epochs=ten")
    assert len(told) == 2


def test_a_wrong_value_that_every_cell_replaces_is_told_too(tmp_path):
    (tmp_path / "s.yaml").write_text(BASE.replace("rounds: 10", "rounds: ten") + "matrix: {axes: {rounds: [1, 2]}}\n")
    with pytest.raises(SpecError, match=r's\.yaml:3:1: rounds: expected an integer, got text "ten"'):
        load_study(tmp_path / "s.yaml")


def test_values_that_only_go_together_in_the_cells_are_fine(tmp_path):
    base = BASE.replace("  epochs: 2\n", "") + "cohort: {kind: uniform, size: 50}\n"
    axes = "{partition.clients: [50, 100], client.epochs: [1]}"
    (tmp_path / "s.yaml").write_text(f"{base}matrix: {{axes: {axes}}}\n")
    assert len(load_study(tmp_path / "s.yaml").cells) == 2


def test_mistakes_of_the_matrix_and_of_the_spec_are_told_together(problems):
    assert len(problems("  seeds: [1, 1]\n", "rounds=0")) == 2


def test_what_varies_cannot_be_set(problems):
    (told,) = problems("  axes: {partition.alpha: [1, 2]}\n", "partition.alpha=3")
    assert "partition.alpha varies in the matrix, which would replace it; set matrix.axes instead" in told
    (told,) = problems("  seeds: [1, 2]\n", "seed=3")
    assert "set matrix.seeds instead" in told


@pytest.mark.timeout(60)  # a thousand million runs would take days
def test_a_matrix_of_any_size_is_refused_before_it_is_expanded(problems):
    axes = "".join(f"    {path}: {list(range(1, 101))}\n" for path in ("rounds", "client.epochs", "client.batch_size"))
    (told,) = problems(f"  axes:\n{axes}  seeds: {list(range(1000))}\n")
    assert "expands to 1,000,000,000 runs; the limit is 10,000 (--max-runs)" in told


def test_the_limit_can_be_chosen(problems, study):
    assert "the limit is 2" in problems("  seeds: [1, 2, 3]\n", max_runs=2)[0]
    assert len(study("  seeds: [1, 2, 3]\n", max_runs=3).cells) == 3


def test_one_experiment_is_not_loaded_from_a_matrix(study, tmp_path):
    study("  seeds: [1, 2]\n")
    with pytest.raises(SpecError, match="a matrix is many experiments"):
        load_spec(tmp_path / "s.yaml")
