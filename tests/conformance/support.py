"""The tables of docs/support.md: what each engine makes of every part that acts in a run, as the engines show.

Parts are found in the families, and their parameters in their own examples, so a new one is in the tables by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flspec.client_algorithms import ClientAlgorithm
from flspec.comparison.certification import BackendVerdict
from flspec.compiler.compile import compile
from flspec.core.components import parse_component
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec.spec.catalogue import Family, Kind, families
from flspec.spec.loading import parse_spec
from flspec.spec.template import new_spec
from tests.conformance.harness import BACKENDS, Certified

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
ACTING = (
    "client_algorithms",
    "client_optimizers",
    "aggregators",
    "server_optimizers",
    "compressors",
    "secure_aggregation",
    "postprocessors",
    "privacy",
    "faults",
)
# These leave their decisions in the plan, or are parts of what is above, or are held to numbers by tests of their own.
OTHERS = (
    "datasets",
    "transforms",
    "encodings",
    "partitioners",
    "models",
    "losses",
    "objectives",
    "schedules",
    "samplers",
    "update_clips",
    "noise_matrices",
    "features",
)
CLIENTS = 12  # enough for every rule's examples
BASE: dict[str, Any] = {
    "name": "supported",
    "rounds": 2,
    "dataset": {"kind": "synthetic", "classes": 3, "features": 8, "train_examples": 96, "test_examples": 12},
    "partition": {"kind": "iid", "clients": CLIENTS},
    "model": {"kind": "mlp", "hidden": [4], "activation": "tanh"},
    "client": {"epochs": 2, "batch_size": 4, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
    "cohort": {"kind": "all"},
}
# What a part's own example would not show in plans so small: nobody is late by a minute.
TELLING: dict[str, dict[str, Any]] = {"straggler": {"deadline": 4.0}}

Row = tuple[str, str]  # a family and a kind
Cells = Mapping[str, str]  # by backend
NUMBER = re.compile(r", (0|\d(?:\.\d)?e-\d\d)\b")


def rows() -> list[Row]:
    """Every part that acts, in the order of the page."""
    known = families()
    return [(name, kind) for name in ACTING for kind in known[name].kinds]


def plan_of(row: Row) -> Plan:
    """A plan of two rounds with the part, and with what it goes with."""
    name, kind = row
    family = families()[name]
    document = {"kind": kind, **TELLING.get(kind, {})}
    asked = _laid(BASE, _below(family.section, _of_list(family.kinds[kind], document) if family.is_list else document))
    if name == "server_optimizers":
        asked = _laid(asked, {"aggregator": {"kind": "median"}})  # which names its server optimizer
    if name == "client_algorithms" and _needs_local_part(kind):
        asked = _laid(asked, {"model": {"local": ["output"]}})
    return compile(parse_spec(new_spec(asked)))


def native_plan(row: Row, backend: str) -> Plan | None:
    """The same with the backend's own algorithm in place of the definition; None if it has none."""
    own = find_backend(backend).natives.get(row[1]) if row[0] == "aggregators" else None
    if own is None:
        return None
    settings = {name: value for name, value in own.only.items() if value is not None}
    document = {"kind": row[1], "implementation": "native", **settings}
    return compile(parse_spec(new_spec(_laid(BASE, {"aggregator": document}))))


def _of_list(kind: Kind, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The list with one part, whose required parameters are as in its examples."""
    return [{**{key.name: key.examples[0] for key in kind.parameters if key.required}, **document}]


def _needs_local_part(kind: str) -> bool:
    (document,) = _of_list(families()["client_algorithms"].kinds[kind], {"kind": kind})
    return "local_part" in parse_component(ClientAlgorithm, document).needs


def _below(section: str, value: Any) -> dict[str, Any]:
    """The value at a dotted path."""
    *parents, last = section.split(".")
    tree: dict[str, Any] = {last: value}
    for parent in reversed(parents):
        tree = {parent: tree}
    return tree


def _laid(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with another laid over it; a part of another kind begins afresh."""
    laid = dict(tree)
    for key, value in over.items():
        before = laid.get(key)
        laid[key] = _laid(before or {}, value) if _goes_on(before, value) else value
    return laid


def _goes_on(before: Any, value: Any) -> bool:
    if not (isinstance(before, Mapping) and isinstance(value, Mapping)):
        return False
    kinds = {tree["kind"] for tree in (before, value) if "kind" in tree}
    return len(kinds) < 2


# --------------------------------------------------------------------------------------------------------------- cells


def cells_of(case: Certified, stages: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What each backend makes of a plan, from its certificate; `stages` says whose code does what."""
    cells = {name: _cell(name, case.verdict(name), stages[name]) for name in case.certificate.backends}
    return {"local": "ours", **cells}


def _cell(backend: str, verdict: BackendVerdict, stages: Mapping[str, str]) -> str:
    if verdict.verdict == "refused":
        return refusal((verdict.reason or "").partition("cannot run this plan: ")[2])
    assert verdict.verdict == "equivalent", f"{backend}: {verdict.verdict}: {verdict.reason}"
    assert verdict.free_running
    whose = "" if stages["server step"] == "flspec" else ", aggregated by TFF"
    return f"ours, {_number(verdict.free_running.max_abs_diff)}{whose}"


def native_cell(case: Certified, backend: str) -> str:
    """What is told beside flspec's definition of the backend's own algorithm."""
    verdict = case.verdict(backend)
    assert verdict.native, verdict.reason
    return f"; native, {_number(verdict.native.free_running.largest)}"


def _number(far: float) -> str:
    return f"{far:.0e}" if far else "0"


def refusal(reason: str) -> str:
    return f"refused: {reason}".replace("|", "\\|")


# ---------------------------------------------------------------------------------------------------------------- page


def written(text: str, found: Mapping[Row, Cells]) -> str:
    """The page with these tables in place of its own, which begin at its first heading of a section."""
    return text[: text.index("\n## `") + 1] + "\n".join(_tables(found))


def _tables(found: Mapping[Row, Cells]) -> Iterator[str]:
    known = families()
    for name in ACTING:
        family: Family = known[name]
        yield from (f"## `{family.section}`", "")
        yield from ("| kind | local | flower | tff |", "|---|---|---|---|")
        for kind in family.kinds:
            cells = found[name, kind]
            yield f"| `{kind}` | {' | '.join(cells[backend] for backend in ('local', *BACKENDS))} |"
        yield ""


def read(text: str) -> dict[Row, dict[str, str]]:
    """The cells of a page, by row."""
    sections, found, name = {family.section: name for name, family in families().items()}, {}, ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"## `(.+)`", line):
            name = sections[heading[1]]
        elif row := re.fullmatch(r"\| `(\w+)` \| (.*) \|", line):
            found[name, row[1]] = dict(zip(("local", *BACKENDS), row[2].split(" | "), strict=True))
    return found


def differences(stated: Mapping[Row, Cells], found: Mapping[Row, Cells]) -> list[str]:
    """What is found otherwise than it is stated. A number may be another by rounding: by less than a power of ten."""
    lines = [f"{row}: only {'stated' if row in stated else 'found'}" for row in sorted({*stated} ^ {*found})]
    for row in stated.keys() & found.keys():
        for backend, cell in found[row].items():
            if not _agree(stated[row].get(backend, ""), cell):
                lines.append(f"{row} on {backend}: stated {stated[row].get(backend)!r}, found {cell!r}")
    return sorted(lines)


def _agree(stated: str, found: str) -> bool:
    if NUMBER.sub("", stated) != NUMBER.sub("", found):
        return False
    numbers = [[float(number) for number in NUMBER.findall(cell)] for cell in (stated, found)]
    return len(numbers[0]) == len(numbers[1]) and all(map(_near, *numbers))


def _near(one: float, other: float) -> bool:
    if 0 in (one, other):
        return one == other
    return max(one, other) <= 1e-6 or max(one, other) < 10 * min(one, other)
