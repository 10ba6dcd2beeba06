"""Composition: what a spec extends, what is laid over it, and who said what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flspec.errors import InputError, SpecError
from flspec.partitioners.dirichlet import Dirichlet
from flspec.partitioners.iid import Iid
from flspec.spec.loading import load_spec
from flspec.spec.overlays import apply_overrides, compose, draft_of_text, parse_overrides
from flspec.spec.provenance import provenance
from flspec.spec.yaml_reader import read_yaml

BASE = """\
flspec: 1
name: base
rounds: 10
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 10, alpha: 0.5, min_examples: 2}
model: {kind: mlp, hidden: [64, 32]}
client:
  epochs: 2
  batch_size: 16
  optimizer: {kind: sgd, learning_rate: 0.1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems(path: Path, *settings: str) -> list[str]:
    with pytest.raises(SpecError) as refused:
        load_spec(path, settings)
    return [str(problem).replace(f"{path.parent}/", "") for problem in refused.value.problems]


# -------------------------------------------------------------------------------------------------------------- extends


def test_mappings_are_merged_and_the_rest_is_replaced(folder: Path) -> None:
    path = write(folder, "extends: base.yaml\nname: mine\nclient: {epochs: 5}\nmodel: {hidden: [8]}\n")
    spec: Any = load_spec(path)
    base = load_spec(folder / "base.yaml")
    assert (spec.name, spec.client.epochs, spec.model.hidden) == ("mine", 5, (8,))
    assert (spec.client.batch_size, spec.client.optimizer) == (base.client.batch_size, base.client.optimizer)


def test_a_section_whose_kind_changes_starts_afresh(folder: Path) -> None:
    path = write(folder, "extends: base.yaml\npartition: {kind: iid, clients: 3}\n")
    assert load_spec(path).partition == Iid(clients=3)
    assert problems(write(folder, "extends: base.yaml\npartition: {kind: iid}\n")) == [
        "spec.yaml:2:1: partition.clients: missing; add it, e.g. clients: 10"
    ]


def test_a_section_whose_kind_is_repeated_is_merged(folder: Path) -> None:
    path = write(folder, "extends: base.yaml\npartition: {kind: dirichlet, alpha: 9}\n")
    assert load_spec(path).partition == Dirichlet(clients=10, alpha=9, min_examples=2)


def test_a_chain_is_followed_from_file_to_file_and_folder_to_folder(folder: Path) -> None:
    write(folder, "extends: inner.yaml\nrounds: 3\n", "below/middle.yaml")
    write(folder, "extends: deeper/../../base.yaml\nseed: 7\n", "below/inner.yaml")
    (folder / "below" / "deeper").mkdir()
    spec = load_spec(write(folder, "extends: below/middle.yaml\n"))
    assert (spec.seed, spec.rounds, spec.name) == (7, 3, "base")


def test_a_problem_is_told_in_the_file_that_it_stands_in(folder: Path) -> None:
    write(folder, BASE.replace("rounds: 10", "rounds: ten"), "base.yaml")
    path = write(folder, "extends: base.yaml\nclient: {epochs: 0}\n")
    assert problems(path) == [
        'base.yaml:3:1: rounds: expected an integer, got text "ten"',
        "spec.yaml:2:10: client.epochs: expected at least 1, got 0",
    ]
    assert not [line for line in problems(path, "rounds=2") if "rounds" in line]


def test_a_mistake_in_the_text_of_an_extended_file_is_told_there(folder: Path) -> None:
    write(folder, BASE + "rounds: 3\n", "base.yaml")
    assert problems(write(folder, "extends: base.yaml\n")) == [
        "base.yaml:11:1: rounds: given twice (lines 3 and 11); remove one"
    ]


def refusals(folder: Path) -> dict[str, str]:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "link.yaml").symlink_to("/etc/passwd")
    (folder / "loop.yaml").symlink_to("loop.yaml")
    write(folder, "extends: spec.yaml\n", "back.yaml")
    return {
        "nowhere.yaml": "nowhere.yaml: cannot be read: No such file or directory",
        "folder": "folder: not a file; name a spec",
        "pipe": "pipe: not a file; name a spec",
        "../../etc/passwd": "../../etc/passwd is outside of",
        "/etc/passwd": "/etc/passwd is outside of",
        "link.yaml": "link.yaml is outside of",
        "loop.yaml": "loop.yaml",
        "spec.yaml": "the files extend each other in a circle: spec.yaml -> spec.yaml; remove one",
        "back.yaml": "the files extend each other in a circle: spec.yaml -> back.yaml -> spec.yaml; remove one",
        '"a\\0b"': "cannot be read",
        "x" * 5000: "cannot be read",
        "[base.yaml]": "expected the name of one file, e.g. extends: base.yaml",
        '""': "expected the name of one file",
        "null": "expected the name of one file",
    }


@pytest.mark.timeout(30)
def test_what_cannot_be_extended_is_named_where_it_is_asked_for(folder: Path) -> None:
    for name, message in refusals(folder).items():
        (told,) = problems(write(folder, f"rounds: 1\nextends: {name}\n"))
        assert told.startswith(("spec.yaml:2:1: extends: ", "back.yaml:1:1: extends: ")), told
        assert message in told
        assert len(told) < 400


def test_a_very_long_chain_is_refused(folder: Path) -> None:
    for number in range(17):
        (folder / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n")
    (told,) = problems(folder / "0.yaml")  # none of the files after these is there to be read
    assert "more than 16 files extend each other" in told


def test_a_text_cannot_extend_a_file() -> None:
    with pytest.raises(SpecError, match="spec:1:1: extends: a text cannot extend a file"):
        draft_of_text(b"extends: base.yaml\n", "spec")


# ------------------------------------------------------------------------------------------------------------- settings


def test_settings_are_laid_over_the_file(folder: Path) -> None:
    settings = ["client.optimizer.learning_rate=1e-3", "model.hidden=[8, 4]", "cohort={kind: uniform, size: 3}"]
    spec: Any = load_spec(folder / "base.yaml", settings)
    assert (spec.client.optimizer.learning_rate, spec.model.hidden, spec.cohort.size) == (0.001, (8, 4), 3)


def test_the_order_of_settings_changes_nothing(folder: Path) -> None:
    settings = ["partition.clients=3", "partition.kind=iid"]
    assert load_spec(folder / "base.yaml", settings) == load_spec(folder / "base.yaml", settings[::-1])
    assert load_spec(folder / "base.yaml", settings).partition == Iid(clients=3)


SETTINGS = {
    "epochs": "--set epochs: expected a path and a value, as client.epochs=2",
    "=3": "--set =3: expected a path and a value",
    "client..epochs=3": "--set client..epochs=3: expected a path and a value",
    "client.epochs=010": "--set client.epochs=010: client.epochs: 010: leading zeros are ambiguous",
    "client.epochs=[1": "--set client.epochs=[1: client.epochs: not valid YAML",
    "client.epochs=!!int 3": "--set client.epochs=!!int 3: client.epochs: YAML tag",
    "client.epochs=ten": '--set client.epochs=ten: client.epochs: expected an integer, got text "ten"',
    "client.optimizer.lr=1": "client.optimizer.lr: unknown key 'lr'; did you mean 'learning_rate'?",
    "clients=4": "clients: unknown key 'clients'; 'clients' belongs to `partition`",
    "model.hidden.0=4": "--set model.hidden.0=4: model.hidden: expected a list, got a mapping",
    "extends=base.yaml": "--set extends=base.yaml: extends: only a file can extend another",
    "client={}": None,
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_wrong_setting_is_named(folder: Path, setting: str) -> None:
    if SETTINGS[setting] is None:
        assert load_spec(folder / "base.yaml", [setting]) == load_spec(folder / "base.yaml")
        return
    (told,) = problems(folder / "base.yaml", setting)
    assert str(SETTINGS[setting]) in told


def test_two_settings_of_one_thing_are_refused() -> None:
    for pair in (("rounds=1", "rounds=2"), ("client={epochs: 1}", "client.epochs=2"), ("a.b=1", "a={b: 1}")):
        with pytest.raises(SpecError, match="sets it too; remove one"):
            parse_overrides(pair)
    assert len(parse_overrides(["client.epochs=1", "client.steps=2"])) == 2


def test_every_wrong_setting_is_told(folder: Path) -> None:
    with pytest.raises(SpecError) as refused:
        load_spec(folder / "base.yaml", ["a", "b=010", "rounds=1"])
    assert len(refused.value.problems) == 2


# ----------------------------------------------------------------------------------------------------------- provenance


def test_every_value_says_who_wrote_it_and_what_it_replaced(folder: Path) -> None:
    path = write(folder, "extends: base.yaml\nclient:\n  optimizer: {learning_rate: 0.2}\n  epochs: 3\n")
    draft = apply_overrides(compose(path), parse_overrides(["client.optimizer.learning_rate=0.05"]))
    told = {one.path: one for one in provenance(load_spec(path, ["client.optimizer.learning_rate=0.05"]), draft)}
    rate = told["client.optimizer.learning_rate"]
    assert (rate.value, rate.origin) == (0.05, "--set")
    assert [(one.value, Path(one.origin).name) for one in rate.replaced] == [
        (0.2, "spec.yaml:3"),
        (0.1, "base.yaml:10"),
    ]
    assert (told["client.epochs"].value, Path(told["client.epochs"].origin).name) == (3, "spec.yaml:4")
    assert (told["client.shuffle"].value, told["client.shuffle"].origin) == (True, "default")
    assert told["model.hidden"].value == [64, 32]
    assert "client.steps" not in told


def test_what_a_changed_kind_drops_is_not_told_as_replaced(folder: Path) -> None:
    settings = ["partition.kind=iid", "partition.clients=3"]
    told = {
        one.path: one
        for one in provenance(
            load_spec(folder / "base.yaml", settings),
            apply_overrides(compose(folder / "base.yaml"), parse_overrides(settings)),
        )
    }
    assert told["partition.clients"].replaced == ()
    assert [one.value for one in told["partition.kind"].replaced] == ["dirichlet"]


def test_the_text_of_a_composed_spec_stands_for_itself(folder: Path) -> None:
    path = write(folder, "extends: base.yaml\nname: no\nseed: 3\n")
    draft = apply_overrides(compose(path), parse_overrides(["name='1e-3'"]))
    (folder / "alone").mkdir()
    assert load_spec(write(folder / "alone", draft.text)).name == "1e-3"
    assert load_spec(folder / "alone" / "spec.yaml").seed == 3
    assert draft.text.startswith("# ")
    assert "base.yaml" in draft.text.splitlines()[0]


def test_the_text_of_a_plain_spec_is_its_own() -> None:
    assert draft_of_text(b"# mine\na: 1", "s").text == "# mine\na: 1"


def test_a_problem_stands_at_the_nearest_place_that_is_written() -> None:
    draft = draft_of_text(b"a: 1\nb:\n  c: {}\n", "spec.yaml")
    assert str(draft.problem(("b", "c", "d", "e"), "missing")) == "spec.yaml:3:3: b.c.d.e: missing"
    assert draft.problem(("b", "c", "d"), "missing").source == "  c: {}"
    assert str(draft.problem(("z",), "missing")) == "spec.yaml: z: missing"


def test_laying_nothing_over_a_draft_changes_nothing() -> None:
    draft = draft_of_text(b"a: {b: [1, {c: 2}]}\n", "spec.yaml")
    assert apply_overrides(draft, []) == draft
    assert read_yaml(draft.text.encode(), "again").value == draft.value


def test_a_directory_is_no_spec(folder: Path) -> None:
    with pytest.raises(InputError, match="not a file"):
        compose(folder)
