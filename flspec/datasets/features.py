"""The key `features` of tables: a list of columns, or a mapping of columns to what becomes of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from flspec.core.components import OneOf, OneOfOthers, comes_with_flspec, family_members
from flspec.encodings import MOST_STEPS, Encoding, Steps, parse_steps, write_steps
from flspec.encodings.as_is import AsIs
from flspec.errors import shorten

__all__ = ["OTHERS", "Features", "is_plain"]

OTHERS = "*"  # a key that stands for all columns without another role, in the order of the file
_MOST = 100_000
_LONGEST = 256  # characters of a name
_NAME = core_schema.str_schema(min_length=1, max_length=_LONGEST)


def is_plain(features: Mapping[str, Steps]) -> bool:
    """Return whether all columns are taken as they are."""
    return all(steps == (AsIs(),) for steps in features.values())


class _ListOrMapping:
    """Annotation that validates a list of names as columns that are taken as they are."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        self._with_kind = OneOfOthers().__get_pydantic_core_schema__(Encoding, handler)
        # The schema in it is for editors alone: `parse_steps` has errors that fit the short forms.
        steps = core_schema.no_info_wrap_validator_function(lambda given, _: parse_steps(given), self._with_kind)
        mapping = core_schema.dict_schema(_NAME, steps, min_length=1, max_length=_MOST)
        return core_schema.nullable_schema(
            core_schema.no_info_before_validator_function(
                _as_mapping, mapping, serialization=core_schema.plain_serializer_function_ser_schema(_written)
            )
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        members = family_members(Encoding)
        own = [kind for kind, member in members.items() if comes_with_flspec(member)]
        summaries = [(member.__doc__ or "").partition("\n")[0] for member in members.values()]
        names = core_schema.literal_schema(list(members), metadata={"own": own, "markdownEnumDescriptions": summaries})

        def one() -> list[dict[str, Any]]:  # made anew each time, because pydantic changes references in place
            short = {"type": "object", "minProperties": 1, "not": {"required": ["kind"]}}
            return [handler(names), short, handler(self._with_kind)]

        steps = {"anyOf": [*one(), {"type": "array", "items": {"anyOf": one()}, "minItems": 1, "maxItems": MOST_STEPS}]}
        listed = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": _MOST}
        mapping = {"type": "object", "additionalProperties": steps, "minProperties": 1}
        return {"anyOf": [listed, mapping, {"type": "null"}]}


Features = Annotated[
    dict[str, tuple[OneOf[Encoding], ...]] | None,
    _ListOrMapping(),
    Field(
        description="columns that a model gets, in this order: a list of those that hold numbers, or a mapping of each "
        'to its encoding or to a list of them; "*" stands for all others; if absent, all that have no other role',
        examples=[{"age": "standardise", "sex": "one_hot", "bmi": [{"impute": "median"}, "standardise"]}],
    ),
]


def _as_mapping(given: Any) -> Any:
    if not isinstance(given, list | tuple):
        return given
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise ValueError(
            f"expected names of columns, got {shorten(repr(wrong[0]), 60)}; in a mapping, each has an encoding"
        )
    if twice := [name for name, times in Counter(given).items() if times > 1]:
        raise ValueError(f"column {shorten(twice[0])!r} is named twice in one list; remove one")
    return dict.fromkeys(given, "as_is")


def _written(features: Mapping[str, Steps] | None) -> Any:
    """Return the value as JSON: a list of names where a list says it all, as it always was."""
    if features is None:
        return None
    if OTHERS not in features and is_plain(features):
        return list(features)
    return {name: write_steps(steps) for name, steps in features.items()}
