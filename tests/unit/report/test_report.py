"""Reports: one page that holds all it needs, whatever its input holds."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flspec.comparison.agreement import Divergence
from flspec.errors import InputError
from flspec.report import write_certificate_report, write_comparison_report
from flspec.report.charts import Line, draw_lines, draw_magnitudes
from flspec.report.palette import style
from flspec.report.svg import embed
from flspec.report.words import clean, number, share
from flspec.runs.result import Failure, RoundRecord
from tests.unit.report.report_cases import (
    FAILED,
    FAR,
    HOSTILE,
    NEAR,
    NUM_ROUNDS,
    REFUSED,
    SAME,
    Parsed,
    a_result,
    a_round,
    certificate_page,
    compare_results,
    save,
)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an ordinary certificate: one backend the same to the last bit, one near."""
    results = {
        "local": a_result("local"),
        "flower:inprocess": a_result("flower:inprocess"),
        "tff": a_result("tff", [a_round(n, shift=1e-8) for n in range(1, NUM_ROUNDS + 1)]),
    }
    folder = save(tmp_path_factory.mktemp("ordinary"), {"flower:inprocess": SAME, "tff": NEAR}, results)
    write_certificate_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(ordinary: Path) -> str:
    return (ordinary / "report.html").read_text(encoding="utf-8")


def hostile_page(folder: Path, text: str) -> str:
    """A page with `text` wherever a spec, a backend or an engine could put it."""
    failures = (Failure(client=1, reason=text),)
    rounds = [a_round(n, train={"loss": 1.0, text: 2.0}, failures=failures) for n in range(1, NUM_ROUNDS + 1)]
    fields: dict[str, Any] = {
        "name": text,
        "spec": {"name": text, text: [text]},
        "started": text,
        "environment": {"flspec": text, "platform": text, "cpus": text},
        "error": text,
        "status": "failed",
    }
    result = a_result(text, rounds, **fields)
    result = result.model_copy(update={"backend": result.backend.model_copy(update={"versions": {text: text}})})
    verdict = FAR.model_copy(update={"first_divergence": Divergence(round=1, tensor=text), "reason": text})
    verdicts = {text: FAILED.model_copy(update={"reason": text}), "flower": verdict}
    return certificate_page(folder, verdicts, {"local": result, "flower": result}, name=text)


def test_a_page_loads_nothing_and_runs_nothing(page: str) -> None:
    tags = Parsed(page).tags
    assert not {"script", "link", "iframe", "object", "embed", "img", "base"} & {tag for tag, _ in tags}
    loaded = [a[key] or "" for _, a in tags for key in ("src", "href", "xlink:href", "data", "srcset") if key in a]
    assert loaded
    assert all(value.startswith("#") for value in loaded)
    assert not [key for _, attrs in tags for key in attrs if key.startswith("on")]
    assert re.findall(r"url\((?!#)|@import|https?:", page) == []
    policy = next(a["content"] for tag, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_ids_are_unique_and_every_reference_has_its_target(page: str) -> None:
    tags = Parsed(page).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    targets = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", page))
    assert len(ids) == len(set(ids))
    assert len(targets) > 10
    assert {first or second for first, second in targets} <= set(ids)


def test_hostile_text_changes_nothing_but_the_text(tmp_path: Path) -> None:
    hostile, harmless = (hostile_page(tmp_path / str(i), text) for i, text in enumerate((HOSTILE, "harmless")))
    assert Parsed(hostile).shape == Parsed(harmless).shape
    assert "&lt;img src=x" in hostile
    acting = {c for c in hostile if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}
    assert acting <= {"\n"}
    assert "{{7*7}}" in hostile
    assert "\\x1b[31m" in hostile
    assert "\\u202egnp" in hostile


def test_cleaning_keeps_what_is_harmless() -> None:
    assert clean("naïve 模型\n\tünïcode") == "naïve 模型\n\tünïcode"
    assert clean("a\x1b\x9b\u202e\u200b\udc80") == "a\\x1b\\x9b\\u202e\\u200b\\udc80"


def test_equal_input_gives_equal_bytes(ordinary: Path, page: str) -> None:
    import matplotlib

    with matplotlib.rc_context({"axes.labelsize": 30.0, "axes.labelpad": 20.0, "svg.fonttype": "path"}):
        write_certificate_report(ordinary)
        assert matplotlib.rcParams["axes.labelsize"] == 30.0
    assert (ordinary / "report.html").read_text(encoding="utf-8") == page


def test_sections_come_in_their_order(page: str) -> None:
    assert Parsed(page).texts["h2"] == [
        "Verdict",
        "Curves",
        "Agreement by round",
        "Cost",
        "Plan",
        "Environment",
        "Failures",
    ]


def test_the_verdict_can_be_quoted(page: str) -> None:
    assert (
        "Held against local, flower:inprocess carried out the plan bit for bit in all 3 rounds; tff agrees in lockstep "
        "in all 3 rounds within 3.0\u202f×\u202f10⁻⁸, 4.0\u202f% of the tolerance."
    ) in page
    parsed = Parsed(page)
    assert parsed.row("flower:inprocess")[1:5] == ["equivalent", "0", "0\u202f%", "0"]
    assert "half of the rounds resolve 1e-05 of what they learn, the worst, round 1, 1e-05" in page
    assert "same plan, data, transforms and schedules" in page
    assert parsed.row("tff")[1:5] == ["equivalent", "3.0\u202f×\u202f10⁻⁸", "4.0\u202f%", "2.0\u202f×\u202f10⁻⁵"]


def test_a_difference_a_refusal_and_a_failure_are_named_and_none_is_called_equivalent(tmp_path: Path) -> None:
    page = certificate_page(tmp_path, {"tff": FAR, "flower": REFUSED, "ray": FAILED}, {"local": a_result("local")})
    assert (
        "tff did not carry out the same plan: from round 2 on it differs beyond rounding, first in 1.weight; "
        "flower refused the plan; ray failed before it could be compared."
    ) in page
    assert "not equivalent" in page
    assert 'class="badge good"' not in page
    assert "Traceback: out of memory" in page
    assert Parsed(page).row("tff")[4] == "not finite"


def test_what_is_missing_is_a_dash(tmp_path: Path) -> None:
    results = {
        "local": a_result("local", [a_round(1, evaluation=None, seconds={})], memory={}),
        "empty": a_result("empty", [], status="failed", error="no round", seconds={"startup": None, "total": 1.0}),
    }
    page = certificate_page(tmp_path, {"empty": FAILED, "gone": FAILED}, results)
    parsed = Parsed(page)
    for backend in ("empty", "gone"):
        assert parsed.row(backend)[2:5] == ["–", "–", "–"]
    costs = [cells for cells in parsed.cells if len(cells) == 11]
    assert costs[1:] == [
        ["local", "1.50", *["–"] * 5, "4.00", "–", "1.00", "1.00"],
        ["empty", *["–"] * 6, "1.00", "300", "–", "–"],
        ["gone", *["–"] * 10],
    ]
    assert not [text for texts in parsed.texts.values() for text in texts if re.search(r"\b(nan|None|inf)\b", text)]


def test_overheads_stand_beside_what_training_takes_and_what_is_not_known_says_why(tmp_path: Path) -> None:
    told = {"startup": 1.5, "first_round": 0.75, "round": 0.125, "client": 0.0125}
    untold = {"startup": 4.5, "first_round": 2.5, "round": None, "client": None, "unknown": "nobody tells"}
    results = {"local": a_result("local", overhead=told), "tff": a_result("tff", overhead=untold)}
    page = certificate_page(tmp_path, {"local": SAME, "tff": NEAR}, results)
    costs = {cells[0]: cells[4:7] for cells in Parsed(page).cells if len(cells) == 11}
    assert costs["local"] == ["0.750", "0.125", "12.5"]
    assert costs["tff"] == ["2.50", "–", "–"]
    assert "it is not known: nobody tells" in page


@pytest.mark.parametrize("rounds", [[], [a_round(1, train={"loss": 1.7e308}, evaluation={"test": {"loss": 1e38}})]])
def test_a_run_of_no_rounds_or_of_absurd_numbers_has_a_page(tmp_path: Path, rounds: list[RoundRecord]) -> None:
    page = certificate_page(tmp_path, {"flower": FAILED}, {"local": a_result("local", rounds)})
    assert ("No run finished a round" in page) == (not rounds)


def test_a_damaged_result_is_said_to_be_damaged(tmp_path: Path) -> None:
    folder = save(tmp_path, {"flower": FAILED}, {"local": a_result("local")})
    (folder / "flower").mkdir()
    (folder / "flower" / "result.json").write_text('{"schema_version": 1')
    assert "was it cut short?" in write_certificate_report(folder).read_text(encoding="utf-8")


@pytest.mark.parametrize("backend", ["..", "", "a/../..", "a\x00b", "x" * 5000])
def test_a_certificate_cannot_make_the_report_read_elsewhere(tmp_path: Path, backend: str) -> None:
    (tmp_path / "result.json").write_text(a_result("elsewhere", seed=4711).model_dump_json())
    page = certificate_page(tmp_path / "certificate", {backend: REFUSED}, {})
    assert "4711" not in page


def test_training_and_test_metrics_never_share_a_chart_or_a_column(page: str) -> None:
    titles = Parsed(page).texts["h3"]
    assert titles[:4] == ["Train loss", "Train accuracy", "Test loss", "Test accuracy"]
    headings = next(cells for cells in Parsed(page).cells if "train loss" in cells)
    assert headings[1:] == ["last train round", "train loss", "train accuracy", *headings[4:]]
    assert headings[4:] == ["last test round", "test loss", "test accuracy"]
    assert ["local", "3", "0.3333", "0.5000", "3", "0.6667", "0.7500"] in Parsed(page).cells


def test_lines_are_said_to_coincide_only_when_equal_to_the_last_bit(page: str) -> None:
    notes = Parsed(page).texts["p"]
    near = "Lines coincide: local and flower:inprocess are equal to the last bit. tff stays within"
    assert sum(note.startswith(near) for note in notes) == 2  # the losses
    everyone = "Lines coincide: local, flower:inprocess and tff are equal to the last bit."
    assert notes.count(everyone) == 2  # the accuracies


def test_zeros_are_shown_as_zeros(page: str) -> None:
    assert Parsed(page).texts["p"].count("flower:inprocess: 0 in every round, identical.") == 2
    zeros = draw_magnitudes([Line(style(0), [(1, 0.0), (2, 0.0)])])
    small = draw_magnitudes([Line(style(0), [(1, 1e-8), (2, 1e-9)])])
    assert (">0<" in zeros, ">0<" in small) == (True, False)
    assert (">10⁻⁹<" in zeros, ">10⁻⁹<" in small) == (False, True)


def test_what_is_not_finite_has_a_row_of_its_own() -> None:
    svg = draw_magnitudes([Line(style(0), [(1, 1e-8), (2, 1.7976931348623157e308)])])
    assert ">not finite<" in svg
    assert "10³⁰⁸" not in svg


def test_clients_that_dropped_out_alike_share_a_row(tmp_path: Path) -> None:
    dropped = tuple(Failure(client=client, reason="not finite") for client in (0, 1))
    results = {name: a_result(name, [a_round(1), a_round(2, failures=dropped)]) for name in ("local", "flower")}
    parsed = Parsed(certificate_page(tmp_path, {"flower": SAME}, results))
    assert parsed.cells[-1] == ["2", "0, 1", "not finite", "local and flower"]


def test_runs_of_different_plans_are_warned_of_and_drawn_apart(tmp_path: Path) -> None:
    results = [a_result("local"), a_result("flower"), a_result("tff", plan_digest="2b" * 32)]
    page = write_comparison_report(compare_results(*results), tmp_path / "r.html").read_text(encoding="utf-8")
    legends = [re.findall(r"</svg>(\w+)</li>", legend) for legend in re.findall(r"<ul.*?</ul>", page, re.DOTALL)]
    assert legends == [["local", "flower"]] * 2 + [["tff"]] * 2
    assert "These 3 runs carry out 2 plans" in page
    assert "do not rank" in page
    assert Parsed(page).row("tff")[1:] == ["B, 2b2b2b2b2b2b", "completed", "3", "another plan"]


def test_runs_of_one_plan_are_compared_without_a_warning(tmp_path: Path) -> None:
    comparison = compare_results(a_result("local"), a_result("local"))
    page = write_comparison_report(comparison, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "carry out the same plan: local (1) ended with local (0)’s weights, bit for bit." in page
    assert "do not rank" not in page


def test_a_report_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    comparison = compare_results(a_result("local", []))
    with pytest.raises(InputError, match="cannot be written"):
        write_comparison_report(comparison, tmp_path / "no" / "such" / "report.html")
    with pytest.raises(InputError, match=r"no readable certificate\.json"):
        write_certificate_report(tmp_path)


def test_a_drawing_takes_its_colours_and_font_from_the_page() -> None:
    svg = str(embed(draw_lines([Line(style(0), [(1, 1.0), (3, 2.0)])]), "c1-", "a <label>"))
    assert "stroke: var(--series-0, " in svg
    assert "fill: var(--ink, " in svg
    assert "font-family" not in svg
    assert "DejaVu" not in svg
    assert 'aria-label="a &lt;label&gt;"' in svg


def test_a_font_is_taken_out_of_a_drawing_however_matplotlib_wrote_it() -> None:
    texts = ("font: 9px 'DejaVu Sans', sans-serif; fill: red", "font-size: 9px; font-family: 'DejaVu Sans'; fill: red")
    for written in texts:
        svg = f'<svg width="1pt" height="1pt" viewBox="0 0 1 1"><text style="{written}">1</text></svg>'
        (now,) = re.findall(r'<text style="([^"]*)"', embed(svg, "c1-", "label"))
        assert [part.strip() for part in now.split(";")] == ["font-size: 9px", "fill: red"]


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (number, None, "–"),
        (number, float("nan"), "–"),
        (number, 0.0, "0"),
        (number, 0.91239, "0.9124"),
        (number, 0.99999, "1.000"),
        (number, 1320.0, "1\u202f320"),
        (number, -2.5, "−2.500"),
        (number, 3.04e-8, "3.040\u202f×\u202f10⁻⁸"),
        (number, 1.7976931348623157e308, "not finite"),
        (share, 0.04, "4.0\u202f%"),
        (share, 0.0, "0\u202f%"),
        (share, 1e-6, "<\u202f0.01\u202f%"),
        (share, 900.0, "900\u202f×"),
        (share, None, "–"),
    ],
)
def test_numbers_have_significant_digits(form: Callable[[float | None], str], value: float | None, text: str) -> None:
    assert form(value) == text


def test_matplotlib_is_imported_only_when_something_is_drawn() -> None:
    code = "import flspec.report, sys; sys.exit('matplotlib' in sys.modules or 'jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
