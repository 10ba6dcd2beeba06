"""Data sets of the Hugging Face Hub, by name and commit."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from flspec.core.cache import cache_folder, partial_folder
from flspec.data.parquet_files import pyarrow_module
from flspec.datasets.parquet import ParquetRows
from flspec.errors import InputError, choose, printable, shorten

_NAME = r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$"
_ROLES = ("train", "test", "validation")


class HuggingFace(ParquetRows):
    """A data set of the Hugging Face Hub at one commit, by the library `datasets`: pip install 'flspec[huggingface]'.

    What the library loads is written once to flspec's cache, as Parquet; from then on neither it nor the network is
    needed. Columns, pictures, names of classes and clients are as in `parquet`. Pictures must be in the data set's
    tables, which those that it names as files of their own are not.
    """

    kind: Literal["huggingface"] = "huggingface"
    name: Annotated[str, Field(pattern=_NAME, max_length=200, description="name on the Hub", examples=["ylecun/mnist"])]
    revision: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{40}$",
            description="the commit, 40 hexadecimal digits, as the data set's page lists them below Files, History",
            examples=["77f3279092a1c1579b2250db8eafed0ad422088c"],
            json_schema_extra={"patternErrorMessage": "a commit, 40 hexadecimal digits, which no tag or branch is"},
        ),
    ]
    config: Annotated[
        str | None, Field(min_length=1, max_length=200, description="which of several data sets of that name")
    ] = None
    splits: Annotated[
        Mapping[Literal["train", "test", "validation"], str],
        Field(description="its names of the splits, where they are others", examples=[{"test": "validation"}]),
    ] = {}

    def paths(self, root: Path) -> dict[str, list[Path]]:
        folder = self._folder()
        if not folder.is_dir():
            self._store(folder)
        return {role: [file] for role in _ROLES if (file := folder / f"{role}.parquet").is_file()}

    def _folder(self) -> Path:
        """Return where these splits of this commit are kept."""
        what = json.dumps([self.name, self.revision, self.config, sorted(self.splits.items())])
        return cache_folder() / "huggingface" / hashlib.sha256(what.encode()).hexdigest()[:24]

    def _store(self, folder: Path) -> None:
        """Load the splits, and write each to a file. Raises InputError if the library or the data set is not there."""
        if Path(self.name).exists():
            raise InputError(
                f"dataset.name: {self.name} is a file or folder here, which would be read in place of the Hub's; work "
                "in another folder, or read it by kind: parquet"
            )
        library = _library()
        with partial_folder(folder) as partial:
            for role, split in self._chosen(self._loaded(library)).items():
                split.to_parquet(str(partial / f"{role}.parquet"))

    def _loaded(self, library: Any) -> Mapping[str, Any]:
        if not sys.stderr.isatty():
            library.disable_progress_bars()
        try:
            loaded: Mapping[str, Any] = library.load_dataset(self.name, self.config, revision=self.revision)
        except Exception as error:  # the library raises its own, its client's and the system's
            why = printable(shorten(f"{type(error).__name__}: {' '.join(str(error).split())}", 200))
            raise InputError(
                f"dataset: {self.name} at {self.revision[:12]} cannot be loaded ({why}); check name, revision and "
                "config; it is needed online once, or as Parquet files by kind: parquet"
            ) from None
        return loaded

    def _chosen(self, loaded: Mapping[str, Any]) -> dict[str, Any]:
        """Return the splits by their role: those that the spec names, others by their own name."""
        names = {role: self.splits.get(role, role) for role in _ROLES}  # type: ignore[call-overload]
        for role, name in names.items():
            if name not in loaded and (role == "train" or role in self.splits):
                raise InputError(f"dataset.splits: {role}: {choose(name, loaded)}")
        return {role: loaded[name] for role, name in names.items() if name in loaded}


def _library() -> Any:
    """Return the library `datasets`. Raises InputError, which says how to install it."""
    pyarrow_module()
    with suppress(ImportError):
        library = import_module("datasets")
        if hasattr(library, "load_dataset"):  # which a mere folder `datasets` has not
            return library
    raise InputError(
        "dataset: kind huggingface needs the library datasets; install it with: pip install 'flspec[huggingface]'"
    )
