"""For each kind of partitioner, what it may be asked for and what it then promises; a kind without a case fails."""

from __future__ import annotations

import atexit
import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from flspec.core.cache import cache_folder, workplace
from flspec.core.components import family_members, parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.partitioners import Partitioner

NUM_CLASSES = 5
_kept = ExitStack()
FILES = _kept.enter_context(workplace(cache_folder() / "tests"))  # what a killed process leaves, the next one removes
atexit.register(_kept.close)
KINDS = list(family_members(Partitioner))

clients = st.integers(1, 20)
alphas = st.floats(1e-4, 1e4)
few = st.integers(1, 4)


def build(kind: str, **parameters: st.SearchStrategy[Any]) -> st.SearchStrategy[Partitioner]:
    """Partitioners of a kind; a parameter that is None is left at its default."""
    given = st.fixed_dictionaries({"kind": st.just(kind)} | parameters)
    return given.map(lambda drawn: parse_component(Partitioner, {k: v for k, v in drawn.items() if v is not None}))


def with_weights(drawn: tuple[int, int, int]) -> Partitioner:
    """A distribution with a table of the right form for `NUM_CLASSES` classes."""
    num_clients, per_client, weight = drawn
    rows = [
        [float(weight + client % 3) for client in range(num_clients) if (label - client) % NUM_CLASSES < per_client]
        for label in range(NUM_CLASSES)
    ]
    document = {"clients": num_clients, "classes_per_client": per_client, "weights": rows, "min_per_class": 1}
    return parse_component(Partitioner, {"kind": "distribution"} | document)


def with_slices(drawn: tuple[list[int], str]) -> Partitioner:
    """Slices of one list that follow each other, with gaps."""
    lengths, order = drawn
    ends = np.cumsum([length + 1 for length in lengths])
    rows = [[[int(end) - length - 1, int(end) - 1]] for end, length in zip(ends, lengths, strict=True)]
    document = {"kind": "slices", "clients": len(rows), "slices": rows, "order": order}
    return parse_component(Partitioner, document)


def with_file(assignment: list[int | None]) -> Partitioner:
    """An explicit split of the first examples."""
    text = json.dumps({f"é{client}": [i for i, c in enumerate(assignment) if c == client] for client in {*assignment}
                       if client is not None})  # fmt: skip
    path = FILES / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    path.write_text(text, encoding="utf-8")
    return parse_component(Partitioner, {"kind": "explicit", "file": str(path)})


CASES: dict[str, st.SearchStrategy[Partitioner]] = {
    "by_label": build("by_label", clients=st.integers(1, NUM_CLASSES), examples_per_client=st.none() | few),
    "continuous": build("continuous", clients=clients, column=st.just("age"), strictness=st.floats(0, 1)),
    "deal": build(
        "deal",
        clients=clients,
        shuffle=st.booleans(),
        among=st.none() | st.fixed_dictionaries({"min_examples": few, "column": st.just("user")}),
    ),
    "dirichlet": build(
        "dirichlet", clients=clients, alpha=alphas, min_examples=few, balanced=st.booleans(),
        column=st.sampled_from([None, "site"]),
    ),
    "dirichlet_sizes": build("dirichlet_sizes", clients=clients, alpha=alphas, min_examples=few),
    "distribution": st.tuples(clients, st.integers(1, NUM_CLASSES), st.integers(0, 3)).map(with_weights),
    "explicit": st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=12).map(with_file),
    "extended_dirichlet": build(
        "extended_dirichlet", clients=clients, alpha=st.floats(0.1, 1e4), classes_per_client=few
    ),
    "group_sizes": build(
        "group_sizes", sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4), tolerance=st.just(1.0)
    ),
    "grouped_natural": build(
        "grouped_natural",
        ids_per_client=few,
        clients=st.none() | few,
        order=st.sampled_from(["first", "random", "sorted"]),
        remainder=st.sampled_from(["smaller", "larger", "drop", "refuse"]),
    ),
    "iid": build("iid", clients=clients, examples_per_client=st.none() | few),
    "inner_dirichlet": build("inner_dirichlet", clients=clients, alpha=alphas)
    | st.lists(st.integers(1, 30), min_size=1, max_size=6).flatmap(
        lambda sizes: build("inner_dirichlet", clients=st.just(len(sizes)), alpha=alphas, sizes=st.just(sizes))
    ),
    "log_normal": build("log_normal", clients=clients, sigma=st.floats(0, 5), min_examples=few),
    "mixed": build(
        "mixed",
        iid_clients=few,
        iid_share=st.none() | st.floats(0.1, 0.9),
        rest=st.fixed_dictionaries({"kind": st.just("log_normal"), "clients": few, "sigma": st.just(1.0)})
        | st.just({"kind": "natural", "column": "user"}),
    ),
    "natural": build(
        "natural",
        min_examples=few,
        max_examples=st.none() | st.integers(4, 9),
        clients=st.none() | few,
        order=st.sampled_from(["first", "random", "largest"]),
        absent_from_test=st.booleans(),
    ),
    "pathological": build(
        "pathological",
        clients=clients,
        classes_per_client=few,
        assignment=st.sampled_from(["random", "deterministic", "first-deterministic"]),
    ),
    "power_law": build(
        "power_law", clients=clients, classes_per_client=few, sigma=st.floats(0, 5), min_per_class=st.integers(0, 2)
    ),
    "shards": build("shards", clients=clients, shards_per_client=few, shard_size=st.none() | few),
    "size_ladder": build(
        "size_ladder", clients=few, growth=st.sampled_from(["linear", "square", "exponential"]), shuffle=st.booleans()
    ),
    "sizes": build(
        "sizes", sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6), shuffle=st.booleans()
    ),
    "slices": st.tuples(
        st.lists(st.integers(1, 20), min_size=1, max_size=4), st.sampled_from(["file", "random", "stratified"])
    ).map(with_slices)
    | build("slices", clients=clients, strata=st.sampled_from([None, "label", "site"]))
    | build("slices", clients=few, groups=st.just("user"), strata=st.sampled_from([None, "label"])),
}  # fmt: skip


@st.composite
def examples(draw: st.DrawFn) -> Examples:
    """Some hundred examples of every class, of some users, of whom one is not known."""
    count = draw(st.integers(NUM_CLASSES, 200))
    stream = Stream(draw(st.integers(0, 2**32)))
    labels = np.concatenate([np.arange(NUM_CLASSES), stream.words(count - NUM_CLASSES) % np.uint64(NUM_CLASSES)])
    names = np.array(["", "ü", "user 2", "NO", "4", "5", "6", "7"])
    columns = {
        "user": names[stream.words(count) % np.uint64(draw(st.integers(1, len(names))))],
        "site": (stream.words(count) % np.uint64(3)).astype(np.int64),
        "age": np.concatenate([[0.0, 1.0], stream.normal(count - 2)]),
    }
    return Examples(labels.astype(np.int64), NUM_CLASSES, columns, "user", {"user": names[2:3]})


def covers(p: Any, known: Examples) -> bool:
    """Whether a partitioner promises that somebody holds each example."""
    match p.kind:
        case "by_label" | "iid":
            return p.examples_per_client is None and (p.kind == "iid" or p.clients == NUM_CLASSES)
        case "deal":
            return p.among is None
        case "shards":
            return p.shard_size is None
        case "grouped_natural":
            return p.clients is None and p.remainder != "drop"
        case "natural":
            return (p.min_examples, p.max_examples, p.clients, p.absent_from_test) == (1, None, None, False)
        case "sizes" | "inner_dirichlet":
            return p.sizes is None or sum(p.sizes) == len(known)
        case "slices":
            return p.slices is None
        case "pathological":
            return bool(p.assignment != "random" and p.clients >= NUM_CLASSES)
        case "power_law" | "distribution":
            return bool(p.clients >= NUM_CLASSES)
        case "explicit" | "group_sizes":
            return False
    return True


def faults(p: Any, held: list[np.ndarray], known: Examples) -> list[str]:
    """What is wrong with a partition, whoever made it."""
    together = np.concatenate(held)
    return [
        fault
        for fault, found in {
            "another number of clients": p.num_clients not in (None, len(held)),
            "a client without examples": min(map(len, held)) == 0,
            "an example of two clients": len(set(together)) < len(together),
            "no such example": bool(((together < 0) | (together >= len(known))).any()),
            "an example of nobody": covers(p, known) and len(set(together)) < len(known),
        }.items()
        if found
    ]


@dataclass(frozen=True)
class Made:
    """A partition, and what can be seen of it."""

    p: Any
    held: list[np.ndarray]
    known: Examples

    @property
    def sizes(self) -> np.ndarray:
        return np.array([len(one) for one in self.held])

    @property
    def classes(self) -> list[set[int]]:
        return [set(self.known.labels[one]) for one in self.held]

    @property
    def users(self) -> list[set[str]]:
        return [set(self.known.columns["user"][one]) for one in self.held]


# Which kinds say of themselves that they are never so.
PROMISES: list[tuple[str, str, Callable[[Made], bool]]] = [
    (
        "natural grouped_natural group_sizes slices",
        "a user on two clients",
        lambda m: bool(m.p.whole(m.known)) and sum(map(len, m.users)) > len(set.union(*m.users)),
    ),
    (
        "dirichlet extended_dirichlet dirichlet_sizes log_normal natural",
        "fewer than min_examples",
        lambda m: m.sizes.min() < m.p.min_examples,
    ),
    ("iid deal continuous", "sizes that differ", lambda m: np.ptp(m.sizes) > 1),
    ("iid", "another size", lambda m: m.p.examples_per_client not in (None, m.sizes.max())),
    (
        "by_label",
        "others than the first of its label",
        lambda m: any(
            one.tolist() != np.flatnonzero(m.known.labels == label)[: m.p.examples_per_client].tolist()
            for label, one in enumerate(m.held)
        ),
    ),
    (
        "extended_dirichlet pathological power_law distribution",
        "too many classes",
        lambda m: max(map(len, m.classes)) > m.p.classes_per_client,
    ),
    ("pathological", "too few classes", lambda m: min(map(len, m.classes)) < m.p.classes_per_client),
    ("inner_dirichlet sizes", "other sizes", lambda m: m.p.sizes is not None and m.sizes.tolist() != [*m.p.sizes]),
    (
        "shards",
        "other than whole shards",
        lambda m: m.p.shard_size is not None and set(m.sizes) != {m.p.shard_size * m.p.shards_per_client},
    ),
    ("size_ladder", "a smaller client after a larger one", lambda m: bool((np.diff(m.sizes) < 0).any())),
    ("natural", "several users", lambda m: max(map(len, m.users)) > 1),
    ("natural", "too many examples", lambda m: m.p.max_examples is not None and m.sizes.max() > m.p.max_examples),
    ("natural", "a user of the test set", lambda m: m.p.absent_from_test and "user 2" in set.union(*m.users)),
    (
        "grouped_natural",
        "other than ids_per_client users",
        lambda m: m.p.remainder != "larger" and bool({len(u) for u in m.users[:-1]} - {m.p.ids_per_client}),
    ),
    (
        "group_sizes",
        "further off than the tolerance",
        lambda m: bool((np.abs(m.sizes - m.p.sizes) > m.p.tolerance * np.array(m.p.sizes)).any()),
    ),
    ("mixed", "sizes that differ among those alike", lambda m: np.ptp(m.sizes[: m.p.iid_clients]) > 1),
    (
        "slices",
        "other than its slice",
        lambda m: m.p.slices is not None and m.sizes.tolist() != [end - start for ((start, end),) in m.p.slices],
    ),
    (
        "explicit",
        "others than the file says",
        lambda m: sets(m.held) != sorted(json.loads(Path(m.p.file).read_text()).values()),
    ),
]


def sets(held: Iterable[Iterable[int]]) -> list[list[int]]:
    return sorted(sorted(map(int, one)) for one in held)


def broken_promises(p: Any, held: list[np.ndarray], known: Examples) -> list[str]:
    """What a partition of a kind is, although the kind says of itself that it never is."""
    made = Made(p, held, known)
    return [what for kinds, what, is_broken in PROMISES if p.kind in kinds.split() and is_broken(made)]
