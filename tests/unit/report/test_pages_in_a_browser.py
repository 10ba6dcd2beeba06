"""Every kind of page in Chromium: nothing asked of a network, nothing complained of, nothing wider than its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flspec.report import Written, write_report
from flspec.runs.result import Result
from tests.browser import Browser, browser, chromium
from tests.unit.report.report_cases import FAR, HOSTILE, NEAR, SAME, a_result, a_round, save

PROGRAM = chromium()
A4 = 672  # CSS pixels between the margins of a sheet
# All that is wider than its place, with every folded table open: the page, tables, and drawings.
TOO_WIDE = """(() => {
    document.querySelectorAll("details").forEach(one => one.open = true);
    const places = [document.documentElement, ...document.querySelectorAll(".scroll, dd, pre, .chart, figure")];
    return places.filter(one => one.scrollWidth > one.clientWidth + 1)
        .map(one => `${one.tagName} ${one.scrollWidth} > ${one.clientWidth}: ${one.textContent.trim().slice(0, 40)}`);
})()"""
COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
METRICS = ("accuracy", "loss", "balanced_accuracy", "average_precision", "roc_auc", "f1", "recall", "specificity")


def a_wide_result(seed: int, name: str = "wide", kind: str = "fedavg") -> Result:
    """Many metrics of groups, a confusion table of twelve classes with long names, and whatever the name is."""
    values = dict.fromkeys(METRICS, 0.4161 + seed / 100)
    sets = {"test": values | {name: 1.0}, "test/sex=female": values, "test/sex=male": values, "clients/worst": values}
    names = [f"{name} {number}" for number in range(12)]
    matrix = [[1234 if row == column else row for column in range(12)] for row in range(12)]
    final = {"evaluation": sets, "confusion": {"test": {"matrix": matrix, "names": names}}}
    rounds = [a_round(number, evaluation=sets) for number in (1, 2, 3)]
    spec = {"name": name, name: name, "seed": seed, "aggregator": {"kind": kind}, "partition": {"kind": name}}
    digest = f"{kind}{seed}".encode().hex().ljust(64, "0")
    return a_result("local", rounds, name=name, spec=spec, seed=seed, final=final, plan_digest=digest)


def keep(result: Result, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(result.model_dump_json())
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    """A page of each kind, all but one full of a hostile name."""
    home = tmp_path_factory.mktemp("pages")
    for kind in ("fedavg", "fedadam"):
        for seed in (0, 1):
            keep(a_wide_result(seed, HOSTILE, kind), home / "sweep" / f"{kind}-{seed}")
    results = {"local": a_wide_result(0), "flower": a_wide_result(0), "tff": a_wide_result(0)}
    certificate = save(home / "certificate", {"flower": SAME, "tff": NEAR, "ray": FAR}, results, name=HOSTILE)
    runs = [keep(a_wide_result(seed, kind=f"kind{seed}"), home / "runs" / str(seed)) for seed in (0, 1)]
    return {
        "run": write_report([keep(a_wide_result(0, HOSTILE), home / "run")]),
        "sweep": write_report([home / "sweep"]),
        "certificate": write_report([certificate]),
        "comparison": write_report(runs, home / "comparison.html"),
    }


@pytest.fixture(scope="module")
def pages(written: dict[str, Written]) -> dict[str, Path]:
    return {kind: one.path for kind, one in written.items()}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("needs Debian's chromium, or another Chromium")
    with browser(PROGRAM, tmp_path_factory.mktemp("profile")) as started:
        yield started


def complaints(tab: Browser) -> list[dict[str, Any]]:
    return [event for event in tab.events if event.get("method") in COMPLAINTS]


def requests(tab: Browser) -> list[str]:
    sent = (
        event["params"]["request"]["url"] for event in tab.events if event.get("method") == "Network.requestWillBeSent"
    )
    return [url for url in sent if not url.startswith("data:")]


def test_the_kind_of_a_page_follows_from_what_is_there(written: dict[str, Written]) -> None:
    assert {kind: one.kind for kind, one in written.items()} == {kind: kind for kind in written}


@pytest.mark.parametrize("kind", ["run", "sweep", "certificate", "comparison"])
def test_a_page_asks_for_nothing_and_fits_every_width(kind: str, pages: dict[str, Path], tab: Browser) -> None:
    page = pages[kind]
    for width, scheme in ((1280, "light"), (400, "dark")):
        tab.open(page, width, scheme)
        assert complaints(tab) == []
        assert requests(tab) == [page.as_uri()]
        assert tab.evaluate(TOO_WIDE) == []
    tab.print_at(A4)
    assert tab.evaluate(TOO_WIDE) == []
    assert tab.evaluate("document.querySelectorAll('script, img, iframe, object').length") == 0  # a hostile name's


def test_what_a_page_must_not_do_would_be_noticed(pages: dict[str, Path], tab: Browser, tmp_path: Path) -> None:
    html = pages["run"].read_text()
    wrong = {
        "a request": html.replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'),
        "a wide table": html.replace("@container (width <", "@container (width < 0.0"),
        "a wide page": html.replace("</main>", "<p style='width: 90rem'>wide</p></main>"),
    }
    found = {}
    for name, text in wrong.items():
        (tmp_path / "wrong.html").write_text(text)
        tab.open(tmp_path / "wrong.html", 400)
        found[name] = (bool(complaints(tab)), bool(tab.evaluate(TOO_WIDE)))
    assert found == {"a request": (True, False), "a wide table": (False, True), "a wide page": (False, True)}
    tab.open(pages["run"], 400)
    assert "<img src=x" in tab.evaluate("document.querySelector('h1').textContent")
    assert "0.4161" in tab.evaluate("document.body.innerText")
