"""The cache is a folder that nobody else can change, wherever it is; else nothing in it is read or run."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flspec.core import ownership
from flspec.core.cache import cache_folder, workplace
from flspec.core.ownership import make_own, require_own
from flspec.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files have no modes there")
as_root = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files away")
STRANGER = 4321


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "above" / "cache"
    folder.mkdir(parents=True)
    monkeypatch.setenv("FLSPEC_CACHE", str(folder))
    return folder


def refusal() -> str:
    with pytest.raises(InputError) as caught:
        cache_folder()
    assert str(caught.value).endswith("; set FLSPEC_CACHE to a folder of your own")
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750, 0o500])
def test_a_folder_that_nobody_else_may_change_is_used(cache: Path, mode: int) -> None:
    cache.chmod(mode)
    assert cache_folder() == cache


@pytest.mark.parametrize("mode", [0o777, 0o702, 0o1777])
def test_a_folder_that_others_may_change_is_refused(cache: Path, mode: int) -> None:
    cache.chmod(mode)
    assert refusal().startswith(
        f"{cache} may be changed by everybody (chmod go-w takes that away), so nothing in {cache}"
    )


def test_one_that_a_group_may_change_is_refused_unless_the_group_is_the_users_own(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.chmod(0o775)
    monkeypatch.setattr(ownership, "_is_own_group", lambda number: False)
    assert "may be changed by its group (chmod g-w takes that away)" in refusal()
    monkeypatch.setattr(ownership, "_is_own_group", lambda number: True)
    assert cache_folder() == cache


def test_a_group_with_other_members_is_nobodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd

    me = pwd.getpwuid(os.getuid())
    for name, members, is_own in [(me.pw_name, [], True), (me.pw_name, ["eve"], False), ("staff", [], False)]:
        group = grp.struct_group((name, "x", me.pw_gid, members))
        monkeypatch.setattr(grp, "getgrgid", lambda number, group=group: group)
        assert ownership._is_own_group(me.pw_gid) is is_own
        assert not ownership._is_own_group(me.pw_gid + 1)


def test_a_folder_above_that_others_may_change_is_as_bad_unless_it_is_sticky(cache: Path) -> None:
    cache.parent.chmod(0o777)
    assert refusal().startswith(f"{cache.parent} may be changed by everybody")
    cache.parent.chmod(0o1777)
    assert cache_folder() == cache


@pytest.mark.parametrize("name", ["environments", "data", "images", "twins"])
def test_a_part_of_the_cache_that_others_may_change_is_refused(cache: Path, name: str) -> None:
    (cache / name).mkdir()
    (cache / name).chmod(0o777)
    assert str(cache / name) in refusal()
    cache.chmod(0o700)  # nobody else gets that far
    assert cache_folder() == cache


@as_root
def test_another_users_folder_is_refused_with_the_owner(cache: Path) -> None:
    os.chown(cache, STRANGER, STRANGER)
    assert refusal().startswith(f"{cache} belongs to user {STRANGER}, so nothing in")
    os.chown(cache, 0, 0)
    os.chown(cache.parent, STRANGER, STRANGER)
    assert refusal().startswith(f"{cache.parent} belongs to user {STRANGER}")


@as_root
def test_another_users_link_is_refused_and_ones_own_is_followed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = cache.parent / "link"
    link.symlink_to(cache)
    monkeypatch.setenv("FLSPEC_CACHE", str(link))
    assert cache_folder() == link
    cache.chmod(0o777)  # where it leads counts, too
    assert "may be changed by everybody" in refusal()
    cache.chmod(0o700)
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert refusal().startswith(f"{link} belongs to user {STRANGER}")


def test_what_is_made_is_for_this_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_own(tmp_path / "a" / "b")
        with workplace(tmp_path / "a" / "c"):
            pass
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/c")} == {0o700}
    require_own(tmp_path / "a" / "b" / "not there yet", "")


# Without a home


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the cache below a temporary folder, for a user whom no file of users knows."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    for name in ("FLSPEC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    return shared / f"flspec-{os.getuid()}"


def test_without_a_home_the_cache_is_for_this_user_alone_in_the_temporary_folder(homeless: Path) -> None:
    assert cache_folder() == homeless
    with workplace(cache_folder() / "data"):
        pass
    assert stat.S_IMODE(homeless.stat().st_mode) == 0o700


def test_a_folder_of_caches_that_is_not_absolute_is_none(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    assert cache_folder() == homeless


@as_root
@pytest.mark.parametrize("trap", ["folder", "open", "link"])
def test_without_a_home_what_somebody_else_laid_there_is_refused(homeless: Path, trap: str, tmp_path: Path) -> None:
    if trap == "link":
        (tmp_path / "elsewhere").mkdir(0o700)
        homeless.symlink_to(tmp_path / "elsewhere")
        os.chown(homeless, STRANGER, STRANGER, follow_symlinks=False)
    else:
        homeless.mkdir()
        homeless.chmod(0o777)
        os.chown(homeless, STRANGER if trap == "folder" else 0, 0)
    assert str(homeless) in refusal()


def test_a_command_refuses_such_a_cache_in_one_line_and_writes_nothing(cache: Path, tmp_path: Path) -> None:
    cache.chmod(0o777)
    (tmp_path / "work").mkdir()
    for command in (["run", "--out", "run"], ["plan"]):
        spec = Path(__file__).parents[3] / "specs" / "quickstart.yaml"
        done = subprocess.run(
            [sys.executable, "-m", "flspec", command[0], str(spec), *command[1:]],
            cwd=tmp_path / "work", capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith(f"flspec: {cache} may be changed by everybody")
        assert done.stderr.count("\n") == 1
        assert list((tmp_path / "work").iterdir()) == []
