"""Numbers of folders: each is given once, whatever becomes of the folder, and however many ask at the same moment."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flspec.core.files import numbered_folder
from flspec.errors import InputError


def begun(parent: Path, name: str = "a") -> str:
    """Make a folder in which something begins; returns its name."""
    with numbered_folder(parent, name) as folder:
        (folder / "events.jsonl").touch()
    return folder.name


def test_a_number_is_not_given_again_when_its_folder_has_gone(tmp_path: Path) -> None:
    assert [begun(tmp_path / "runs") for _ in range(2)] == ["a-1", "a-2"]
    shutil.rmtree(tmp_path / "runs" / "a-2")
    assert [begun(tmp_path / "runs") for _ in range(2)] == ["a-3", "a-4"]


def test_each_name_has_numbers_of_its_own_beside_those_that_stand_there(tmp_path: Path) -> None:
    for name in ("a-9", "a-10", "a-b-30", "ab-40", "a-x"):
        (tmp_path / name).mkdir()
    assert [begun(tmp_path), begun(tmp_path, "a-b"), begun(tmp_path, "new"), begun(tmp_path, "x:y")] == [
        "a-11",
        "a-b-31",
        "new-1",
        "x-y-1",
    ]


def test_many_that_begin_at_once_get_different_numbers(tmp_path: Path) -> None:
    ready = threading.Barrier(8)

    def begin(_: int) -> list[str]:
        ready.wait()
        return [begun(tmp_path / "runs") for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        names = sorted(name for found in pool.map(begin, range(8)) for name in found)
    assert names == sorted(f"a-{number}" for number in range(1, 25))
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted([".numbers", *names])


def test_what_was_refused_leaves_nothing_and_its_number_is_free(tmp_path: Path) -> None:
    for before in ([], ["a-1"]):
        with pytest.raises(InputError, match="refused"), numbered_folder(tmp_path / "runs", "a"):
            raise InputError("refused")
        found = [path.name for path in tmp_path.rglob("a-*")]
        assert found == before
        assert (tmp_path / "runs").exists() == bool(before)
        begun(tmp_path / "runs")
    assert sorted(path.name for path in tmp_path.rglob("a-*")) == ["a-1", "a-2"]


@pytest.mark.parametrize("content", [b"\xff", b"[1]", b'{"a": "7"}', b"[" * 100_000])
def test_spoilt_numbers_are_those_of_the_folders_that_are_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a-4").mkdir()
    (tmp_path / ".numbers").write_bytes(content)
    assert begun(tmp_path) == "a-5"


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(InputError, match=r"runs/a-1 cannot be made"), numbered_folder(tmp_path / "runs", "a"):
        pass
