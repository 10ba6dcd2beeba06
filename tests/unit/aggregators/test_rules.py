"""Rules of updates, each against its definition in a loop, against ByzFL's, and against its likeliest mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.aggregators import Aggregator, MeanAggregator, vectors
from flspec.core.components import comes_with_flspec, family_members
from flspec.errors import RunError
from tests.unit.aggregators import oracles
from tests.unit.aggregators.updates import CASES, combined, matrix_of

BYZFL = json.loads(Path(__file__).with_name("byzfl_answers.json").read_text())
WEIGHTS = [1.0 + number % 4 for number in range(30)]
CENTER = np.linspace(-0.5, 0.5, 11)
every_case = pytest.mark.parametrize("case", CASES)


def both(kind, case, wrong=""):
    """What the rule gives, and what its definition does; `wrong` is a mistake in the latter."""
    x, f = matrix_of(case), CASES[case].f
    weights, slip = WEIGHTS[: len(x)], {"wrong": wrong} if wrong else {}
    center = CENTER.astype(np.float32)
    given: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
        "median": ({}, lambda: oracles.median(x, **slip)),
        "trimmed_mean": ({"f": f}, lambda: oracles.trimmed_mean(x, f, **slip)),
        "krum": ({"f": f}, lambda: x[oracles.krum_picks(x, f, 1, **slip)[0]]),
        "multi_krum": ({"f": f, "m": 4}, lambda: oracles.multi_krum(x, f, 4, **slip)),
        "bulyan": ({"f": f}, lambda: oracles.bulyan(x, f, **slip)),
        "geometric_median": (
            {"tolerance": None, "iterations": 3, "smoothing": 0.5},
            lambda: oracles.weiszfeld(x, weights, 0.5, 3, **slip),
        ),
        "norm_clipping": ({}, lambda: oracles.norm_clipping(x, weights, **slip)),
        "centered_clipping": (
            {"tau": 1.5, "iterations": 3},
            lambda: oracles.centered_clipping(x, 1.5, 3, center.astype(np.float64), **slip),
        ),
    }
    parameters, oracle = given[kind]
    record = center if kind == "centered_clipping" else None
    return combined({"kind": kind, **parameters}, x, weights, record), oracle()


KINDS = (
    "median",
    "trimmed_mean",
    "krum",
    "multi_krum",
    "bulyan",
    "geometric_median",
    "norm_clipping",
    "centered_clipping",
)


@every_case
@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_is_its_definition(kind, case):
    ours, oracle = both(kind, case)
    assert ours == pytest.approx(oracle, rel=1e-12, abs=1e-13)


WRONG = [
    ("median", "lower"),
    ("trimmed_mean", "share"),
    ("trimmed_mean", "one_side"),
    ("krum", "one_more"),
    ("krum", "itself"),
    ("multi_krum", "one_more"),
    ("multi_krum", "not_squared"),
    ("bulyan", "scored_once"),
    ("bulyan", "around_the_mean"),
    ("geometric_median", "from_the_mean"),
    ("geometric_median", "all_alike"),
    ("norm_clipping", "mean_of_norms"),
    ("centered_clipping", "forgets"),
    ("centered_clipping", "once"),
]


@pytest.mark.parametrize(("kind", "wrong"), WRONG)
def test_a_rule_that_is_nearly_the_definition_shows(kind, wrong):
    pairs = [both(kind, case, wrong) for case in CASES]
    assert not all(np.allclose(ours, oracle, rtol=1e-9, atol=1e-9) for ours, oracle in pairs)


def test_every_rule_that_comes_with_flspec_has_a_definition_here_and_mistakes():
    members = {kind: one for kind, one in family_members(Aggregator).items() if not issubclass(one, MeanAggregator)}
    ours = {kind for kind, one in members.items() if comes_with_flspec(one.model_construct())}
    assert {*KINDS} == ours == {kind for kind, _ in WRONG}


@every_case
def test_a_rule_is_byzfls(case):
    assert {answer["document"]["kind"] for answer in BYZFL[case]} == {*KINDS} - {"bulyan", "norm_clipping"}
    for answer in BYZFL[case]:
        ours = combined(answer["document"], matrix_of(case))
        assert ours == pytest.approx(np.array(answer["combined"]), abs=1e-8), answer["document"]


def test_clients_count_alike_in_rules_that_say_so():
    asked: dict[str, Any] = {"krum": {"f": 1}, "multi_krum": {"f": 1, "m": 3}, "bulyan": {"f": 1}, "median": {}}
    for kind, parameters in asked.items():
        x, document = matrix_of("alike"), {"kind": kind, **parameters}
        assert np.array_equal(combined(document, x), combined(document, x, [1.0] * 8 + [1e9])), kind


@every_case
def test_the_geometric_median_is_where_the_objective_is_flat(case):
    x = matrix_of(case)
    weights = WEIGHTS[: len(x)]
    point = combined({"kind": "geometric_median", "tolerance": 1e-8}, x, weights)
    assert np.linalg.norm(oracles.geometric_median_gradient(x, point, weights, 1e-6)) < 1e-7
    assert np.linalg.norm(oracles.geometric_median_gradient(x, point + 0.01, weights, 1e-6)) > 1e-3
    three_steps = combined({"kind": "geometric_median", "tolerance": None, "iterations": 3}, x, weights)
    assert np.linalg.norm(oracles.geometric_median_gradient(x, three_steps, weights, 1e-6)) > 1e-4


def test_a_geometric_median_of_most_updates_is_theirs_and_starting_there_does_not_stop_it_elsewhere():
    x = matrix_of("alike")
    x[:5] = x[0]
    assert combined({"kind": "geometric_median"}, x) == pytest.approx(x[0], abs=1e-5)
    # The coordinate median of three corners is a corner; the geometric median (Fermat's point) is none.
    corners = np.zeros((3, 11))
    corners[1, 0] = corners[2, 1] = 1.0
    point = combined({"kind": "geometric_median", "tolerance": 1e-9}, corners)
    assert point[:2] == pytest.approx([(3 - 3**0.5) / 6] * 2, abs=1e-7)


def test_attackers_at_the_geometric_median_do_not_end_a_run():
    """Of 10 updates at (0, 1), 10 at (0, -1) and 5 at (t, 0) it is the last: t / sqrt(1 + t^2) is 5 / 20, just so."""
    x = np.zeros((25, 11))
    x[:10, 1], x[10:20, 1], x[20:, 0] = 1.0, -1.0, 15**-0.5

    def objective(z):
        return np.linalg.norm(x - z, axis=1).mean()

    point = combined({"kind": "geometric_median"}, x)
    assert objective(x[20]) < objective(point) < (1 + 1e-5) * objective(x[20])
    assert objective(x.mean(axis=0)) > (1 + 1e-3) * objective(x[20])
    with pytest.raises(RunError, match="above the tolerance 1e-06"):
        combined({"kind": "geometric_median", "tolerance": 1e-6, "iterations": 300}, x)


def test_a_geometric_median_that_has_not_arrived_is_an_error():
    why = r"aggregator.iterations: geometric_median has a gradient of \S+ after 2, above the tolerance 0.001; raise"
    with pytest.raises(RunError, match=why):
        combined({"kind": "geometric_median", "iterations": 2}, matrix_of("near"))


@pytest.mark.parametrize("kind", KINDS)
def test_how_many_coordinates_are_taken_at_a_time_changes_nothing(kind, monkeypatch):
    whole, _ = both(kind, "far")
    monkeypatch.setattr(vectors, "_VALUES_AT_ONCE", 30)
    in_parts, _ = both(kind, "far")
    assert in_parts == pytest.approx(whole, rel=1e-14, abs=1e-15)


def test_distances_of_updates_that_are_alike_keep_their_digits():
    """Of |x|^2 + |y|^2 - 2xy nothing would be left: each square is 1e12."""
    near = np.full((2, 4), 5e5) + np.array([[0.0], [1e-6]])
    found = vectors.distances_between([{"w": row} for row in near])
    assert found[0, 1] == pytest.approx(4 * (near[1, 0] - near[0, 0]) ** 2, rel=1e-12)
    squares = (near**2).sum(axis=1)
    assert squares.sum() - 2 * near[0] @ near[1] != pytest.approx(found[0, 1], rel=0.5)


def test_of_equal_scores_the_first_client_is_taken():
    x = np.repeat(matrix_of("alike")[:3], 3, axis=0)
    assert np.array_equal(combined({"kind": "krum", "f": 3}, x), x[0])
