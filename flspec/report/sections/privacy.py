"""Privacy: what the releases of each run cost, the sentence that its author may publish, and what that leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flspec.core.text import join_all
from flspec.privacy.promises import NEIGHBOURS, NOTHING_PROMISED
from flspec.privacy.statement import round_up
from flspec.protocol.records import PrivacyRecord
from flspec.report.charts import Line, draw_lines
from flspec.report.page import Chart, Column, Facts, Figure, Paragraph, Section, Table
from flspec.report.subject import PlanGroup, ReportedRun, Subject
from flspec.report.words import DASH, brief, number

__all__ = ["privacy_section"]

Block = Facts | Figure | Paragraph | Table
Private = Sequence[tuple[ReportedRun, PrivacyRecord]]

_MOST_CHARACTERS = 2000
_WHO_ADDS_NOISE = {
    "central": "the server, to the sum of clipped client updates",
    "local": "each client, to its clipped update",
    "example": "each client, to the sum of clipped gradients in each step (DP-SGD)",
}
_COSTS = (Column("rounds"), Column("epsilon"), Column("accounting", "word"), Column("epsilon, RDP"), Column("delta"))


def privacy_section(subject: Subject) -> Section | None:
    """Return the section, or None if no run is private."""
    blocks = [block for plan in subject.plans for block in _blocks(subject, plan)]
    return Section("Privacy", blocks) if blocks else None


def _blocks(subject: Subject, plan: PlanGroup) -> Iterator[Block]:
    private = [(run, run.result.privacy) for run in plan.runs if run.result and run.result.privacy]
    if not private:
        return
    heading = subject.heading(plan)
    for statement, labels in _together([(run, privacy.statement) for run, privacy in private]):
        of = "" if len(labels) == len(private) else f" of {join_all(labels)}"
        yield Paragraph(f"{heading}What may be published{of}:")
        yield Paragraph(brief(statement, _MOST_CHARACTERS))
    if any(privacy.curve for _, privacy in private):
        yield _figure(heading, private)
    yield _costs(subject, heading, private)
    yield _facts(heading, private[0][1])
    for text in dict.fromkeys("; ".join(privacy.not_covered) for _, privacy in private):
        yield Paragraph(f"{heading}Not covered: {brief(text, _MOST_CHARACTERS)}.")


def _together(pairs: Sequence[tuple[ReportedRun, str]]) -> list[tuple[str, list[str]]]:
    """Return each text once, with the runs that have it."""
    found: dict[str, list[str]] = {}
    for run, text in pairs:
        found.setdefault(text, []).append(run.label)
    return list(found.items())


def _figure(heading: str, private: Private) -> Figure:
    lines = [Line(run.style, sorted(privacy.curve)) for run, privacy in private]
    caption = f"{heading}What all rounds until then cost together: epsilon at delta {private[0][1].delta:g}."
    return Figure(caption, [Chart("Epsilon", draw_lines(lines))], [(run.label, run.style) for run, _ in private])


def _costs(subject: Subject, heading: str, private: Private) -> Table:
    rows = [
        [
            run.label,
            f"{privacy.rounds:,}",
            NOTHING_PROMISED if privacy.epsilon is None else round_up(privacy.epsilon),
            brief(privacy.accountant),
            DASH if privacy.epsilon_rdp is None else round_up(privacy.epsilon_rdp),
            f"{privacy.delta:g}",
        ]
        for run, privacy in private
    ]
    caption = "What was spent, rounded up; a round that began counts. By Renyi differential privacy (RDP) beside it."
    return Table(heading + caption, (Column(subject.noun, "word"), *_COSTS), rows)


def _facts(heading: str, privacy: PrivacyRecord) -> Facts:
    """Return what a plan's numbers rest on."""
    claimed = " (claimed: there were fewer)" if privacy.claimed_population else ""
    simulated = " (simulated: they were smaller)" if privacy.simulated_cohort else ""
    noise = "a key of the run, which the system drew" if privacy.secret_noise else "the spec’s seed, which is public"
    members = "examples of a client" if privacy.unit == "example" else "clients"
    entries = [
        ("unit", f"one {brief(privacy.unit)}"),
        ("neighbours", f"that one {brief(NEIGHBOURS.get(privacy.adjacency, privacy.adjacency))}"),
        ("sampling", brief(privacy.sampling.replace("_", " "))),
        ("population", f"{privacy.population:,} {members}{claimed}"),
        ("expected at once", f"{number(privacy.cohort)}{simulated}"),
        ("noise added by", _WHO_ADDS_NOISE.get(privacy.mechanism, brief(privacy.mechanism))),
        ("noise multiplier", number(privacy.noise_multiplier)),
        ("noise follows from", noise),
        ("accounted by", brief(privacy.software)),
    ]
    if privacy.releases is not None:
        entries.insert(5, ("releases of the one that pays most", f"{privacy.releases:,}"))
    return Facts(entries, title=heading.removesuffix(". "))
