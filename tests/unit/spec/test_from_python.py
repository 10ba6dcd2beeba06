"""A spec from a dictionary, or changed in Python, says what the same file says, and is refused for the same reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from flspec.aggregators.fedavg import FedAvg
from flspec.compiler.compile import compile
from flspec.errors import SpecError
from flspec.samplers.uniform import Uniform
from flspec.spec.loading import load_spec
from flspec.spec.spec import Spec
from flspec.spec.study import load_study

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "specs/quickstart.yaml"
SPECS = sorted((ROOT / "specs").glob("*.yaml"))


def quickstart(**sections: Any) -> dict[str, Any]:
    return {**yaml.safe_load(QUICKSTART.read_text()), **sections}


def problems(*args: Any, **settings: Any) -> list[str]:
    with pytest.raises(SpecError) as refused:
        load_spec(*args).with_(**settings)
    return str(refused.value).splitlines()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_what_a_spec_states_is_the_same_spec(path: Path) -> None:
    spec = load_study(path).cells[0].spec
    assert spec.with_() == spec
    assert spec.with_(seed=123) == spec.model_copy(update={"seed": 123}) != spec


def test_equal_specs_by_any_route_have_equal_digests(tmp_path: Path) -> None:
    settings = {"client.epochs": 1, "aggregator": {"kind": "fedadam", "learning_rate": 0.1}}
    text = ["client.epochs=1", "aggregator={kind: fedadam, learning_rate: 0.1}"]
    by_dictionary = load_spec(quickstart()).with_(**settings)
    by_model = load_spec(QUICKSTART).model_copy(update={"cohort": Uniform(size=5)}).with_(**settings)
    written = quickstart(aggregator=settings["aggregator"])
    written["client"]["epochs"] = np.int64(1)
    digests = {compile(spec).digest for spec in (by_dictionary, by_model, load_spec(QUICKSTART, text))}
    digests.add(compile(load_spec(written)).digest)
    assert len(digests) == 1
    assert compile(load_spec(quickstart())).digest not in digests


def test_a_kind_that_changes_starts_its_section_afresh_and_one_that_stays_merges() -> None:
    spec = load_spec(QUICKSTART)
    merged = spec.with_(partition={"kind": "dirichlet", "alpha": 0.1}).partition.model_dump()
    assert (merged["alpha"], merged["min_examples"]) == (0.1, 10)
    assert any("partition.clients: missing" in line for line in problems(QUICKSTART, partition={"kind": "iid"}))
    assert spec.with_(aggregator=FedAvg(), **{"cohort.size": np.int32(3)}) == load_spec(QUICKSTART, ["cohort.size=3"])


def test_a_spec_is_not_changed_by_changing_it() -> None:
    spec, values = load_spec(QUICKSTART), quickstart()
    spec.with_(rounds=3), load_spec(values).with_(**{"client.epochs": 3})
    assert spec == load_spec(QUICKSTART)
    assert values == quickstart()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"client.epoch": 3}, "with_(client.epoch): client.epoch: unknown key 'epoch'; did you mean 'epochs'"),
        ({"client..epochs": 3}, "with_(client..epochs): expected a path, as client.epochs"),
        ({"aggregator.kind": "fedavgg"}, "with_(aggregator.kind): aggregator.kind: unknown 'fedavgg'; did you mean"),
        ({"rounds": float("nan")}, "with_(rounds): rounds: nan is not a finite number; give one"),
        ({"a\ud800": 1}, r"with_(a\ud800): expected a path, as client.epochs"),
        ({"name": "a\ud800"}, r"with_(name): name: 'a\ud800' has characters that no text file can hold; write it"),
        ({"client": {"\udcff": 1}}, r"with_(client): client: the key '\udcff' has characters that no text file"),
        ({"rounds": "3"}, "with_(rounds): rounds: expected "),
        ({"model.hidden": {3}}, "with_(model.hidden): model.hidden: {3} is a set, which no spec can hold; give a"),
        ({"model.hidden": [object]}, "with_(model.hidden): model.hidden.0: <class 'object'> is a type, which no"),
        ({"client": {1: 2}}, "with_(client): client: the key 1 is not a text; write it in quotes"),
        ({"client": {"epochs": 1}, "client.epochs": 2}, "with_(client.epochs): client.epochs: with_(client) sets it"),
        ({"matrix": {"seeds": [1]}}, "with_(matrix): matrix: a spec is one experiment; write spec.with_matrix("),
        ({"extends": "a.yaml"}, "with_(extends): extends: only a file can extend another"),
        ({"cohort.size": 50}, "with_(cohort.size): cohort: cohort.size is 50, but partition.clients is 10"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_change_that_no_file_could_say_is_refused_at_its_place(settings: dict[str, Any], message: str) -> None:
    assert problems(QUICKSTART, **settings)[0].startswith(message)


def test_all_problems_of_a_dictionary_are_told_at_once() -> None:
    found = problems(quickstart(rouns=3, cohort={"kind": "unifrom", "size": 5}))
    assert found[0].startswith("spec: cohort.kind: unknown 'unifrom'; did you mean 'uniform'? choose one of all, ")
    assert found[1].startswith("spec: rouns: unknown key 'rouns'; did you mean 'rounds'")
    assert len(found) == 2


def test_a_dictionary_inside_itself_is_refused() -> None:
    values = quickstart()
    values["client"]["loss"] = values
    assert "is it inside itself?" in problems(values)[0]


def test_a_dictionary_cannot_extend_a_file_and_may_have_a_small_variant() -> None:
    assert problems(quickstart(extends="a.yaml"))[0].startswith("spec: extends: only a file can extend another")
    small = load_spec(quickstart(small={"rounds": 2}), small=True)
    assert (small.rounds, small.name) == (2, "quickstart-small")


def test_files_of_a_dictionary_lie_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = load_spec(quickstart())
    assert spec.folders == (tmp_path,)
    assert spec.with_(seed=1).folders == (tmp_path,)
    assert isinstance(spec, Spec)
