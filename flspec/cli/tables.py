"""Results as tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from flspec.cli.consoles import lines
from flspec.data.synthetic.twin_cache import twin_in_words
from flspec.privacy.promises import epsilons_in_words
from flspec.runs.metric_words import digits_of, features_in_words, metrics_in_order

if TYPE_CHECKING:
    from flspec.comparison.certification import BackendVerdict, Certificate
    from flspec.comparison.results import Comparison
    from flspec.runs.result import Result

__all__ = ["certificate_table", "comparison_table", "plain_table", "run_table", "short_number"]

_MOST_METRICS = 2  # of the test set, in each round's row
_USUAL = ("loss", "accuracy")
_ABBREVIATED = {"accuracy": "acc", "image_precision": "precision", "image_recall": "recall"}


def run_table(result: Result, most_rows: int = 30) -> Table:
    """Return a run as a table, one round a row, with training and test metrics in separate columns."""
    twin = ", synthetic twin" if twin_in_words(result.spec) else ""
    table = plain_table(f"{result.name} on {result.backend.name}, plan {result.plan_digest[:12]}{twin}")
    shown, trained, rounds = _shown(result), _trained(result), result.rounds
    tested = [f"test {_ABBREVIATED.get(name, name)}" for name in shown]
    training = [
        f"train {_ABBREVIATED.get(name, name)}" if name in _USUAL else lines("train", name.replace("_", " "))
        for name in trained
    ]
    for heading in ("round", "clients", "examples", *training, *tested, "s"):
        table.add_column(heading, justify="right")
    step = max(1, -(-len(rounds) // most_rows))
    for record in (r for r in rounds if r.round % step == 0 or r.round in (1, len(rounds))):
        test = (record.evaluation or {}).get("test", {})
        table.add_row(
            str(record.round),
            str(len(record.cohort)) + (f" -{len(record.failures)}" if record.failures else ""),
            str(record.num_examples),
            *(short_number(record.train.get(name), _form(name)) for name in trained),
            *(short_number(test.get(name), _form(name)) for name in shown),
            f"{sum(record.seconds.values()):.2f}",
        )
    weights = result.weights.sha256[:12] if result.weights else "none"
    startup = f"{result.seconds.startup:.1f} s to start, " if result.seconds.startup is not None else ""
    workers = f" by {result.backend.workers.title}" if result.backend.workers else ""
    took = f"{startup}{result.seconds.total:.1f} s in all{workers}{_on_device(result)}{_beside(result)}"
    notes = [f"{took}; weights sha256 {weights}"]
    notes += [result.stopped.in_words] if result.stopped else []
    notes += features_in_words([result.features], [record.evaluation or {} for record in rounds[-1:]])
    if privacy := result.privacy:
        notes.append(privacy.statement)
    if native := result.native:
        notes.append(native.in_words)
    if best := result.best:
        notes.append(f"best is round {best.round}, by {best.on} {best.metric}: {short_number(best.value)}")
    elif why := _why_no_best(result):
        notes.append(why)
    if failures := [failure for record in rounds for failure in record.failures]:
        notes.append(f"{len(failures)} client updates did not count, the first because {failures[0].reason}")
    if hit := sum((Counter(record.faults) for record in rounds), Counter[str]()):
        notes.append("faults hit " + ", ".join(f"{num:,} tasks ({title})" for title, num in hit.most_common()))
    if any(record.sums for record in rounds):
        sums = sum((Counter(record.sums) for record in rounds), Counter[str]())
        notes.append(
            f"simulated secure aggregation: {sums['clipped']:,} values clipped, {sums['wrapped']:,} sums wrapped round"
        )
    if step > 1:
        notes.append(f"shown are the first, the last and one in {step} of {len(rounds)} rounds")
    table.caption = lines(*notes, style="table.caption")
    return table


def _beside(result: Result) -> str:
    """Say what a round takes beside its clients' training, where it is known."""
    if not result.overhead or result.overhead.round is None:
        return ""
    return f", {result.overhead.round:.3f} s a round beside training"


def _why_no_best(result: Result) -> str | None:
    """Return why no evaluated round of a run could be the best; None if the spec asks for no best round."""
    evaluated = [record for record in result.rounds if record.evaluation is not None]
    best = _asked(result).get("best")
    if not evaluated or not isinstance(best, dict) or not isinstance(metric := best.get("metric"), str):
        return None
    on = str(best.get("on") or ("validation" if "validation" in (evaluated[-1].evaluation or {}) else "test"))
    why = evaluated[-1].undefined.get(on, {}).get(metric)
    return f"no round is the best: none has a value of {on} {metric}" + (f" ({why})" if why else "")


def _asked(result: Result) -> dict[str, Any]:
    """Return the spec's evaluation; a result may come from another machine, so it is no more than a hint."""
    evaluation = result.spec.get("evaluation")
    return evaluation if isinstance(evaluation, dict) else {}


def _shown(result: Result) -> list[str]:
    """Return the test metrics that fit: loss and accuracy, else the first ones that the spec names."""
    named = _asked(result).get("metrics")
    measured = {name for record in result.rounds for name in (record.evaluation or {}).get("test", ())}
    shown = metrics_in_order(measured, [name for name in named or () if isinstance(name, str)])
    return (shown or list(_USUAL))[:_MOST_METRICS]


def _trained(result: Result) -> list[str]:
    """Return the training metrics that fit: loss and accuracy, else the first ones of its objective."""
    measured = dict.fromkeys(name for record in result.rounds for name in record.train)
    usual = [name for name in _USUAL if name in measured]
    return usual or list(measured)[:_MOST_METRICS] or list(_USUAL)


def _form(metric: str) -> str:
    return ".6f" if metric == "loss" else f".{digits_of(metric)}f"


def _on_device(result: Result) -> str:
    """Say which device a run was on, if it was not the CPU."""
    device = result.software.device if result.software else None
    return f" on {device}" if device not in (None, "cpu") else ""


def certificate_table(certificate: Certificate) -> Table:
    """Return a certificate as a table, one backend a row."""
    table = plain_table(
        ", ".join(
            filter(
                None,
                (
                    f"{certificate.name}: {certificate.rounds} rounds against {certificate.reference}",
                    certificate.extent,
                    f"plan {certificate.plan_digest[:12]}",
                ),
            )
        )
    )
    table.add_column("backend", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for above, below in (("lockstep", "max diff"), ("of toler-", "ance"), ("free run", "max diff")):
        table.add_column(lines(above, below), justify="right")
    table.add_column("why", overflow="fold")
    for name, verdict in certificate.backends.items():
        found = verdict.diagnosis.in_words if verdict.diagnosis else None
        why = found or verdict.reason or verdict.caveat or _praise(verdict)
        table.add_row(name, verdict.verdict, *_distances(verdict), why)
    remarks = [f"{name}: {remark}" for name, remark in certificate.remarks.items()]
    notes = (*remarks, certificate.not_compared, f"tolerance {certificate.tolerance}")
    table.caption = lines(*notes, style="table.caption")
    return table


def comparison_table(comparison: Comparison) -> Table:
    """Return runs side by side, one run a row."""
    table = plain_table("runs, the first being the measure")
    table.add_column("run", overflow="fold")
    for heading in ("backend", "plan"):
        table.add_column(heading, no_wrap=True)
    shown = _shown(comparison.runs[0].result)
    tested = [("test", _ABBREVIATED.get(name, name)) for name in shown]
    epsilons, notes = epsilons_in_words([run.result.privacy for run in comparison.runs])
    if any(epsilons):
        table.add_column("epsilon", justify="right", overflow="fold")
    for words in (*tested, ("weights", "diff"), ("start", "s"), ("round", "s"), ("peak", "MiB")):
        table.add_column(lines(*words), justify="right", no_wrap=True)
    for run, epsilon in zip(comparison.runs, epsilons, strict=True):
        result = run.result
        test = result.final.evaluation.get("test", {}) if result.final else {}
        table.add_row(
            run.folder.name + (" (synthetic twin)" if twin_in_words(result.spec) else ""),
            result.backend.name + ("" if result.status == "completed" else f" ({result.status})"),
            result.plan_digest[:6],
            *([epsilon] if any(epsilons) else []),
            *(short_number(test.get(name), f".{digits_of(name)}f") for name in shown),
            _weights(run.same_weights, run.weights_diff),
            short_number(result.seconds.startup, ".1f"),
            short_number(run.seconds_a_round, ".3f"),
            f"{result.memory.get('peak_bytes', 0) / 2**20:.0f}",
        )
    finals = [run.result.final.evaluation for run in comparison.runs if run.result.final and run.result.features]
    notes = [*notes, *features_in_words([run.result.features for run in comparison.runs], finals)]
    notes += _overheads([run.result for run in comparison.runs])
    if notes:
        table.caption = lines(*notes, style="table.caption")
    return table


def _overheads(results: Sequence[Result]) -> list[str]:
    """Say what a round takes beside its clients' training on each backend, in the median of its runs."""
    by_backend: dict[str, list[float]] = {}
    for result in results:
        found = by_backend.setdefault(result.backend.name, [])
        if result.overhead and result.overhead.round is not None:
            found.append(result.overhead.round)
    if not any(by_backend.values()):
        return []
    told = (f"{name} {f'{median(found):.3f} s' if found else 'unknown'}" for name, found in by_backend.items())
    return [f"a round takes beside training: {', '.join(told)}"]


def plain_table(title: str | None = None) -> Table:
    """Return an empty table in the common style."""
    style = {"title_style": "bold", "title_justify": "left", "caption_justify": "left"}
    return Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), **style)  # type: ignore[arg-type]


def _distances(verdict: BackendVerdict) -> tuple[str, str, str]:
    if native := verdict.native:
        return f"{native.lockstep.largest:.2g}", "", f"{native.free_running.largest:.2g}"
    if not verdict.lockstep or not verdict.free_running:
        return "", "", ""
    share = max(entry.of_tolerance for entry in verdict.lockstep.by_round)
    return f"{verdict.lockstep.max_abs_diff:.2g}", f"{share:.0%}", f"{verdict.free_running.max_abs_diff:.2g}"


def _praise(verdict: BackendVerdict) -> str:
    return "bit-identical" if verdict.bitwise else ""


def short_number(value: float | None, form: str = ".4f") -> str:
    """Return a number in a format, unless it is too large for a column; empty if there is none."""
    if value is None:
        return ""
    return format(value, form if abs(value) < 1e4 else ".2e")


def _weights(same: bool | None, difference: float | None) -> str:
    if same:
        return "identical"
    return "" if difference is None else f"{difference:.2g}"
