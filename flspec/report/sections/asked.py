"""What was asked: every setting of the spec, those that its author wrote apart from defaults."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.core.text import in_flow
from flspec.report.page import Column, Facts, Paragraph, Section, Table
from flspec.report.subject import Subject
from flspec.report.words import brief
from flspec.spec.provenance import Provenance

__all__ = ["asked_section"]

_SETTING, _VALUE, _PLACE = Column("setting", "word"), Column("value", "prose"), Column("said in", "word")
_LONGEST = 400  # characters of a value
_DEFAULT = "default"


def asked_section(subject: Subject) -> Section | None:
    """Return the section; None if nothing is known of the settings."""
    described = subject.facts.described if subject.facts else None
    if described is None or not described.settings:
        return None
    said = [one for one in described.settings if one.origin != _DEFAULT]
    if not said:
        note = Paragraph("The spec’s own text is not in the run’s folder, so defaults cannot be told apart.", "unsure")
        return Section("What was asked", [note, Table("Every setting", (_SETTING, _VALUE), _rows(described.settings))])
    rows = [[*row, brief(one.origin, 60)] for row, one in zip(_rows(said), said, strict=True)]
    blocks: list[Facts | Paragraph | Table] = [Table("What the spec says", (_SETTING, _VALUE, _PLACE), rows)]
    if described.written_as:
        blocks.insert(0, Facts([("put together from", brief(described.written_as, 300))]))
    defaults = _rows([one for one in described.settings if one.origin == _DEFAULT])
    blocks.append(Table("Defaults: what the spec does not say", (_SETTING, _VALUE), defaults, folded=True))
    return Section("What was asked", blocks)


def _rows(settings: Sequence[Provenance]) -> list[list[str]]:
    return [[brief(one.path, 120), brief(in_flow(one.value), _LONGEST)] for one in settings]
