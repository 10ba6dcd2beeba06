"""docs/support.md states what the engines show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec.spec.catalogue import families
from tests.conformance import support
from tests.conformance.harness import BACKENDS, Engines


@pytest.fixture(scope="module")
def plans() -> Mapping[support.Row, Plan]:
    return {row: support.plan_of(row) for row in support.rows()}


def test_every_family_is_on_the_page_or_is_known_not_to_act_by_itself() -> None:
    assert sorted(families()) == sorted((*support.ACTING, *support.OTHERS))


def test_the_page_has_every_part_and_every_refusal(plans: Mapping[support.Row, Plan]) -> None:
    stated = support.read(support.PAGE.read_text())
    assert sorted(stated) == sorted(plans), "make support"
    for row, plan in plans.items():
        assert stated[row]["local"] == "ours"
        for name in BACKENDS:
            refused = [why for why in find_backend(name).refusals(plan) if not why.startswith("backend: ")]
            cell = stated[row][name]
            assert cell == support.refusal("; ".join(refused)) if refused else support.NUMBER.search(cell), row
            assert ("; native, " in cell) == (support.native_plan(row, name) is not None), row


def test_each_plan_has_what_it_is_to_show(plans: Mapping[support.Row, Plan]) -> None:
    """Else an engine that ignored a part would be as near to `local` as one that carries it out."""
    assert all(len(plan.arrays["fault_log"]) for (family, _), plan in plans.items() if family == "faults")
    same = 2  # of clients, and of a median's server, sgd is the default
    assert len({plan.digest for plan in plans.values()}) >= len(plans) - same


@pytest.mark.release("runs each of fifty parts on three engines; `make test` holds rows and refusals to the families")
def test_the_tables_are_what_the_engines_show(
    plans: Mapping[support.Row, Plan], engines: Engines, tmp_path: Path
) -> None:
    for name in BACKENDS:
        engines(name)  # skips where it is missing
    found: dict[support.Row, support.Cells] = {}
    for number, (row, plan) in enumerate(plans.items()):
        case = engines.certify(plan, BACKENDS, tmp_path / str(number) / "certificate")
        cells = support.cells_of(case, {name: engines(name).stages(plan) for name in BACKENDS})
        for name in BACKENDS:
            if own := support.native_plan(row, name):
                case = engines.certify(own, [name], tmp_path / f"{number}-{name.partition(':')[0]}" / "certificate")
                cells[name] += support.native_cell(case, name)
        found[row] = cells
    if os.environ.get("FLSPEC_WRITE_GOLDEN"):
        support.PAGE.write_text(support.written(support.PAGE.read_text(), found))
    assert support.differences(support.read(support.PAGE.read_text()), found) == []


def test_a_page_that_states_another_thing_is_found_out() -> None:
    row, right = ("faults", "ipm"), {"local": "ours", "flower:inprocess": "ours, 0", "tff": "ours, 6e-05"}
    text = support.written("\n## `", dict.fromkeys(support.rows(), right))
    stated = support.read(text)
    assert support.differences(stated, stated) == []
    for wrong in ("ours, 7e-04", "ours, 0", "ours, 6e-05, aggregated by TFF", "refused: faults: none", ""):
        (line,) = support.differences(stated, stated | {row: right | {"tff": wrong}})
        assert line.startswith("('faults', 'ipm') on tff: stated 'ours, 6e-05', found")
    near = right | {"tff": "ours, 2e-05"}
    assert support.differences(stated, stated | {row: near}) == []
    del stated[row]
    assert support.differences(stated, support.read(text)) == ["('faults', 'ipm'): only found"]
