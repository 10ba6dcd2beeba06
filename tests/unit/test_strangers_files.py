"""No file takes more memory or time than its size says, and nothing but a regular file is read.

Beside each reader stands the naive one, which the same file overwhelms.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from tests.unit.strangers import MOST_MIB, Attempt, Reader, attempt

ZEROS = 2**21  # written at once
LARGE = 600 * 2**20  # bytes that a bomb unpacks to
PLAN = "from flspec.protocol.plan import Plan; Plan.load(Path('plan'))"


def zeros(file: IO[bytes], size: int = LARGE) -> None:
    for _ in range(size // ZEROS):
        file.write(bytes(ZEROS))


def zipped(path: Path, members: dict[str, bytes], bomb: str, start: bytes = b"") -> None:
    """An archive of `members` as they are, and of `bomb`, which is `start` and zeros, deflated."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        packed = zipfile.ZipInfo(bomb)
        packed.compress_type, packed._compresslevel = zipfile.ZIP_DEFLATED, 1  # type: ignore[attr-defined]
        with archive.open(packed, "w", force_zip64=True) as file:
            file.write(start)
            zeros(file)


def npy_header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    return header.getvalue()


def a_plan(folder: Path) -> None:
    (folder / "plan").mkdir()
    (folder / "plan" / "plan.json").write_text(json.dumps({"format": 1}))


def compressed_plan(folder: Path) -> None:
    a_plan(folder)
    zipped(folder / "plan" / "arrays.npz", {}, "weights.npy", npy_header((LARGE // 4,)))


def deep_plan(folder: Path) -> None:
    a_plan(folder)
    np.savez(folder / "plan" / "arrays.npz", a=np.zeros(1))
    (folder / "plan" / "plan.json").write_bytes(b"[" + b"[[]]," * 7_000_000 + b"0]")


def an_npz(folder: Path) -> None:
    arrays = {"y_train": np.zeros(1), "x_test": np.zeros((1, 1)), "y_test": np.zeros(1)}
    members = {}
    for name, array in arrays.items():
        np.save(held := io.BytesIO(), array)
        members[f"{name}.npy"] = held.getvalue()
    zipped(folder / "data.npz", members, "x_train.npy", npy_header((LARGE // 4, 1)))


def an_npz_of_long_header(folder: Path) -> None:
    """An array that says of itself, in zeros, that its description alone is long."""
    zipped(folder / "data.npz", {}, "x_train.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", LARGE - 4096))


def a_torch_file(folder: Path) -> None:
    torch.save({"w": torch.zeros(3)}, whole := io.BytesIO())
    with zipfile.ZipFile(whole) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (bomb,) = (name for name in parts if name.endswith("data/0"))
    zipped(folder / "weights.pt", {name: part for name, part in parts.items() if name != bomb}, bomb)


class Large:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (LARGE,)


def a_torch_file_of_one_call(folder: Path) -> None:
    torch.save({"w": torch.zeros(3), "x": Large()}, folder / "weights.pt")


def an_old_torch_file_of_one_call(folder: Path) -> None:
    torch.save({"w": torch.zeros(3), "x": Large()}, folder / "weights.pt", _use_new_zipfile_serialization=False)


def a_torch_file_of_lists(folder: Path) -> None:
    """A pickle of empty lists, a byte each, of which each takes 64."""
    torch.save({"w": torch.zeros(3)}, whole := io.BytesIO())
    with zipfile.ZipFile(whole) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in parts if name.endswith("data.pkl"))
    parts[name] = pickle.PROTO + b"\x02" + pickle.EMPTY_LIST + pickle.MARK + pickle.EMPTY_LIST * 20_000_000
    parts[name] += pickle.APPENDS + pickle.STOP
    with zipfile.ZipFile(folder / "weights.pt", "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)


def a_result(folder: Path) -> None:
    (folder / "result.json").write_bytes(b'{"rounds": [' + b"[]," * 2_000_000 + b"0]}")


def a_certificate(folder: Path) -> None:
    (folder / "certificate.json").write_bytes(b'{"backends": [' + b"[]," * 2_000_000 + b"0]}")


def events(folder: Path) -> None:
    """One event, whose check is right."""
    body = b'{"event": "run_started", "versions": [' + b"[]," * 4_000_000 + b"0]}"
    check = hashlib.sha256(body).hexdigest()[:16].encode()
    (folder / "events.jsonl").write_bytes(body[:-1] + b',"check":"' + check + b'"}\n')


def a_safetensors_header(folder: Path) -> None:
    header = b'{"__metadata__": {"flspec": "{}"}, "x": [' + b"[[]]," * 7_000_000 + b"0]}"
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def an_idx(folder: Path) -> None:
    with cast(IO[bytes], gzip.open(folder / "train-images-idx3-ubyte.gz", "wb", compresslevel=1)) as file:
        file.write(struct.pack(">4I", 0x803, LARGE // 784, 28, 28))
        zeros(file)


def a_leaf_file(folder: Path) -> None:
    (folder / "train").mkdir()
    (folder / "test").mkdir()
    lists = b"[[]]," * 14_000_000
    (folder / "train" / "a.json").write_bytes(
        b'{"users": ["a"], "num_samples": [1], "user_data": {"a": {"x": [' + lists + b'0], "y": [0]}}}'
    )


def a_repeated_text(folder: Path) -> None:
    """One text of a megabyte, and four thousand rows that are it."""
    codes = pyarrow.array(np.zeros(4000, np.int32))
    write_column(folder, pyarrow.DictionaryArray.from_arrays(codes, pyarrow.array(["a" * 2**20])))


def packed_texts(folder: Path) -> None:
    write_column(folder, pyarrow.array(["a" * 2**20] * 700), use_dictionary=False, compression="zstd")


def equal_numbers(folder: Path) -> None:
    write_column(folder, pyarrow.array(np.zeros(80_000_000, np.int8)))


def a_repeated_picture(folder: Path) -> None:
    """A thousand rows of one picture, which is in memory once."""
    write_column(folder, pyarrow.array([b"a" * 2**19] * 1000))


def write_column(folder: Path, values: Any, **options: Any) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"a": values}), folder / "a.parquet", **options)


READ_EVENTS = "from flspec.runs.event_log import read_events; list(read_events(Path('.')))"
READ_NPZ = "from flspec.datasets.npz import NpzArrays; NpzArrays(file='data.npz').load(Path('.'), Stream(0))"
READ_IDX = "from flspec.data.idx import read_idx; read_idx(Path('a-ubyte'), 3)"
READ_JSON = "from flspec.core.reading import JSON_VALUE, read_json; read_json(Path('p.json'), JSON_VALUE)"
STATE = "from flspec.protocol.state import load_state; load_state(Path('w.safetensors'))"
TORCH = "from flspec_torch.weight_files import read_torch; read_torch(Path('weights.pt'))"
NAIVE_TORCH = "torch.load('weights.pt', weights_only=True)"
NPZ = "from flspec.datasets.npz import NpzArrays; NpzArrays().load(Path('.'), Stream(0))"
NAIVE_NPZ = "[array for _, array in numpy.load('data.npz').items()]"
PARQUET = "from flspec.data.parquet_files import ParquetFile; ParquetFile(Path('a.parquet'))"
NAIVE_PLAN = "[array for _, array in numpy.load('plan/arrays.npz').items()]"


def naive_parquet(kind: str) -> str:
    return f"pyarrow.parquet.read_table('a.parquet').column('a').cast({kind!r}).to_numpy()"


# What is made, its reader, what it says, and the naive reader.
BOMBS: dict[str, tuple[Callable[[Path], None], str, str, str]] = {
    "plan, compressed": (compressed_plan, PLAN, "arrays.npz: 'weights.npy' is compressed", NAIVE_PLAN),
    "plan.json": (deep_plan, PLAN, "plan.json holds up to", "json.load(open('plan/plan.json'))"),
    "npz": (an_npz, NPZ, "bytes are more than 100 times as many as the file has", NAIVE_NPZ),
    "npz, header": (an_npz_of_long_header, NPZ, "more than 100 times as many as the file has", NAIVE_NPZ),
    "pt, compressed": (a_torch_file, TORCH, "data/0' is compressed, which such a file never is", NAIVE_TORCH),
    "pt, call": (a_torch_file_of_one_call, TORCH, "its pickle makes a bytearray", NAIVE_TORCH),
    "pt, old, call": (an_old_torch_file_of_one_call, TORCH, "its pickle makes a bytearray", NAIVE_TORCH),
    "pt, lists": (a_torch_file_of_lists, TORCH, "data.pkl is larger than 4 MiB", NAIVE_TORCH),
    "result": (
        a_result,
        "from flspec.runs.result import load_result; load_result(Path('.'))",
        "result.json holds up to 4,000,002 values",
        "flspec.protocol.records.Result.model_validate_json(open('result.json').read())",
    ),
    "certificate": (
        a_certificate,
        "from flspec.comparison.certification import load_certificate; load_certificate(Path('.'))",
        "certificate.json holds up to",
        "flspec.comparison.certification.Certificate.model_validate_json(open('certificate.json').read())",
    ),
    "events": (
        events,
        READ_EVENTS,
        "events.jsonl holds up to",
        "flspec.protocol.events.parse_event(open('events.jsonl').read())",
    ),
    "state": (
        a_safetensors_header,
        STATE,
        "w.safetensors holds up to",
        "json.loads(open('w.safetensors', 'rb').read()[8:])",
    ),
    "idx": (
        an_idx,
        "from flspec.datasets.mnist import Mnist; Mnist().load(Path('.'), Stream(0))",
        "but 268435441 bytes follow",
        "gzip.open('train-images-idx3-ubyte.gz').read()",
    ),
    "parquet, text": (
        a_repeated_text,
        f"{PARQUET}.column('a')",
        "is longer than 256 characters",
        naive_parquet("string"),
    ),
    "parquet, packed": (packed_texts, f"{PARQUET}.column('a')", "more than 100 times as many", naive_parquet("string")),
    "parquet, numbers": (equal_numbers, f"{PARQUET}.numbers(['a'])", "more than 100 times", naive_parquet("double")),
    "parquet, pictures": (
        a_repeated_picture,
        f"{PARQUET}.images('a')[0].read()",
        "nothing",
        naive_parquet("binary"),
    ),
    "leaf": (
        a_leaf_file,
        "from flspec.datasets.leaf import Leaf; Leaf().load(Path('.'), Stream(0))",
        "a.json holds up to",
        "json.load(open('train/a.json'))",
    ),
}


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each bomb, with it."""
    folders = {name: tmp_path_factory.mktemp("bomb") for name in BOMBS}
    for name, folder in folders.items():
        BOMBS[name][0](folder)
    return folders


@pytest.fixture(scope="module")
def attempts(bombs: dict[str, Path]) -> dict[str, Attempt]:
    """What each reader said of its bomb."""
    return attempt([Reader(name, folder, BOMBS[name][1]) for name, folder in bombs.items()])


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(name: str, attempts: dict[str, Attempt]) -> None:
    said, mib = attempts[name]
    assert BOMBS[name][2] in said
    assert mib < MOST_MIB


GIGABYTES = pytest.mark.release("fills gigabytes for a minute; a few of its kind do each time")
EACH_TIME = ("npz", "pt, call", "parquet, packed")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in EACH_TIME else [GIGABYTES]) for name in BOMBS])
def test_the_same_bomb_overwhelms_a_naive_reader(name: str, bombs: dict[str, Path]) -> None:
    ((said, mib),) = attempt([Reader(name, bombs[name], BOMBS[name][3])]).values()
    assert mib > MOST_MIB or "MemoryError" in said or said == "killed" or "allocate" in said


# What is read, the file in whose place something else lies, and its reader.
READERS: dict[str, tuple[str, str]] = {
    "plan.json": ("plan/plan.json", PLAN),
    "arrays": ("plan/arrays.npz", PLAN),
    "result": ("result.json", BOMBS["result"][1]),
    "events": ("events.jsonl", READ_EVENTS),
    "certificate": ("certificate.json", BOMBS["certificate"][1]),
    "state": ("w.safetensors", STATE),
    "torch": ("weights.pt", TORCH),
    "safetensors": ("w.safetensors", "flspec.compiler.initial_weights._read_safetensors(Path('w.safetensors'))"),
    "npz": ("data.npz", READ_NPZ),
    "idx": ("a-ubyte", READ_IDX),
    "idx.gz": ("a-ubyte.gz", READ_IDX.replace("a-ubyte", "a-ubyte.gz")),
    "cifar": ("b.bin", "from flspec.datasets.cifar10 import _read_binary; _read_binary(Path('b.bin'))"),
    "leaf": ("train/a.json", BOMBS["leaf"][1]),
    "parquet": ("a.parquet", PARQUET),
    "csv": ("a.csv", "from flspec.data.csv_files import read_header; read_header(Path('a.csv'), ',')"),
    "text": ("a.txt", "from flspec.data.text_files import read_text; read_text(Path('a.txt'))"),
    "picture": ("a.png", "from flspec.data.images import ImageFile; ImageFile('.', 'a.png').read()"),
    "partition": ("p.json", READ_JSON),
    "spec": ("spec.yaml", "from flspec.spec.study import load_study; load_study('spec.yaml')"),
}
THINGS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Attempt]:
    """What each reader said of each thing in the place of its file."""
    readers = []
    for name, (file, reader) in READERS.items():
        for thing, put in THINGS.items():
            folder = tmp_path_factory.mktemp("thing")
            for part in ("plan", "train", "test"):
                (folder / part).mkdir()
            for other in {"plan/plan.json": b'{"format": 1}', "plan/arrays.npz": b""}.items():
                if other[0] != file:
                    (folder / other[0]).write_bytes(other[1])
            put(folder / file)
            readers.append(Reader(f"{name} {thing}", folder, reader))
    return attempt(readers)


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", READERS)
def test_nothing_but_a_file_is_read(name: str, thing: str, refusals: dict[str, Attempt]) -> None:
    said, mib = refusals[f"{name} {thing}"]
    assert "not a file" in said
    assert mib < MOST_MIB


def test_a_naive_reader_would_wait_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    (told,) = attempt([Reader("naive", tmp_path, "signal.alarm(2); open('plan.json').read()")]).values()
    assert told.said == "killed"
