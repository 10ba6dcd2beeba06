"""What somebody may have meant."""

from __future__ import annotations

import pytest

from flspec.aggregators.fedadam import FedAdam
from flspec.client_optimizers.sgd import Sgd
from flspec.models.mlp import Mlp
from flspec.partitioners.iid import Iid
from flspec.spec.spec import ClientWork, Spec
from flspec.spec.suggestions import _ALSO_CALLED, _every_key, _places, meant_key, suggest_key

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
