"""`flspec plan` and `flspec diff`: what will happen, and how two experiments differ, before or after they ran."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flspec.cli.consoles import console, progress_console
from flspec.cli.options import CellLabel, DataRoot, Json, MaxRuns, Settings, Small, SpecFile, Trust
from flspec.cli.output import print_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flspec.analysis.description import Description
    from flspec.spec.study import Study

__all__ = ["diff", "plan"]

Experiment = Annotated[Path, typer.Argument(help="A spec, or the folder of a plan or run.", show_default=False)]


def plan(
    spec: SpecFile,
    settings: Settings = None,
    small: Small = False,
    trust: Trust = False,
    cell: CellLabel = None,
    max_runs: MaxRuns = 10_000,
    out: Annotated[Path | None, typer.Option(help="Folder to write the plan into.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw who holds which labels, as an SVG and here.")] = False,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Say what a spec will do, without doing it; for a matrix, list its experiments.

    Measures a few training steps, and discards them, to estimate the time.
    """
    from flspec.analysis.description import describe_plan, partition_counts
    from flspec.cli.explanation_tables import partition_picture, plan_table, settings_table
    from flspec.cli.progress import decoding_progress
    from flspec.compiler.compile import compile
    from flspec.compiler.compile import data_root as default_root
    from flspec.core.files import check_new_folder
    from flspec.core.locations import searching_beside
    from flspec.errors import DataRemark, InputError
    from flspec.spec.provenance import provenance
    from flspec.spec.study import load_study
    from flspec.spec.unread import unread_settings

    study = load_study(spec, settings or (), max_runs, small)
    if study.is_matrix and cell is None:
        if plot or out:
            raise InputError(f"{'--plot' if plot else '--out'}: {study.name} is a matrix; choose one of it with --cell")
        _list_cells(study, as_json)
        return
    chosen = study.cell(cell)
    if out:
        check_new_folder(out)
    with decoding_progress(progress_console), warnings.catch_warnings():
        warnings.simplefilter("ignore", DataRemark)  # the table has them
        compiled = compile(chosen, data_root)
    with searching_beside(chosen.spec.folders):
        description = describe_plan(compiled, rehearse=True, data_root=data_root or default_root())
    said = provenance(chosen.spec, chosen.draft) if chosen.draft else ()
    if out:
        try:
            compiled.save(out)
        except OSError as error:
            raise InputError(f"--out: {out} cannot be written: {error}") from None
    counts = partition_counts(compiled) if plot else None
    drawing = None if counts is None else _draw(counts, description, out or Path())
    if as_json:
        settled = {"settings": [one.model_dump(mode="json") for one in said], "remarks": unread_settings([chosen])}
        print_json(description.model_dump(mode="json") | settled | ({"plot": str(drawing)} if drawing else {}))
        return
    console.print(plan_table(description))
    console.print(settings_table(said))
    for remark in unread_settings([chosen]):
        console.print(f"remark: {remark}", soft_wrap=True)
    if counts is not None:
        if picture := partition_picture(counts, description.clients.names, description.data.label_names):
            console.print(picture)
        console.print(f"drawn in {drawing}", soft_wrap=True)


def diff(a: Experiment, b: Experiment, trust: Trust = False, data_root: DataRoot = None, as_json: Json = False) -> None:
    """Say how two experiments differ: settings, decisions, results."""
    from flspec.cli.explanation_tables import difference_tables, sameness
    from flspec.comparison.experiments import difference

    found = difference(a, b, data_root)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    sides, *tables = difference_tables(found)
    console.print(sides)
    console.print(sameness(found))
    for table in tables:
        console.print(table)


def _list_cells(study: Study, as_json: bool) -> None:
    from flspec.cli.explanation_tables import cells_table

    if as_json:
        cells = [{"label": cell.label, "values": dict(cell.values)} for cell in study.cells]
        print_json({"name": study.name, "backend": study.backend, "cells": cells})
        return
    console.print(cells_table(study))
    console.print(f"explain one with --cell, e.g. --cell {study.cells[0].label}", soft_wrap=True)


def _draw(counts: NDArray[np.int64], description: Description, folder: Path) -> Path:
    from flspec.core.files import write_atomically
    from flspec.errors import InputError
    from flspec.report.partition_chart import draw_partition

    path, names = folder / f"{description.name}-partition.svg", description.clients.names
    try:
        write_atomically(
            path,
            draw_partition(
                counts, description.name, description.skew, clients=names, labels=description.data.label_names
            ).encode(),
        )
    except OSError as error:
        raise InputError(f"--plot: {path} cannot be written: {error.strerror or error}") from None
    return path
