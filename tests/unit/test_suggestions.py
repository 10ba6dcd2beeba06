"""What somebody may have meant."""

from __future__ import annotations

import pytest

from flspec.client_optimizers.sgd import Sgd
from flspec.models.mlp import Mlp
from flspec.partitioners.iid import Iid
from flspec.spec import ClientWork, Spec
from flspec.suggestions import _ALSO_CALLED, _every_key, meant_key, suggest_key

CASES = [
    ("sede", Spec, (), "did you mean 'seed'?"),
    ("learing_rate", Sgd, ("client", "optimizer"), "did you mean 'learning_rate'?"),
    ("lr", Sgd, ("client", "optimizer"), "did you mean 'learning_rate'?"),
    ("lr", Mlp, ("model",), "'learning_rate' belongs to `client.optimizer` or `aggregator`"),
    ("alpha", Spec, (), "'alpha' belongs to `partition` (kind dirichlet)"),
    ("alpha", Iid, ("partition",), "'alpha' is read by kind dirichlet only"),
    ("min_exampels", Iid, ("partition",), "'min_examples' is read by kind dirichlet only"),
    ("rounds", ClientWork, ("client",), "'rounds' belongs to the top level"),
    ("num_rounds", Spec, (), "did you mean 'rounds'?"),
    ("seeds", Spec, (), "did you mean 'seed'?; 'seeds' belongs to `matrix`"),
    ("extend", Spec, (), "did you mean 'extends'?"),
    ("strategy", Spec, (), "did you mean 'aggregator'?"),
    ("metrics", Spec, (), "'metrics' belongs to `evaluation`"),
    ("zzz", Iid, ("partition",), "known here: clients, held_out, held_out_by"),
    ("kinds", Iid, ("partition",), "known here: clients, held_out, held_out_by"),
]


@pytest.mark.parametrize(("key", "owner", "section", "told"), CASES, ids=[f"{c[0]}-{c[1].__name__}" for c in CASES])
def test_an_unknown_key_is_told_with_what_may_be_meant(key, owner, section, told):
    assert suggest_key(key, owner, section) == f"unknown key {key!r}; {told}"


def test_only_what_is_almost_certain_is_taken_as_meant():
    assert meant_key("learing_rate", Sgd) == "learning_rate"
    assert meant_key("lr", Sgd) == "learning_rate"
    assert meant_key("clients", Spec) is None  # `client` is near, but `clients` is a key elsewhere
    assert meant_key("zzz", Spec) is None


def test_what_others_call_a_key_is_one_of_ours_and_not_itself_a_key():
    ours = _every_key() | {"extends", "matrix"}
    assert set(_ALSO_CALLED.values()) <= ours
    assert not set(_ALSO_CALLED) & (ours - {"include"})
