"""CIFAR-10: three layouts of the same pictures, upright and with their colours, and files that are none of them."""

from __future__ import annotations

import os
import pickle
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.data.safe_unpickle import read_inert_pickle
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets.cifar10 import Cifar10
from flspec.datasets.parquet import write_pictures
from flspec.errors import InputError

NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def load(root):
    return Cifar10().load(root, Stream(0))


def rainbow(seed):
    """Twenty pictures of smooth colours, and labels that are not in order."""
    rng = np.random.default_rng(seed)
    start, down, right = rng.uniform(0, 80, (3, 20, 3, 1, 1))
    ramp = np.linspace(0, 1, 32)
    return (start + down * ramp[:, np.newaxis] + right * ramp).astype(np.uint8), rng.permutation(20) % 10


BATCHES = {name: rainbow(seed) for seed, name in enumerate(NAMES)}


def write_binary(root):
    for name, (images, labels) in BATCHES.items():
        records = b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))
        (root / f"{name}.bin").write_bytes(records)


def python2_pickle(data, labels):
    """A batch as Python 2's cPickle wrote it under protocol 2."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    size = struct.pack("<i", data.size)
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x06cnumpy\nndarray\nq\x07K\x00\x85U\x01b\x87Rq\x08"
    kind = b"cnumpy\ndtype\nq\x09" + text(b"u1") + b"K\x00K\x01\x87Rq\x0a(K\x03" + text(b"|")
    kind += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"M" + struct.pack("<H", data.shape[0]) + b"M" + struct.pack("<H", data.shape[1]) + b"\x86"
    state = b"(K\x01" + shape + kind + b"\x89T" + size + data.tobytes() + b"tb"
    label_list = b"]q\x05(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"]q\x0b(" + b"".join(text(f"cat_s_{number:06}.png".encode()) for number in range(len(labels))) + b"e"
    batch = text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + text(b"labels") + label_list
    return b"\x80\x02}q\x01(" + batch + text(b"data") + array + state + text(b"filenames") + names + b"u."


def write_python(root):
    for name, (images, labels) in BATCHES.items():
        (root / name).write_bytes(python2_pickle(images.reshape(-1, 3072), labels))


def write_parquet(root, image_column="img"):
    train = [BATCHES[name] for name in NAMES[:5]]
    for split, batches in (("train", train), ("test", [BATCHES["test_batch"]])):
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        write_pictures(root / f"{split}-00000-of-00001.parquet", images, labels, [], image_column)


# ------------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("write", [write_binary, write_python, write_parquet])
def test_every_layout_gives_the_same_pictures_upright_in_file_order(write, tmp_path):
    write(tmp_path)
    data = load(tmp_path)
    images = np.concatenate([BATCHES[name][0] for name in NAMES[:5]])
    assert np.array_equal(data.train.features, images)
    assert np.array_equal(data.test.features, BATCHES["test_batch"][0])
    assert data.train.labels[:20].tolist() == BATCHES["data_batch_1"][1].tolist()
    assert data.test.labels.tolist() == BATCHES["test_batch"][1].tolist()
    assert (data.input_shape, data.num_classes, data.label_names[3], data.train.divisor) == (
        (3, 32, 32),
        10,
        "cat",
        255,
    )


def test_all_layouts_have_one_digest(tmp_path):
    digests = set()
    for write in (write_binary, write_python, write_parquet):
        folder = tmp_path / write.__name__ / "cifar10"
        folder.mkdir(parents=True)
        write(folder)
        digests.add(load(folder.parent).digest)
    assert len(digests) == 1


@pytest.mark.parametrize("below", ["", "cifar10", "cifar10/cifar-10-batches-bin", "cifar-10-batches-bin"])
def test_files_are_found_where_the_archive_unpacks_them(below, tmp_path):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    write_binary(tmp_path / below)
    assert len(load(tmp_path).train) == 100


def test_a_pickle_is_read_as_python_would_read_it():
    images, labels = rainbow(9)
    content = python2_pickle(images.reshape(-1, 3072), labels)
    theirs, ours = pickle.loads(content, encoding="bytes"), read_inert_pickle(content)
    assert ours.keys() == theirs.keys()
    assert np.array_equal(ours[b"data"], theirs[b"data"])
    assert {**ours, b"data": 0} == {**theirs, b"data": 0}


# ----------------------------------------------------------------------------------------------------------- real data


def neighbours(images):
    """How alike neighbouring pixels are, across and down."""
    values = images.astype(np.float64)
    pairs = (values[..., 1:], values[..., :-1]), (values[..., 1:, :], values[..., :-1, :])
    return [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in pairs]


def test_cifar10_has_its_published_counts_and_colours(cifar10_root):
    data = load(cifar10_root)
    assert (len(data.train), len(data.test), data.input_shape) == (50_000, 10_000, (3, 32, 32))
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    means = data.train.features.mean(axis=(0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-4)  # some copies have been through JPEG
    assert all("stored as JPEG" in finding for finding in Cifar10().findings(cifar10_root))


def test_cifar10_is_smooth_across_and_down_which_scrambled_planes_are_not(cifar10_root):
    images = load(cifar10_root).train.features[:2000]
    assert min(neighbours(images)) > 0.9
    scrambled = np.ascontiguousarray(images).reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    assert max(neighbours(scrambled)) < 0.85
    turned = images.transpose(0, 1, 3, 2)  # smooth as well, but the sky is no longer above
    brightness = [pictures[:, :, :8].mean() - pictures[:, :, -8:].mean() for pictures in (images, turned)]
    assert brightness[0] > 8 > abs(brightness[1])


def test_cifar10_in_parquet_is_what_pillow_decodes(cifar10_root):
    from PIL import Image
    from pyarrow import parquet

    files = sorted((cifar10_root / "cifar10").rglob("test*.parquet"))
    if not files:
        pytest.skip("CIFAR-10 is not there as Parquet")
    table, data = parquet.read_table(files[0]), load(cifar10_root)
    for row in (0, 1234, 9999):
        pixels = np.asarray(Image.open(BytesIO(table["img"][row].as_py()["bytes"])).convert("RGB"))
        for colour in range(3):
            assert np.array_equal(data.test.features[row, colour], pixels[:, :, colour])
        assert data.test.labels[row] == table["label"][row].as_py()


# ---------------------------------------------------------------------------------------------------------- bad files


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def replaced(old, new):
    return lambda content: content.replace(old, new)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: pickle.dumps(Evil(), 2), r"names 'posix system' at byte \d+, which is not loaded"),
        (lambda _: b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "the instruction SHORT_BINUNICODE"),
        (lambda _: b"\x80\x02cos\nsystem\n.", "names 'os system'"),
        (lambda _: b"(S'ls'\nios\nsystem\n.", "the instruction STRING"),
        (replaced(b"cnumpy\ndtype", b"cnumpy\nload"), "names 'numpy load'"),
        (replaced(b"U\x02u1", b"U\x02O8"), "not an array of unsigned bytes"),
        (replaced(b"\x89T", b"\x88T"), "the instruction NEWTRUE"),
        (replaced(b"M\x14\x00M\x00\x0c", b"M\x15\x00M\x00\x0c"), r"promises an array of shape \[21, 3072\]"),
        (replaced(b"M\x14\x00M\x00\x0c", b"M\x00\x0cM\x14\x00"), "no data of 3,072 bytes an image"),
        (replaced(b"U\x06labels", b"U\x06lapels"), "no data of 3,072 bytes an image with labels"),
        (replaced(b"e" + b"U\x04data", b"K\x01e" + b"U\x04data"), "21 labels for 20 images"),
        (lambda content: content[:-1000], "not as CIFAR-10 was published"),
        (lambda content: content[:20], "not as CIFAR-10 was published"),
        (lambda _: b"", "not as CIFAR-10 was published"),
        (lambda _: b"\x80\x02tbRu.", "the pickle is damaged"),
        (lambda _: b"\x80\x02Nb.", "the pickle is damaged"),
        (lambda _: b"\x80\x02h\x07.", "the pickle is damaged"),
        (lambda _: b"\x80\x02}N" + b"\x85" * 10**6 + b"Ns.", "is larger than is allowed, at byte 104"),
    ],
)
def test_a_pickle_that_is_not_a_batch_is_refused_and_does_nothing(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_python(tmp_path)
    file = tmp_path / "data_batch_2"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=message) as refused:
        load(tmp_path)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "evil").exists()


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_a_pickle_is_not_waited_for(tmp_path):
    write_python(tmp_path)
    (tmp_path / "data_batch_4").unlink()
    os.mkfifo(tmp_path / "data_batch_4")
    with pytest.raises(InputError, match="data_batch_4 is not a file"):
        load(tmp_path)


def test_a_pickle_of_any_size_is_refused_before_it_is_read(tmp_path):
    write_python(tmp_path)
    with (tmp_path / "data_batch_4").open("wb") as file:
        file.truncate(2**40)  # of which the file system holds nothing
    with pytest.raises(InputError, match="data_batch_4 is larger than 256 MiB"):
        load(tmp_path)


def test_the_evil_pickle_would_do_something_if_it_were_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Evil(), 2))
    assert (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "61,459 bytes are not a multiple of 3,073"),
        (lambda _: b"", "0 bytes are not a multiple"),
        (lambda content: b"\x0a" + content[1:], r"label 10 is outside 0\.\.9; is this CIFAR-10\?"),
        (None, "data_batch_3.bin is missing; extract all"),
    ],
)
def test_a_damaged_binary_file_is_refused_by_name(change, message, tmp_path):
    write_binary(tmp_path)
    file = tmp_path / "data_batch_3.bin"
    file.unlink() if change is None else file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=message) as refused:
        load(tmp_path)
    assert "data_batch_3.bin" in str(refused.value)


def test_parquet_with_other_pictures_is_refused(tmp_path):
    write_parquet(tmp_path)
    small = np.zeros((3, 3, 32, 30), np.uint8)
    write_pictures(tmp_path / "test-00000-of-00001.parquet", small, np.arange(3), [], "img")
    with pytest.raises(InputError, match="row 1 is 32 by 30 pixels in colour, but should be 32 by 32 pixels in colour"):
        load(tmp_path)


def test_parquet_with_other_columns_is_refused(tmp_path):
    write_parquet(tmp_path, image_column="photo")
    with pytest.raises(InputError, match="columns photo, label are not CIFAR-10's img and label"):
        load(tmp_path)


def test_a_copy_that_has_been_through_jpeg_is_found(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr("flspec.datasets.cifar10._PUBLISHED", {"train": (10,) * 10, "test": (2,) * 10})
    write_parquet(tmp_path)
    assert Cifar10().findings(tmp_path) == []
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda image, file, _: save(image, file, "JPEG"))
    write_parquet(tmp_path)
    assert [finding[:41] for finding in Cifar10().findings(tmp_path)] == [
        "train: pictures are stored as JPEG, so th",
        "test: pictures are stored as JPEG, so the",
    ]


def test_nothing_there_is_told_with_where_to_put_it(tmp_path):
    with pytest.raises(
        InputError, match=r"neither data_batch_1\.bin, nor data_batch_1, nor train\*\.parquet is in"
    ) as no:
        load(tmp_path)
    assert f"{tmp_path / 'cifar10'} or {tmp_path}" in str(no.value)


# ---------------------------------------------------------------------------------------------------------------- twin


def test_a_twin_is_in_the_binary_layout_and_differs_from_what_was_published(tmp_path):
    Cifar10.write_twin(tmp_path, TwinSize(clients=1, examples=600), Stream(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.bin" for name in NAMES)
    assert all(path.stat().st_size == 100 * 3073 for path in tmp_path.iterdir())
    findings = ["train: 500 examples, 50,000 were published", "test: 100 examples, 10,000 were published"]
    assert Cifar10().findings(tmp_path) == findings


def test_findings_tell_each_label_that_differs(monkeypatch, tmp_path):
    write_binary(tmp_path)
    published = {"train": (10,) * 10, "test": (2,) * 10}
    monkeypatch.setattr("flspec.datasets.cifar10._PUBLISHED", published)
    assert Cifar10().findings(tmp_path) == []
    published["test"] = (2,) * 8 + (1, 3)
    told = ["test: 2 examples of label 8, 1 were published", "test: 2 examples of label 9, 3 were published"]
    assert Cifar10().findings(tmp_path) == told
    Path(tmp_path, "test_batch.bin").unlink()
    assert len(Cifar10().findings(tmp_path)) == 1
