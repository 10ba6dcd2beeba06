"""What `flspec data check` says of a download: what is missing, and what differs from what was published."""

from __future__ import annotations

import json
import re

import pytest

from flspec.datasets.image_folder import ImageFolder
from tests.unit.image_cases import edit_json, edit_line
from tests.unit.image_damage import CELEBA, CSV, FLAIR, FOLDER, ISIC, JSON, PARTS, PEOPLE, content, first, gone


@pytest.mark.parametrize(
    ("dataset", "findings"),
    [
        (
            FLAIR,
            [
                r"train: \d+ pictures of 8 users; 345,879 of 41,131 were published",
                "val: ",
                "test: ",
                r"\d+ fine labels",
            ],
        ),
        (
            CELEBA,
            ["40 pictures of 10 people; 202,599 of 10,177 people were published", "train: ", "validation: ", "test: "],
        ),
        (ISIC, [r"train_concat\.csv: 40 pictures; 37,648 were published"]),
        (FOLDER, []),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_twin_is_told_from_what_was_published(copied, dataset, findings):
    found = dataset.findings(copied(dataset).parent)
    assert len(found) == len(findings)
    assert all(re.match(expected, told) for expected, told in zip(findings, found, strict=True)), found


@pytest.mark.parametrize(
    ("dataset", "damage", "finding"),
    [
        (FLAIR, gone(JSON), rf"{JSON} is not in"),
        (FLAIR, gone("label_relationship.txt"), r"label_relationship\.txt is not in"),
        (
            FLAIR,
            content("label_relationship.txt", b"dog -> animal\n"),
            r"no line for \d+ labels: \w+, \w+, \w+ and \d+ m",
        ),
        (FLAIR, lambda f: first(f).unlink(), r"small_images: 1 of 40 pictures are missing: 10000000000\.jpg"),
        (FLAIR, gone("small_images"), r"the folder small_images is not in"),
        (
            FLAIR,
            lambda f: edit_json(f / JSON, lambda e: [x.update(user_id="u") for x in e] and None),
            r"user u has pictures in \w+ and in \w+",
        ),
        (CELEBA, gone(PARTS), rf"{PARTS} \(without it, only split: challenge"),
        (CELEBA, gone(PEOPLE), rf"{PEOPLE} is not in"),
        (CELEBA, lambda f: first(f).unlink(), r"img_align_celeba: 1 of 40 pictures are missing: 000001\.jpg"),
        (ISIC, gone(CSV), rf"{CSV} is not in"),
        (ISIC, lambda f: first(f).unlink(), r"train: 1 of 40 pictures are missing: ISIC_1000000\.jpg"),
        (ISIC, lambda f: edit_line(f / CSV, 1, lambda t: t.replace("sex", "gender")), rf"{CSV}: no column sex"),
        (FOLDER, gone("test"), r"neither test/ nor val/"),
        (ImageFolder(), gone("train/ring"), r"test has test/ring/"),
    ],
)
def test_what_a_download_lacks_is_found_without_reading_a_picture(copied, dataset, damage, finding, monkeypatch):
    folder = copied(dataset)
    damage(folder)
    monkeypatch.setattr("flspec.data.images.ImageFile.read", None)
    found = dataset.findings(folder.parent)
    assert [told for told in found if re.search(finding, told)], found


def test_counts_as_published_are_no_finding(copied, monkeypatch):
    folder = copied(FLAIR)
    entries = json.loads((folder / JSON).read_text())
    users = {n: [e["user_id"] for e in entries if e["partition"] == n] for n in ("train", "val", "test")}
    fine = {label for e in entries for label in e["fine_grained_labels"]}
    published = {name: (len(found), len(set(found))) for name, found in users.items()}
    monkeypatch.setattr("flspec.datasets.flair._PUBLISHED", published)
    monkeypatch.setattr("flspec.datasets.flair._PUBLISHED_FINE", len(fine))
    assert FLAIR.findings(folder.parent) == []
    (folder / "small_images" / "other.jpg").write_bytes(b"")
    assert FLAIR.findings(folder.parent) == []
