"""Components: the interchangeable parts that a spec names by `kind`.

A component is a frozen pydantic class. Its fields are its parameters (the YAML keys); its methods are its behaviour.
The folder it lives in is its registry: adding the file `partitioners/stripes.py` makes `kind: stripes` valid and typed,
and puts it into the JSON Schema and into "did you mean". Installed packages add components through an entry point in
the group `flspec.<folder>`, for example

    [project.entry-points."flspec.partitioners"]
    stripes = "my_package:Stripes"

and a spec those of the files that it names as `parts`, for itself alone; see `part_files`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Annotated, Any, ClassVar, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)
from pydantic_core import CoreSchema, PydanticKnownError, SchemaValidator, core_schema

from flspec.core.definitions import is_current, is_offered_as
from flspec.core.families import load_folder, load_installed, load_module, offered_to
from flspec.core.part_files import is_from_part_file, is_in_use, known_files, load_in_use, part_files_in_use
from flspec.core.part_sources import package_digest
from flspec.core.text import join_all
from flspec.errors import InputError, choose, shorten

__all__ = [
    "Component",
    "Document",
    "OmitDefaults",
    "OneOf",
    "OneOfOthers",
    "Part",
    "built_schema",
    "check_parts_in_use",
    "comes_with_flspec",
    "descendants",
    "family_member",
    "family_members",
    "full_name",
    "is_offered",
    "named_part",
    "parse_component",
    "source_digests",
]


class Document(BaseModel):
    """Base of everything that is stored as JSON or YAML: immutable, and an unknown key is an error."""

    # Built when it is first needed, for most of flspec's classes are not in most commands.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True, defer_build=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed; raises InputError for an unknown field, or a value it cannot have.

        Pydantic itself takes anything, and a misspelt change of a spec would change nothing.
        """
        for name, value in (update or {}).items():
            _check_change(type(self), name, value)
        return super().model_copy(update=update, deep=deep)


def _check_change(cls: type[Document], name: str, value: Any) -> None:
    if name not in cls.model_fields:
        raise InputError(f"{cls.__name__}: {choose(name, cls.model_fields)}")
    annotation = cls.model_fields[name].annotation
    if isinstance(value, Document) and not (isinstance(annotation, type) and not isinstance(value, annotation)):
        return  # it is valid; a class defined since is not among those that the field knew when it was made
    if isinstance(value, tuple) and all(isinstance(part, Component) for part in value):
        return
    try:
        _of_field(cls, name).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(f"{cls.__name__}.{name}: {error.errors()[0]['msg']}, got {shorten(repr(value))}") from None


@lru_cache
def _of_field(cls: type[Document], name: str) -> TypeAdapter[Any]:
    field = cls.model_fields[name]
    return TypeAdapter(Annotated[field.annotation, None, *field.metadata])  # type: ignore[arg-type]


class Component(Document):
    """Base of everything a spec can name by `kind`. Components with equal parameters are equal."""

    goes_with: ClassVar[dict[str, Any]] = {}  # what a new spec with it says in other sections, as a tree like a spec's

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        if not comes_with_flspec(cls):
            cls.model_rebuild()  # what is wrong with somebody else's class is told where it is defined

    @classmethod
    def lacks(cls) -> list[str]:
        """Return the methods that a member of its family must define, and that this class does not."""
        return sorted(cls.__abstractmethods__)


class OmitDefaults(Document):
    """A document that leaves a field out of its JSON while the field has the value that `omitted` gives for it.

    A field added later therefore changes neither the JSON nor the digest of a document that does not use it.
    """

    omitted: ClassVar[dict[str, Any]] = {}

    @model_serializer(mode="wrap")
    def _without_omitted(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        full: dict[str, Any] = handler(self)
        return {key: value for key, value in full.items() if key not in self.omitted or value != self.omitted[key]}


class OneOfOthers:
    """Annotation that validates a family's base class as the union of its concrete members, distinguished by `kind`.

    A member is found by the kind that a value names, so that nothing else of its family is imported or built. A member
    with a field of its own family excludes its own kind (`but`), so it cannot be nested in itself.
    """

    def __init__(self, *but: str) -> None:
        self._but = but

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            partial(_one_of, source, self._but),
            metadata={"family": source, "but": self._but},
            serialization=_BY_ITS_OWN_CLASS,
        )


_BY_ITS_OWN_CLASS = core_schema.wrap_serializer_function_ser_schema(
    lambda value, handler: handler(value), schema=core_schema.any_schema()
)


def _one_of(base: type[Any], but: tuple[str, ...], value: Any, info: core_schema.ValidationInfo[Any]) -> Any:
    """Validate a component of a family, or a document that describes one."""
    if isinstance(value, base) and _kind_of(type(value)) not in but:
        return value
    if not isinstance(value, Mapping):
        raise PydanticKnownError("model_attributes_type")
    if "kind" not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
    kind = value["kind"]
    member = family_member(base, kind) if isinstance(kind, str) and kind not in but else None
    if member is None:
        known = (repr(name) for name in family_members(base) if name not in but)
        told = {"discriminator": "'kind'", "tag": str(kind), "expected_tags": ", ".join(known)}
        raise PydanticKnownError("union_tag_invalid", told)
    validator = _validator_of(kind, cast(Hashable, member))
    # Strict validation of Python's objects refuses a list for a field that is a tuple; JSON has no tuples.
    return validator.validate_json(json.dumps(value)) if info.mode == "json" else validator.validate_python(value)


@lru_cache(maxsize=1024)
def _validator_of(kind: str, member: Hashable) -> SchemaValidator:
    """Return the validator of one member, with the places of errors as in a union of several."""
    choices = {kind: built_schema(cast(type[BaseModel], member))}
    return SchemaValidator(core_schema.tagged_union_schema(choices, discriminator="kind"))


def built_schema(cls: type[BaseModel]) -> CoreSchema:
    """Return what pydantic validates a class by, which is made when it is first needed."""
    cls.model_rebuild()
    return cls.__pydantic_core_schema__


Part = Component | Callable[..., Any]  # a component, its class, or a function
C = TypeVar("C", bound=Component)
T = TypeVar("T")
OneOf = Annotated[C, OneOfOthers()]


_settled: dict[tuple[type[Any], str], type[Any]] = {}  # members of families that every process finds, by kind


def family_member(base: type[C], kind: str) -> type[C] | None:
    """Return the member of a family of that kind, or None. Of the family's folder, as little is imported as will do.

    Raises InputError as `family_members` does.
    """
    found = _settled.get((base, kind))
    if found is None:
        load_installed(package := _folder_of(base))
        load_module(package, kind)
        found = _by_kind(cls for cls in descendants(base) if _is_everywhere(cls, base)).get(kind)
        if found is None:
            return family_members(base).get(kind)
        _settled[base, kind] = found
    return found


def family_members(base: type[C]) -> dict[str, type[C]]:
    """Return the concrete components of a family by kind, in alphabetical order: with those of part files in use.

    Raises InputError if two classes have the same kind, because a run could use either.
    """
    files = load_in_use()
    if files is None:
        return _by_kind(_outside_of_files(base))
    own = _by_kind(cls for cls in descendants(base) if is_from_part_file(cls.__module__) and is_in_use(cls.__module__))
    # A class that this process alone has gives way: it is what the file was imported or taken from.
    others = [cls for cls in _outside_of_files(base) if _is_everywhere(cls, base) or _kind_of(cls) not in own]
    if taken := sorted(set(own) & set(installed := _by_kind(others))):
        ours, theirs = own[taken[0]], installed[taken[0]]
        where = files.line_of(ours.__qualname__, ours.__module__)
        raise InputError(f"{where}: kind {taken[0]!r} is taken by {full_name(theirs)}; choose another name")
    return dict(sorted({**installed, **own}.items()))


def check_parts_in_use() -> None:
    """Raise InputError, with the line, for a class of a part file that lacks something, or whose kind is taken."""
    if (files := load_in_use()) is None:
        return
    for cls in descendants(Component):
        if not (is_from_part_file(cls.__module__) and is_in_use(cls.__module__)) or "kind" not in cls.__annotations__:
            continue
        where = files.line_of(cls.__qualname__, cls.__module__)
        if lacking := cls.lacks():
            raise InputError(f"{where}: {cls.__qualname__} lacks {join_all(lacking)}; define it")
        if not isinstance(kind := cls.model_fields["kind"].default, str):
            raise InputError(f'{where}: {cls.__qualname__} has no kind; write kind: Literal["name"] = "name"')
        bases = [base for base in cls.__mro__ if base.__module__.endswith(".base") and issubclass(base, Component)]
        if not bases:
            raise InputError(
                f"{where}: {cls.__qualname__} is of no family; derive it from flspec.models.Model or another"
            )
        if family_members(bases[-1]).get(kind) is not cls:
            raise InputError(f"{where}: kind {kind!r} is of another class, too; choose another name")


def _outside_of_files(base: type[C]) -> list[type[C]]:
    """Return the classes of a family that any spec may name in this process."""
    load_installed(_folder_of(base))
    load_folder(_folder_of(base))
    others = [cls for cls in descendants(base) if not is_from_part_file(cls.__module__)]
    return [cls for cls in others if is_current(cls) or _is_everywhere(cls, base)]


def _folder_of(base: type[Any]) -> str:
    """Return the package of a family, which is its entry point group, too."""
    return str(base.__module__).removesuffix(".base")


def _is_everywhere(cls: type[Any], base: type[Any]) -> bool:
    """Return whether every process finds a member of a family: it comes with it, or an installed package offers it."""
    package, family = (one.__module__.partition(".")[0] for one in (cls, base))
    return not is_from_part_file(cls.__module__) and (package == family or is_offered_as(_folder_of(base), cls))


def _kind_of(cls: type[Any]) -> Any:
    return cls.model_fields["kind"].default if "kind" in cls.model_fields else None


def _by_kind(classes: Iterable[type[C]]) -> dict[str, type[C]]:
    members: dict[str, type[C]] = {}
    for cls in classes:
        if inspect.isabstract(cls) or (kind := _kind_of(cls)) is None:
            continue
        if kind in members:
            ours, theirs = full_name(members[kind]), full_name(cls)
            files = part_files_in_use()
            where = f"{files.line_of(cls.__qualname__, cls.__module__)}: " if files else ""
            raise InputError(f"{where}kind {kind!r} is defined by both {ours} and {theirs}; uninstall or rename one")
        members[kind] = cls
    return dict(sorted(members.items()))


def parse_component(base: type[C], document: Mapping[str, Any]) -> C:
    """Return the component that `document`, a part of a plan, describes. No spec is needed."""
    # Through JSON, because strict validation of Python objects refuses a list for a field that is a tuple.
    found: C = _family_adapter(base).validate_json(json.dumps(document))
    return found


@lru_cache(maxsize=256)
def _family_adapter(base: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[base, OneOfOthers()])  # type: ignore[arg-type]  # it is a class


def source_digests(parts: Mapping[str, Part]) -> dict[str, str]:
    """Return, by name, the digest of the code of each part that comes from another package; see `part_sources`."""
    from_packages = {name: _definition(part) for name, part in parts.items() if not comes_with_flspec(part)}
    return {
        name: package_digest(definition)
        for name, definition in from_packages.items()
        if not is_from_part_file(definition.__module__)
    }


def full_name(definition: Any) -> str:
    """Return the module and name of a class or function, as its author knows them."""
    module = str(definition.__module__)
    return f"{module.partition('.')[2] if is_from_part_file(module) else module}.{definition.__qualname__}"


def origin_of(definition: Any) -> str:
    """Return the package that a class or function comes with, or of a part file its path from the spec's folder."""
    module = str(definition.__module__)
    if is_from_part_file(module) and (files := known_files(module)):
        return files.path_of(module.partition(".")[2]) or module
    return module.partition(".")[0]


def comes_with_flspec(part: Part) -> bool:
    """Return whether this part belongs to flspec itself, so every copy of this version has it."""
    return _definition(part).__module__.partition(".")[0] == "flspec"


def named_part(part: Component, method: str) -> str:
    """Return how messages name a part: its kind, with its class, or of a part file the line of the method."""
    cls, place = type(part), full_name(type(part))
    if is_from_part_file(cls.__module__):
        found = inspect.getattr_static(cls, method, None)
        code = getattr(getattr(found, "fget", None) or inspect.unwrap(found or cls), "__code__", None)
        owner = next((one for one in cls.__mro__ if method in vars(one)), None)
        if code and owner and is_from_part_file(owner.__module__):
            place = f"{code.co_filename}:{code.co_firstlineno}"
        elif files := known_files(cls.__module__):
            place = files.line_of(cls.__qualname__, cls.__module__)
    return f"{getattr(part, 'kind', '')} ({place})".lstrip()  # somebody's torch module has no kind


def broken_promise(part: Component, method: str, what: str) -> str:
    """Return the message that a method of a part did `what`, which its family does not allow."""
    return f"{named_part(part, method)}: {method} {' '.join(what.split())}; repair it there"


def is_offered(part: Component) -> bool:
    """Return whether every process finds the part's class: in a part file, or in an installed package."""
    cls = type(part)
    if is_from_part_file(cls.__module__):
        return True
    families = {base.__module__.removesuffix(".base") for base in cls.__mro__ if base.__module__.endswith(".base")}
    names = (entry for family in families for entry in offered_to(family))
    return any(entry.value == f"{cls.__module__}:{cls.__qualname__}" or entry.load() is cls for entry in names)


def _definition(part: Part) -> Callable[..., Any]:
    """Return the class of a component; of a function, the function without its decorators."""
    return type(part) if isinstance(part, Component) else inspect.unwrap(part)


def descendants(cls: type[T]) -> list[type[T]]:
    """Return all classes that derive from a class, each once."""
    every = [c for sub in cls.__subclasses__() for c in (sub, *descendants(sub))]
    return list(dict.fromkeys(every))  # a class with two bases is reached twice
