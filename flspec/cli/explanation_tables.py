"""Numbers of a plan, and differences of two experiments, as tables for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue
from rich.table import Table
from rich.text import Text

from flspec.analysis.description import Description, TimeEstimate
from flspec.analysis.in_words import leakage_in_words, skew_in_words
from flspec.analysis.networks import NetworkFacts
from flspec.cli.consoles import lines
from flspec.cli.data_tables import reading_lines
from flspec.cli.tables import plain_table
from flspec.comparison.experiments import Change, Difference, RunDifference
from flspec.core.text import and_more, bytes_in_words, join_some, seconds_in_words, short_names
from flspec.errors import shorten
from flspec.protocol.records import PrivacyRecord
from flspec.spec.provenance import Provenance
from flspec.spec.study import Study
from flspec.spec.yaml_writer import write_value

__all__ = ["cells_table", "difference_tables", "partition_picture", "plan_table", "sameness", "settings_table"]

_MOST_CLIENTS, _MOST_LABELS = 40, 20  # the most that a terminal shows at a glance
_LONGEST_NAME = 20  # characters, in a picture
_SHADES = "·░▒▓█"  # none, then quarters of the largest count of a client and label


def plan_table(description: Description) -> Table:
    """Return a plan as a table, one fact a row."""
    table = plain_table(f"{description.name}, plan {description.plan_digest[:12]}")
    table.show_header = False
    table.add_column("fact", no_wrap=True)
    table.add_column("value", overflow="fold")
    for fact, sentences in _facts(description):
        table.add_row(fact, lines(*sentences))
    for name, problems in description.backends.items():
        table.add_row(f"on {name}", lines(*(problems or ["can run"])))
    return table


def _facts(description: Description) -> Iterator[tuple[str, Sequence[str]]]:
    data, clients, rounds, model = description.data, description.clients, description.rounds, description.model
    yield (
        "data",
        [
            *([data.twin] if data.twin else []),
            f"{data.num_train:,} examples to train on, {data.num_test:,} to evaluate on",
            f"{data.num_classes:,} classes{_names(data.label_names)} shape {' × '.join(map(str, data.shape))}",
            *([f"no test example has {join_some(data.untested)}"] if data.untested else []),
            *(reading_lines(data.reading) if data.reading else ()),
            *data.remarks,
        ],
    )
    sizes = f"{_span(clients.min_examples, clients.max_examples)} examples"
    if clients.min_examples < clients.max_examples:
        sizes += f", median {clients.median_examples:,.0f}"
    nobody = f"{clients.num_unheld:,} training examples are held by nobody" if clients.num_unheld else ""
    named = f": {join_some(clients.names, 6)};" if clients.names else ","
    yield "clients", list(filter(None, [f"{clients.num:,}{named} each holding {sizes}", nobody, *description.remarks]))
    yield "skew", _skew(description)
    if description.leakage and (overlaps := leakage_in_words(description.leakage)):
        yield "leakage", overlaps
    steps = f"{_span(rounds.min_steps, rounds.max_steps)} steps each"
    cohort = f"{rounds.num:,} of {_span(rounds.min_cohort, rounds.max_cohort)} clients"
    yield "rounds", [f"{cohort}, {steps}; {rounds.total_steps:,} steps in all", *rounds.remarks]
    if description.faults:
        yield "faults", list(description.faults)
    if description.secure_aggregation:
        yield "sums", list(description.secure_aggregation)
    work = f"{model.multiply_adds:,} multiply-adds an example"
    frozen = f"{model.num_constants:,} values that never change and are never sent" if model.num_constants else ""
    local = f"{model.num_local:,} values that stay with each client" if model.num_local else ""
    size = f"{model.num_parameters:,} parameters in {model.num_tensors:,} tensors"
    yield "model", list(filter(None, [size, frozen, *model.remarks, local, work]))
    if model.networks:
        yield "networks", [_network(network) for network in model.networks]
        yield "a step", list(model.phases)
    if description.pictures:
        yield "pictures", list(description.pictures)
    if privacy := description.privacy:
        yield "privacy", privacy_lines(privacy)
    down, up = description.bytes_down, description.bytes_up
    each = f"{bytes_in_words(down.each_time)} to a client and {bytes_in_words(up.each_time)} back, each time"
    yield "bytes", [each, f"{bytes_in_words(down.total)} down and {bytes_in_words(up.total)} up in all"]
    here, there = (bytes_in_words(getattr(description.estimates, f"{of}_bytes")) for of in ("memory", "device"))
    yield "memory", [f"about {here}, all in one process", f"with --device about {there} there, beside the driver's own"]
    if times := description.estimates.time:
        yield "time", [_time(name, estimate) for name, estimate in times.items()]


def _network(network: NetworkFacts) -> str:
    kept = f"{bytes_in_words(network.num_bytes_kept)} that stay with each client" if network.num_bytes_kept else ""
    sent = f"{bytes_in_words(network.num_bytes)} each way" if network.num_bytes else ""
    where = " and ".join(filter(None, [sent, kept]))
    return f"{network.name}: {network.num_parameters:,} parameters, {where}; {network.multiply_adds:,} multiply-adds"


def _names(labels: Sequence[str]) -> str:
    return f": {join_some(labels)};" if labels else ","


def privacy_lines(privacy: PrivacyRecord) -> list[str]:
    """Return what is promised, what it costs on the way, and what it does not cover."""
    lines = [privacy.statement]
    if privacy.curve:
        lines.append("epsilon after rounds " + ", ".join(f"{number:,}: {value:.3g}" for number, value in privacy.curve))
    return [*lines, "not covered: " + "; ".join(privacy.not_covered)]


def _skew(description: Description) -> list[str]:
    if (skew := description.skew) is None:
        has_data = description.leakage is not None
        return [f"not known: {'an example has several labels' if has_data else 'the data are not on this machine'}"]
    return skew_in_words(skew)


def _time(name: str, estimate: TimeEstimate) -> str:
    took = seconds_in_words(estimate.seconds)
    return f"about {took} on {name}, from {estimate.num_steps_measured:,} steps measured here"


def settings_table(settings: Sequence[Provenance]) -> Table:
    """Return every value in effect, one value a row, with its origin."""
    table = plain_table("settings, and who said so")
    table.add_column("setting", overflow="fold")
    table.add_column("value", overflow="fold")
    for one in settings:
        table.add_row(one.path, lines(_with_origin(one), style="dim" if one.origin == "default" else ""))
    return table


def cells_table(study: Study, most_rows: int = 40) -> Table:
    """Return the experiments of a matrix, one a row."""
    names = short_names(name for cell in study.cells for name in cell.values)
    table = plain_table(f"{study.name}: {len(study.cells):,} experiments")
    for name in ("", *names.values()):
        table.add_column(name, overflow="fold", justify="left" if name else "right")
    for number, cell in enumerate(study.cells[:most_rows], start=1):
        table.add_row(f"{number:,}", *(_cell_value(cell.values, name) for name in names))
    table.caption = and_more(len(study.cells) - most_rows) or None
    return table


def _cell_value(values: Mapping[str, JsonValue], name: str) -> str:
    return shorten(write_value(values[name]), 60) if name in values else "as written"


def _with_origin(one: Provenance) -> str:
    """Return `0.05 ← --set; base.yaml:12 said 0.1`."""
    before = "".join(f"; {said.origin} said {write_value(said.value)}" for said in one.replaced)
    return f"{shorten(write_value(one.value))} ← {one.origin}{shorten(before, 200)}"


def partition_picture(
    counts: NDArray[np.int64], clients_called: Sequence[str] = (), labels_called: Sequence[str] = ()
) -> Text | None:
    """Return clients by labels in shades, with a bar of each client's size; None if it does not fit a terminal.

    Names of labels that do not fit above a column are a list below.
    """
    clients, labels = counts.shape
    if clients > _MOST_CLIENTS or labels > _MOST_LABELS:
        return None
    sizes, most = counts.sum(axis=1), int(counts.max())
    names = [shorten(name, _LONGEST_NAME) for name in clients_called] or list(map(str, range(clients)))
    width = max(6, *map(len, names))
    rows = [f"{'client':<{width}}  {''.join(f'{label:<3}' for label in range(labels))}  examples"]
    for client in range(clients):
        cells = "".join(f"{_SHADES[math.ceil(4 * int(count) / most)] * 2} " for count in counts[client])
        bar = "█" * max(1, round(10 * int(sizes[client]) / int(sizes.max())))
        rows.append(f"{names[client]:>{width}}  {cells}  {int(sizes[client]):>6,}{bar:>{len(bar) + 1}}")
    shares = ", ".join(f"{shade} to {math.floor(most * part / 4):,}" for part, shade in enumerate(_SHADES) if part)
    rows.append(f"{'':{width}}  examples of a label: {_SHADES[0]} none, {shares}")
    if labels_called:
        said = [f"{number} {shorten(name, _LONGEST_NAME)}" for number, name in enumerate(labels_called)]
        rows.append(f"{'':{width}}  labels: {', '.join(said)}")
    return Text("\n".join(rows) + "\n", no_wrap=True)


# -------------------------------------------------------------------------------------------------------- difference


def sameness(found: Difference) -> str:
    """Return one sentence: whether the plans are the same."""
    if not found.same_plan:
        return "Two different plans: they answer different questions."
    if found.settings:
        return "The same plan: the settings that differ change nothing that is computed."
    return "The same plan: comments, names and key order aside, nothing differs."


def difference_tables(found: Difference) -> Iterator[Table]:
    """Yield tables of what differs: settings, plans, their numbers, results."""
    yield _sides(found)
    if found.settings:
        yield _change_table("settings that differ", found.settings)
    if found.parts:
        table = plain_table()
        table.add_column("decided otherwise", no_wrap=True)
        table.add_column("where", overflow="fold")
        for part in found.parts:
            table.add_row(part.name, part.what)
        yield table
    if found.facts:
        yield _change_table("facts that differ", found.facts, spoken=True)
    if found.runs:
        yield from _run_tables(found.runs)


def _sides(found: Difference) -> Table:
    table = plain_table()
    table.show_header = False
    for _ in range(3):
        table.add_column(overflow="fold")
    for letter, side in (("A", found.a), ("B", found.b)):
        table.add_row(letter, side.path, f"{side.kind} {side.name}, plan {side.plan_digest[:12]}")
    return table


def _change_table(heading: str, changes: Sequence[Change], *, spoken: bool = False) -> Table:
    table = plain_table()
    table.add_column(heading, overflow="fold")
    for letter in ("A", "B"):
        table.add_column(letter, justify="right", overflow="fold")
    for change in changes:
        table.add_row(_spoken(change.path) if spoken else change.path, _value(change.a), _value(change.b))
    return table


def _run_tables(runs: RunDifference) -> Iterator[Table]:
    table = plain_table()
    table.add_column("final metric", overflow="fold")
    for heading in ("A", "B", "B less A"):
        table.add_column(heading, justify="right")
    for metric in runs.metrics:
        moved = "" if metric.difference is None else f"{metric.difference:+.4g}" if metric.difference else "the same"
        table.add_row(_spoken(metric.path), _value(metric.a), _value(metric.b), moved)
    table.caption = lines(*filter(None, [f"final weights: {_weights(runs)}", runs.note]), style="table.caption")
    yield table
    if runs.engines:
        yield _change_table("run otherwise", runs.engines)


def _weights(runs: RunDifference) -> str:
    if runs.same_weights:
        return "identical to the last bit"
    if runs.weights_diff is None:
        return "cannot be compared"
    return f"differ by {runs.weights_diff:.3g} at most"


# -------------------------------------------------------------------------------------------------------------- words


def _spoken(path: str) -> str:
    """Return a path in words."""
    return path.removesuffix(".num").replace(".", " ").replace("num_", "").replace("_", " ")


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}" if abs(value) < 1e15 else f"{value:g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return shorten(value if isinstance(value, str) else json.dumps(value))


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
