"""The small variant of a spec: what `small` says, laid over the rest where it is asked for and nowhere else."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from flspec.errors import SpecError
from flspec.spec.loading import load_spec, parse_spec
from flspec.spec.overlays import compose, variant_of
from flspec.spec.provenance import provenance
from flspec.spec.schema import spec_schema
from flspec.spec.study import load_study, load_variants, parse_study
from flspec.spec.yaml_reader import read_yaml

BASE = """\
flspec: 1
name: base
rounds: 100
dataset: {kind: digits}
partition: {kind: iid, clients: 50}
model: {kind: mlp, hidden: [64]}
client:
  epochs: 2
  batch_size: 16
  optimizer: {kind: sgd, learning_rate: 0.1}
cohort: {kind: uniform, size: 20}
"""
SMALL = BASE + "small: {rounds: 3, partition: {clients: 10}, cohort: {size: 5}}\n"


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(path: Path, small: bool = False, settings: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(SpecError) as refused:
        load_study(path, settings, small=small)
    return [str(problem).replace(f"{path.parent}/", "") for problem in refused.value.problems]


def test_the_small_variant_has_what_small_says_and_a_name_of_its_own(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, SMALL), small=True)
    assert (spec.name, spec.rounds, spec.partition.num_clients, spec.cohort.size) == ("base-small", 3, 10, 5)  # type: ignore[attr-defined]
    assert spec.client == parse_spec(BASE).client


def test_without_small_asked_for_it_changes_nothing(tmp_path: Path) -> None:
    assert load_spec(write(tmp_path, SMALL)) == parse_spec(SMALL) == parse_spec(BASE)
    assert parse_study(SMALL).cell(None).spec == parse_spec(BASE)


def test_sections_small_merge_as_others_do_where_a_file_extends_another(tmp_path: Path) -> None:
    write(tmp_path, SMALL, "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nname: mine\nrounds: 60\nsmall: {cohort: {size: 4}}\n")
    small = load_spec(path, small=True)
    assert (small.name, small.rounds, small.partition.num_clients, small.cohort.size) == ("mine-small", 3, 10, 4)  # type: ignore[attr-defined]
    assert load_spec(path).rounds == 60


def test_an_extending_file_can_take_small_away(tmp_path: Path) -> None:
    write(tmp_path, SMALL, "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nsmall: null\n")
    assert load_spec(path) == parse_spec(BASE)
    assert problems(path, small=True) == [
        "spec.yaml: --small: there is no section small; leave --small out, or add e.g. "
        "small: {rounds: 5, dataset: {twin: {clients: 20, examples: 400}}}"
    ]


def test_another_kind_in_small_starts_afresh(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "small: {model: {kind: softmax_regression}}\n")
    assert load_spec(path, small=True).model.model_dump()["kind"] == "softmax_regression"


def test_settings_go_over_what_small_says(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL)
    spec = load_spec(path, ["rounds=7", "name=other"], small=True)
    assert (spec.name, spec.rounds, spec.cohort.size) == ("other", 7, 5)  # type: ignore[attr-defined]
    told = problems(path, settings=("small.rounds=7",))
    assert told == ["--set small.rounds=7: small.rounds: settings are laid over small; write --small --set rounds=7"]


def test_a_matrix_has_a_small_variant_too(tmp_path: Path) -> None:
    matrix = "matrix: {axes: {client.epochs: [1, 2, 3]}, seeds: [0, 1]}\n"
    path = write(tmp_path, BASE + matrix + "small: {rounds: 3, matrix: {axes: {client.epochs: [1, 2]}, seeds: [5]}}\n")
    full, small = load_variants(path)
    assert len(full.cells) == 6
    assert small is not None
    assert [(cell.label, cell.spec.rounds) for cell in small.cells] == [("epochs=1,seed=5", 3), ("epochs=2,seed=5", 3)]
    assert small.name == "base-small"


def test_the_matrix_goes_over_what_small_says_as_over_any_file(tmp_path: Path) -> None:
    path = write(
        tmp_path, BASE + "matrix: {axes: {client.epochs: [1, 2]}}\nsmall: {client: {epochs: 5, batch_size: 4}}\n"
    )
    small = load_study(path, small=True)
    assert [(cell.spec.client.epochs, cell.spec.client.batch_size) for cell in small.cells] == [(1, 4), (2, 4)]


def test_it_is_told_that_a_value_comes_from_small(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL)
    draft = variant_of(compose(path), small=True)
    told = {one.path: one for one in provenance(load_spec(path, small=True), draft)}
    assert told["rounds"].origin == f"{path}:12 (small)"
    assert [(one.value, one.origin) for one in told["rounds"].replaced] == [(100, f"{path}:3")]
    assert told["client.epochs"].origin == f"{path}:8"
    assert told["name"].origin == f"{path}:12 (small)"


def test_the_text_of_the_small_variant_is_the_spec_that_ran(tmp_path: Path) -> None:
    text = load_study(write(tmp_path, SMALL), small=True).cell(None).text
    assert parse_spec(text) == load_spec(tmp_path / "spec.yaml", small=True)
    assert text.startswith(f"# {tmp_path}/spec.yaml, small\n")


# ------------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("small: 5", "12:1: small: expected a mapping of the values that differ, e.g. {rounds: 5}"),
        ("small: {extends: base.yaml}", "12:9: small.extends: extends cannot differ; remove it"),
        ("small: {small: {rounds: 1}}", "12:9: small.small: small cannot differ; remove it"),
        ("small: {round: 5}", "12:9: round: unknown key 'round'; did you mean 'rounds'? It is given too"),
        ("small: {rounds: 0}", "12:9: rounds: expected at least 1, got 0"),
        (
            "small: {model: {channels: [4]}}",
            "12:17: model.channels: unknown key 'channels'; 'channels' is read by kind",
        ),
    ],
)
def test_a_mistake_in_small_is_told_even_where_small_is_not_asked_for(tmp_path: Path, line: str, told: str) -> None:
    path = write(tmp_path, f"{BASE}{line}\n")
    for small in (False, True):
        found = problems(path, small)
        assert len(found) == 1
        assert found[0].startswith(f"spec.yaml:{told}")
    with pytest.raises(SpecError, match=told[:40].replace("(", r"\(")):
        load_spec(path)


def test_a_mistake_in_small_is_told_once_of_a_matrix(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "matrix: {seeds: [0, 1, 2]}\nsmall: {rounds: 0}\n")
    assert problems(path) == ["spec.yaml:13:9: rounds: expected at least 1, got 0"]


def test_what_contradicts_the_rest_only_where_it_is_small_hinders_only_that(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "small: {partition: {clients: 10}}\n")
    assert load_spec(path).rounds == 100
    contradiction = (
        "spec.yaml:11:1: cohort: cohort.size is 20, but partition.clients is 10; lower it or add clients "
        "(partition.clients: spec.yaml:12 (small))"
    )
    assert problems(path, small=True) == [contradiction]
    with pytest.raises(SpecError, match=r"cohort\.size is 20, but partition\.clients is 10"):
        load_variants(path)


def test_a_setting_that_changes_the_kind_is_not_held_against_small(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "small: {model: {hidden: [8]}}\n")
    settings = ["model={kind: softmax_regression}"]
    assert load_spec(path, settings).model.model_dump()["kind"] == "softmax_regression"


def test_a_mistake_elsewhere_that_a_setting_mends_is_not_told_as_one_of_small(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL.replace("rounds: 100", "rounds: many"))
    assert load_spec(path, ["rounds=9"]).rounds == 9


# -------------------------------------------------------------------------------------------------------------- schema


@pytest.mark.parametrize(
    ("line", "is_right"),
    [
        ("small: {rounds: 3, cohort: {size: 5}, matrix: {seeds: [0]}}", True),
        ("small: null", True),
        ("small: {round: 3}", False),
        ("small: {rounds: 0}", False),
        ("small: {extends: base.yaml}", False),
        ("small: {small: {}}", False),
        ("small: 5", False),
    ],
)
def test_the_schema_knows_small(line: str, is_right: bool) -> None:
    validator = jsonschema.Draft7Validator(spec_schema(installed=False))
    for text in (BASE, "extends: base.yaml\n"):
        assert validator.is_valid(read_yaml(f"{text}{line}\n".encode(), "spec.yaml").value) == is_right


def test_an_item_of_a_list_in_small_is_whole(tmp_path: Path) -> None:
    """What a section of it leaves out stands in the spec; lists replace each other, so nothing completes an item."""
    listed = BASE.replace("{kind: digits}", "{kind: digits, train_transforms: []}")
    small = "small: {dataset: {train_transforms: [{kin: horizontal_flip}]}}\n"
    told = problems(write(tmp_path, listed + small))
    assert any("train_transforms.0: missing 'kind'" in problem for problem in told), told
    assert load_spec(write(tmp_path, listed + "small: {client: {optimizer: {learning_rate: 0.2}}}\n"))
