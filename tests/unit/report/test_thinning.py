"""Curves of many rounds: fewer points, and no peak lost."""

from __future__ import annotations

from pathlib import Path

from flspec.report import write_report
from flspec.report.thinning import thinned, thinned_band, thinning_in_words
from tests.unit.report.report_cases import a_result, a_round


def test_no_peak_is_lost_where_many_rounds_are_drawn_by_fewer_points() -> None:
    points = [(number, 0.0) for number in range(1, 2001)]
    points[780] = (781, 9.0)
    points[1203] = (1204, -9.0)
    few = thinned(points)
    assert len(few) <= 602
    assert {(781, 9.0), (1204, -9.0), points[0], points[-1]} <= set(few)
    assert [x for x, _ in few] == sorted({x for x, _ in few})
    assert set(few) <= set(points)
    assert {(781, 9.0), (1204, -9.0)} - set(points[::7]) == {
        (781, 9.0),
        (1204, -9.0),
    }  # as drawing every seventh round would
    assert "Of every 7 of 2,000 rounds" in thinning_in_words(2000)
    assert (thinned(points[:600]), thinning_in_words(600)) == (points[:600], "")


def test_a_thinned_band_holds_every_value_of_the_band() -> None:
    band = [(number, -float(number % 50), float(number % 70)) for number in range(1, 2001)]
    few = thinned_band(band)
    assert len(few) <= 302
    assert (min(low for _, low, _ in few), max(high for *_, high in few)) == (-49.0, 69.0)


def test_a_long_run_of_many_clients_has_a_small_page(tmp_path: Path) -> None:
    cohort = tuple(range(1000))
    rounds = [a_round(n, cohort=cohort, train={"loss": 1.0 / n, "accuracy": 0.5}) for n in range(1, 2001)]
    (tmp_path / "result.json").write_text(a_result("local", rounds).model_dump_json())
    page = write_report([tmp_path]).path.read_text(encoding="utf-8")
    assert len(page) < 2_000_000  # of the 15 MB that it may have
    assert "Of every 7 of 2,000 rounds" in page
