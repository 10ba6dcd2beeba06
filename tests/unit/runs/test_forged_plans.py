"""A plan of somebody else's that cannot be carried out here is refused before there is a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flspec.errors import InputError
from flspec.protocol.plan import Plan
from flspec.runs.runner import run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ()}, "the plan cannot be carried out here: IndexError"),
        ({"loss": {"x": 1}}, "the plan cannot be carried out here: ValidationError"),
        ({"aggregator": {"learning_rate": 1.0}}, "the plan's Aggregator .* cannot be read here: .*discriminator 'kind"),
        (
            {"client_optimizer": {"learning_rate": 0.1}},
            "the plan's ClientOptimizer .* cannot be read here: .*discriminator 'kind",
        ),
        ({"aggregator": {"kind": "gone"}}, "the plan's Aggregator .* cannot be read here: .*'gone'"),
        ({"postprocessors": ({"kind": "gone"},)}, "the plan's Postprocessor .* cannot be read here: .*'gone'"),
    ],
)
def test_it_is_refused_in_words(
    make_plan: Callable[..., Plan], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    plan = make_plan()
    forged = Plan(replace(plan.settings, **changes), plan.arrays, plan.spec)
    with pytest.raises(InputError, match=message):
        run(forged, "local", tmp_path / "run")
    assert not (tmp_path / "run").exists()
