"""Data sets: what they hold, and files that are not what they should be."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from flspec.core.randomness import Stream
from flspec.datasets.digits import Digits
from flspec.datasets.mnist import Mnist
from flspec.datasets.synthetic import Synthetic
from flspec.errors import InputError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
NOWHERE = Path("/nowhere")


def load_mnist(root):
    return Mnist().load(root, Stream(0))


def load_synthetic(seed=0, **parameters):
    return Synthetic(**parameters).load(NOWHERE, Stream(seed, "dataset"))


def edit(root, name, change):
    (root / name).write_bytes(change((root / name).read_bytes()))


# ---------------------------------------------------------------------------------------------------------- digits


def test_digits_holds_out_every_fifth_of_1797_images():
    data = Digits().load(NOWHERE, Stream(0))
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert (data.input_shape, data.num_classes) == ((1, 8, 8), 10)
    counts = np.bincount(data.train.labels) + np.bincount(data.test.labels)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_seen_between_0_and_1():
    seen = Digits().load(NOWHERE, Stream(0)).train.inputs(slice(None))
    assert (seen.min(), seen.max()) == (0.0, 1.0)


def test_digits_are_the_same_for_every_seed():
    assert Digits().load(NOWHERE, Stream(0)).digest == Digits().load(NOWHERE, Stream(1)).digest


# ----------------------------------------------------------------------------------------------------------- mnist


def test_mnist_has_its_published_counts(mnist_root):
    data = load_mnist(mnist_root)
    assert (len(data.train), len(data.test), data.input_shape) == (60_000, 10_000, (1, 28, 28))
    assert np.bincount(data.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.inputs(slice(None)).mean() == pytest.approx(0.1307, abs=5e-5)


def test_mnist_is_read_in_file_order(write_mnist):
    images = np.arange(20 * 2 * 3, dtype=np.uint8).reshape(20, 2, 3)
    data = load_mnist(write_mnist(images))
    assert np.array_equal(data.train.features, images[:, np.newaxis])
    assert data.train.labels.tolist() == [number % 10 for number in range(20)]
    assert data.train.inputs(np.array([1]))[0, 0, 0, 0] == np.float32(6) / np.float32(255)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("folder", ["", "mnist"], ids=["root", "mnist folder"])
def test_mnist_is_found_packed_or_not_in_the_root_or_its_folder(write_mnist, packed, folder):
    root = write_mnist()
    plain = load_mnist(root).digest
    for path in list(root.glob("*-ubyte")):
        content = gzip.compress(path.read_bytes()) if packed else path.read_bytes()
        path.unlink()
        (root / folder).mkdir(exist_ok=True)
        (root / folder / (path.name + ".gz" * packed)).write_bytes(content)
    assert load_mnist(root).digest == plain


@pytest.mark.parametrize("name", [IMAGES, LABELS, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_file_is_named_with_where_to_put_it(write_mnist, name):
    root = write_mnist()
    (root / name).unlink()
    with pytest.raises(InputError) as refused:
        load_mnist(root)
    message = str(refused.value)
    assert f"{name} or {name}.gz is not in {root / 'mnist'} or {root}" in message
    assert "--data-root or FLSPEC_DATA" in message


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 15])
def test_a_file_cut_inside_its_header_is_no_idx_file(write_mnist, length):
    root = write_mnist()
    edit(root, IMAGES, lambda content: content[:length])
    with pytest.raises(InputError, match=rf"{IMAGES}: not an IDX file of bytes in 3 dimensions"):
        load_mnist(root)


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: c[:16]], ids=["less", "more", "none"]
)
def test_a_file_whose_bytes_do_not_match_its_header_is_refused(write_mnist, change):
    root = write_mnist()
    edit(root, IMAGES, change)
    with pytest.raises(InputError, match=rf"{IMAGES}: its header promises shape \[20, 4, 4\], but \d+ bytes follow"):
        load_mnist(root)


def test_a_header_that_promises_more_than_memory_is_refused(write_mnist):
    root = write_mnist()
    edit(root, IMAGES, lambda _: struct.pack(">4I", 0x803, 2**31, 2**31, 4))  # a product of 2^64: 0 in 64 bits
    with pytest.raises(InputError, match="its header promises shape"):
        load_mnist(root)


def test_labels_in_place_of_images_are_refused(write_mnist):
    root = write_mnist()
    (root / IMAGES).write_bytes((root / LABELS).read_bytes())
    with pytest.raises(InputError, match=rf"{IMAGES}: not an IDX file of bytes in 3 dimensions"):
        load_mnist(root)


def test_images_and_labels_of_different_number_are_refused(write_mnist):
    root = write_mnist()
    edit(root, LABELS, lambda content: struct.pack(">2I", 0x801, 19) + content[8:-1])
    with pytest.raises(InputError, match=rf"{LABELS}: 19 labels for 20 images"):
        load_mnist(root)


def test_a_label_that_is_no_digit_is_refused(write_mnist):
    root = write_mnist(labels=np.array([*range(19), 3]))
    with pytest.raises(InputError, match=r"label 18 is outside 0\.\.9; is this MNIST\?"):
        load_mnist(root)


def test_train_and_test_images_of_different_size_are_refused(write_mnist):
    root = write_mnist(np.zeros((20, 4, 4)))
    smaller = struct.pack(">4I", 0x803, 20, 3, 3) + bytes(20 * 9)
    edit(root, "t10k-images-idx3-ubyte", lambda _: smaller)
    with pytest.raises(InputError, match=r"\[1, 4, 4\].*\[1, 3, 3\]"):
        load_mnist(root)


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed[:20] + b"\xff\xff" + packed[22:],
        lambda _: b"hello",
    ],
    ids=["cut short", "changed", "not packed"],
)
def test_a_damaged_gz_is_refused_by_name(write_mnist, damage):
    root = write_mnist(np.random.default_rng(0).integers(0, 256, (20, 4, 4)))
    packed = gzip.compress((root / IMAGES).read_bytes())
    (root / IMAGES).unlink()
    (root / f"{IMAGES}.gz").write_bytes(damage(packed))
    with pytest.raises(InputError, match=rf"{IMAGES}\.gz"):
        load_mnist(root)


# ------------------------------------------------------------------------------------------------------- synthetic


def test_synthetic_has_the_counts_that_were_asked_for():
    data = load_synthetic(classes=3, features=5, train_examples=100, test_examples=40)
    assert (data.train.features.shape, data.test.features.shape, data.num_classes) == ((100, 5), (40, 5), 3)
    assert data.train.features.dtype == np.float32
    assert data.train.labels[:7].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_synthetic_examples_are_normal_around_centres_at_the_asked_distance():
    data = load_synthetic(classes=4, features=20, train_examples=8000, separation=5.0)
    for label in range(4):
        members = data.train.features[data.train.labels == label].astype(np.float64)
        centre = members.mean(axis=0)
        assert np.linalg.norm(centre) == pytest.approx(5.0, abs=0.2)
        noise = (members - centre).ravel()
        assert stats.kstest(noise, "norm").pvalue > 1e-4
        assert stats.kstest(noise * 1.1, "norm").pvalue < 1e-4


def test_train_and_test_examples_share_their_centres_and_nothing_else():
    data = load_synthetic(classes=2, features=20, train_examples=4000, test_examples=4000, separation=5.0)
    for label in range(2):
        centres = [split.features[split.labels == label].mean(axis=0) for split in (data.train, data.test)]
        assert np.abs(centres[0] - centres[1]).max() < 0.15
    assert not np.array_equal(data.train.features, data.test.features)


def test_synthetic_values_are_multiples_of_a_1024th():
    values = load_synthetic(train_examples=100).train.features * 1024
    assert np.array_equal(values, np.rint(values))


def test_synthetic_follows_from_its_stream_and_more_examples_extend_fewer():
    assert load_synthetic().digest == load_synthetic().digest
    assert load_synthetic().digest != load_synthetic(seed=1).digest
    few, many = load_synthetic(train_examples=50), load_synthetic(train_examples=200)
    assert np.array_equal(many.train.features[:50], few.train.features)
    assert np.array_equal(many.test.features, few.test.features)


def test_without_separation_every_class_is_the_same():
    data = load_synthetic(classes=2, features=20, train_examples=4000, separation=0.0)
    assert np.abs(data.train.features.mean(axis=0)).max() < 0.1
