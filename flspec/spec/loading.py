"""From a file to a Spec, or to all of its problems, each with its place and a way out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from flspec.core.components import Document
from flspec.errors import Problem, SpecError
from flspec.spec.overlays import Draft, apply_overrides, compose, draft_of_text, parse_overrides, variant_of
from flspec.spec.parts import using_parts_of_draft
from flspec.spec.rules import contradictions
from flspec.spec.spec import Spec

__all__ = ["in_order", "load_spec", "mistakes_in_small", "mistakes_of", "parse_spec", "validate_draft"]


def load_spec(
    source: str | os.PathLike[str] | Mapping[str, Any],
    settings: Iterable[str] = (),
    small: bool = False,
    parts: Sequence[Any] = (),
) -> Spec:
    """Read and validate one experiment, from a spec file or a dictionary that says the same.

    `small` takes its small variant; `settings` are laid over it, each as `a.b=value`. A dictionary's files are looked
    for in the working folder. Its values may be objects, too: a component or its class in place of a section, a metric,
    a class of torch modules. `parts` are classes and metrics that it names by kind. To change a spec, see `Spec.with_`.

    Raises SpecError with every problem found, InputError if the file cannot be read.
    """
    from flspec.spec.from_python import draft_of_mapping, with_parts_given

    given = parse_overrides(settings)
    draft = draft_of_mapping(source) if isinstance(source, Mapping) else compose(Path(source))
    return validate_draft(with_parts_given(apply_overrides(variant_of(draft, small), given), parts))


def parse_spec(content: bytes | str, file: str = "spec") -> Spec:
    """Validate the text of a spec; `file` names it in messages."""
    return validate_draft(draft_of_text(content.encode() if isinstance(content, str) else content, file))


def validate_draft(draft: Draft) -> Spec:
    """Return the Spec that a draft describes; raises SpecError with every problem found."""
    problems: list[Problem] = []
    if "matrix" in draft.value:
        message = "a matrix is many experiments, but one is needed here; plan, run and certify take one with --cell"
        problems.append(draft.problem(("matrix",), message))
        draft = draft.without("matrix")
    with using_parts_of_draft(draft) as part_files:
        try:
            spec = Spec.model_validate_json(json.dumps(draft.value)).read_in(draft.folders, part_files)
            sections = dict(spec)
        except ValidationError as error:
            problems += _diagnosed(draft, error)
            sections = _valid_sections(draft, error)
        for found in contradictions(sections):
            problems.append(draft.problem(found.path, found.message + _where(draft, found.path, found.other)))
    problems += mistakes_in_small(draft)
    if problems:
        raise SpecError(in_order(problems))
    return spec


def mistakes_of(draft: Draft) -> list[Problem]:
    """Return the problems of a draft's values; the draft may be incomplete or contradict itself."""
    try:
        with using_parts_of_draft(draft):
            try:
                Spec.model_validate_json(json.dumps(draft.value))
            except ValidationError as error:
                return [problem for problem in _diagnosed(draft, error) if not _may_come(problem)]
    except SpecError as error:
        return error.problems
    return []


def _diagnosed(draft: Draft, error: ValidationError) -> list[Problem]:
    from flspec.spec.diagnosis import diagnose  # which knows all that a spec can say, for suggestions

    return diagnose(draft, error, Spec)


def _may_come(problem: Problem) -> bool:
    """Return whether a missing value may come from another file; not in a list's item, since lists replace each other
    whole.
    """
    return problem.message.startswith("missing") and not any(part.isdigit() for part in problem.path.split("."))


def mistakes_in_small(draft: Draft) -> list[Problem]:
    """Return the problems of the section `small`, which may be incomplete or contradict itself."""
    if draft.small is None:
        return []
    places = {(one.source, one.line, one.column) for one in draft.small.origins.values() if one.is_small}
    found = mistakes_of(draft.small.without("matrix"))
    return [problem for problem in found if (problem.file, problem.line, problem.column) in places]


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return each problem once, file by file, in the order of their places."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line or 0, problem.column or 0))


def _valid_sections(draft: Draft, error: ValidationError) -> dict[str, Any]:
    """Return the sections that are valid on their own, so that they can be checked against each other."""
    wrong = {details["loc"][0] for details in error.errors(include_url=False) if details["loc"]}
    right = {name: value for name, value in draft.value.items() if name not in wrong}
    sections = _sections_model().model_validate_json(json.dumps(right))
    return {name: value for name, value in sections if name not in wrong and value is not None}


@cache
def _sections_model() -> type[BaseModel]:
    """Return Spec with every section optional; a section that Spec requires is None where it is absent."""
    fields: Any = {
        name: (field.rebuild_annotation(), None if field.is_required() else field.default)
        for name, field in Spec.model_fields.items()
    }
    return create_model("Sections", __base__=Document, **fields)


def _where(draft: Draft, path: tuple[str, ...], other: tuple[str, ...] | None) -> str:
    """Return where the other of two contradicting fields stands, or nothing if it is in the same line or nowhere."""
    here, there = draft.origin(path), draft.origins.get(other or ())
    if there is None or str(here) == str(there):
        return ""
    return f" ({'.'.join(other or ())}: {there})"
