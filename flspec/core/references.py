"""What a spec names as MODULE:NAME: of its part files, or of a module that is installed or on PYTHONPATH."""

from __future__ import annotations

import importlib
from typing import Any

from flspec.core.part_files import imported_from, part_files_in_use
from flspec.core.tracebacks import place_of
from flspec.errors import InputError, choose

__all__ = ["find_object"]


def find_object(reference: str) -> Any:
    """Return the object that `MODULE:NAME` names. Raises InputError, with the line, if it cannot be imported."""
    module_name, _, name = reference.partition(":")
    files = part_files_in_use()
    try:
        beside = files is not None and files.has(module_name)
        found: Any = imported_from(module_name) if beside else importlib.import_module(module_name)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise InputError(f"{module_name} is not found; name its file in parts, or install it") from None
        raise InputError(_why_not(module_name, error)) from error
    except (Exception, SystemExit) as error:  # somebody's module may raise anything
        raise InputError(_why_not(module_name, error)) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{module_name}: {choose(part, _names(found))}")
        found = getattr(found, part)
    return found


def _why_not(module_name: str, error: BaseException) -> str:
    place = place_of(error, module_name.partition(".")[0])
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{module_name} cannot be imported: {what}{f' in {place}' if place else ''}; repair it"


def _names(found: Any) -> list[str]:
    return [name for name, value in vars(found).items() if isinstance(value, type) and not name.startswith("_")]
