"""Data that a script has in memory as a data set: written once into a file of flspec's cache, named by its content.

Engines in other processes read that file, so runs, digests and resuming are those of any data set.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.api.given_columns import as_array, cells_of, column_problems, examples_of, feature_problems
from flspec.core.cache import cache_folder, partial_folder
from flspec.core.randomness import Stream
from flspec.errors import InputError, shorten, suggestion

__all__ = ["dataset_of"]

_FOLDER = "given"  # in the cache
Arrays = dict[str, NDArray[Any]]


def dataset_of(
    x: Any,
    y: Any = None,
    *,
    test: Any = None,
    holdout: float | None = None,
    split_seed: int = 0,
    clients: Any = None,
    columns: Mapping[str, Any] | Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    label: str | None = None,
    client: str | None = None,
    features: Sequence[str] | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the section `dataset` of a spec for data in memory: `{"dataset": flspec.dataset_of(x, y, holdout=0.2)}`.

    `x` and `y` are arrays or tensors: numbers [num_rows, ...] (uint8 pictures stay so) and a label for each row, a
    whole number or a name. `clients` has the owner of each row, `columns` what else is known of it, by name; `test` is
    `(x, y)`, or `(x, y, columns)` if groups are measured. `x` alone may be a torch `Dataset` of pairs, which is gone
    through once, with another as `test`; or a frame of pandas or a mapping of columns, of which `label`, `client`,
    `features` (columns, or encodings by column) and `columns` (names to keep) name the roles, with another as `test`.
    Without `test`, `holdout` is the share of each class that `split_seed` draws for it. `classes` names the labels in
    order.

    The result is a mapping that may be changed as any section. Raises InputError with all that is wrong with the data.
    """
    if (test is None) == (holdout is None):
        raise InputError("test or holdout: give one of them: other examples to test on, or the share to draw, as 0.2")
    if holdout is not None and not 0 < holdout < 1:
        raise InputError(f"holdout: {holdout} is no share; give a number between 0 and 1, as 0.2")
    named = {"classes": list(classes)} if classes else {}
    if isinstance(x, Mapping) or hasattr(x, "columns"):
        kept = list(columns or ())
        roles = {"label": label, "client": client, "features": features, "columns": kept}
        drawn = {"holdout": holdout, "split_seed": split_seed} if test is None else {}
        return _of_frames(x, test, {key: value for key, value in roles.items() if value}) | drawn | named
    for name, role in {"label": label, "client": client, "features": features}.items():
        if role:
            raise InputError(f"{name}: arrays have no column of that name; leave it out, or give a frame")
    known = columns if isinstance(columns, Mapping) else {}
    if columns and not known:
        raise InputError("columns: arrays have no names; give the values of each column, by its name")
    train = _arrays((x, y), clients, known, "", classes)
    if test is None:
        return _stored_arrays(*_drawn(train, holdout or 0.0, split_seed)) | named
    given = tuple(test) if isinstance(test, tuple | list) else (test, None)
    return _stored_arrays(train, _arrays(given[:2], None, given[2] if len(given) > 2 else {}, "test ", classes)) | named


def _arrays(
    given: tuple[Any, ...], clients: Any, columns: Mapping[str, Any], which: str, classes: Sequence[str] | None
) -> Arrays:
    """Return the arrays of one split by name, checked."""
    if wrong := [name for name in columns if name in ("x", "y", "client") or not name.isidentifier()]:
        raise InputError(f"{which}columns: {wrong[0]!r} cannot be a column's name here; choose another")
    x, y = given if given[1] is not None else examples_of(given[0], which)
    arrays = {"x": as_array(x), "y": as_array(y), **{name: as_array(values) for name, values in columns.items()}}
    if clients is not None:
        arrays["client"] = as_array(clients)
    problems = [*feature_problems(arrays["x"], f"{which}x")]
    for name, array in list(arrays.items())[1:]:
        problems += column_problems(array, f"{which}{name}", len(arrays["x"]), is_needed=name in ("y", "client"))
    if problems:
        raise InputError("\n".join(problems))
    arrays["y"] = _labels(arrays["y"], classes)
    if arrays["x"].dtype.kind == "b":
        arrays["x"] = arrays["x"].astype(np.float32)
    return arrays


def _labels(y: NDArray[Any], classes: Sequence[str] | None) -> NDArray[Any]:
    """Return labels as the file has them: whole numbers or names; positions among `classes` by their names."""
    y = y.reshape(len(y))
    if y.dtype.kind in "fb":
        y = y.astype(np.int64)
    is_position = classes and y.dtype.kind in "iu" and int(y.min()) >= 0 and int(y.max()) < len(classes)
    return np.array(classes, np.str_)[y] if is_position else y


def _drawn(arrays: Arrays, share: float, seed: int) -> tuple[Arrays, Arrays]:
    """Return the arrays for training and those for the test: a share of each class, rounded but never all."""
    is_test = np.zeros(len(arrays["y"]), bool)
    for number, one in enumerate(np.unique(arrays["y"])):
        members = np.flatnonzero(arrays["y"] == one)
        count = min(int(share * len(members) + 0.5), len(members) - 1)
        is_test[members[Stream(seed, "holdout").child(number).choice(len(members), count)]] = True
    if not is_test.any():
        raise InputError(f"holdout: {share:g} of {len(is_test):,} examples, class by class, is none; raise it")
    return {name: a[~is_test] for name, a in arrays.items()}, {name: a[is_test] for name, a in arrays.items()}


def _stored_arrays(train: Arrays, test: Arrays) -> dict[str, Any]:
    """Return the section of arrays, which are written unless they are there."""
    if train["x"].shape[1:] != test["x"].shape[1:]:
        shapes = [list(arrays["x"].shape[1:]) for arrays in (train, test)]
        raise InputError(f"test x: rows of shape {shapes[1]}, but those of x have {shapes[0]}; make them alike")
    arrays = {f"{name}_{split}": a for split, of in (("train", train), ("test", test)) for name, a in of.items()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in sorted(arrays.items()):  # not by np.savez, which writes the current time into the file
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return {"kind": "npz", "file": _stored({"data.npz": content.getvalue()})["data.npz"]}


def _of_frames(train: Any, test: Any, roles: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section of frames, which are written as tables unless they are there."""
    features = roles.get("features")
    needed = [roles.get("label", "label"), *([roles["client"]] if "client" in roles else []), *roles.get("columns", ())]
    wanted = [*needed, *(features or ())]
    frames = {"": train} | ({"test ": test} if test is not None else {})
    tables: list[bytes] = []
    problems: list[str] = []
    for which, frame in frames.items():
        names = [str(name) for name in (frame if isinstance(frame, Mapping) else frame.columns)]
        cells, wrong = cells_of(frame, which, set(needed[:2]))
        problems += wrong
        for name in dict.fromkeys(str(one) for one in wanted if one != "*"):
            if name not in names and not (which and name not in needed[:1]):
                problems.append(f"{which}frame: no column is called {shorten(name)!r}; {suggestion(name, names)}"
                                f"its columns are {shorten(', '.join(names))}")  # fmt: skip
        tables.append(_table(cells))
    if problems:
        raise InputError("\n".join(problems))
    files = _stored({f"{name}.csv": table for name, table in zip(("train", "test"), tables, strict=False)})
    section = {"kind": "csv", "file": files["train.csv"], **roles}
    if isinstance(features, Mapping):
        section["features"] = dict(features)
    return section | ({"test_file": files["test.csv"]} if "test.csv" in files else {})


def _table(cells: Mapping[str, Sequence[str]]) -> bytes:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(cells)
    writer.writerows(zip(*cells.values(), strict=False))
    return content.getvalue().encode()


def _stored(files: Mapping[str, bytes]) -> dict[str, str]:
    """Write files into the cache unless they are there, and return where a spec finds each."""
    sha = hashlib.sha256()
    for name, content in sorted(files.items()):
        sha.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    folder = Path(cache_folder(), _FOLDER, sha.hexdigest()[:32])
    if not folder.is_dir():
        with partial_folder(folder) as partial:
            for name, content in files.items():
                (partial / name).write_bytes(content)
    return {name: f"${{cache}}/{_FOLDER}/{folder.name}/{name}" for name in files}
