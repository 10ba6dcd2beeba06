"""Downloads of pictures that are not what they should be: each is told in one line that names the place."""

from __future__ import annotations

import csv
import re
import shutil

import pytest
from pydantic import ValidationError

from flspec.core.randomness import Stream
from flspec.datasets.celeba import CelebA
from flspec.datasets.flair import Flair
from flspec.datasets.image_folder import ImageFolder
from flspec.datasets.isic import Isic
from flspec.errors import InputError
from tests.unit.image_cases import bomb, edit_json
from tests.unit.image_damage import (
    ATTRIBUTES,
    CELEBA,
    CSV,
    FLAIR,
    FOLDER,
    ISIC,
    JSON,
    PARTS,
    PEOPLE,
    TABLE,
    cell,
    content,
    entry,
    gone,
    line,
    picture,
)

CASES = {
    # ------------------------------------------------------------------------------------------------------- pictures
    "truncated": (FLAIR, picture(lambda old: old[:-3000]), r"small_images: \d+\.jpg is cut short or damaged \("),
    "empty": (CELEBA, picture(lambda _: b""), r"img_align_celeba: 000001\.jpg is empty; download again"),
    "text": (ISIC, picture(lambda _: b"<html>"), r"train/train: ISIC_1000000\.jpg is no picture in a format"),
    "bomb": (FOLDER, picture(lambda _: bomb(20_000, 20_000)), r"test/circle/0\d+\.jpg declares too many"),
    "no pictures": (FLAIR, gone("small_images"), r"the folder small_images is not in .*/flair or .*; put it there, or"),
    "archives": (
        FLAIR,
        lambda folder: (gone("small_images")(folder), (folder / "small_images-00.tar.gz").touch()),
        r"flair: small_images is not there; extract small_images-00\.tar\.gz, which flspec does not",
    ),
    "missing": (
        CELEBA,
        lambda folder: [(folder / "img_align_celeba" / f"00000{n}.jpg").unlink() for n in (1, 3, 4, 7)],
        r"img_align_celeba: 4 of 40 pictures are missing: 000001\.jpg, 000003\.jpg, 000004\.jpg and 1 more; download",
    ),
    # ---------------------------------------------------------------------------------------------------------- flair
    "flair: no list": (FLAIR, gone(JSON), rf"{JSON} is not in .*; put it there, or name the folder with dataset\.fold"),
    "flair: not JSON": (FLAIR, content(JSON, b'[\n{"user_id": "a",}\n]'), rf"{JSON}:2:17: not JSON \(.*\); download"),
    "flair: cut": (FLAIR, lambda f: (f / JSON).write_bytes((f / JSON).read_bytes()[:-40]), rf"{JSON}:1:\d+: not JSON"),
    "flair: deep": (FLAIR, content(JSON, b"[" * 10**5), rf"{JSON}: nested too deeply"),
    "flair: no list of entries": (FLAIR, content(JSON, b'["a"]'), rf"{JSON}: should be a list with an entry for each"),
    "flair: not UTF-8": (
        FLAIR,
        content(JSON, b'[\n\n"\xff"]'),
        rf"{JSON}:3: not UTF-8 \(byte 0xff\); save it as UTF-8",
    ),
    "flair: twice": (
        FLAIR,
        lambda f: edit_json(f / JSON, lambda e: e[3].update(image_id=e[1]["image_id"])),
        rf"{JSON}: entry 4: image_id '\d+' is in the file twice",
    ),
    "flair: wrong label": (
        FLAIR,
        entry(2, labels=["animl"]),
        r"entry 3: labels: unknown 'animl'; did you mean 'animal'",
    ),
    "flair: labels": (FLAIR, entry(2, labels="animal"), r"entry 3: labels should be a list of names, not 'animal'"),
    "flair: split": (FLAIR, entry(0, partition="dev"), r"entry 1: partition: unknown 'dev'; .*train, test, val"),
    "flair: escapes": (
        FLAIR,
        entry(0, image_id="../evil"),
        r"entry 1: image_id: '\.\./evil' is not the name of a picture",
    ),
    "flair: absolute": (
        FLAIR,
        entry(0, image_id="/etc/x"),
        r"entry 1: image_id: '/etc/x' is not the name of a picture",
    ),
    "flair: surrogate": (FLAIR, entry(0, image_id="\ud800"), r"entry 1: image_id: .* is not the name of a picture"),
    "flair: no user": (FLAIR, entry(0, user_id=None), r"entry 1: user_id and image_id should be text, not None and"),
    "flair: no test": (
        FLAIR,
        lambda f: edit_json(f / JSON, lambda entries: [e for e in entries if e["partition"] != "test"]),
        rf"{JSON}: no picture has partition 'test'; is the file complete\?",
    ),
    "flair: unknown label": (
        Flair(size=8, binary_label="dgo", labels="fine"),
        lambda _: None,
        r"dataset\.binary_label: unknown 'dgo'; .*these are fine labels in .*labels_and_metadata\.json",
    ),
    # --------------------------------------------------------------------------------------------------------- celeba
    "celeba: no attributes": (CELEBA, gone(ATTRIBUTES), rf"{ATTRIBUTES} is not in .*/celeba or"),
    "celeba: no split": (CELEBA, gone(PARTS), rf"{PARTS} \(without it, only split: challenge can be read\) is not in"),
    "celeba: value": (
        CELEBA,
        line(ATTRIBUTES, 7, lambda t: t[:-1] + "0"),
        rf"{ATTRIBUTES}:7: should be a file and 40 ti",
    ),
    "celeba: ragged": (
        CELEBA,
        line(ATTRIBUTES, 9, lambda t: t[:-2]),
        rf"{ATTRIBUTES}:9: should be a file and 40 times",
    ),
    "celeba: blank": (
        CELEBA,
        line(ATTRIBUTES, 9, ""),
        rf"{ATTRIBUTES}:9: should be a file and 40 times -1 or 1, not ''",
    ),
    "celeba: count": (
        CELEBA,
        line(ATTRIBUTES, 1, "41"),
        rf"{ATTRIBUTES}: says it has 41 pictures, but lists 40; downl",
    ),
    "celeba: no count": (CELEBA, line(ATTRIBUTES, 1, "x"), rf"{ATTRIBUTES}:1: should be the number of pictures"),
    "celeba: names": (
        CELEBA,
        line(ATTRIBUTES, 2, lambda t: t.replace("Bald ", "")),
        rf"{ATTRIBUTES}:2: .* Bald is missing",
    ),
    "celeba: twice": (
        CELEBA,
        line(ATTRIBUTES, 9, lambda t: t.replace("000007", "000006")),
        rf"{ATTRIBUTES}:9: 000006\.jpg is in the file twice",
    ),
    "celeba: escapes": (
        CELEBA,
        line(ATTRIBUTES, 3, lambda t: "../" + t),
        rf"{ATTRIBUTES}:3: '\.\./000001\.jpg' is not the name",
    ),
    "celeba: not UTF-8": (CELEBA, content(ATTRIBUTES, b"1\n\xe9"), rf"{ATTRIBUTES}:2: not UTF-8 \(byte 0xe9\)"),
    "celeba: stranger": (
        CELEBA,
        line(PEOPLE, 5, "9.jpg 3"),
        rf"{PEOPLE}:5: 9\.jpg is not among the files of {ATTRIBUTES}",
    ),
    "celeba: person": (
        CELEBA,
        line(PEOPLE, 5, "000005.jpg -3"),
        rf"{PEOPLE}:5: should be a file and a number, not '000",
    ),
    "celeba: person twice": (CELEBA, line(PEOPLE, 5, "000004.jpg 3"), rf"{PEOPLE}:5: 000004\.jpg is in the file twice"),
    "celeba: nobody": (CELEBA, line(PEOPLE, 5, None), rf"{PEOPLE}: has no line for 1 of 40 files, such as 000005\.jpg"),
    "celeba: part": (
        CELEBA,
        line(PARTS, 2, "000002.jpg 3"),
        rf"{PARTS}: 000002\.jpg is in part 3; there are 0, 1 and 2",
    ),
    # ----------------------------------------------------------------------------------------------------------- isic
    "isic: no table": (ISIC, gone(CSV), rf"{CSV} is not in .*/isic or"),
    "isic: target": (ISIC, cell(4, 5, "2"), rf"{CSV}:4: target should be 0 or 1, not '2'"),
    "isic: age": (ISIC, cell(4, 3, "old"), rf"{CSV}:4: age_approx should be a number or nothing, not 'old'"),
    "isic: ragged": (ISIC, line(CSV, 6, lambda t: t + ",1"), rf"{CSV}:6: 7 cells, but the header names 6 columns"),
    "isic: quote": (ISIC, line(CSV, 6, '"a"b,c,d,e,f,g'), rf"{CSV}:6: not CSV \("),
    "isic: column": (
        ISIC,
        line(CSV, 1, lambda t: t.replace("target", "label")),
        rf"{CSV}:1: no column target; the header",
    ),
    "isic: columns": (
        ISIC,
        line(CSV, 1, lambda t: t.replace("sex", "target")),
        rf"{CSV}:1: the header names 'target' twi",
    ),
    "isic: twice": (ISIC, cell(3, 0, "ISIC_1000000"), rf"{CSV}:3: image_name ISIC_1000000 is in the file twice"),
    "isic: escapes": (ISIC, cell(3, 0, "../evil"), rf"{CSV}:3: image_name: '\.\./evil' is not the name of a picture"),
    "isic: no rows": (ISIC, content(CSV, b"image_name,patient_id,target\n"), rf"{CSV}: lists no pictures"),
    "isic: empty": (
        ISIC,
        content(CSV, b""),
        rf"{CSV}: empty; its first line should name image_name, patient_id, target",
    ),
    "isic: not UTF-8": (ISIC, content(CSV, b"image_name\n\xff"), rf"{CSV}:2: not UTF-8"),
    "isic: share": (
        Isic(size=8, holdout=0.001),
        lambda _: None,
        r"dataset\.holdout: 0\.001 of .* cannot be drawn:",
    ),
    "isic: patients": (
        Isic(size=8, holdout=0.01, split_by="patient"),
        lambda _: None,
        r"fewer than any of the \d+ patients",
    ),
    "isic: both": (
        Isic(size=8, test_metadata=f"isic/{CSV}"),
        lambda _: None,
        rf"{CSV}: ISIC_1000000 is also a training .* 39 more",
    ),
    # --------------------------------------------------------------------------------------------------------- folder
    "folder: none": (
        ImageFolder(folder="elsewhere"),
        lambda _: None,
        r"no folder .*/elsewhere; name it with dataset\.f",
    ),
    "folder: no test": (
        FOLDER,
        gone("test"),
        r"image_folder: neither test/ nor val/ beside train/; set holdout",
    ),
    "folder: class": (
        FOLDER,
        gone("train/ring"),
        r"image_folder: test has test/ring/\d+\.jpg, but its class has no training pictures",
    ),
    "folder: empty class": (
        FOLDER,
        lambda f: (f / "train" / "a").mkdir(),
        r"train/a: no pictures \(\.bmp, .*remove it, or",
    ),
    "folder: one class": (
        ImageFolder(holdout=0.5, folder="one"),
        lambda f: shutil.copytree(f / "test" / "ring", f.parent / "one" / "ring"),
        r"one: pictures of 1 class; there should be a folder for each of several",
    ),
    "folder: nested": (
        FOLDER,
        lambda f: (f / "train" / "ring" / "a").mkdir(),
        r"train/ring/a: a folder in the folder of a",
    ),
    "folder: archive": (
        FOLDER,
        content("train/more.zip", b""),
        r"train: extract more\.zip, which flspec does not, and mov",
    ),
    "folder: no table": (FOLDER, gone(TABLE), r"dataset\.metadata: .*metadata\.csv is not a file"),
    "folder: escapes": (FOLDER, line(TABLE, 3, "../evil.jpg,a"), rf"{TABLE}:3: '\.\./evil\.jpg' leads out of"),
    "folder: stranger": (FOLDER, line(TABLE, 3, "train/x.jpg,a"), rf"{TABLE}:3: there is no picture 'train/x\.jpg' in"),
    "folder: no line": (FOLDER, line(TABLE, 3, None), rf"{TABLE}: no line for 1 of 40 pictures: train/"),
    "folder: twice": (
        FOLDER,
        lambda f: (f / TABLE).open("a").write((f / TABLE).read_text().splitlines()[1] + "\n"),
        rf"{TABLE}:42: train/circle/00000\.jpg is in the file twice",
    ),
    "folder: no column": (
        FOLDER,
        line(TABLE, 1, "path,client"),
        rf"{TABLE}:1: no column file; it should hold paths such as tes",
    ),
    "folder: client": (
        ImageFolder(size=8, metadata=TABLE, client_column="clint"),
        lambda _: None,
        r"dataset\.client_column: unknown 'clint'; did you mean 'client'\?",
    ),
}


@pytest.mark.parametrize(("dataset", "damage", "message"), CASES.values(), ids=CASES)
def test_what_is_wrong_with_a_download_is_told_in_one_line(copied, dataset, damage, message):
    folder = copied(dataset)
    damage(folder)
    with pytest.raises(InputError) as refused:
        dataset.load(folder.parent, Stream(0))
    assert re.search(message, str(refused.value)), str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dataset", [FLAIR, CELEBA, ISIC, FOLDER], ids=lambda dataset: dataset.kind)
def test_a_download_that_is_not_damaged_is_read(copied, dataset):
    data = dataset.load(copied(dataset).parent, Stream(0))
    assert sum(map(len, data.splits.values())) == 40


@pytest.mark.parametrize("name", [JSON, PEOPLE, CSV, TABLE])
def test_a_byte_order_mark_is_no_part_of_a_text(copied, name):
    dataset = {JSON: FLAIR, PEOPLE: CELEBA, CSV: ISIC, TABLE: FOLDER}[name]
    folder = copied(dataset)
    digest = dataset.load(folder.parent, Stream(0)).digest
    (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert dataset.load(folder.parent, Stream(0)).digest == digest


def test_files_that_are_no_pictures_are_left_out_of_a_class(copied):
    folder = copied(FOLDER)
    for name in ("Thumbs.db", ".DS_Store", "readme.txt", ".hidden.jpg"):
        (folder / "train" / "ring" / name).write_bytes(b"text")
    (folder / "train" / ".git").mkdir()
    assert len(FOLDER.load(folder.parent, Stream(0)).train) == 32


def test_an_attribute_that_celeba_does_not_have_is_refused_with_the_spec():
    with pytest.raises(ValidationError, match="did you mean 'Smiling'"):
        CelebA(target="Smilin")


def test_clients_in_metadata_that_are_not_named_are_refused_with_the_spec():
    with pytest.raises(ValidationError, match="set metadata"):
        ImageFolder(client_column="client")


@pytest.mark.parametrize("name", ["a\x85b", "a\u2028b", "a\x0bb", "a\x1cb", "a,b", 'a"b', "a\nb", "é"])
def test_a_name_in_a_table_may_hold_what_ends_a_line_elsewhere(copied, name):
    """`str.splitlines` takes more for the end of a line than a file does."""
    folder = copied(FOLDER)
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    rows[0][header.index("client")] = name
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    data = FOLDER.load(folder.parent, Stream(0))
    assert name in {value for split in data.splits.values() for value in split.columns["client"].tolist()}


def test_clients_that_numbers_would_merge_stay_apart(copied):
    folder = copied(FOLDER)
    _, *rows = (folder / TABLE).read_text().splitlines()
    clients = ["0012", "12", "12.0", "E1", "E2"]
    assert len(set(map(float, clients[:3]))) == 1
    changed = [f"{row.split(',')[0]},{clients[number % 5]}" for number, row in enumerate(rows)]
    (folder / TABLE).write_text("\n".join(["file,client", *changed]))
    data = FOLDER.load(folder.parent, Stream(0))
    assert sorted({value for split in data.splits.values() for value in split.columns["client"]}) == clients
