"""What can be wrong with a download of pictures: each is a function that does it to the twin in a folder."""

from __future__ import annotations

import shutil

from flspec.datasets.celeba import CelebA
from flspec.datasets.flair import Flair
from flspec.datasets.image_folder import ImageFolder
from flspec.datasets.isic import Isic
from tests.unit.image_cases import edit_json, edit_line

FLAIR = Flair(size=8)
CELEBA = CelebA(size=8)
ISIC = Isic(size=8)
FOLDER = ImageFolder(size=8, metadata="metadata.csv")
SOUND = (FLAIR, CELEBA, ISIC, FOLDER)
JSON, ATTRIBUTES, PEOPLE = "labels_and_metadata.json", "list_attr_celeba.txt", "identity_CelebA.txt"
PARTS, CSV, TABLE = "list_eval_partition.txt", "train_concat.csv", "metadata.csv"


def entry(number, **changes):
    """Change one picture of FLAIR's list."""
    return lambda folder: edit_json(folder / JSON, lambda entries: entries[number].update(changes))


def line(name, number, change):
    return lambda folder: edit_line(folder / name, number, change if callable(change) else lambda _: change)


def content(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def gone(name):
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def first(folder, pattern="*.jpg"):
    return min(folder.rglob(pattern))


def picture(bytes_of):
    return lambda folder: first(folder).write_bytes(bytes_of(first(folder).read_bytes()))


def cell(number, column, value):
    """Change one cell of a CSV line."""

    def change(text):
        cells = text.split(",")
        cells[column] = value
        return ",".join(cells)

    return line(CSV, number, change)
