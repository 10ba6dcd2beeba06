"""Folders that are about to be written to."""

from __future__ import annotations

import os
from pathlib import Path

from flspec.errors import InputError, shorten

__all__ = ["check_new_folder", "new_folder"]


def new_folder(parent: Path, name: str) -> Path:
    """A folder below `parent` that does not exist yet; it is not made."""
    number = 1
    while (folder := parent / f"{name.replace(':', '-')}-{number}").exists():
        number += 1
    return folder.absolute()


def check_new_folder(folder: Path) -> None:
    """Raise InputError if `folder` could not be made, or holds something; before work that would be lost."""
    shown = shorten(str(folder), 200)
    try:
        if folder.is_dir():
            if any(folder.iterdir()):
                raise InputError(f"out: {shown} is not empty; choose another folder")
        elif folder.exists():
            raise InputError(f"out: {shown} is a file; choose a folder")
        parent = folder.absolute()
        while not parent.exists():
            parent = parent.parent
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"out: {shown} cannot be made: {reason}") from None
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"out: {shown} cannot be made, since {shorten(str(parent), 200)} cannot be written to")
