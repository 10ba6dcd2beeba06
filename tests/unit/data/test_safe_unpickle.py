"""Pickles that would do something, or take all memory, when they are loaded in good faith."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from flspec.data import safe_unpickle
from flspec.data.safe_unpickle import _InertUnpickler, _Noted, read_inert_pickle

RECONSTRUCT, NDARRAY, DTYPE = b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
EMPTY = RECONSTRUCT + NDARRAY + b"K\x00\x85U\x01b\x87R"  # an array to be given its state
BYTE = DTYPE + b"U\x02u1K\x00K\x01\x87R"
NOTHING_DONE = "not an array of unsigned bytes"


def in_mapping(item: bytes) -> bytes:
    return b"\x80\x02}U\x01a" + item + b"s."


def array(
    shape: bytes = b"K\x02K\x03\x86", kind: bytes = BYTE, order: bytes = b"\x89", content: bytes = b"abcdef"
) -> bytes:
    text = b"U" + bytes([len(content)]) + content
    return in_mapping(EMPTY + b"(K\x01" + shape + kind + order + text + b"tb")


def test_an_array_is_what_it_says():
    (values,) = read_inert_pickle(array()).values()
    assert values.tolist() == [[97, 98, 99], [100, 101, 102]]
    assert values.dtype == np.uint8
    assert np.array_equal(values, pickle.loads(array(), encoding="bytes")[b"a"])


class MakesFolder:
    def __reduce__(self):
        return os.mkdir, ("made",)


class HasState:
    def __setstate__(self, state):
        os.mkdir(state)

    def __getstate__(self):
        return "made"


HOSTILE = {
    "a call": (pickle.dumps(MakesFolder(), 2), "names 'posix mkdir'"),
    "a call, in text": (pickle.dumps(MakesFolder(), 0), "names 'posix mkdir'"),
    "a call, as Python 3 writes it": (pickle.dumps(MakesFolder(), 4), "the instruction FRAME"),
    "a state": (pickle.dumps(HasState(), 2), "names 'copyreg|the instruction|names 'test_safe_unpickle"),
    "an instance": (b"(U\x04madeios\nmkdir\n.", "the instruction INST"),
    "an object": (b"(cos\nmkdir\nU\x04madeo.", "names 'os mkdir'"),
    "a class": (b"\x80\x02cnumpy\nndarray\n)\x81.", "the instruction EMPTY_TUPLE"),
    "something kept elsewhere": (b"\x80\x02U\x04madeQ.", "the instruction BINPERSID"),
    "a registered extension": (b"\x80\x02\x82\x01.", "the instruction EXT1"),
    "a mapped name": (b"\x80\x02c__builtin__\neval\n.", "names '__builtin__ eval'"),
    "a codec": (b"\x80\x02c_codecs\nencode\n.", "names '_codecs encode'"),
    "a scalar": (pickle.dumps(np.float64(1.0), 2), "names 'numpy.*scalar'"),
    "an array of objects": (array(kind=DTYPE + b"U\x02O8K\x00K\x01\x87R"), NOTHING_DONE),
    "an array of numbers": (array(kind=DTYPE + b"U\x02f4K\x00K\x01\x87R"), NOTHING_DONE),
    "another class than numpy's": (in_mapping(RECONSTRUCT + DTYPE + b"K\x00\x85U\x01b\x87R"), NOTHING_DONE),
    "an array that is not empty": (in_mapping(RECONSTRUCT + NDARRAY + b"K\x09\x85U\x01b\x87R"), NOTHING_DONE),
    "an array without a state": (in_mapping(EMPTY), NOTHING_DONE),
    "two states": (in_mapping(EMPTY + b"K\x01bK\x01b"), "damaged"),
    "a state of what is only named": (in_mapping(DTYPE + b"}b"), "damaged"),
    "what is only named": (in_mapping(NDARRAY), NOTHING_DONE),
    "a call of a call": (in_mapping(BYTE + b"K\x00\x85R"), "damaged"),
    "a call of a number": (in_mapping(b"K\x00K\x00\x85R"), "damaged"),
    "columns before rows": (array(order=b"N"), NOTHING_DONE),
    "a shape of too many bytes": (array(shape=b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), "promises an array of shape"),
    "a shape below zero": (array(shape=b"J\xfe\xff\xff\xffJ\xfd\xff\xff\xff\x86"), "an invalid shape"),
    "a shape of text": (array(shape=b"U\x01aK\x03\x86"), "an invalid shape"),
    "a shape of many numbers": (array(shape=b"(" + b"J\xff\xff\xff\x7f" * 1000 + b"t"), "an invalid shape"),
    "a tuple in a tuple": (in_mapping(b"N" + b"\x85" * 10**6), "is larger than is allowed"),
    "a key of tuples": (b"\x80\x02}N" + b"\x85" * 10**6 + b"Ns.", "is larger than is allowed"),
    "a list in a list": (b"\x80\x02" + b"]" * 2**21 + b"a" * (2**21 - 1) + b".", "is larger than is allowed"),
    "a memory of gigabytes": (b"\x80\x02Nr\xff\xff\xff\x7f.", "at index 2147483647"),
    "a text that is cut short": (b"\x80\x02T\xff\xff\xff\x7fabc.", "expected 2147483647 bytes"),
    "bytes of gigabytes": (b"\x80\x05\x96" + b"\xff\xff\xff\xff\x0f\0\0\0" + b".", "expected 68719476735 bytes"),
    "a number of many digits": (b"I" + b"9" * 10**5 + b"\n.", "Exceeds the limit"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_and_does_nothing(name, tmp_path, monkeypatch):
    content, told = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=told):
        read_inert_pickle(content)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [pickle.dumps(MakesFolder(), protocol) for protocol in range(6)])
def test_nothing_is_done_even_where_no_instruction_is_looked_at(content, tmp_path, monkeypatch):
    monkeypatch.setattr(safe_unpickle, "_check", lambda content: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="damaged"):
        read_inert_pickle(content)
    assert list(tmp_path.iterdir()) == []
    pickle.loads(content)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_list_that_holds_itself_is_a_list():
    found = read_inert_pickle(b"\x80\x02]q\x00h\x00a.")
    assert found[0] is found


def test_a_name_is_found_as_something_that_only_takes_note():
    found: Any = _InertUnpickler(BytesIO()).find_class("numpy", "dtype")
    with pytest.raises(AttributeError):
        found.other = 1
    assert type(found) is _Noted
    with pytest.raises(pickle.UnpicklingError):
        _InertUnpickler(BytesIO()).find_class("os", "system")


BOMBS = {
    "a key of tuples": b"\x80\x02}N" + b"\x85" * 10**6 + b"Ns.",
    "a memory of gigabytes": b"\x80\x02Nr\xff\xff\xff\x7f.",
}
LOADS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from flspec.data import safe_unpickle
if sys.argv[1] == "unchecked":
    safe_unpickle._check = lambda content: None
try:
    safe_unpickle.read_inert_pickle(sys.stdin.buffer.read())
except ValueError as error:
    sys.exit(3 if "MemoryError" in str(error) else 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process as Linux does")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_goes_off_where_no_instruction_is_looked_at(name):
    status = {
        how: subprocess.run([sys.executable, "-c", LOADS, how], input=BOMBS[name], check=False).returncode
        for how in ("checked", "unchecked")
    }
    assert status["checked"] == 2
    assert status["unchecked"] not in (0, 2)  # killed by the system, or out of memory
