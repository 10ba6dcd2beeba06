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

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
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
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from flspec.core.definitions import is_current, is_offered_as
from flspec.core.part_files import is_from_part_file, is_in_use, known_files, load_in_use, part_files_in_use
from flspec.core.part_sources import package_digest
from flspec.core.text import join_all
from flspec.errors import InputError, choose, shorten

__all__ = [
    "OTHER_KINDS",
    "Component",
    "Document",
    "OmitDefaults",
    "OneOf",
    "OneOfOthers",
    "Part",
    "check_parts_in_use",
    "comes_with_flspec",
    "descendants",
    "family_members",
    "full_name",
    "is_offered",
    "load_family",
    "load_installed",
    "named_part",
    "parse_component",
    "source_digests",
]


class Document(BaseModel):
    """Base of everything that is stored as JSON or YAML: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

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

    A member with a field of its own family excludes its own kind (`but`), so it cannot be nested in itself.
    """

    def __init__(self, *but: str) -> None:
        self._but = but

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Pydantic's own Union of one member is that member, so `kind` could be left out while a family has one member.
        # Specs without `kind` would then break as soon as a second member is installed.
        installed = _outside_of_files(source)
        fixed = _by_kind(cls for cls in installed if _is_everywhere(cls, source))
        members = {_kind_of(cls): cls for cls in installed if not inspect.isabstract(cls) and _kind_of(cls)} | fixed
        members = {kind: member for kind, member in sorted(members.items()) if kind not in self._but}
        choices = {kind: handler.generate_schema(member) for kind, member in members.items()}
        rest = core_schema.no_info_plain_validator_function(partial(_of_part_file, source, self._but))
        return core_schema.tagged_union_schema(
            {**choices, OTHER_KINDS: rest},
            # A class of this process alone may be defined anew, or be another one's in a part file.
            discriminator=_choosing(frozenset(fixed) & frozenset(choices)),
            metadata={"family": source, "but": self._but},
            serialization=_BY_ITS_OWN_CLASS,
        )


OTHER_KINDS = "other kinds"  # the choice of a union for kinds that were unknown when it was made

# A member of a part file is unknown to the union, so each member writes itself.
_BY_ITS_OWN_CLASS = core_schema.wrap_serializer_function_ser_schema(
    lambda value, handler: handler(value), schema=core_schema.any_schema()
)


def _choosing(installed: frozenset[str]) -> Callable[[Any], str | None]:
    """Return what says the choice of a union that a value belongs to; None if it does not say its kind."""

    def kind(value: Any) -> str | None:  # pydantic shows the name
        is_said = not isinstance(value, Mapping) or "kind" in value
        said = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
        return said if isinstance(said, str) and said in installed else OTHER_KINDS if is_said else None

    return kind


def _of_part_file(base: type[Any], but: tuple[str, ...], value: Any) -> Any:
    """Validate a component of a part file in use, or of a class that this process alone has."""
    if isinstance(value, base) and not _is_everywhere(type(value), base):
        return value
    if not isinstance(value, Mapping):
        raise PydanticKnownError("model_attributes_type")
    kind, known = value["kind"], {name: one for name, one in family_members(base).items() if name not in but}
    if not isinstance(kind, str) or kind not in known:
        told = {"discriminator": "'kind'", "tag": str(kind), "expected_tags": ", ".join(map(repr, known))}
        raise PydanticKnownError("union_tag_invalid", told)
    base_class, member = cast(Hashable, base), cast(Hashable, known[kind])
    return _adapter_of(base_class, kind, member).validate_json(json.dumps(value))  # JSON, in which a list is a tuple


@lru_cache(maxsize=256)
def _adapter_of(base: Hashable, kind: str, member: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[base, _Only(kind, member)])  # type: ignore[arg-type]  # they are classes


class _Only:
    """Annotation that validates one member, with the places of errors as in a union of several."""

    def __init__(self, kind: str, member: Any) -> None:
        self._choice = (kind, member)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        kind, member = self._choice
        return core_schema.tagged_union_schema({kind: handler.generate_schema(member)}, discriminator="kind")


Part = Component | Callable[..., Any]  # a component, its class, or a function
C = TypeVar("C", bound=Component)
T = TypeVar("T")
OneOf = Annotated[C, OneOfOthers()]


_unloaded: set[str] = set()  # families whose installed parts have not been imported
_loading: set[str] = set()  # and those whose installed parts are being imported


def load_family(package: str, path: Iterable[str]) -> None:
    """Import the modules of a family's folder. What installed packages offer is imported when members are first needed.

    Not at once, because a package with parts of several families imports these, and would find them half imported.
    """
    _unloaded.add(package)
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


def load_installed(package: str) -> list[tuple[str, Any]]:
    """Import what installed packages offer to a family, once; returns what was imported, by the entry point's name.

    Raises InputError if a part cannot be imported.
    """
    if package not in _unloaded or package in _loading:
        return []
    _loading.add(package)
    try:
        offered = [(entry.name, _load(package, entry)) for entry in entry_points(group=package)]
        _unloaded.discard(package)
    finally:
        _loading.discard(package)
    return offered


def _load(package: str, entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        offered_by = entry.dist.name if entry.dist else "an installed package"
        raise InputError(
            f"{package}: kind {entry.name!r}, offered by {offered_by}, cannot be imported: {error!r}; "
            f"repair or uninstall {offered_by}"
        ) from error


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
    load_installed(base.__module__.removesuffix(".base"))
    others = [cls for cls in descendants(base) if not is_from_part_file(cls.__module__)]
    return [cls for cls in others if is_current(cls) or _is_everywhere(cls, base)]


def _is_everywhere(cls: type[Any], base: type[Any]) -> bool:
    """Return whether every process finds a member of a family: it comes with it, or an installed package offers it."""
    package, family = (one.__module__.partition(".")[0] for one in (cls, base))
    group = base.__module__.removesuffix(".base")
    return not is_from_part_file(cls.__module__) and (package == family or is_offered_as(group, cls))


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
    adapter = _family_adapter(base, tuple(_outside_of_files(base)))
    # Through JSON, because strict validation of Python objects refuses a list for a field that is a tuple.
    found: C = adapter.validate_json(json.dumps(document))
    return found


@lru_cache(maxsize=64)
def _family_adapter(base: Hashable, members: tuple[Hashable, ...]) -> TypeAdapter[Any]:
    """Return the validator of a family. It is made anew once there are other members."""
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
    names = (entry for family in families for entry in entry_points(group=family))
    return any(entry.value == f"{cls.__module__}:{cls.__qualname__}" or entry.load() is cls for entry in names)


def _definition(part: Part) -> Callable[..., Any]:
    """Return the class of a component; of a function, the function without its decorators."""
    return type(part) if isinstance(part, Component) else inspect.unwrap(part)


def descendants(cls: type[T]) -> list[type[T]]:
    """Return all classes that derive from a class, each once."""
    every = [c for sub in cls.__subclasses__() for c in (sub, *descendants(sub))]
    return list(dict.fromkeys(every))  # a class with two bases is reached twice
