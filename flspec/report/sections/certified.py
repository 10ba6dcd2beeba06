"""The verdict of a certificate."""

from __future__ import annotations

from flspec.comparison.certification import BackendVerdict, Certificate
from flspec.report.page import Badge, Column, Paragraph, Table
from flspec.report.subject import ReportedRun, Subject
from flspec.report.words import DASH, brief, number, plural, share, typeset

__all__ = ["blocks", "sentence", "status"]

_BADGES = {
    "equivalent": Badge("equivalent", "good"),
    "inconclusive": Badge("inconclusive", "unsure"),
    "different": Badge("different", "bad"),
    "native": Badge("native", "plain"),
    "refused": Badge("refused", "unsure"),
    "failed": Badge("failed", "bad"),
}
_LOCKSTEP = (
    "In lockstep every round starts from {reference}’s server state, so a difference can only come from that round; "
    "the verdict rests on this. Running freely, each backend goes on from its own state, and differences of rounding "
    "add up."
)
_RESOLVES = (
    "A round resolves the tolerance of its middle weight tensor, as a share of what that tensor moves: in half of the "
    "tensors a smaller deviation could hide. Identical bits hide nothing."
)
_COLUMNS = (
    Column("backend", "word"),
    Column("verdict", "word"),
    Column("lockstep difference"),
    Column("share of tolerance"),
    Column("free-running difference"),
    Column("why", "prose"),
)


def status(certificate: Certificate) -> Badge:
    """Return the verdict over all backends."""
    verdicts = {verdict.verdict for verdict in certificate.backends.values()}
    if "different" in verdicts:
        return Badge("not equivalent", "bad")
    if "native" in verdicts:
        return Badge("native, nothing certified", "unsure")
    if verdicts == {"equivalent"}:
        return Badge("equivalent", "good")
    return Badge("incomplete", "unsure")


def sentence(subject: Subject, certificate: Certificate) -> str:
    """Return one clause for each backend, as a sentence."""
    reference = subject.runs[0].label
    judged = _judged(subject)
    if not judged:
        return f"No backend was held against {reference}."
    clauses = [_clause(run.label, verdict, certificate.rounds) for run, verdict in judged]
    return f"Held against {reference}{_in_extent(certificate)}, {'; '.join(clauses)}."


def blocks(subject: Subject, certificate: Certificate) -> list[Table | Paragraph]:
    """Return every backend's verdict, and the meaning of the numbers."""
    reference = subject.runs[0].label
    table = Table(
        f"Each backend’s weights against {reference}’s over {plural(certificate.rounds, 'round')}: the largest "
        f"absolute difference of any weight in any round{_in_extent(certificate)}",
        _COLUMNS,
        [_row(run, certificate.backends.get(run.name)) for run in subject.runs],
    )
    remarks = certificate.remarks
    told = [
        *(Paragraph(f"{run.label}: {brief(remarks[run.name], 400)}.") for run in subject.runs if run.name in remarks),
        Paragraph(f"{_capital(certificate.not_compared)}."),
    ]
    if not remarks:
        return [table, *told]
    return [
        table,
        *told,
        Paragraph(_LOCKSTEP.format(reference=reference)),
        Paragraph(_RESOLVES),
        Paragraph(f"Tolerance {typeset(brief(certificate.tolerance, 400))}."),
    ]


def _judged(subject: Subject) -> list[tuple[ReportedRun, BackendVerdict]]:
    verdicts = subject.certificate.backends if subject.certificate else {}
    return [(run, verdicts[run.name]) for run in subject.runs if run.name in verdicts]


def _in_extent(certificate: Certificate) -> str:
    return f" {certificate.extent}" if certificate.extent else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _clause(label: str, verdict: BackendVerdict, num_rounds: int) -> str:
    everywhere = f"in all {num_rounds} rounds" if num_rounds > 1 else "in its only round"
    if verdict.verdict == "refused":
        return f"{label} refused the plan"
    if verdict.verdict == "failed":
        return f"{label} failed before it could be compared"
    if verdict.verdict == "different":
        return f"{label} did not carry out the same plan{_where(verdict)}"
    if verdict.verdict == "native":
        return f"{label} ran {brief(verdict.reason or 'an algorithm of its own', 400)}"
    if verdict.verdict == "inconclusive":
        return f"{label} is inconclusive: {brief(verdict.reason or 'nothing is known', 200)}"
    if verdict.bitwise:
        return f"{label} carried out the plan bit for bit {everywhere}"
    return (
        f"{label} agrees in lockstep {everywhere} within {_lockstep(verdict)}, "
        f"{_largest_share(verdict)} of the tolerance"
    )


def _where(verdict: BackendVerdict) -> str:
    place = verdict.first_divergence
    if place is None:
        return ""
    if place.tensor is None:
        return f": in round {place.round} it did something else"
    return f": from round {place.round} on it differs beyond rounding, first in {brief(place.tensor)}"


def _row(run: ReportedRun, verdict: BackendVerdict | None) -> list[str | Badge]:
    if verdict is None:
        return [run.label, Badge("reference", "plain"), *[DASH] * 3, "the measure"]
    found = verdict.diagnosis.in_words if verdict.diagnosis else None
    why = (
        found
        or verdict.reason
        or verdict.caveat
        or ("identical to the last bit" if verdict.bitwise else "within rounding")
    )
    return [
        run.label,
        _BADGES[verdict.verdict],
        _lockstep(verdict),
        _largest_share(verdict),
        _freely(verdict),
        brief(why.strip().partition("\n")[0], 600),  # the rest stands among the failures
    ]


def _freely(verdict: BackendVerdict) -> str:
    if verdict.native:
        return number(verdict.native.free_running.largest, 2)
    return number(verdict.free_running.max_abs_diff if verdict.free_running else None, 2)


def _lockstep(verdict: BackendVerdict) -> str:
    if verdict.native:
        return number(verdict.native.lockstep.largest, 2)
    return number(verdict.lockstep.max_abs_diff if verdict.lockstep else None, 2)


def _largest_share(verdict: BackendVerdict) -> str:
    entries = verdict.lockstep.by_round if verdict.lockstep else ()
    return share(max((entry.of_tolerance for entry in entries), default=None))
