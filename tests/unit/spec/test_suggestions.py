"""What somebody may have meant."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from flspec.aggregators.fedadam import FedAdam
from flspec.client_optimizers.sgd import Sgd
from flspec.errors import SpecError
from flspec.models.mlp import Mlp
from flspec.partitioners.iid import Iid
from flspec.spec.loading import parse_spec
from flspec.spec.spec import ClientWork, Spec
from flspec.spec.suggestions import _ALSO_CALLED, _KINDS_ALSO_CALLED, _every_key, _places, meant_key, suggest_key
from tests.conftest import SMALL

CASES = [
    ("sede", Spec, (), "did you mean 'seed'?"),
    ("learing_rate", Sgd, ("client", "optimizer"), "did you mean 'learning_rate'?"),
    ("lr", Sgd, ("client", "optimizer"), "did you mean 'learning_rate'?"),
    ("lr", Mlp, ("model",), "that is `client.optimizer.learning_rate` here"),
    ("eta", FedAdam, ("aggregator",), "did you mean 'learning_rate'?"),
    ("alpha", Spec, (), "'alpha' belongs to `partition` (kinds dirichlet, "),
    ("alpha", Iid, ("partition",), "'alpha' is read by kinds dirichlet, "),
    ("strictnes", Iid, ("partition",), "'strictness' is read by kind continuous only"),
    ("rounds", ClientWork, ("client",), "'rounds' belongs to the top level"),
    ("num_rounds", Spec, (), "did you mean 'rounds'?"),
    ("clients_per_round", Spec, (), "that is `cohort.size` here"),
    ("clients", Spec, (), "'clients' belongs to `partition` (kinds "),
    ("seeds", Spec, (), "'seeds' belongs to `matrix`; or did you mean 'seed'?"),
    ("extend", Spec, (), "did you mean 'extends'?"),
    ("strategy", Spec, (), "did you mean 'aggregator'?"),
    ("server", Spec, (), "did you mean 'aggregator'?"),
    ("metrics", Spec, (), "'metrics' belongs to `evaluation`"),
    ("zzz", Iid, ("partition",), "known here: clients, "),
    ("kinds", Iid, ("partition",), "known here: clients, "),
]


@pytest.mark.parametrize(("key", "owner", "section", "told"), CASES, ids=[f"{c[0]}-{c[1].__name__}" for c in CASES])
def test_an_unknown_key_is_told_with_what_may_be_meant(key, owner, section, told):
    assert suggest_key(key, owner, section).startswith(f"unknown key {key!r}; {told}")


@pytest.mark.parametrize(
    ("section", "document", "told"),
    [
        (
            "aggregator",
            {"kind": "fednova"},
            "unknown 'fednova'; that is a kind of `client.algorithm`; choose one of",
        ),
        ("aggregator", {"kind": "rfa"}, "unknown 'rfa'; write aggregator: {kind: geometric_median}"),
        ("aggregator", {"kind": "adam"}, "that is a kind of `client.optimizer` or `aggregator.server_optimizer`;"),
        (
            "faults",
            [{"kind": "krum"}],
            "faults.0.kind: unknown 'krum'; that is a kind of `aggregator`; choose one of",
        ),
        ("aggregator", {"kind": "krumm"}, "unknown 'krumm'; did you mean 'krum'?"),
        ("aggregator", {"kind": "krum", "num_byzantine": 1}, "unknown key 'num_byzantine'; did you mean 'f'?"),
        ("faults", {"kind": "dropout"}, "faults: expected a list, got a mapping; write it in brackets: [{...}]"),
    ],
)
def test_what_a_newcomer_writes_of_algorithms_is_told_with_its_place(section, document, told):
    with pytest.raises(SpecError) as refused:
        parse_spec(json.dumps(SMALL | {section: document}))
    assert told in str(refused.value)


def test_what_others_call_an_algorithm_can_be_written():
    for written in filter(lambda text: "kind" in text, _KINDS_ALSO_CALLED.values()):
        parse_spec(json.dumps(SMALL | yaml.safe_load(re.split(", or ", written)[0])))


def test_what_is_given_already_is_not_suggested_again():
    told = suggest_key("lr", Sgd, ("client", "optimizer"), {"learning_rate", "lr"})
    assert told == "unknown key 'lr'; did you mean 'learning_rate'? It is given too"


def test_only_what_is_almost_certain_is_taken_as_meant():
    assert meant_key("learing_rate", Sgd) == "learning_rate"
    assert meant_key("lr", Sgd) == "learning_rate"
    assert meant_key("clients", Spec) is None  # `client` is near, but `clients` is a key elsewhere
    assert meant_key("zzz", Spec) is None


def test_what_others_call_a_key_has_its_place_here():
    ours = _every_key() | {"extends", "matrix", "small"}
    assert {path.rpartition(".")[2] for path in _ALSO_CALLED.values()} <= ours
    sections = {".".join(place.section) for place in _places()}
    assert {path.rpartition(".")[0] for path in _ALSO_CALLED.values()} <= sections
