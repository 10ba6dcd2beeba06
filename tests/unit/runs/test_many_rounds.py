"""Results of very many rounds are read round by round, within the memory that the rounds need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flspec.core import reading
from flspec.core.reading import check_json_parts
from flspec.errors import InputError
from flspec.protocol.records import Failure
from flspec.runs import result as results
from flspec.runs.result import Result, load_result, save_result
from tests.unit.report.report_cases import a_result, a_round


def written(folder: Path, *texts: str, **fields: object) -> Path:
    """A result of 300 rounds; in one of them a client failed for the reasons given."""
    failures = tuple(Failure(client=number, reason=text) for number, text in enumerate(texts))
    rounds = [a_round(number, failures=failures if number == 7 else ()) for number in range(1, 301)]
    save_result(folder, a_result("local", rounds).model_copy(update=fields))
    return folder


def test_what_is_read_round_by_round_is_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = '"rounds": [\n    {', '\n    },\n    {"', "}\n  ],", '  "final": null'
    folder = written(tmp_path, *strange, spec={"rounds": [{"a": 1}, {"b": [2]}], "name": "\n  ]"})
    text = (folder / "result.json").read_text()
    at_once = Result.model_validate_json(text)
    parts = results._parts(text.encode())
    assert parts
    assert len(list(parts[1])) == 300
    assert load_result(folder) == at_once
    assert load_result(folder).model_dump_json(indent=2) + "\n" == text
    (folder / "result.json").write_text(json.dumps(json.loads(text)))  # as others write it
    assert load_result(folder) == at_once
    monkeypatch.setattr(results, "_NEXT", b"},\n")  # a mapping inside a round ends likewise
    (folder / "result.json").write_text(text)
    assert results._by_rounds(folder, *results._parts(text.encode()) or (b"", iter(()))) is None


def test_rounds_need_the_memory_that_they_leave_and_not_what_reading_all_at_once_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, most = written(tmp_path), 2 * 2**20
    text = (folder / "result.json").read_bytes()
    assert reading._memory_of_json(text, reading.JSON_VALUE)[1] < most
    monkeypatch.setattr(check_json_parts, "__defaults__", (most,))
    monkeypatch.setattr(reading.check_json, "__defaults__", (most,))
    assert len(load_result(folder).rounds) == 300
    (folder / "result.json").write_bytes(json.dumps(json.loads(text)).encode())
    with pytest.raises(InputError, match=r"no readable result\.json .*files that need up to 0\.0 GiB are read"):
        load_result(folder)
    (folder / "result.json").write_bytes(text)
    monkeypatch.setattr(check_json_parts, "__defaults__", (most // 2,))
    with pytest.raises(InputError, match=r"may take more than 0\.0 GiB of memory, the most that is read"):
        load_result(folder)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"round": 200,', '"round": "x",', r"rounds\.199\.round: Input should be a valid integer"),
        ('    },\n    {\n      "round": 200,', '    }\n    {\n      "round": 200,', "not valid JSON"),
        ("    }\n  ],\n", "    },\n  ],\n", "not valid JSON"),
    ],
)
def test_a_mistake_in_a_round_is_told_by_its_place(tmp_path: Path, old: str, new: str, what: str) -> None:
    path = written(tmp_path) / "result.json"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=what):
        load_result(tmp_path)
