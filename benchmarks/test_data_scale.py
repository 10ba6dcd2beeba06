"""A million rows over ten thousand clients: what loading, partitioning and compiling take, and how they grow.

Times are of one process with one thread; memory is what numpy and Python allocate at most, measured in a run of its
own because measuring takes time. The last tests refuse what grows faster than the rows.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.floors_of_parts import draw_rows, shuffle, split_by_python
from benchmarks.measuring import measure
from flspec.compiler.compile import compile
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.datasets.csv import CsvTable
from flspec.datasets.synthetic import Synthetic
from flspec.partitioners import Partitioner
from flspec.partitioners.dirichlet import Dirichlet
from flspec.partitioners.iid import Iid
from flspec.spec.loading import parse_spec

MILLION, CLIENTS = 1_000_000, 10_000
SIZES = (MILLION // 10, MILLION)
PARTITIONERS: dict[str, Callable[[int], Partitioner]] = {
    "iid": lambda clients: Iid(clients=clients),
    "dirichlet": lambda clients: Dirichlet(clients=clients, alpha=0.5, min_examples=1),
}
MOST_GROWTH = 40.0  # in time, for ten times the rows: linear is 10, quadratic 100
MOST_CSV_ROWS = 100_000


@pytest.fixture(params=SIZES, ids="{:,}".format)
def rows(request: pytest.FixtureRequest, is_measured: bool) -> int:
    size: int = request.param
    return size if is_measured else size // 50  # the smaller has 20 clients


def load(rows: int) -> object:
    return Synthetic(features=32, train_examples=rows, test_examples=1000).load(Path(), Stream(0))


def split(name: str, rows: int) -> object:
    """The partition of rows over a hundredth as many clients."""
    examples = Examples(np.arange(rows, dtype=np.int64) % 10, 10)
    return PARTITIONERS[name](rows // 100).split(examples, Stream(0))


def compiled(rows: int, kind: str = "iid") -> object:
    """A plan of ten rounds of a hundred clients, without what the store holds already."""
    alpha = ", alpha: 0.5" if kind == "dirichlet" else ""
    return compile(
        parse_spec(f"""
flspec: 1
name: large
rounds: 10
dataset: {{kind: synthetic, features: 32, train_examples: {rows}, test_examples: 1000}}
partition: {{kind: {kind}, clients: {rows // 100}{alpha}}}
model: {{kind: softmax_regression}}
client: {{epochs: 1, batch_size: 20, optimizer: {{kind: sgd, learning_rate: 0.1}}}}
cohort: {{kind: uniform, size: {min(100, rows // 100)}}}
""")
    )


def compiled_rounds(rounds: int) -> object:
    """A plan of many rounds, of one client of ten and one step each."""
    return compile(
        parse_spec(f"""
flspec: 1
name: long
rounds: {rounds}
dataset: {{kind: digits}}
partition: {{kind: iid, clients: 10}}
model: {{kind: softmax_regression}}
client: {{steps: 1, batch_size: 8, optimizer: {{kind: sgd, learning_rate: 0.1}}}}
cohort: {{kind: uniform, size: 1}}
evaluation: {{every: {rounds}}}
""")
    )


def time_and_memory(
    benchmark: BenchmarkFixture, group: str, act: Callable[[], object], floor: Callable[[], object]
) -> None:
    """Time an act beside its floor, and note the most memory that it takes."""
    tracemalloc.start()
    act()
    benchmark.extra_info["peak_mib"] = round(tracemalloc.get_traced_memory()[1] / 2**20)
    tracemalloc.stop()
    measure(benchmark, group, act, floor, pairs=3, warm_up=0)


def test_load(benchmark: BenchmarkFixture, rows: int) -> None:
    floor = partial(draw_rows, rows, 32)
    time_and_memory(benchmark, f"load {rows:,} rows of 32 values", partial(load, rows), floor)


@pytest.mark.parametrize("kind", PARTITIONERS)
def test_partition(benchmark: BenchmarkFixture, kind: str, rows: int) -> None:
    group = f"{kind} partition: {rows:,} rows, {rows // 100:,} clients"
    time_and_memory(benchmark, group, partial(split, kind, rows), partial(shuffle, rows))


@pytest.mark.parametrize("kind", PARTITIONERS)
def test_compile(benchmark: BenchmarkFixture, kind: str, rows: int) -> None:
    compiled(rows, kind)  # puts the examples into the store
    group = f"compile {kind}: {rows:,} rows, {rows // 100:,} clients"
    time_and_memory(benchmark, group, partial(compiled, rows, kind), partial(shuffle, rows))


def test_many_rounds(benchmark: BenchmarkFixture, is_measured: bool) -> None:
    rounds = MILLION // 5 if is_measured else 2_000
    group, draw = f"compile {rounds:,} rounds of one client", partial(draw_rows, rounds, 8)
    time_and_memory(benchmark, group, partial(compiled_rounds, rounds), draw)


def test_csv(benchmark: BenchmarkFixture, tmp_path: Path, is_measured: bool) -> None:
    num_rows = MOST_CSV_ROWS if is_measured else 500
    line = ",".join(f"{number / 7:.4f}" for number in range(32))
    header = ",".join(f"x{number}" for number in range(32))
    text = f"label,{header}\n" + "".join(f"{number % 10},{line}\n" for number in range(num_rows))
    (tmp_path / "train.csv").write_text(text)
    dataset = CsvTable(holdout=0.1)
    load, floor = partial(dataset.load, tmp_path, Stream(0)), partial(split_by_python, tmp_path / "train.csv")
    time_and_memory(benchmark, f"csv: {num_rows:,} rows of 32 values", load, floor)


@pytest.fixture
def table(tmp_path: Path, is_measured: bool) -> Path:
    """A table of 33 columns: a label and numbers of four decimals."""
    num_rows = MOST_CSV_ROWS if is_measured else 500
    rows = np.random.default_rng(0).standard_normal((num_rows, 32))
    text = "".join(f"{number % 10},{','.join(f'{x:.4f}' for x in row)}\n" for number, row in enumerate(rows))
    (tmp_path / "train.csv").write_text(f"label,{','.join(f'x{number}' for number in range(32))}\n{text}")
    return tmp_path / "train.csv"


def load_table(path: Path) -> object:
    """Everything between the file and an experiment's examples."""
    return CsvTable(holdout=0.1).load(path.parent, Stream(0))


def split_by_arrow(path: Path) -> object:
    """The cells alone, as text, by pyarrow on one thread."""
    arrow = pytest.importorskip("pyarrow.csv")
    types = dict.fromkeys(path.open().readline().strip().split(","), pytest.importorskip("pyarrow").string())
    options = arrow.ConvertOptions(column_types=types)
    return arrow.read_csv(path, read_options=arrow.ReadOptions(use_threads=False), convert_options=options)


@pytest.mark.parametrize("reader", [load_table, split_by_arrow], ids=lambda reader: reader.__name__)
def test_csv_readers(benchmark: BenchmarkFixture, table: Path, reader: Callable[[Path], object]) -> None:
    measure(benchmark, "csv: 33 columns", partial(reader, table), partial(split_by_python, table))


MOST_TIMES_PYTHON = 2.0  # of the csv module's time for cells alone; measured: 1.1; a reader of our own rows took 3.2


@pytest.mark.holds_times
def test_a_table_is_loaded_about_as_fast_as_python_splits_it(table: Path) -> None:
    assert seconds(partial(load_table, table)) < MOST_TIMES_PYTHON * seconds(partial(split_by_python, table))


def seconds(act: Callable[[], object]) -> float:
    """The least of three times, which other work on the machine disturbs least."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return min(times)


def growth(act: Callable[[int], object]) -> float:
    """How many times longer ten times the rows take."""
    few, many = (seconds(partial(act, rows)) for rows in SIZES)
    return many / few


@pytest.mark.holds_times
@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("load", load),
        *((kind, partial(split, kind)) for kind in PARTITIONERS),
        ("compile", compiled),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_time_grows_with_the_rows(name: str, act: Callable[[int], object]) -> None:
    if name == "compile":
        act(MILLION)
    assert growth(act) < MOST_GROWTH


@pytest.mark.holds_times
def test_what_grows_with_the_square_would_be_noticed() -> None:
    work = np.zeros(1000)
    assert growth(lambda rows: [work.sum() for _ in range((rows // 20_000) ** 2)]) > MOST_GROWTH
