"""Pictures decoded once, kept by content, and opened again without reading them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.data import examples as data_module
from flspec.data import image_store
from flspec.data.examples import digest_of
from flspec.data.image_store import Listing, Pictures, open_images, reporting
from flspec.data.images import Decoding, ImageFile
from flspec.data.store import open_data, store_data, stored
from flspec.errors import InputError
from tests.unit.image_cases import SMALL, encoded, make_listing, noise, seen, write_pictures


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A store of this test's own."""
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are read."""
    names = []
    read = ImageFile.read

    def noted(self):
        names.append(self.name)
        return read(self)

    monkeypatch.setattr(ImageFile, "read", noted)
    return names


@pytest.fixture
def folder(tmp_path):
    write_pictures(tmp_path / "pictures", 6)
    return tmp_path / "pictures"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def opened(folder, **changes):
    return open_images(make_listing(folder, names(folder), **changes))


def leftovers(cache):
    return sorted(path.name for path in cache.glob("*/*"))


# --------------------------------------------------------------------------------------------------------- what is kept


def test_pixels_labels_and_columns_come_in_the_order_of_the_listing(folder):
    data = opened(folder, num_test=2)
    assert (len(data.train), len(data.test), data.input_shape) == (4, 2, (3, 4, 4))
    for split, first in ((data.train, 0), (data.test, 4)):
        for place, pixels in enumerate(split.features):
            assert np.array_equal(pixels, seen(encoded(noise(first + place)), 4, 4))
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    assert data.test.columns["name"].tolist() == ["0004.png", "0005.png"]
    assert data.train.inputs(slice(None)).max() <= 1.0


def test_pixels_are_mapped_not_held(folder):
    assert isinstance(opened(folder).train.features, np.memmap)


def test_the_digest_is_that_of_the_arrays(folder):
    data = opened(folder)
    assert data.known_digest == digest_of(2, 255.0, data.arrays()) == open_data(data.describe()).digest


def test_the_order_of_many_pictures_does_not_depend_on_the_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(image_store, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(image_store, "_THREADS", 5)
    listed = write_pictures(tmp_path / "many", 60)
    data = open_images(make_listing(tmp_path / "many", listed))
    assert all(np.array_equal(data.train.features[i], seen(encoded(noise(i)), 4, 4)) for i in range(59))


def test_several_labels_become_ones_in_a_row_each(folder):
    sources = [ImageFile(str(folder), name) for name in names(folder)]
    splits = {"train": Pictures(sources[:3], [[0, 2], [], [1]]), "test": Pictures(sources[3:4], [[2]])}
    data = open_images(Listing(folder, splits, SMALL, 3, ("a", "b", "c")))
    assert data.train.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert (data.is_multi_label, data.label_names) == (True, ("a", "b", "c"))
    assert data.test.labels.dtype == np.uint8


def test_compile_neither_hashes_nor_copies_again(folder, monkeypatch):
    data = opened(folder)
    monkeypatch.setattr(data_module, "digest_of", None)
    monkeypatch.setattr(np, "save", None)
    assert store_data(data) == stored(data.digest)


# ------------------------------------------------------------------------------------------------------------- reuse


def test_no_picture_is_read_twice_and_nothing_written(folder, reads, monkeypatch):
    first = opened(folder)
    assert sorted(reads) == names(folder)
    reads.clear()
    monkeypatch.setattr(image_store, "workplace", None)
    assert opened(folder).digest == first.digest
    assert reads == []


def test_a_picture_that_changed_is_noticed(folder, reads):
    first = opened(folder)
    (folder / "0001.png").write_bytes(encoded(noise(99)))
    second = opened(folder)
    assert second.digest != first.digest
    assert np.array_equal(second.train.features[1], seen(encoded(noise(99)), 4, 4))
    assert np.array_equal(second.train.features[0], first.train.features[0])


def test_only_the_content_of_a_picture_counts(folder, reads):
    first = opened(folder)
    reads.clear()
    os.utime(folder / "0001.png", (1, 1))
    assert opened(folder).digest == first.digest
    assert "0001.png" in reads


def test_other_labels_take_the_pixels_that_are_there(folder, reads):
    first = opened(folder)
    reads.clear()
    listing = make_listing(folder, names(folder))
    train = dataclasses.replace(listing.splits["train"], labels=np.zeros(5, np.int64))
    second = open_images(dataclasses.replace(listing, splits={**listing.splits, "train": train}))
    assert reads == []
    assert second.digest != first.digest
    assert second.train.labels.tolist() == [0] * 5
    assert np.array_equal(second.train.features, first.train.features)
    assert os.path.samefile(*(stored(data.digest) / "train_features.npy" for data in (first, second)))


@pytest.mark.parametrize("columns", [{}, {"name": np.array(["a"])}, {"title": np.array(["0005.png"])}])
def test_other_columns_are_other_data(folder, columns):
    listing = make_listing(folder, names(folder))
    open_images(listing)
    test = dataclasses.replace(listing.splits["test"], columns=columns)
    second = open_images(dataclasses.replace(listing, splits={**listing.splits, "test": test}))
    assert {name: column.tolist() for name, column in second.test.columns.items()} == {
        name: column.tolist() for name, column in columns.items()
    }


def test_other_names_of_labels_and_columns_are_other_data_of_one_content(folder):
    first, second = opened(folder), opened(folder, label_names=("cat", "dog"))
    assert second.label_names == ("cat", "dog")
    assert first.digest == second.digest


@pytest.mark.parametrize("decoding", [Decoding(5, 4), Decoding(4, 4, fit="stretch"), Decoding(4, 4, colour="grey")])
def test_another_decoding_reads_again(folder, reads, decoding):
    opened(folder)
    reads.clear()
    assert opened(folder, decoding=decoding).input_shape == decoding.shape
    assert len(reads) == 6


def test_another_version_of_pillow_reads_again(folder, reads, monkeypatch):
    opened(folder)
    reads.clear()
    monkeypatch.setattr(image_store, "read_as", lambda: "Pillow 99")
    opened(folder)
    assert len(reads) == 6


@pytest.mark.parametrize("damage", ["flip a bit", "cut short", "lose a file", "lose all"])
def test_what_was_damaged_in_the_store_is_made_again(folder, damage):
    first = opened(folder)
    pixels, file = np.array(first.train.features), stored(first.digest) / "train_features.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    match damage:
        case "flip a bit":
            file.write_bytes(content)
        case "cut short":
            file.write_bytes(content[:-9])
        case "lose a file":
            file.unlink()
        case "lose all":
            shutil.rmtree(file.parent)
    second = opened(folder)
    assert second.digest == first.digest == digest_of(2, 255.0, second.arrays())
    assert np.array_equal(second.train.features, pixels)


@pytest.mark.parametrize("text", ["", "\0", "{}", "[]", '{"data": {"digest": "../etc"}, "split": ""}', '{"data": []}'])
def test_an_index_that_is_damaged_is_made_again(folder, cache, text):
    first = opened(folder)
    for entry in (cache / "images").iterdir():
        entry.write_text(text)
    assert opened(folder).digest == first.digest


def test_how_far_it_is_is_told_while_pictures_are_decoded(folder, monkeypatch):
    monkeypatch.setattr(image_store, "_CHUNK_BYTES", 1)
    told: list[Any] = []
    with reporting(told.append):
        opened(folder)
        first = [(progress.done, progress.total) for progress in told]
        opened(folder)
    opened(folder, decoding=Decoding(2, 2))
    assert first == [(done, 6) for done in range(1, 7)]
    assert len(told) == 6
    assert told[0].folder == str(folder)


# ---------------------------------------------------------------------------------------------------------- refusals


def test_the_first_bad_picture_is_named_with_how_many_more(folder, cache):
    for name, content in (("0001.png", b"text"), ("0003.png", b""), ("0004.png", b"text"), ("0005.png", b"text")):
        (folder / name).write_bytes(content)
    with pytest.raises(InputError) as refused:
        opened(folder)
    message = str(refused.value)
    assert f"{folder}: 0001.png is no picture in a format" in message
    assert "; 3 more of 6 cannot be used: 0003.png, 0004.png, 0005.png; download again" in message
    assert "\n" not in message
    assert leftovers(cache) == []


def test_one_bad_picture_is_named_alone(folder):
    (folder / "0003.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"pictures: 0003\.png is empty; download again or leave out what"):
        opened(folder)


def test_missing_pictures_are_counted_and_named_before_any_is_read(folder, reads):
    listing = make_listing(folder, names(folder))
    for number in (0, 2, 3, 5):
        (folder / f"000{number}.png").unlink()
    with pytest.raises(InputError) as refused:
        open_images(listing)
    assert (
        f"{folder}: 4 of 6 pictures are missing: 0000.png, 0002.png, 0003.png and 1 more; download them again"
        == str(refused.value)
    )
    assert reads == []


def test_archives_in_place_of_pictures_are_to_be_extracted(folder):
    listing = make_listing(folder, names(folder))
    (folder / "0000.png").rename(folder / "small_images-00.tar.gz")
    with pytest.raises(InputError, match=r"1 of 6 .* 0000\.png; extract small_images-00\.tar\.gz there, which flspec"):
        open_images(listing)


@pytest.mark.timeout(20)
def test_a_pipe_is_no_picture(folder):
    (folder / "0000.png").unlink()
    os.mkfifo(folder / "0000.png")
    with pytest.raises(InputError, match=r"1 of 6 pictures are missing: 0000\.png"):
        opened(folder)


def test_a_picture_that_changes_meanwhile_is_told(folder, cache):
    with (
        reporting(lambda _: (folder / "0002.png").write_bytes(encoded(noise(77)))),
        pytest.raises(InputError, match="changed while they were read"),
    ):
        opened(folder)
    assert leftovers(cache) == []


def test_an_interrupted_build_leaves_nothing(folder, cache):
    def interrupt(_):
        raise KeyboardInterrupt

    with reporting(interrupt), pytest.raises(KeyboardInterrupt):
        opened(folder)
    assert leftovers(cache) == []
    assert len(opened(folder).train) == 5


def test_a_disk_that_is_too_small_is_told_before_anything_is_decoded(folder, cache, reads, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(6 * 48 - 1))
    with pytest.raises(InputError, match=r"take 0\.0 GB at 4 by 4 pixels, but .* lower dataset\.size or set FLSPEC_C"):
        opened(folder)
    assert (reads, leftovers(cache)) == ([], [])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(6 * 48))
    assert len(opened(folder).train) == 5


@pytest.mark.parametrize("place", ["flspec.data.image_store._write_header", "numpy.save"])
def test_a_disk_that_fills_up_meanwhile_is_an_input_error(folder, cache, monkeypatch, place):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place, full)
    with pytest.raises(InputError, match=r"^nothing can be stored in .*: No space left on device; set FLSPEC_CACHE"):
        opened(folder)
    assert leftovers(cache) == []


# ----------------------------------------------------------------------------------------------- processes and memory

BUILD = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {here!r})
    from tests.unit.image_cases import make_listing
    from flspec.data.image_store import open_images
    from flspec.data.images import Decoding
    import PIL.Image, numpy
    folder = Path({folder!r})
    listing = make_listing(folder, sorted(p.name for p in folder.iterdir()), decoding=Decoding({side}, {side}))
    {before}
    data = open_images(listing)
    {after}
    print(data.digest)
"""


def build(folder, side=4, before="", after=""):
    here = str(Path(__file__).parents[3])
    source = textwrap.dedent(BUILD).format(here=here, folder=str(folder), side=side, before=before, after=after)
    return subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_file_of_gigabytes_is_not_read(folder):
    os.truncate(folder / "0001.png", 2**40)
    with pytest.raises(InputError, match=r"0001\.png is larger than 256 MiB"):
        opened(folder)


def test_two_processes_that_build_at_once_agree(tmp_path, cache):
    write_pictures(tmp_path / "many", 200)
    both = [build(tmp_path / "many") for _ in range(2)]
    told = [process.communicate(timeout=100) for process in both]
    assert [errors for _, errors in told] == ["", ""]
    assert len({digest for digest, _ in told}) == 1
    assert [path.name for path in (cache / "data").iterdir()] == [told[0][0].strip()]


LIMIT = """
    import resource
    used = int(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmData'))) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (used + (100 << 20), resource.RLIM_INFINITY))"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to RLIMIT_DATA")
@pytest.mark.parametrize(("after", "fits"), [("", True), ("numpy.array(data.train.features)", False)])
def test_memory_does_not_grow_with_the_pictures(tmp_path, after, fits):
    """3,000 pictures are 450 MB of pixels; 100 MB are enough for threads and chunks, and not for all of them."""
    (tmp_path / "many").mkdir()
    content = encoded(noise(0, 16), "PNG")
    (tmp_path / "many" / "0000.png").write_bytes(content)
    for number in range(1, 3000):
        os.link(tmp_path / "many" / "0000.png", tmp_path / "many" / f"{number:04}.png")
    limit = LIMIT.strip().replace("\n    ", "\n")
    process = build(tmp_path / "many", side=224, before=limit, after=after)
    digest, errors = process.communicate(timeout=300)
    assert bool(digest) == fits, errors
    assert fits or "Unable to allocate" in errors
