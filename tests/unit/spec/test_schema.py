"""The JSON Schema of a spec file, held to an independent validator; the committed one is current."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flspec.errors import InputError
from flspec.spec.catalogue import families
from flspec.spec.schema import spec_schema, write_schema
from flspec.spec.yaml_reader import read_yaml

SPECS = Path(__file__).parents[3] / "specs"
SCHEMA = spec_schema(installed=False)
QUICKSTART = read_yaml((SPECS / "quickstart.yaml").read_bytes(), "quickstart.yaml").value
FAMILIES = families()
EXAMPLES: dict[Any, dict[str, Any]] = {  # a complete mapping of each kind, from the examples of its required parameters
    (family.section, kind.kind): {"kind": kind.kind, **{p.name: p.examples[0] for p in kind.parameters if p.required}}
    for family in FAMILIES.values()
    for kind in family.kinds.values()
    if kind.package == "flspec"
}


def accepts(document, schema=SCHEMA):
    return jsonschema.Draft7Validator(schema).is_valid(document)


def with_value(path, value, document=QUICKSTART):
    """The document with one value replaced, or removed if it is None."""
    document = copy.deepcopy(document)
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


def test_the_schema_is_one_by_its_meta_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft7Validator.META_SCHEMA["$schema"]


def test_the_committed_schema_is_current():
    committed = (SPECS / "schema.json").read_text()
    assert committed == json.dumps(SCHEMA, indent=2) + "\n", (
        "specs/schema.json is out of date: `make schema` rewrites it"
    )


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_spec_names_the_schema_and_is_accepted(path):
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
    assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(read_yaml(path.read_bytes(), path.name).value)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rounds", "ten"),
        ("rounds", 0),
        ("rounds", 2.5),
        ("rounds", True),
        ("rounds", None),
        ("name", "a b"),
        ("seed", -1),
        ("seed", 2**63),
        ("seeed", 1),
        ("dataset", "digits"),
        ("dataset", {}),
        ("dataset.kind", "digit"),
        ("dataset.classes", 3),
        ("partition.kind", None),
        ("partition.alpha", None),
        ("partition.alpha", 0),
        ("partition.alhpa", 0.5),
        ("model.hidden", []),
        ("model.hidden", [64, 0]),
        ("model.hidden", 64),
        ("model.activation", "sigmoid"),
        ("client.batch_size", None),
        ("client.epoch", 1),
        ("client.optimizer.learning_rate", "0.1"),
        ("client.optimizer.momentum", 1),
        ("client.optimizer.nesterov", 1),
        ("cohort", ["all"]),
        ("evaluation", {"every": 0}),
        ("evaluation", {"metrics": ["f2"]}),
        ("evaluation", {"when": 1}),
    ],
)
def test_a_wrong_document_is_refused(path, value):
    assert accepts(QUICKSTART)
    assert not accepts(with_value(path, value))


@pytest.mark.parametrize(("section", "kind"), EXAMPLES, ids="/".join)
def test_a_kind_has_its_own_parameters_and_no_other_s(section, kind):
    family = next(family for family in FAMILIES.values() if family.section == section)
    example = EXAMPLES[section, kind]
    own = {parameter.name for parameter in family.kinds[kind].parameters}

    def accepts_here(mapping):
        in_columns = section == "dataset.features"  # a mapping of columns to them
        value = {"x": mapping} if in_columns else [mapping] if family.is_list else mapping
        document = with_value(section, value)
        if section.startswith("dataset."):
            document["dataset"]["kind"] = "csv" if in_columns else "mnist"  # which has images to transform
        if section == "aggregator.server_optimizer":
            document["aggregator"]["kind"] = "median"
        if section.startswith("privacy."):
            needed = {"kind": "central", "delta": 0.001, "clip": {"kind": "fixed", "norm": 1.0}}
            document["privacy"] = needed | document["privacy"]
        return accepts(document)

    assert accepts_here(example)
    for name in set(example) - {"kind"}:
        assert not accepts_here({k: v for k, v in example.items() if k != name})
    for other in family.kinds.values():
        for parameter in other.parameters:
            if parameter.name in own and other.kind != kind:
                continue  # one name may be of another type here
            value = parameter.examples[0] if parameter.examples else parameter.default
            assert accepts_here(example | {parameter.name: value}) == (parameter.name in own)


# ------------------------------------------------------------------------------------------------- extends and matrix


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rounds": 20},
        {"partition": {"alpha": 0.1}},
        {"partition": {"kind": "iid"}},
        {"client": {"optimizer": {"momentum": 0.9}}},
        {"aggregator": {"learning_rate": 0.5}, "evaluation": {"every": 2}},
        QUICKSTART,
    ],
    ids=str,
)
def test_with_extends_or_a_matrix_nothing_is_required(document):
    assert accepts({"extends": "base.yaml"} | document)
    assert accepts({"matrix": {"axes": {"partition.alpha": [0.1, 1]}, "seeds": [0, 1]}} | document)
    assert accepts(document) == (document is QUICKSTART)


@pytest.mark.parametrize(
    "document",
    [
        {"rouns": 20},
        {"partition": {"alpha": "small"}},
        {"partition": {"alpha": 0.1, "examples_per_client": 5}},  # of two kinds
        {"partition": {"kind": "iid", "alpha": 0.1}},
        {"partition": {"hidden": [3]}},
        {"client": {"optimizer": {"kind": "lion"}}},
        {"partition": None},
    ],
    ids=str,
)
def test_with_extends_what_is_said_is_held_to_the_same_rules(document):
    assert not accepts({"extends": "base.yaml"} | document)


@pytest.mark.parametrize(
    "matrix",
    [{"axis": {}}, {"axes": {"rounds": []}}, {"axes": {"rounds": 3}}, {"seeds": [-1]}, {"exclude": [{}]}, []],
    ids=str,
)
def test_a_wrong_matrix_is_refused(matrix):
    assert not accepts(QUICKSTART | {"matrix": matrix})


def test_what_is_extended_is_text():
    assert not accepts(QUICKSTART | {"extends": ["base.yaml"]})


# ------------------------------------------------------------------------------------------------------- for an editor


def test_every_key_is_described_and_every_kind_explained():
    documents = SCHEMA["definitions"]
    assert documents["Dirichlet"]["properties"]["alpha"]["examples"] == [0.5]
    assert documents["Mlp"]["properties"]["hidden"]["default"] == [200]
    for name, document in documents.items():
        for key, value in document.get("properties", {}).items():
            assert key == "kind" or value["description"], (name, key)
            kinds = value.get("properties", {}).get("kind")
            if kinds:
                assert len(kinds["markdownEnumDescriptions"]) == len(kinds["enum"]) > 0
                assert all(kinds["markdownEnumDescriptions"])


def test_no_default_is_null_for_an_editor_would_write_it():
    assert '"default": null' not in json.dumps(SCHEMA)


INSTALLED = """
import json, os, sys
from typing import Any, Literal
from flspec.core.components import OneOf
from flspec.partitioners import Counted
from flspec.samplers import Sampler
class Crumbs(Counted):
    '''Deal crumbs.'''
    kind: Literal["crumbs"] = "crumbs"
    band: tuple[float, float] = (0.0, 1.0)
    turns: tuple[OneOf[Sampler], ...] = ()
    last: OneOf[Sampler] | None = None
    def split(self, examples, stream): ...
from flspec.spec.schema import spec_schema
print(json.dumps([spec_schema(installed=True), spec_schema(installed=False)]))
"""


def test_an_installed_kind_is_in_the_schema_unless_only_flspec_s_own_are_asked_for():
    done = subprocess.run(
        [sys.executable, "-c", INSTALLED], env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, check=True
    )
    installed, own = json.loads(done.stdout)
    document = with_value("partition", {"kind": "crumbs", "clients": 3})
    assert accepts(document, installed)
    jsonschema.Draft7Validator.check_schema(installed)
    for wrong in ({"band": ["a", 1]}, {"turns": {"kind": "all"}}, {"turns": [{"kind": "al"}]}, {"last": {"size": 1}}):
        assert not accepts(with_value("partition", document["partition"] | wrong), installed)
    more = {"band": [0, 1], "turns": [{"kind": "all"}, {"kind": "uniform", "size": 1}], "last": {"kind": "all"}}
    assert accepts(with_value("partition", document["partition"] | more), installed)
    assert not accepts(document, own)
    assert json.dumps(own) == json.dumps(SCHEMA)  # also in another process, which hashes otherwise


def test_a_schema_replaces_a_schema_and_nothing_else(tmp_path):
    file = tmp_path / "s.json"
    write_schema(file, installed=False)
    assert json.loads(file.read_text()) == SCHEMA
    write_schema(file)
    (tmp_path / "result.json").write_text("{}")
    for taken in (tmp_path / "result.json", tmp_path, tmp_path / "nowhere" / "s.json"):
        with pytest.raises(InputError):
            write_schema(taken)
    assert (tmp_path / "result.json").read_text() == "{}"
