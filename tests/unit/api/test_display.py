"""What a notebook shows of results: their numbers, escaped, in a piece of HTML that asks for nothing else."""

from __future__ import annotations

import re
import statistics
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flspec.api import Results, RunResult
from tests.unit.report.report_cases import HOSTILE, a_result, a_round


class Parsed(HTMLParser):
    """A piece of HTML as a browser takes it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1][0] in ("td", "th"):
            self.cells[-1] += data.strip()


def a_run(folder: str = "runs/a", name: str = "tiny", shift: float = 0.0, **spec: object) -> RunResult:
    groups = {"test/ward=<b>": {"loss": 1.5}, "holdout": {"loss": 0.25, "accuracy": 0.5}}
    rounds = [a_round(number) for number in (1, 2, 3)]
    for one in rounds:
        assert one.evaluation
        one.evaluation["test"]["loss"] += shift
        one.evaluation.update(groups)
    return RunResult.of(Path(folder), a_result("local", rounds, name=name, spec={"name": name, **spec}))


def sweep() -> Results:
    """Two rates of two seeds each, whose last test losses are 0.667, 0.767; 1.667, 1.867."""
    shifts = {(0.1, 0): 0.0, (0.1, 1): 0.1, (0.2, 0): 1.0, (0.2, 1): 1.2}
    runs = [a_run(f"runs/{r}-{s}", shift=shift, rate=r, seed=s) for (r, s), shift in shifts.items()]
    return Results(Path("runs"), runs, [{"rate": rate, "seed": seed} for rate, seed in shifts])


def test_a_run_is_one_line_and_so_are_results() -> None:
    assert repr(a_run()) == ("<tiny on local, completed after 3 rounds, test loss 0.6667, accuracy 0.75, in runs/a>")
    assert str(a_run()) == repr(a_run())
    assert repr(sweep()) == "<4 results over rate in runs>"
    assert "\n" not in repr(a_run(name=HOSTILE))
    assert "\x1b" not in repr(a_run(name=HOSTILE))


def test_a_run_shows_the_last_evaluation_of_each_set_and_two_curves() -> None:
    shown = Parsed(a_run(evaluation={"metrics": None})._repr_html_())
    assert shown.cells == [
        *("examples", "loss", "accuracy"),
        *("test", "0.6667", "0.7500"),
        *("test/ward=<b>", "1.500", "–"),
        *("holdout", "0.2500", "0.5000"),
    ]
    assert [attrs["aria-label"] for tag, attrs in shown.tags if tag == "svg"] == ["test loss", "test accuracy"]


def test_results_show_mean_and_deviation_by_axis_and_a_curve_with_its_band_for_each() -> None:
    html = sweep()._repr_html_()
    shown, means = Parsed(html), [(2 / 3, 2 / 3 + 0.1), (5 / 3, 5 / 3 + 0.2)]
    losses = [f"{statistics.fmean(pair):.4g} ± {statistics.stdev(pair):.2g}" for pair in means]
    assert shown.cells[:4] == ["rate", "runs", "loss", "accuracy"]
    assert shown.cells[4:] == ["0.1", "2", f"{losses[0]}", "0.7500 ± 0", "0.2", "2", f"{losses[1]}", "0.7500 ± 0"]
    assert html.count("fill-opacity") == 4  # bands: two rates in two charts
    assert re.findall(r"rate 0\.[12]", html) == ["rate 0.1", "rate 0.2"]


def test_results_without_axes_are_one_row() -> None:
    runs = [a_run(f"runs/{seed}", shift=seed / 10, seed=seed) for seed in (0, 1)]
    shown = Parsed(Results(Path("runs"), runs, [{"seed": 0}, {"seed": 1}])._repr_html_())
    assert shown.cells == ["runs", "loss", "accuracy", "2", "0.7167 ± 0.071", "0.7500 ± 0"]


def test_a_run_that_measured_nothing_is_shown_too() -> None:
    run = RunResult.of(Path("runs/a"), a_result("local", [], status="failed"))
    assert "failed after 0 rounds" in run._repr_html_()
    assert repr(run) == "<tiny on local, failed after 0 rounds, in runs/a>"


def test_hostile_names_change_nothing_but_the_text() -> None:
    hostile, harmless = (Parsed(a_run(name=name)._repr_html_()) for name in (HOSTILE, "harmless"))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    html = a_run(name=HOSTILE)._repr_html_()
    assert "\x1b" not in html
    assert "<img" not in html


@pytest.mark.parametrize("html", [a_run()._repr_html_(), sweep()._repr_html_()], ids=["run", "results"])
def test_a_piece_touches_nothing_outside_and_loads_nothing(html: str) -> None:
    tags = Parsed(html).tags
    style = re.sub(r"/\*.*?\*/", "", html.partition("<style>")[2].partition("</style>")[0], flags=re.DOTALL)
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{", style) for part in rule.split(", ")]
    assert all(".flspec" in one or one.startswith("@media") or "not(" in one for one in selectors), selectors
    assert re.findall(r"url\((?!#)|@import|https?:", html) == []
    assert not [key for _, attrs in tags for key in attrs if key.startswith("on") or key == "src"]


def test_two_outputs_on_one_page_share_no_id() -> None:
    every = [set(re.findall(r' id="([^"]+)"', html)) for html in (a_run()._repr_html_(), sweep()._repr_html_())]
    assert all(every)
    assert not every[0] & every[1]
