"""The state in git of a spec's folder, recorded with its run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from flspec.report import write_report
from flspec.runs.git_state import git_state_of, record_git_state
from tests.unit.report.report_cases import a_result


def test_a_runs_folder_says_of_which_commit_its_spec_was(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    runs = [tmp_path / name for name in ("clean", "changed")]
    assert git_state_of([tmp_path]) is None
    git("init", "-q")
    assert git_state_of([tmp_path]) is None  # nothing has been committed
    (tmp_path / "spec.yaml").write_text("a")
    git("add", ".")
    git("commit", "-qm", "one")
    for folder in runs:
        folder.mkdir()
        (folder / "result.json").write_text(a_result("local").model_dump_json())
    record_git_state(runs[0], git_state_of([tmp_path]))
    (tmp_path / "new.yaml").write_text("b")
    record_git_state(runs[1], git_state_of([tmp_path]))
    record_git_state(runs[0], git_state_of([tmp_path]))  # a run that goes on keeps what it began with
    told = [json.loads((folder / "git.json").read_text()) for folder in runs]
    assert told == [{"commit": git("rev-parse", "HEAD"), "is_dirty": dirty} for dirty in (False, True)]
    pages = [write_report([folder]).path.read_text(encoding="utf-8") for folder in runs]
    assert [told[0]["commit"] in page for page in pages] == [True, True]
    assert "nothing in the spec’s folder had been changed since" in pages[0].replace("&#39;", "’").replace("'", "’")
    assert "had been changed since, or were not in it" in pages[1]
