"""What engines take beside training, as the terminal shows it."""

from __future__ import annotations

from flspec.cli.tables import comparison_table, run_table
from tests.unit.report.report_cases import a_result, compare_results
from tests.unit.report.test_evaluation_display import text_of


def test_a_comparison_says_what_each_engine_takes_beside_training_and_where_that_is_unknown() -> None:
    known = [{"startup": 1.5, "first_round": 0.75, "round": beside, "client": 0.0125} for beside in (0.125, 0.25, 0.5)]
    unknown = known[0] | {"round": None, "client": None, "unknown": "nobody tells"}
    results = [a_result("local", overhead=one) for one in known] + [a_result("tff", overhead=unknown)]
    text = text_of(comparison_table(compare_results(*results)), width=120)
    assert "a round takes beside training: local 0.250 s, tff unknown" in text
    assert "beside training" not in text_of(comparison_table(compare_results(results[-1])), width=120)
    assert "0.125 s a round beside training" in text_of(run_table(results[0]), width=120)
