"""The section Privacy of a page: what is shown is what the result says, and nothing is shown of runs without it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from flspec.errors import InputError
from flspec.report import write_comparison_report
from flspec.runs.result import load_result
from tests.unit.report.report_cases import HOSTILE, SAME, Parsed, a_result, certificate_page, compare_results

STATEMENT = "The models of all 3 rounds together are (2.35, 0.001)-differentially private, by PLD accounting."


def a_promise(**fields: Any) -> dict[str, Any]:
    promise = {
        "epsilon": 2.3401,
        "delta": 0.001,
        "accountant": "PLD",
        "epsilon_rdp": 3.125,
        "rounds": 3,
        "unit": "client",
        "adjacency": "add_or_remove",
        "sampling": "truncated_poisson",
        "noise_multiplier": 0.875,
        "population": 1234,
        "cohort": 20.0,
        "claimed_population": False,
        "simulated_cohort": False,
        "curve": [[1, 0.75], [2, 1.5], [3, 2.3401]],
        "not_covered": ["what is measured", "who took part"],
        "software": "dp-accounting 0.6.0",
        "statement": STATEMENT,
    }
    return promise | fields


def page_of(tmp_path: Path, *results: Any) -> str:
    return write_comparison_report(compare_results(*results), tmp_path / "page.html").read_text(encoding="utf-8")


def private(backend: str = "local", **fields: Any) -> Any:
    return a_result(backend, privacy=a_promise(**fields))


def test_a_page_shows_the_sentence_the_numbers_and_what_they_rest_on(tmp_path: Path) -> None:
    page = Parsed(page_of(tmp_path, private()))
    assert STATEMENT in page.texts["p"]
    assert "Not covered: what is measured; who took part." in page.texts["p"]
    assert ["local", "3", "2.35", "PLD", "3.13", "0.001"] in page.cells  # rounded up, never down
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert facts["unit"] == "one client"
    assert facts["neighbours"] == "that one added or removed"
    assert facts["sampling"] == "truncated poisson"
    assert facts["population"] == "1,234 clients"
    assert facts["noise multiplier"] == "0.8750"
    assert facts["accounted by"] == "dp-accounting 0.6.0"
    assert "public" in facts["noise follows from"]


def test_what_is_claimed_or_simulated_is_called_so(tmp_path: Path) -> None:
    page = Parsed(page_of(tmp_path, private(claimed_population=True, simulated_cohort=True, secret_noise=True)))
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert "claimed" in facts["population"]
    assert "simulated" in facts["expected at once"]
    assert "public" not in facts["noise follows from"]


def test_the_curve_is_drawn_where_there_is_one(tmp_path: Path) -> None:
    with_curve, without = (page_of(tmp_path, private(curve=curve)) for curve in ([[1, 0.75], [3, 2.34]], []))
    assert ("Epsilon" in with_curve, "Epsilon" in without) == (True, False)
    assert with_curve.count("<svg") > without.count("<svg")


def test_runs_without_privacy_have_no_such_section(tmp_path: Path) -> None:
    page = page_of(tmp_path, a_result("local"), a_result("tff"))
    assert "Privacy" not in page
    assert "epsilon" not in page


def test_a_run_without_noise_promises_nothing(tmp_path: Path) -> None:
    nothing = "No noise is added, so nothing is promised about any client."
    page = Parsed(page_of(tmp_path, private(epsilon=None, epsilon_rdp=None, curve=[], statement=nothing)))
    assert ["local", "3", "none", "PLD", "–", "0.001"] in page.cells
    assert nothing in page.texts["p"]


def test_a_certificate_says_once_what_all_backends_promise(tmp_path: Path) -> None:
    results = {"local": private(), "tff": private("tff")}
    page = Parsed(certificate_page(tmp_path / "same", {"tff": SAME}, results))
    assert page.texts["p"].count(STATEMENT) == 1
    assert ["tff", "3", "2.35", "PLD", "3.13", "0.001"] in page.cells
    results["tff"] = private("tff", statement="It stopped early.", rounds=1)
    page = Parsed(certificate_page(tmp_path / "other", {"tff": SAME}, results))
    assert {STATEMENT, "It stopped early.", "What may be published of tff:"} <= set(page.texts["p"])


def test_hostile_words_of_a_promise_change_nothing_but_the_text(tmp_path: Path) -> None:
    hostile, harmless = (
        page_of(tmp_path, private(**dict.fromkeys(["unit", "adjacency", "sampling", "software", "statement"], text)))
        for text in (HOSTILE, "harmless")
    )
    assert Parsed(hostile).shape == Parsed(harmless).shape
    assert "&lt;img src=x" in hostile


@pytest.mark.parametrize("epsilon", [-1.0, math.nan, math.inf])
def test_a_result_whose_epsilon_is_none_is_refused_where_it_is_read(tmp_path: Path, epsilon: float) -> None:
    text = private().model_dump_json().replace('"epsilon":2.3401', f'"epsilon":{epsilon!r}'.replace("inf", "Infinity"))
    (tmp_path / "result.json").write_text(text.replace("nan", "NaN"))
    with pytest.raises(InputError, match=r"privacy\.epsilon"):
        load_result(tmp_path)
