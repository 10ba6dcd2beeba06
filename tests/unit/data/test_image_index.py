"""The index of pictures: it notices every change of a picture, and no damage of it gives other data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flspec.core.cache import cache_folder
from flspec.data import images
from flspec.data.image_store import open_images
from tests.unit.image_cases import encoded, make_listing, noise, write_pictures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path / "pictures", 6)
    return tmp_path / "pictures"


def opened(folder):
    names = sorted(path.name for path in folder.iterdir())
    return open_images(make_listing(folder, names, label_names=("cat", "dog")))


def replace_pixels(file: Path, number: int) -> None:
    """Write a picture of the same size in bytes, with the old time of the last change."""
    before = file.stat()
    file.write_bytes(encoded(noise(number), "BMP"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_picture_of_equal_size_and_time_is_noticed(folder):
    (folder / "0001.png").write_bytes(encoded(noise(1), "BMP"))
    first, before = opened(folder), (folder / "0001.png").stat()
    replace_pixels(folder / "0001.png", 99)
    after = (folder / "0001.png").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert opened(folder).digest != first.digest
    replace_pixels(folder / "0001.png", 1)
    assert opened(folder).digest == first.digest


def test_a_stamp_of_size_and_time_alone_would_not_notice_it(folder, monkeypatch):
    (folder / "0001.png").write_bytes(encoded(noise(1), "BMP"))
    monkeypatch.setattr(images, "file_stamp", lambda status: f"{status.st_size} {status.st_mtime_ns}")
    first = opened(folder)
    replace_pixels(folder / "0001.png", 99)
    assert opened(folder).digest == first.digest


def test_no_damage_of_the_index_gives_other_data(folder):
    first = opened(folder)
    entries = sorted((cache_folder() / "images").glob("*.json"))
    assert len(entries) == 3  # the data, and the pixels of train and test
    for entry in entries:
        whole = entry.read_bytes()
        for place in range(0, len(whole), 7):
            entry.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            again = opened(folder)
            assert (again.digest, again.describe()) == (first.digest, first.describe())
            entry.write_bytes(whole)
