"""The catalogue: what there is to choose from is what the spec's classes say, and is said in a user's words."""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from flspec.core.components import Component, Document, OneOf, family_members
from flspec.errors import InputError
from flspec.spec.catalogue import families, find_family, find_kind, parameters
from flspec.spec.matrix import Matrix
from flspec.spec.spec import Spec
from flspec.spec.suggestions import model_below


class Privacy(Component, ABC):
    """What a client does to its update before it leaves.

    More of it.
    """


class Clip(Privacy):
    """Bound the norm."""

    kind: Literal["clip"] = "clip"
    norm: Annotated[float, Field(gt=0, description="largest norm of an update", examples=[1.0])]


class Noise(Component, ABC):
    """Drawn anew for each update."""


class Gaussian(Noise):
    """Normal."""

    kind: Literal["gaussian"] = "gaussian"


class NoisyClip(Privacy):
    """Bound the norm, then add noise."""

    kind: Literal["noisy_clip"] = "noisy_clip"
    noise: OneOf[Noise]
    band: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (0.0, 1.0)
    layers: Annotated[tuple[OneOf[Noise], ...], Field(max_length=3)] = ()


class Guard(Document):
    privacy: OneOf[Privacy] | None = None


class GuardedSpec(Spec):
    guard: Guard
    second: OneOf[Privacy]
    hint: int  # no example, no description


def test_the_families_of_a_spec_are_found_with_their_sections_in_its_order():
    assert {family.name: family.section for family in families().values()} == {
        "datasets": "dataset",
        "encodings": "dataset.features",
        "transforms": "dataset.train_transforms",
        "partitioners": "partition",
        "models": "model",
        "objectives": "client.objective",
        "client_algorithms": "client.algorithm",
        "losses": "client.loss",
        "client_optimizers": "client.optimizer",
        "schedules": "client.optimizer.schedule",
        "samplers": "cohort",
        "aggregators": "aggregator",
        "server_optimizers": "aggregator.server_optimizer",
        "privacy": "privacy",
        "update_clips": "privacy.clip",
        "noise_matrices": "privacy.noise",
        "postprocessors": "postprocessors",
        "secure_aggregation": "secure_aggregation",
        "compressors": "compression",
        "faults": "faults",
        "features": "evaluation.features",
    }
    own = [family.section for family in families().values() if "." not in family.section]
    assert own[:3] == ["dataset", "partition", "model"]


def test_a_family_named_anywhere_in_a_spec_appears_by_itself_under_its_first_section(monkeypatch):
    monkeypatch.setattr(Privacy, "__module__", "flspec.shields.base")
    monkeypatch.setattr(Noise, "__module__", "flspec.noises.base")
    found = families(GuardedSpec)
    assert set(found) - set(families()) == {"shields", "noises"}
    assert found["shields"].section == "guard.privacy"
    assert found["shields"].summary == "What a client does to its update before it leaves."
    assert list(found["shields"].kinds) == ["clip", "noisy_clip"]
    assert found["noises"].section == "guard.privacy.noise"
    assert found["noises"].also == ("guard.privacy.layers",)
    assert (found["shields"].also, found["shields"].is_list) == (("second",), False)
    noise, band, layers = found["shields"].kinds["noisy_clip"].parameters
    assert noise.type == "kind: gaussian"
    assert (band.type, band.range) == ("list of 2 numbers", "each at least 0, at most 1")
    assert (layers.type, layers.range) == ("list of kind: gaussian", "at most 3 of them")


@pytest.mark.parametrize("name", ["partition", "partitioners"])
def test_a_family_is_found_by_its_own_name_and_its_section_s(name):
    assert find_family(name).kinds.keys() >= {"by_label", "dirichlet", "iid"}


def test_a_kind_says_what_it_is_in_a_line_and_in_full_and_who_brought_it():
    cnn = find_kind(find_family("model"), "cnn")
    assert cnn.summary == "Blocks of convolution (same size), activation and pooling by 2, then dense layers."
    assert cnn.description.startswith(cnn.summary)
    assert "\n\nWith channels [32, 64]" in cnn.description
    assert "1,663,370 parameters" in cnn.description
    assert cnn.package == "flspec"
    assert families(GuardedSpec)["test_catalogue"].kinds["clip"].package == "test_catalogue"


@pytest.mark.parametrize(
    ("section", "kind", "name", "type_", "range_", "default"),
    [
        ("dataset", "synthetic", "classes", "integer", "at least 2, at most 10,000", 10),
        ("partition", "by_label", "examples_per_client", "integer or null", "at least 1", None),
        (
            "model",
            "cnn",
            "channels",
            "list of integers",
            "at least 1 of them, at most 100 of them, each at least 1",
            [32, 64],
        ),
        ("model", "cnn", "pool", "one of max, average", "", "max"),
        ("client.optimizer", "sgd", "momentum", "number", "at least 0, below 1", 0.0),
        ("client.optimizer", "sgd", "nesterov", "true or false", "", False),
        ("aggregator", "fedadam", "epsilon", "number", "above 0, at most 1,000,000", 1e-3),
    ],
)
def test_a_parameter_is_told_as_a_user_says_it(section, kind, name, type_, range_, default):
    (parameter,) = [p for p in find_family(section).kinds[kind].parameters if p.name == name]
    assert (parameter.type, parameter.range, parameter.default) == (type_, range_, default)
    assert not parameter.required
    assert parameter.description


def test_a_required_parameter_has_no_default():
    alpha = find_family("partition").kinds["dirichlet"].parameters[1]
    assert (alpha.name, alpha.required, alpha.default, alpha.examples) == ("alpha", True, None, (0.5,))


def test_text_is_told_by_its_form_and_sections_by_what_they_are():
    told = {parameter.name: (parameter.type, parameter.range) for parameter in parameters(Spec)}
    assert told["name"][0] == "text"
    assert told["name"][1].startswith("up to 100 letters")
    assert told["client"] == ("mapping", "")
    assert told["cohort"][0].startswith("kind: all, available, by_size, cyclic_poisson, poisson, ")
    axes = {parameter.name: parameter.type for parameter in parameters(Matrix)}
    assert axes["axes"] == "mapping"
    assert axes["include"] == "list of mappings"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: find_family("partion"), "family: unknown 'partion'; did you mean 'partition'"),
        (
            lambda: find_family("x"),
            "client.optimizer, client.optimizer.schedule, cohort, aggregator, aggregator.server_optimizer, privacy, "
            "privacy.clip, privacy.noise, postprocessors",
        ),
        (lambda: find_kind(find_family("partition"), "dirchlet"), "partition: unknown 'dirchlet'; did you mean 'diri"),
    ],
)
def test_an_unknown_name_is_told_with_what_may_have_been_meant(ask, message):
    with pytest.raises(InputError) as refused:
        ask()
    assert message in str(refused.value)


# ------------------------------------------------------------------------------- what a template and an editor live on


def documents(cls: type[BaseModel], above: tuple[type[BaseModel], ...] = ()) -> Iterator[type[BaseModel]]:
    """A document and everything that can stand in it."""
    if cls in above:
        return
    yield cls
    for name in cls.model_fields:
        if child := model_below(cls, name):
            is_family = issubclass(child, Component) and "kind" not in child.model_fields
            family: Any = child
            for member in family_members(family).values() if is_family else (child,):
                yield from documents(member, (*above, cls))


def omitted(cls: type[BaseModel]) -> list[str]:
    """The keys of a document that lack a description, or that are required and lack an example."""
    return [p.name for p in parameters(cls) if not p.description or (p.required and not p.examples)]


every_document = pytest.mark.parametrize("cls", dict.fromkeys([*documents(Spec), Matrix]), ids=lambda cls: cls.__name__)


@every_document
def test_every_field_is_described_and_every_required_one_has_an_example(cls):
    assert omitted(cls) == []


def test_a_field_that_is_not_told_of_is_found():
    assert omitted(GuardedSpec) == ["guard", "second", "hint"]


@every_document
def test_the_examples_of_a_document_s_fields_are_right_by_themselves(cls):
    required = {p.name: p.examples[0] for p in parameters(cls) if p.required}
    for parameter in parameters(cls):
        for example in parameter.examples:
            cls.model_validate_json(json.dumps(required | {parameter.name: example}))


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.name)
def test_every_family_and_kind_says_what_it_is_in_a_sentence(family):
    assert family.summary.endswith(".")
    assert all(kind.summary.endswith(".") for kind in family.kinds.values())
