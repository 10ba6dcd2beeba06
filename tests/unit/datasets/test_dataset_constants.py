"""Published constants of data sets, each as a number that stands here, with its source, and not in the code."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.data.images import Decoding, decode
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets.base import ImageDataset
from flspec.datasets.celeba import CelebA
from flspec.datasets.cifar10 import Cifar10
from flspec.datasets.digits import Digits
from flspec.datasets.fashion_mnist import FashionMnist
from flspec.datasets.flair import Flair
from flspec.datasets.isic import Isic
from flspec.datasets.mnist import Mnist
from flspec.transforms import Transform


class Greys(ImageDataset):
    """A black, a middling and a white pixel of three colours, as bytes."""

    def read(self, root, stream):
        pixels = np.array([0, 128, 255], np.uint8).reshape(3, 1, 1, 1).repeat(3, axis=1)
        split = Split(pixels, np.arange(3), divisor=255.0)
        return Data(split, split, num_classes=3)


def seen(normalise):
    """What a model is given of the three pixels: [pixel, colour]."""
    data = Greys(normalise=normalise).load(Path(), Stream(0))
    return np.stack([data.train.inputs(slice(None)), data.test.inputs(slice(None))])[:, :, :, 0, 0]


@pytest.mark.parametrize(
    ("normalise", "expected"),
    [
        ("none", [[0, 0, 0], [0.50196078] * 3, [1, 1, 1]]),
        # torchvision's references: Normalize(mean=[0.5], std=[0.5]) takes 0..1 to -1..1
        ("half", [[-1, -1, -1], [0.00392157] * 3, [1, 1, 1]]),
        # torchvision, "Models and pre-trained weights": mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]
        (
            "imagenet",
            [
                [-2.11790393, -2.03571429, -1.80444444],
                [0.07406455, 0.20518207, 0.42649237],
                [2.24890830, 2.42857143, 2.64000000],
            ],
        ),
    ],
)
def test_a_normalisation_gives_the_published_values_in_training_and_evaluation(normalise, expected):
    for split in seen(normalise):
        np.testing.assert_allclose(split, expected, atol=2e-6)


class Marked(ImageDataset):
    """A picture of 4 by 4 pixels in each of three splits, all different."""

    def read(self, root, stream):
        train, test, validation = (
            Split((np.arange(16, dtype=np.uint8) + shift).reshape(1, 1, 4, 4), np.zeros(1, np.int64))
            for shift in (0, 20, 40)
        )
        return Data(train, test, num_classes=1, validation=validation)


def test_each_split_is_seen_through_its_own_transforms():
    """Scaled in training; the middle in both sets that models are evaluated on, and of a holdout."""
    both = [{"kind": "resize", "size": 2}], [{"kind": "centre_crop", "size": 2}]
    parts = [tuple(parse_component(Transform, document) for document in documents) for documents in both]
    data = Marked(train_transforms=parts[0], test_transforms=parts[1]).load(Path(), Stream(0))
    assert data.validation
    middle = np.array([5, 6, 9, 10])
    assert data.test.inputs(slice(None)).ravel().tolist() == (middle + 20).tolist()
    assert data.validation.inputs(slice(None)).ravel().tolist() == (middle + 40).tolist()
    assert data.train_as_tested.inputs(slice(None)).ravel().tolist() == middle.tolist()
    assert data.train.inputs(slice(None)).ravel().tolist() == [3, 5, 11, 13]  # the means 2.5, 4.5, ..., rounded up


# -------------------------------------------------------------------------------------------------------------- CelebA

# Line 2 of list_attr_celeba.txt, Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015.
_CELEBA = """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones
Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks
Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace
Wearing_Necktie Young"""
CELEBA = _CELEBA.split()


def test_celebas_forty_attributes_are_columns_in_the_order_of_its_file(copied):
    folder = copied(CelebA())
    header = (folder / "list_attr_celeba.txt").read_text().splitlines()[1].split()
    rows = [line.split() for line in (folder / "list_attr_celeba.txt").read_text().splitlines()[2:]]
    data = CelebA(folder=str(folder), split="challenge").load(folder, Stream(0))
    assert header == CELEBA
    order = [[row[0] for row in rows].index(file) for file in data.train.columns["file"]]
    for number, name in enumerate(CELEBA):
        wanted = [int(rows[place][1 + number] == "1") for place in order]
        assert data.train.columns[name].tolist() == wanted, name
    assert len(CELEBA) == 40


def test_celebas_aligned_pictures_are_scaled_to_64_pixels_and_cut_in_the_middle():
    """Of 178 by 218 pixels (the published size) torchvision's Resize(64) makes 64 by 78, CenterCrop cuts 7 above."""
    pixels = np.random.default_rng(0).integers(0, 256, (218, 178, 3)).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    expected = Image.fromarray(pixels).resize((64, 78), Image.Resampling.BILINEAR).crop((0, 7, 64, 71))
    assert np.array_equal(decode(file.getvalue(), CelebA().decoding).transpose(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize(("width", "left"), [(5, 0), (6, 1), (7, 2), (9, 2), (11, 4)])
def test_an_odd_margin_is_cut_as_torchvision_does(width, left):
    """CenterCrop begins at round((width - 4) / 2.0), and Python rounds halves to even numbers."""
    pixels = np.arange(4 * width * 3, dtype=np.uint8).reshape(4, width, 3)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    got = decode(file.getvalue(), Decoding(4, 4)).transpose(1, 2, 0)
    assert np.array_equal(got, pixels[:, left : left + 4])


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_a_picture_made_smaller_is_averaged(fit):
    """Stripes of black and white become grey by Pillow's bilinear filter, which has a support of the scale."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, ::2] = 255
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    expected = np.asarray(Image.fromarray(pixels).resize((4, 4), Image.Resampling.BILINEAR))
    got = decode(file.getvalue(), Decoding(4, 4, fit))
    assert np.array_equal(got.transpose(1, 2, 0), expected)
    assert 100 < got.min() < got.max() < 155


# -------------------------------------------------------------------------------------------------------- FLAIR, ISIC

# Song, Granqvist and Talwar, "FLAIR: Federated Learning Annotated Image Repository", NeurIPS 2022, Table 3.
_FLAIR = """animal art celebration equipment fire food games interior_room light liquid material music outdoor plant
recreation religion structure"""
FLAIR_COARSE = _FLAIR.split()


def test_flairs_coarse_labels_are_the_published_seventeen(copied):
    folder = copied(Flair())
    assert list(Flair(folder=str(folder)).load(folder, Stream(0)).label_names) == FLAIR_COARSE
    assert len(FLAIR_COARSE) == 17


def test_flairs_users_are_in_the_split_that_its_file_says(copied):
    """Partitions train, val and test of labels_and_metadata.json, Song et al. 2022, Section 3."""
    folder = copied(Flair())
    entries = json.loads((folder / "labels_and_metadata.json").read_text())
    data = Flair(folder=str(folder)).load(folder, Stream(0))
    for split, name in {"train": "train", "validation": "val", "test": "test"}.items():
        wanted = [entry["image_id"] for entry in entries if entry["partition"] == name]
        assert data.splits[split].columns["image_id"].tolist() == wanted


@pytest.mark.parametrize(
    ("dataset", "published"),
    [
        # FLAIR, Table 1: pictures and users of train, validation and test; 1,628 fine labels
        (Flair(), ["345,879 of 41,131 were", "39,239 of 5,141 were", "43,960 of 5,142 were", "1,628 were"]),
        # CelebA's page: 202,599 images, 10,177 identities; list_eval_partition.txt
        (CelebA(), ["202,599 of 10,177 people", "162,770 were", "19,867 were", "19,962 were"]),
        (Isic(), ["37,648 were published"]),  # AI Sweden's train_concat.csv
    ],
    ids=["flair", "celeba", "isic"],
)
def test_published_counts_are_told_of_a_smaller_copy(copied, dataset, published):
    told = "\n".join(type(dataset)().findings(copied(dataset).parent))
    assert not [count for count in published if count not in told], told


@pytest.mark.parametrize(
    ("cell", "age"), [("45.0", 45.0), ("0", 0.0), ("85", 85.0), ("", None), ("nan", None), ("NA", None)]
)
def test_an_age_of_isic_is_a_number_or_missing(copied, cell, age):
    """ISIC 2020's ages are multiples of five, as floats; pandas writes a missing one as nothing."""
    folder = copied(Isic())
    lines = (folder / "train_concat.csv").read_text().splitlines()
    column, name = lines[0].split(",").index("age_approx"), lines[0].split(",").index("image_name")
    rows = [line.split(",") for line in lines[1:]]
    rows[0][column] = cell
    (folder / "train_concat.csv").write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    data = Isic(folder=str(folder)).load(folder, Stream(0))
    ages = {
        file: value
        for split in (data.train, data.test)
        for file, value in zip(split.columns["image_name"], split.columns["age_approx"], strict=True)
    }
    got = float(ages[rows[0][name]])
    assert got == age if age is not None else np.isnan(got)


def test_isics_draw_is_the_studys():
    """AI Sweden's code: train_test_split(test_size=0.2, random_state=42, stratify=...), on 256 by 256 pixels."""
    isic = Isic()
    assert (isic.holdout, isic.split_seed, isic.split_by, isic.size) == (0.2, 42, "image", 256)


# ---------------------------------------------------------------------------------------------------- smaller pictures


def test_classes_have_their_published_names_and_numbers():
    cifar10 = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]  # Krizhevsky 2009; batches.meta
    fashion = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
    twin = Cifar10(twin=TwinSize(clients=10, examples=60)).load(Path(), Stream(0))
    assert list(twin.label_names) == cifar10
    assert list(FashionMnist.label_names) == fashion  # Xiao, Rasul and Vollgraf 2017, Table 2
    # LeCun, Cortes and Burges: the labels of train-labels-idx1-ubyte and t10k-labels-idx1-ubyte, counted
    assert sum(Mnist.published["train"]) == 60_000
    assert list(Mnist.published["train"]) == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert list(Mnist.published["test"]) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("stored", "largest"),
    [
        (lambda copied, write: Digits().load(Path(), Stream(0)), 16),  # UCI's digits: 4 by 4 blocks, counted, 0..16
        (lambda copied, write: Mnist().load(write(), Stream(0)), 255),
        (lambda copied, write: CelebA(folder=str(copied(CelebA())), split="challenge").load(Path(), Stream(0)), 255),
        (lambda copied, write: Cifar10(twin=TwinSize(clients=10, examples=60)).load(Path(), Stream(0)), 255),
    ],
    ids=["digits", "mnist", "pictures", "cifar10"],
)
def test_pixels_are_divided_by_the_largest_that_there_can_be(copied, write_mnist, stored, largest):
    data = stored(copied, write_mnist)
    full = np.full_like(data.train.features[:1], largest)
    assert replace(data.train, features=full).inputs(slice(None)).max() == 1.0
