"""What a result publishes beside an epsilon that does not hold for it is named there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flspec.privacy.statement import privacy_record
from tests.unit.privacy.rounds import private_plan


@pytest.mark.parametrize(
    "published",
    [
        "training metrics",
        "holdouts",
        "validation",
        "hyperparameters",
        "best round",
        "who took part",
        "seed in its spec",
    ],
)
def test_what_is_published_exactly_is_named(published):
    record = privacy_record(private_plan({"w": (2,)}, noise=3.0), 2)
    assert sum(published in words for words in record.not_covered) == 1


def test_parts_of_the_model_that_stay_with_clients_are_named_where_there_are_any():
    plan = private_plan({"w": (2,)}, noise=3.0)
    own = replace(plan, arrays={**plan.arrays, "local/mean": np.zeros(2, np.float32)}, settings=replace(
        plan.settings, local=("mean",)
    ))  # fmt: skip
    ditto = replace(plan, settings=replace(plan.settings, client_algorithm={"kind": "ditto", "strength": 0.1}))
    for one in (own, ditto):
        assert any("test/clients/" in words for words in privacy_record(one, 1).not_covered)
    assert not any("test/clients/" in words for words in privacy_record(plan, 1).not_covered)
