"""Results in the folders of their runs, read when they are asked for, so that few are in memory at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from flspec.errors import InputError
from flspec.runs.result import RESULT, Result, load_result

__all__ = ["StoredResults"]

_KEPT_BYTES = 2**23  # of files; a result takes about ten times as much in memory


class StoredResults(Sequence[Result]):
    """The results in some folders. Where their files are small, each is read once and kept."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._are_kept = sum(_size(folder) for folder in folders) <= _KEPT_BYTES
        self._kept: dict[int, Result] = {}

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Result, ...]: ...
    def __getitem__(self, index: int | slice) -> Result | tuple[Result, ...]:
        """Read a result. Raises InputError if it is not valid."""
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]
        if number in self._kept:
            return self._kept[number]
        result = load_result(self._folders[number])
        if self._are_kept:
            self._kept[number] = result
        return result

    def __len__(self) -> int:
        return len(self._folders)

    def readable(self) -> tuple[StoredResults, list[InputError]]:
        """Return those that can be read, and why the others cannot."""
        folders, kept, errors = list[Path](), dict[int, Result](), list[InputError]()
        for number, folder in enumerate(self._folders):
            try:
                result = self[number]
            except InputError as error:
                errors.append(error)
                continue
            if self._are_kept:
                kept[len(folders)] = result
            folders.append(folder)
        found = StoredResults(folders)
        found._kept = kept
        return found, errors

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders, in their order."""
        return tuple(self._folders)


def _size(folder: Path) -> int:
    try:
        return (folder / RESULT).stat().st_size
    except OSError:
        return 0
