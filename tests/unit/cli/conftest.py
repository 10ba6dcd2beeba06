"""What tests of the command line share."""

from __future__ import annotations

import pytest

from flspec.cli.app import app
from flspec.cli.consoles import console


@pytest.fixture
def told(capsys, monkeypatch):
    """What a command prints on a screen of 80 columns, in this process, and its exit code."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(console, "width", 80)

    def run(*arguments):
        code = app(list(map(str, arguments)), standalone_mode=False)
        return capsys.readouterr().out, code or 0

    return run
