"""The cache's folders are there whole or not at all, and what a killed process leaves goes with the next."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flspec.core.cache import partial_folder, workplace
from flspec.errors import InputError

WORKS = """
import sys, time
from pathlib import Path
from flspec.core.cache import workplace
with workplace(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("made")
    print(folder, flush=True)
    time.sleep(600)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_that_was_filled_is_in_its_place(tmp_path):
    with partial_folder(tmp_path / "whole") as partial:
        (partial / "file").write_text("text")
        assert not (tmp_path / "whole").exists()
    assert (tmp_path / "whole" / "file").read_text() == "text"
    assert names(tmp_path) == ["whole"]


def fail_while_filling(folder: Path) -> None:
    with partial_folder(folder) as partial:
        (partial / "file").write_text("text")
        raise KeyboardInterrupt


def test_a_folder_that_could_not_be_filled_is_gone(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fail_while_filling(tmp_path / "whole")
    assert names(tmp_path) == []


def test_what_a_killed_process_leaves_is_removed_by_the_next(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WORKS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        left = Path(process.stdout.readline().strip())
        with workplace(tmp_path):
            assert (left / "half").exists()  # its process lives
        process.send_signal(signal.SIGKILL)
    assert (left / "half").exists()
    with workplace(tmp_path) as ours:
        assert names(tmp_path) == [ours.name, f"{ours.name}.lock"]
    assert names(tmp_path) == []


def test_a_lock_without_a_folder_and_a_folder_without_a_lock_go_too(tmp_path):
    (tmp_path / ".partial-a.lock").touch()
    (tmp_path / ".partial-b").mkdir()
    with workplace(tmp_path):
        pass
    assert names(tmp_path) == []


def test_a_folder_is_locked_before_it_is_there(tmp_path, monkeypatch):
    mkdir, locked_then = Path.mkdir, []

    def note(path, *arguments, **options):
        locked_then.append(path.with_name(f"{path.name}.lock").exists())
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", note)
    with workplace(tmp_path):
        pass
    assert locked_then[-1]


def test_a_place_that_cannot_be_written_to_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"^nothing can be stored in .*/file: .*; set FLSPEC_CACHE"),
        workplace(tmp_path / "file"),
    ):
        pass
