"""What every test shares: a cache of its own, the smallest experiment, and data that may be absent."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from flspec.compiler.compile import compile, data_root
from flspec.core.cache import cache_folder
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

# Which of the tests that may run side by side stay together, by the backend that they ask for.
ENGINES = {"tff": "tff", "flower": "ray", "flower:ray": "ray", "flower:inprocess": "flower"}

# A shell that starts the tests in the background has them ignore Ctrl-C, and every flspec that they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Python compiles a module once; the hundreds of processes that the tests start would otherwise do it each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples in every run, so that a suite that passed passes again; `--hypothesis-profile=default` explores.
settings.register_profile("stable", deadline=None, derandomize=True, database=None)
settings.load_profile("stable")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of an engine in one of several processes, so that it is started once."""
    for item in items:
        if (engine := engine_of(item)) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(engine))


def engine_of(item: pytest.Item) -> str | None:
    """The engine that a test names as its `backend`: those that take long to start, or hold much when they have."""
    call = getattr(item, "callspec", None)
    backend = call.params.get("backend") if call else None
    return ENGINES.get(backend) if isinstance(backend, str) else None


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests, except the environments, which take minutes to make."""
    environments = cache_folder() / "environments"
    private = tmp_path_factory.mktemp("cache")
    if environments.is_dir():
        (private / "environments").symlink_to(environments, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLSPEC_CACHE", str(private))
        yield


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
