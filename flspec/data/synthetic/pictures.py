"""Synthetic twins of picture data sets: real JPEG files, and metadata files in the published layout."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.data.celeba_attributes import ATTRIBUTES
from flspec.data.synthetic.painting import Painted, finished, paint_face, paint_icons, paint_mole, paint_shape
from flspec.data.synthetic.twins import TwinSize
from flspec.errors import InputError

__all__ = ["write_celeba", "write_flair", "write_image_folder", "write_isic"]

_FINE = {  # some fine labels of each coarse label, which can also be a fine label itself
    "animal": ("dog", "jack_russell_terrier", "bird"),
    "art": ("painting", "sculpture"),
    "celebration": ("birthday_cake", "fireworks"),
    "equipment": ("bag", "car", "bicycle"),
    "fire": ("bonfire", "candle"),
    "food": ("bread", "jellybean", "waffle"),
    "games": ("chess", "playing_card"),
    "interior_room": ("kitchen", "bathroom"),
    "light": ("lamp", "neon_light"),
    "liquid": ("river", "coffee"),
    "material": ("textile", "wood_processed", "rocks"),
    "music": ("guitar", "piano"),
    "outdoor": ("blue_sky", "cloudy", "land"),
    "plant": ("grass", "tree", "foliage"),
    "recreation": ("surfing", "skiing"),
    "religion": ("altar", "cross"),
    "structure": ("building", "furniture", "bridge"),
}
# Number of pictures with each coarse label, in thousands and in the same order.
_COMMON = (69, 37, 4, 226, 3, 111, 1, 32, 11, 69, 140, 3, 131, 123, 6, 1, 229)
_CLASSES = ("circle", "square", "triangle", "ring")
_HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
_SHARES = {"Male": 0.42, "Young": 0.77, "Pale_Skin": 0.1, "Bald": 0.05}  # shares of people
_MOODS = {"Smiling": 0.48, "Eyeglasses": 0.15, "Wearing_Hat": 0.1, "Wearing_Lipstick": 0.3, "Mustache": 0.1}  # pictures
_SITES = ("torso", "lower extremity", "upper extremity", "head/neck")


def write_flair(folder: Path, size: TwinSize, stream: Stream) -> None:
    """Write `labels_and_metadata.json`, `label_relationship.txt` and `small_images/`."""
    holders = _holders(size, stream, least_clients=10)
    partitions = _partitions(size.clients, stream)
    (folder / "small_images").mkdir()
    entries = []
    for number, user in enumerate(holders.tolist()):
        of_picture = stream.child("picture", number)
        labels = _flair_labels(stream.child("user", user), of_picture, number)
        variants = [int(of_picture.child("fine", label).uniform(1)[0] * (1 + len(_fine(label)))) for label in labels]
        image = f"{10_000_000_000 + 7919 * number}"
        picture = paint_icons(labels, variants, _style(stream, user), 128, of_picture)
        _save(folder / "small_images" / f"{image}.jpg", picture, 0.15, of_picture, enlarged=2)
        coarse = list(_FINE)
        entries.append(
            {
                "user_id": f"{10_000_000 + 104_729 * user}@N{user % 10:02}",
                "image_id": image,
                "labels": sorted(coarse[label] for label in labels),
                "partition": partitions[user],
                "fine_grained_labels": sorted(
                    (*_fine(label), coarse[label])[variant] for label, variant in zip(labels, variants, strict=True)
                ),
            }
        )
    _write(folder / "labels_and_metadata.json", json.dumps(entries))
    pairs = sorted((fine, coarse) for coarse, names in _FINE.items() for fine in (*names, coarse))
    _write(folder / "label_relationship.txt", "".join(f"{fine} -> {coarse}\n" for fine, coarse in pairs))


def write_celeba(folder: Path, size: TwinSize, stream: Stream) -> None:
    """Write `img_align_celeba/` and the text files of identities, attributes and the split, in random order."""
    holders = _holders(size, stream, least_clients=3)
    holders = holders[stream.child("order").permutation(len(holders))]
    partitions = _partitions(size.clients, stream)
    (folder / "img_align_celeba").mkdir()
    rows = []
    for number, person in enumerate(holders.tolist()):
        of_picture, of_person = stream.child("picture", number), stream.child("person", person)
        shown = _attributes(ATTRIBUTES, of_person, of_picture)
        face = paint_face(shown, of_person, of_picture, 109, 89)
        _save(folder / "img_align_celeba" / _file(number), face, 0.12, of_picture, enlarged=2)
        rows.append(" ".join([_file(number), *(f"{1 if name in shown else -1:2}" for name in ATTRIBUTES)]))
    header = f"{len(holders)}\n{' '.join(ATTRIBUTES)} \n"
    _write(folder / "list_attr_celeba.txt", header + "".join(f"{row}\n" for row in rows))
    people = 1 + stream.child("identities").permutation(10 * size.clients)
    parts = {"train": 0, "val": 1, "test": 2}
    numbered = list(enumerate(holders.tolist()))
    _write(folder / "identity_CelebA.txt", "".join(f"{_file(n)} {people[person]}\n" for n, person in numbered))
    _write(
        folder / "list_eval_partition.txt",
        "".join(f"{_file(n)} {parts[partitions[person]]}\n" for n, person in numbered),
    )


def write_isic(folder: Path, size: TwinSize, stream: Stream) -> None:
    """Write `train_concat.csv` and `train/train/`. A tenth of the patients have no id, and a tenth only melanomas."""
    holders = _holders(size, stream, least_clients=5)
    (folder / "train" / "train").mkdir(parents=True)
    header = ["image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge", "target"]
    rows = []
    for number, patient in enumerate(holders.tolist()):
        of_picture, of_person = stream.child("picture", number), stream.child("patient", patient)
        target = int(patient % 10 == 1 or of_picture.child("target").uniform(1)[0] < 0.2)
        name = f"ISIC_{1_000_000 + 37 * number:07}"
        mole = paint_mole(bool(target), of_person, of_picture, 128)
        _save(folder / "train" / "train" / f"{name}.jpg", mole, 0.1, of_picture, enlarged=2)
        sex, age, site = of_person.child("about").uniform(3)
        about = ["male" if sex < 0.5 else "female", f"{5 * int(4 + 13 * age)}.0", _SITES[int(site * len(_SITES))]]
        is_known = patient % 10 != 0
        rows.append(
            [name, f"IP_{7_000_000 + patient}" if is_known else "", *(about if is_known else ["", "", ""]), target]
        )
    _write_table(folder / "train_concat.csv", [header, *rows])


def write_image_folder(folder: Path, size: TwinSize, stream: Stream) -> None:
    """Write `train/CLASS/`, `test/CLASS/` with every fifth picture, and `metadata.csv`."""
    holders = _holders(size, stream, least_clients=1)
    if len(holders) < (least := 10 * len(_CLASSES)):
        raise InputError(f"examples: {len(holders)} are too few for {len(_CLASSES)} classes; ask for {least} or more")
    rows = []
    for number, client in enumerate(holders.tolist()):
        of_picture = stream.child("picture", number)
        # The first pictures put every class into both splits. Others have the client's preferred class or a random one.
        likes, whim, which = (
            float(u) for u in (*stream.child("client", client).uniform(1), *of_picture.child("class").uniform(2))
        )
        drawn = int((likes if whim < 0.5 else which) * len(_CLASSES))
        label = number // 5 % len(_CLASSES) if number < 10 * len(_CLASSES) else drawn
        place = folder / ("test" if number % 5 == 4 else "train") / _CLASSES[label] / f"{number:05}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        height, width = (int(72 + 56 * share) for share in of_picture.child("size").uniform(2))
        _save(place, paint_shape(label, height, width, of_picture), 0.15, of_picture)
        rows.append([place.relative_to(folder).as_posix(), f"client-{client:03}"])
    _write_table(folder / "metadata.csv", [["file", "client"], *rows])


# ------------------------------------------------------------------------------------------------------------ parts


def _holders(size: TwinSize, stream: Stream, least_clients: int) -> NDArray[np.int64]:
    """Draw the client of each picture, int64 [examples]: sizes are lognormal, and two pictures at least."""
    if size.clients < least_clients or size.examples < 2 * size.clients:
        raise InputError(
            f"{size.clients:,} clients with {size.examples:,} examples are too few; ask for {least_clients} clients "
            "and two examples of each, or more"
        )
    weights = np.exp(1.2 * stream.child("sizes").normal(size.clients))
    counts = 2 + np.floor(weights / weights.sum() * (size.examples - 2 * size.clients)).astype(np.int64)
    counts[np.argsort(-weights, kind="stable")[: size.examples - counts.sum()]] += 1
    return np.repeat(np.arange(size.clients), counts)


def _partitions(clients: int, stream: Stream) -> list[str]:
    """Draw the split of each client: about eight of ten train, one of ten validation, one of ten test."""
    few = max(1, clients // 10)
    names = ["val"] * few + ["test"] * few + ["train"] * (clients - 2 * few)
    order = stream.child("partition").permutation(clients)
    partitions = [""] * clients
    for name, client in zip(names, order.tolist(), strict=True):
        partitions[client] = name
    return partitions


def _flair_labels(user: Stream, of_picture: Stream, number: int) -> list[int]:
    """Draw one to five coarse labels: common ones, those the user likes, and each label once in the first pictures."""
    liking = np.exp(1.5 * user.child("likes").normal(len(_FINE)))
    weights = np.sqrt(np.array(_COMMON)) * liking
    keys = of_picture.child("labels").uniform(len(_FINE)) ** (1.0 / (weights / weights.max()))
    count = 1 + int(5 * of_picture.child("count").uniform(1)[0] ** 1.5)
    chosen = {int(label) for label in np.argsort(-keys, kind="stable")[:count]}
    return sorted(chosen | ({number % len(_FINE)} if number < 2 * len(_FINE) else set()))


def _fine(label: int) -> Sequence[str]:
    return tuple(_FINE.values())[label]


def _style(stream: Stream, user: int) -> float:
    return float(stream.child("style", user).uniform(1)[0])


def _attributes(names: Sequence[str], person: Stream, picture: Stream) -> set[str]:
    """Draw a face's attributes, for the person or for the picture. Those not painted have a chance of a fifth."""
    shares = dict.fromkeys(names, 0.2) | _MOODS | _SHARES
    drawn = {
        name
        for name, share in shares.items()
        if (person if name in _SHARES else picture).child("attribute", name).uniform(1)[0] < share
    } - set(_HAIR)
    hair = _HAIR[int(person.child("hair").uniform(1)[0] * 3)] if "Young" in drawn else "Gray_Hair"
    drawn -= {"Wearing_Lipstick"} if "Male" in drawn else {"Mustache", "Bald"}
    return drawn if "Bald" in drawn else drawn | {hair}


def _file(number: int) -> str:
    return f"{number + 1:06}.jpg"


def _save(path: Path, picture: Painted, noise: float, stream: Stream, enlarged: int = 1) -> None:
    """Write a picture, enlarged by a factor: painting it smaller takes much less time."""
    from PIL import Image

    image = Image.fromarray(finished(picture, noise, stream))
    size = (image.width * enlarged, image.height * enlarged)
    image.resize(size, Image.Resampling.BILINEAR).save(path, "JPEG", quality=90)


def _write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
