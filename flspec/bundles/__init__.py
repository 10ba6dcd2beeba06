"""Bundles: what a paper's appendix needs of runs, in one folder or zip that describes itself as an RO-Crate.

    paths ──contents──▶ files of the runs, their report, ──crate──▶ ro-crate-metadata.json
                        methods in words (`methods`)               and the SHA-256 of each file

Weights and checkpoints are not taken along: `flspec export RUN --to safetensors` writes a model, `flspec reproduce`
makes it again. Nor is anything else of a run's folder that `contents` does not name, such as a private run's noise key.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flspec.bundles.contents import MOST_BYTES, gather
from flspec.bundles.crate import Maker, check_library, describe
from flspec.core.files import check_new_file, partial_file
from flspec.core.reading import open_regular
from flspec.errors import InputError, RunWarning

__all__ = ["Bundle", "write_bundle"]


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written."""

    path: Path
    num_runs: int
    num_files: int
    remarks: tuple[str, ...]  # on what a reader must know before the runs are believed


def write_bundle(
    paths: Sequence[str | Path], out: str | Path, *, licence: str | None = None, authors: Sequence[str] = ()
) -> Bundle:
    """Write a new folder, or a file that ends in .zip, with the runs at or below some paths.

    `licence` is an SPDX identifier or an address; `authors` are names, each with an ORCID behind it in angle brackets
    if there is one. Neither is in the bundle unless it is given. Warns of runs that failed, were interrupted or have
    not ended, and of results that were changed since. Raises InputError, and leaves nothing, if there is no run at one
    of the paths, if `out` is there already or cannot be made, or if `rocrate` is not installed.
    """
    out, maker = Path(out), Maker.of(licence, authors)
    check_library()
    check_new_file(out)
    with _written(out) as folder:
        contents = gather(list(map(Path, paths)), folder)
        describe(contents, maker, folder)
        num_files = sum(path.is_file() for path in folder.rglob("*"))
    for remark in contents.remarks:
        warnings.warn(remark, RunWarning, stacklevel=2)
    return Bundle(out, len(contents.runs), num_files, contents.remarks)


@contextmanager
def _written(out: Path) -> Iterator[Path]:
    """Yield a folder to be filled, which becomes `out` once it is whole."""
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.absolute().parent) as work:
        folder = Path(work) / "bundle"
        folder.mkdir()
        try:
            yield folder
            if out.suffix != ".zip":
                folder.rename(out)
                return
            archive = shutil.make_archive(str(folder), "zip", folder)
            with partial_file(out) as file, open_regular(archive, MOST_BYTES) as made:
                shutil.copyfileobj(made, file)
        except OSError as error:
            raise InputError(f"--out: {out} cannot be written ({error.strerror or error}); choose another") from None
