"""CIFAR-10, in its three published layouts.

In the two layouts of its authors a row of 3,072 bytes has the red plane of 32 by 32, then the green, then the blue.
Some loaders read it as 32 by 32 pixels of three colours each, which scrambles every image and raises no error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.locations import Location
from flspec.core.randomness import Stream
from flspec.core.reading import read_regular
from flspec.data.classes import Classes
from flspec.data.examples import Data, Split
from flspec.data.images import Decoding
from flspec.data.parquet_files import ImageFormat, ParquetFile
from flspec.data.safe_unpickle import read_inert_pickle
from flspec.data.synthetic.twins import TwinSize, class_images, count_differences, even_labels, shares_of
from flspec.data.tables import Rows, assemble
from flspec.datasets.base import ImageDataset, Twinned
from flspec.datasets.parquet import open_pictures, shards_below
from flspec.errors import InputError, shorten

_SHAPE = (3, 32, 32)
_PIXELS = 3072
_MOST_BYTES = 2**28  # of one file
_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_BELOW = ("", "cifar-10-batches-bin", "cifar-10-batches-py")  # subfolders of the published archives
_LABEL_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PUBLISHED = {"train": (5000,) * 10, "test": (1000,) * 10}
_IMAGES, _LABELS = ("img", "image"), ("label", "labels")  # column names in Hugging Face's copies

_Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images [num, *_SHAPE] and labels


class Cifar10(Twinned, ImageDataset):
    """Colour pictures of ten classes, 32 by 32 pixels: 50,000 for training and 10,000 for evaluation, in file order.

    Krizhevsky. Learning Multiple Layers of Features from Tiny Images. 2009. Reads `data_batch_1.bin` to
    `data_batch_5.bin` and `test_batch.bin`; or the same six without `.bin`, which are pickles and are read without
    unpickling; or Hugging Face's `train*.parquet` and `test*.parquet`, for which pip install 'flspec[parquet]'.
    """

    kind: Literal["cifar10"] = "cifar10"
    folder: Annotated[
        Location | None,
        Field(
            description="where the files are, below the data root, beside the spec, or absolute; "
            "if absent, in cifar10/ or in the root; "
            "${env:NAME} is replaced when they are read"
        ),
    ] = None

    def read(self, root: Path, stream: Stream) -> Data:
        folder, ending = self._layout(root)
        if ending is None:
            return self._read_parquet(folder)
        train, test = (_read_batches(folder, names, ending) for names in _BATCHES.values())
        return Data(train, test, num_classes=10, label_names=_LABEL_NAMES)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write the six binary files, with a pattern for each class. A sixth of the examples is for evaluation."""
        names = [name for names in _BATCHES.values() for name in names]
        for name, count in zip(names, shares_of(size.examples, (1,) * len(names), least=10), strict=True):
            labels = even_labels(count, 10, stream.child(name))
            images = class_images(labels, 10, _SHAPE, stream, name)
            records = np.concatenate([labels.astype(np.uint8)[:, np.newaxis], images.reshape(count, _PIXELS)], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())

    def findings(self, root: Path) -> Sequence[str]:
        try:
            data = self.read(root, Stream(0))
        except InputError as error:
            return [str(error)]
        differences = [line for name, split in data.splits.items() for line in _differences(name, split)]
        return [*differences, *self._lossy(root)]

    def complete(self, root: Path) -> str:
        return f"complete: {' + '.join(f'{sum(counts):,}' for counts in _PUBLISHED.values())} pictures"

    def _lossy(self, root: Path) -> Iterator[str]:
        """Report splits whose pictures were compressed as JPEG, judged by the first picture of each."""
        folder, ending = self._layout(root)
        for split, paths in shards_below([folder]).items() if ending is None else ():
            if not paths:
                continue
            file = ParquetFile(paths[0])
            if file.images(_column(file, _IMAGES))[0].read().startswith(b"\xff\xd8"):
                yield f"{split}: pictures are stored as JPEG, so their pixels are only close to the published ones"

    def _layout(self, root: Path) -> tuple[Path, str | None]:
        """Return the folder of the files and the ending of their names; None if they are Parquet."""
        places = self.places(root, self.folder)
        for folder in [place / name for place in places for name in _BELOW]:
            for ending in (".bin", ""):
                if any((folder / f"{name}{ending}").is_file() for names in _BATCHES.values() for name in names):
                    return folder, ending
        for place in places:
            try:
                return next(iter(shards_below([place])["train"])).parent, None
            except InputError:
                continue
        raise InputError(
            f"dataset: neither data_batch_1.bin, nor data_batch_1, nor train*.parquet is in "
            f"{' or '.join(map(str, places))}; put CIFAR-10's files there, or name their folder with dataset.folder, "
            "--data-root or FLSPEC_DATA"
        )

    def _read_parquet(self, folder: Path) -> Data:
        parts: dict[str, list[Rows]] = {}
        for split, paths in shards_below([folder]).items():
            if split == "test" and not paths:
                raise InputError(f"{folder}: no test*.parquet; download it as well")
            for file in map(ParquetFile, paths):
                image, label = _column(file, _IMAGES), _column(file, _LABELS)
                if not file.is_image(image) or label not in file.types:
                    raise InputError(
                        f"{file.path}: columns {shorten(', '.join(file.types))} are not CIFAR-10's img and label"
                    )
                pictures = np.array(file.images(image, ImageFormat(32, 32, is_grey=False)), dtype=object)
                parts.setdefault(split, []).append(Rows(str(file.path), pictures, file.column(label)))
        return open_pictures(
            folder, assemble(parts, classes=Classes(_LABEL_NAMES, are_positions=True)), Decoding(32, 32)
        )


def _column(file: ParquetFile, names: Sequence[str]) -> str:
    return next((name for name in names if name in file.types), names[0])


def _read_batches(folder: Path, names: Sequence[str], ending: str) -> Split:
    read: Callable[[Path], _Batch] = _read_binary if ending else _read_pickle
    batches = [read(folder / f"{name}{ending}") for name in names]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Split(images, labels, divisor=255.0)


def _read_binary(path: Path) -> _Batch:
    """Read records of one label byte and the bytes of an image."""
    content = _read_file(path)
    if not content or len(content) % (_PIXELS + 1):
        raise InputError(f"{path}: {len(content):,} bytes are not a multiple of {_PIXELS + 1:,}; download it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, _PIXELS + 1)
    return _checked(path, records[:, 1:], records[:, 0].astype(np.int64))


def _read_pickle(path: Path) -> _Batch:
    """Read a pickled mapping with `data` and `labels`."""
    try:
        batch = read_inert_pickle(_read_file(path))
    except ValueError as error:
        raise InputError(f"{path}: not as CIFAR-10 was published: {shorten(str(error), 200)}") from None
    data, labels = (batch.get(key) if isinstance(batch, dict) else None for key in (b"data", b"labels"))
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS or not isinstance(labels, list):
        raise InputError(f"{path}: holds no data of {_PIXELS:,} bytes an image with labels; is this CIFAR-10?")
    if len(labels) != len(data) or not all(type(label) is int and 0 <= label <= 255 for label in labels):
        raise InputError(f"{path}: {len(labels):,} labels for {len(data):,} images; each needs a number")
    return _checked(path, data, np.array(labels, np.int64))


def _read_file(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"{path.parent}: {path.name} is missing; extract all of CIFAR-10's archive")
    return read_regular(path, _MOST_BYTES)


def _checked(path: Path, rows: NDArray[np.uint8], labels: NDArray[np.int64]) -> _Batch:
    if len(labels) and labels.max() > 9:
        raise InputError(f"{path}: label {labels.max()} is outside 0..9; is this CIFAR-10?")
    return rows.reshape(-1, *_SHAPE), labels


def _differences(name: str, split: Split) -> Iterator[str]:
    if name not in _PUBLISHED:
        yield f"{name}: {len(split):,} examples, none were published"
    else:
        yield from count_differences(name, split.labels, _PUBLISHED[name])
