"""What every test shares: the smallest experiment, and data that may be absent."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from flspec.compiler.compile import compile, data_root
from flspec.protocol.plan import Plan
from flspec.spec.spec import Spec

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# Sixty examples of four values, five clients, ten weights a layer: compiles in a millisecond.
SMALL: dict[str, Any] = {
    "flspec": 1,
    "name": "small",
    "rounds": 3,
    "dataset": {"kind": "synthetic", "classes": 3, "features": 4, "train_examples": 60, "test_examples": 20},
    "partition": {"kind": "iid", "clients": 5},
    "model": {"kind": "mlp", "hidden": [6]},
    "client": {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
    "cohort": {"kind": "uniform", "size": 3},
}

# A shell that starts the tests in the background has them ignore Ctrl-C, and every flspec that they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, so that a suite that passed passes again; `--hypothesis-profile=default` explores.
settings.register_profile("stable", deadline=None, derandomize=True, database=None)
settings.load_profile("stable")


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., Spec]:
    """The smallest spec with some of its sections replaced: `make_spec(rounds=5, cohort={"kind": "all"})`."""
    return lambda **sections: Spec.model_validate_json(json.dumps(SMALL | sections))


@pytest.fixture(scope="session")
def make_plan(make_spec: Callable[..., Spec]) -> Callable[..., Plan]:
    """The smallest plan with some sections of its spec replaced."""
    return lambda data=None, **sections: compile(make_spec(**sections), data)


@pytest.fixture
def missing() -> Callable[[str, str], None]:
    """`missing("mnist", "put it there")` skips the test, or fails it where $FLSPEC_REQUIRE names what is missing."""

    def skip_or_fail(what: str, reason: str) -> None:
        if what in os.environ.get("FLSPEC_REQUIRE", "").split(","):
            pytest.fail(f"{reason} (FLSPEC_REQUIRE asks for {what})")
        pytest.skip(reason)

    return skip_or_fail


@pytest.fixture
def mnist_root(missing: Callable[[str, str], None]) -> Path:
    """The data root, where MNIST's four files are below it."""
    root = data_root()
    found = {path.name.removesuffix(".gz") for folder in (root, root / "mnist") for path in folder.glob("*-ubyte*")}
    if absent := [name for name in MNIST_FILES if name not in found]:
        missing("mnist", f"MNIST is not below FLSPEC_DATA; put {', '.join(absent)} (or .gz) in {root / 'mnist'}")
    return root


@pytest.fixture
def cifar10_root(missing: Callable[[str, str], None]) -> Path:
    """The data root, where CIFAR-10 is below it."""
    root = data_root()
    if not any(any((root / "cifar10").rglob(name)) for name in ("data_batch_1*", "train*.parquet")):
        missing("cifar10", f"CIFAR-10 is not below FLSPEC_DATA; put one of its layouts in {root / 'cifar10'}")
    return root


@pytest.fixture
def write_mnist(tmp_path: Path) -> Callable[..., Path]:
    """Writes four files of MNIST's format, of two images a label, and returns the data root."""

    def write(images: np.ndarray | None = None, labels: np.ndarray | None = None) -> Path:
        labels = np.arange(20, dtype=np.uint8) % 10 if labels is None else labels
        images = np.arange(20 * 4 * 4, dtype=np.uint8).reshape(20, 4, 4) if images is None else images
        for prefix in ("train", "t10k"):
            (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
            (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
        return tmp_path

    return write


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of bytes in the IDX format (http://yann.lecun.com/exdb/mnist)."""
    return struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
