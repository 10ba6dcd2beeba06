"""`flspec predict`: what a run's model makes of files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer

from flspec.cli.options import Json, as_round
from flspec.cli.output import print_json

__all__ = ["predict"]


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    path: Annotated[Path, typer.Argument(metavar="FOLDER|TABLE", help="A folder of pictures, or a table.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new CSV file.")],
    round_: Annotated[
        str | None, typer.Option("--round", metavar="last|best|N", help="After which round; last if absent.")
    ] = None,
    client: Annotated[str | None, typer.Option(metavar="NAME", help="Whose model, where each has its own.")] = None,
    as_json: Json = False,
) -> None:
    """Predict pictures of a folder, or rows of a table.

    They are read as the run's data set is: pictures are decoded to its size and
    colours, a table has the columns of its features, by name and spelt alike; others
    are ignored. Writes file or row, the predicted class, and each class's probability.
    """
    from flspec.api.predictions import write_predictions
    from flspec.core.files import check_new_file, partial_file
    from flspec.exports.base import model_at

    check_new_file(out)
    model = model_at(run, as_round(round_), client)
    with partial_file(out) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        try:
            num = write_predictions(model, path, text)
        finally:
            text.detach()
    if as_json:
        print_json({"file": str(out), "predictions": num, "round": model.round})
        return
    from flspec.cli.consoles import console

    console.print(f"written to {out}: {num:,} predictions of the model after round {model.round}", soft_wrap=True)
