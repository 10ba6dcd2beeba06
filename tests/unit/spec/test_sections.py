"""The sections of a spec: each key of the file, and all below that has kinds, keys or names of its own."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Literal

import pytest
from pydantic import Field

from flspec.core.components import Component, Document, OneOf
from flspec.errors import InputError
from flspec.metrics import METRICS
from flspec.spec.catalogue import families
from flspec.spec.document import NOT_IN_SMALL, Experiment, SpecFile
from flspec.spec.sections import find_section, sections


class Noise(Component, ABC):
    """Drawn anew."""


class Gaussian(Noise):
    """Normal."""

    kind: Literal["gaussian"] = "gaussian"
    scale: Annotated[float, Field(gt=0, description="its deviation", examples=[1.0])]


class Chain(Document):
    """Holds one of itself."""

    noise: Annotated[OneOf[Noise], Field(description="what is drawn")]
    also: Annotated[OneOf[Noise] | None, Field(description="what is drawn then")] = None
    rest: Annotated[Chain | None, Field(description="what follows")] = None
    way: Annotated[
        Literal["up", "down"],
        Field(description="where to", json_schema_extra={"markdownEnumDescriptions": ["rises", "falls"]}),
    ] = "up"
    plain: Annotated[Literal["a", "b"], Field(description="no word of what each is")] = "a"


class ChainedFile(SpecFile):
    chain: Annotated[Chain | None, Field(description="a chain")] = None


def test_every_key_of_a_spec_s_file_is_a_section_in_its_order():
    own = [path for path in sections() if "." not in path]
    assert own == list(SpecFile.model_fields)
    assert {"mode", "client", "evaluation", "matrix", "small", "extends", "seed"} <= set(own)


def test_every_family_is_a_section_with_its_kinds_and_parameters():
    known = sections()
    for family in families().values():
        assert known[family.section].kinds == family.kinds
        assert known[family.section].name == family.name


def test_mappings_have_their_keys_and_names_say_what_they_are():
    known = sections()
    assert [key.name for key in known["client.clip"].keys] == ["norm", "by"]
    assert {"batch_size", "loss", "optimizer"} <= {key.name for key in known["client"].keys}
    assert list(known["mode"].kinds) == ["federated", "centralized", "local_only"]
    assert known["mode"].kinds["local_only"].summary.startswith("each client learns alone")
    assert list(known["evaluation.metrics"].kinds) == list(METRICS)
    assert known["evaluation.metrics"].kinds["loss"].summary.endswith("; lower is better")
    assert known["evaluation.metrics"].also == ("evaluation.best.metric",)
    assert known["evaluation.metrics"].kinds["f1"].description.endswith("2 TP / (2 TP + FP + FN) of class 1.")
    assert not known["rounds"].kinds
    assert not known["rounds"].keys


def test_a_small_variant_has_an_experiment_s_keys_of_which_none_is_required():
    keys = sections()["small"].keys
    assert [key.name for key in keys] == [name for name in Experiment.model_fields if name not in NOT_IN_SMALL]
    assert not any(key.required for key in keys)


def test_what_is_added_to_a_spec_s_classes_appears_by_itself():
    known = sections(ChainedFile)
    added = [path for path in known if path not in sections()]
    assert added == ["chain", "chain.noise", "chain.way"]  # rest holds what chain holds; plain names are keys alone
    assert known["chain"].also == ("chain.rest",)
    assert known["chain.noise"].also[0] == "chain.also"
    assert known["chain.noise"].kinds["gaussian"].parameters[0].name == "scale"
    assert {name: kind.summary for name, kind in known["chain.way"].kinds.items()} == {"up": "rises", "down": "falls"}


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("client.optimizer", "client.optimizer"),
        ("client_optimizers", "client.optimizer"),
        ("optimizer", "client.optimizer"),
        ("schedules", "client.optimizer.schedule"),
        ("aggregator.schedule", "client.optimizer.schedule"),
        ("metrics", "evaluation.metrics"),
        ("best", "evaluation.best"),
        ("small", "small"),
    ],
)
def test_a_section_is_found_by_its_path_its_family_or_its_last_key(name, section):
    assert find_section(name).section == section


def test_an_unknown_section_is_told_with_what_may_have_been_meant():
    with pytest.raises(InputError, match=r"section: unknown 'metrcs'; .*choose one of flspec, name, seed, mode"):
        find_section("metrcs")
