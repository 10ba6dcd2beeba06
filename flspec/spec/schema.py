"""JSON Schema of a spec file, so that an editor completes, explains and checks while one writes.

The version is draft 7, which YAML's language servers know. A section with a `kind` is checked against that kind's own
parameters, by `if` and `then`. Editors then offer `alpha` as soon as `kind: dirichlet` is typed, and report one
problem; with a union they would report one problem for every other kind. Whatever the schema refuses, flspec refuses.
The schema checks less than flspec, for instance not two fields that contradict each other. (One exception: a wrong
value that every cell of a matrix replaces is never used, so flspec does not refuse it.)
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from flspec.core.components import built_schema, comes_with_flspec, family_members
from flspec.core.reading import read_regular
from flspec.errors import InputError
from flspec.spec.catalogue import first_line
from flspec.spec.document import NOT_IN_SMALL, SMALL, Experiment

__all__ = ["spec_schema", "write_schema"]


def spec_schema(installed: bool = True) -> dict[str, Any]:
    """Return the schema of a spec file, with all installed kinds or only those that come with flspec.

    Nothing is required of a file that `extends` another or has a matrix, since it may be incomplete.
    """
    whole = _generate(_Whole if installed else _OwnWhole, "")
    partial = _generate(_Partial if installed else _OwnPartial, "partial_")
    definitions = _with_small(whole | partial)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "flspec",
        "description": first_line(Experiment),
        "type": "object",
        "if": {"anyOf": [{"required": ["extends"]}, {"required": ["matrix"]}]},
        "then": {"$ref": "#/definitions/partial_Experiment"},
        "else": {"$ref": "#/definitions/Experiment"},
        "definitions": dict(sorted(definitions.items())),
    }


def write_schema(file: str | os.PathLike[str], installed: bool = True) -> None:
    """Write the schema of spec files; raises InputError rather than overwrite anything but a schema."""
    path = Path(file)
    try:
        if path.exists() and '"$schema"' not in read_regular(path).decode(errors="replace"):
            raise InputError(f"{path} exists and is not a JSON Schema; name another file")
        path.write_text(json.dumps(spec_schema(installed), indent=2) + "\n", encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be written: {error}") from None


def _generate(generator: type[GenerateJsonSchema], prefix: str) -> dict[str, Any]:
    """Return every document of a spec file by its class's name, with `prefix` before it."""
    schema = Experiment.model_json_schema(ref_template=f"#/definitions/{prefix}{{model}}", schema_generator=generator)
    documents = schema.pop("$defs") | {Experiment.__name__: schema}
    return {prefix + name: document for name, document in documents.items()}


def _with_small(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the documents, with a section `small` in an experiment: the values that differ with --small."""
    partial = definitions["partial_Experiment"]
    said = {name: value for name, value in partial["properties"].items() if name not in NOT_IN_SMALL}
    small = partial | {"description": "The values that differ with --small.", "properties": said, "title": "Small"}
    section = {
        "description": SMALL,
        "anyOf": [{"$ref": "#/definitions/partial_Small"}, {"type": "null"}],
    }
    with_section = {
        name: definitions[name] | {"properties": definitions[name]["properties"] | {"small": section}}
        for name in ("Experiment", "partial_Experiment")
    }
    return definitions | with_section | {"partial_Small": small}


class _Whole(GenerateJsonSchema):
    """A schema generator: a family is a mapping whose `kind` decides its other keys."""

    installed = True

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        """Return the schema of a family, or of any other function."""
        if "family" not in (family := schema.get("metadata", {})):
            return super().function_plain_schema(schema)
        known = {kind: one for kind, one in family_members(family["family"]).items() if kind not in family["but"]}
        members = {kind: one for kind, one in known.items() if self.installed or comes_with_flspec(one)}
        documents = {kind: self.generate_inner(built_schema(one)) for kind, one in members.items()}
        kind = {
            "description": first_line(family["family"]),
            "enum": list(members),
            "markdownEnumDescriptions": [first_line(member) for member in members.values()],
        }
        return {
            "type": "object",
            "description": first_line(family["family"]),
            "properties": {"kind": kind},
            "allOf": [_when(name, document) for name, document in documents.items()],
        } | self._without_kind(list(documents.values()))

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """Return an enumeration of installed names with their descriptions, or any other literal."""
        metadata = schema.get("metadata", {})
        if "own" not in metadata:
            return super().literal_schema(schema)
        summaries = dict(zip(schema["expected"], metadata["markdownEnumDescriptions"], strict=True))
        names = [name for name in summaries if self.installed or name in metadata["own"]]
        return {"type": "string", "enum": names, "markdownEnumDescriptions": [summaries[name] for name in names]}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema without a default of null, which means "not given" and which editors would insert."""
        json_schema = super().default_schema(schema)
        return {k: v for k, v in json_schema.items() if k != "default" or v is not None}

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        """Return the schema with draft 7's keyword for items that differ by position."""
        return {{"prefixItems": "items"}.get(k, k): v for k, v in super().tuple_schema(schema).items()}

    def _without_kind(self, documents: list[JsonSchemaValue]) -> JsonSchemaValue:
        return {"required": ["kind"]}


class _Partial(_Whole):
    """A schema generator that requires nothing; without `kind` a section has the keys of a
    kind named in another file.
    """

    def field_is_required(self, field: Any, total: bool) -> bool:
        return False

    def _without_kind(self, documents: list[JsonSchemaValue]) -> JsonSchemaValue:
        return {"if": {"required": ["kind"]}, "else": {"anyOf": documents}}


class _OwnWhole(_Whole):
    installed = False


class _OwnPartial(_Partial):
    installed = False


def _when(kind: str, document: JsonSchemaValue) -> JsonSchemaValue:
    return {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": document}
