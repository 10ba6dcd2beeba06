"""Certificates, comparisons and pages made by hand, for the tests of reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flspec.comparison.agreement import TOLERANCE_RULE, Agreement, Divergence, Resolution, RoundAgreement
from flspec.comparison.certification import BackendVerdict, Certificate
from flspec.comparison.results import ComparedRun, Comparison
from flspec.report import write_certificate_report
from flspec.runs.result import Result, RoundRecord

HOSTILE = "$\\frac$</script><img src=x onerror=alert(1)> \"'& {{7*7}} \x1b[31m\x00 \u202egnp.exe\u2066 \ud7ff\n\u2028"
NUM_ROUNDS = 3


def a_round(round_number: int, shift: float = 0.0, **fields: Any) -> RoundRecord:
    record: dict[str, Any] = {
        "round": round_number,
        "cohort": (0, 1),
        "num_examples": 20,
        "train": {"loss": 1.0 / round_number + shift, "accuracy": 0.5},
        "evaluation": {"test": {"loss": 2.0 / round_number + shift, "accuracy": 0.75}},
        "bytes_down": 2**20,
        "bytes_up": 2**20,
        "seconds": {"train": 0.5, "aggregate": 0.25, "evaluate": 0.1},
    }
    return RoundRecord(**record | fields)


def a_result(backend: str, rounds: Sequence[RoundRecord] | None = None, **fields: Any) -> Result:
    rounds = [a_round(number) for number in range(1, NUM_ROUNDS + 1)] if rounds is None else rounds
    document: dict[str, Any] = {
        "status": "completed",
        "name": "tiny",
        "plan_digest": "1a" * 32,
        "spec": {"name": "tiny", "rounds": NUM_ROUNDS},
        "seed": 7,
        "backend": {"name": backend, "versions": {"engine": "1.2.3"}},
        "environment": {"flspec": "0.1.0", "python": "3.11", "numpy": "2.0", "platform": "Linux", "cpus": 2},
        "started": "2025-01-02T03:04:05+00:00",
        "seconds": {"startup": 1.5, "total": 4.0},
        "memory": {"peak_bytes": 300 * 2**20},
        "rounds": [record.model_dump() for record in rounds],
        "final": None,
        "weights": None,
    }
    return Result.model_validate_json(json.dumps(document | fields))


def an_agreement(difference: float, tolerance_share: float) -> Agreement:
    entries = tuple(
        RoundAgreement(
            round=n, max_abs_diff=difference, max_rel_diff=difference, of_tolerance=tolerance_share, resolution=1e-5
        )
        for n in range(1, NUM_ROUNDS + 1)
    )
    return Agreement(
        max_abs_diff=difference,
        max_rel_diff=difference,
        by_round=entries,
        resolution=Resolution.of(entries),
        first_divergence=None,
        bitwise=difference == 0,
    )


SAME = BackendVerdict(verdict="equivalent", lockstep=an_agreement(0, 0), free_running=an_agreement(0, 0), bitwise=True)
NEAR = BackendVerdict(
    verdict="equivalent", lockstep=an_agreement(3e-8, 0.04), free_running=an_agreement(2e-5, 1.7), bitwise=False
)
FAR = BackendVerdict(
    verdict="different",
    lockstep=an_agreement(1e-3, 900.0),
    free_running=an_agreement(1.7976931348623157e308, 900.0),
    first_divergence=Divergence(round=2, tensor="1.weight"),
    reason="beyond rounding from round 2 on, first in 1.weight",
)
REFUSED = BackendVerdict(verdict="refused", reason="model: dropout is not supported")
FAILED = BackendVerdict(verdict="failed", reason="its process ended\nTraceback: out of memory")


def save(folder: Path, verdicts: dict[str, BackendVerdict], results: dict[str, Result], name: str = "tiny") -> Path:
    """A certificate's folder, as `certify` leaves it."""
    certificate = Certificate(
        name=name,
        plan_digest="1a" * 32,
        reference="local",
        tolerance=TOLERANCE_RULE,
        rounds=NUM_ROUNDS,
        backends=verdicts,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "certificate.json").write_text(certificate.model_dump_json())
    for backend, result in results.items():
        home = folder / backend.replace(":", "-")
        home.mkdir()
        (home / "result.json").write_text(result.model_dump_json())
    return folder


def certificate_page(folder: Path, verdicts: dict[str, BackendVerdict], results: dict[str, Result], **more: Any) -> str:
    return write_certificate_report(save(folder, verdicts, results, **more)).read_text(encoding="utf-8")


def compare_results(*results: Result) -> Comparison:
    """As `compare` does with the folders of these results, all of whose weights are the same."""
    first = results[0].plan_digest
    return Comparison(
        tuple(ComparedRun(Path(f"runs/{i}"), r, r.plan_digest == first, True, 0.0) for i, r in enumerate(results))
    )


class Parsed(HTMLParser):
    """What a browser would make of a page, as far as these tests ask."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}  # by the tag they stand in
        self.cells: list[list[str]] = []  # of every table's every row
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        self._tag = tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and data.strip():
            self.texts.setdefault(self._tag, []).append(data.strip())
            if self._tag in ("td", "th", "span") and self.cells:
                self.cells[-1][-1:] = [data.strip()]

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Tags and the names of their attributes, drawings left out, whose lines depend on numbers."""
        return [(tag, tuple(attrs)) for tag, attrs in self.tags if tag not in ("path", "g", "use", "text", "defs")]

    def row(self, first: str) -> list[str]:
        return next(cells for cells in self.cells if cells and cells[0] == first)
