"""Pictures: what each run's model made after its first, its last and some rounds between, beside real pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flspec.core.text import join_all
from flspec.errors import InputError
from flspec.protocol.events import ImageFile
from flspec.report.page import Paragraph, Picture, Pictures, Section
from flspec.report.subject import PlanGroup, ReportedRun, Subject
from flspec.report.words import brief, number
from flspec.runs.image_files import read_image
from flspec.runs.metric_words import features_in_words
from flspec.runs.result import RoundRecord

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["pictures_section"]

Block = Pictures | Paragraph

_MOST_BETWEEN = 6  # rounds between the first and the last
_WIDTH = 640  # pixels of a grid on the page
_MOST_BYTES = 3 * 2**20  # of all grids on a page as text; a page with its charts stays below 4 MB
_BROWSERS_READ = ("PNG", "JPEG")


def pictures_section(subject: Subject) -> Section | None:
    """Return the section, or None if no run made pictures."""
    left = [_MOST_BYTES]
    blocks = [block for plan in subject.plans for block in _blocks(subject, plan, left)]
    return Section("Pictures", blocks) if blocks else None


def _blocks(subject: Subject, plan: PlanGroup, left: list[int]) -> Iterator[Block]:
    runs = [run for run in plan.runs if run.result and any(record.images for record in run.result.rounds)]
    for twins in _alike(runs):
        yield from _of_run(subject.heading(plan), twins, left)


def _alike(runs: Sequence[ReportedRun]) -> list[list[ReportedRun]]:
    """Return runs whose grids are the same pixel for pixel together: one of them is shown."""
    found: dict[tuple[tuple[int, str], ...], list[ReportedRun]] = {}
    for run in runs:
        grids = tuple((r.round, r.images["generated"].sha256) for r in _rounds(run))
        found.setdefault(grids, []).append(run)
    return list(found.values())


def _of_run(heading: str, twins: Sequence[ReportedRun], left: list[int]) -> Iterator[Block]:
    run, rounds = twins[0], _rounds(twins[0])
    if not rounds:
        return
    pictures, problems = list[Picture](), list[str]()
    real = rounds[-1].images.get("real")
    for title, image, record in [*_chosen(rounds), *([("Real pictures", real, None)] if real else [])]:
        try:
            assert run.folder
            uri = _data_uri(read_image(run.folder, image))
        except InputError as error:
            problems.append(brief(str(error), 200))
            continue
        if len(uri) > left[0]:
            problems.append(f"{title} is left out, as the page would grow too large; it is in the run\u2019s folder")
            continue
        left[0] -= len(uri)
        pictures.append(Picture(title, uri, _alt(title, image), _kid(record)))
    if pictures:
        yield Pictures(heading + _caption(twins, rounds), pictures)
    yield from (Paragraph(f"Note: {problem}.") for problem in problems)


def _rounds(run: ReportedRun) -> list[RoundRecord]:
    return [record for record in (run.result.rounds if run.result else ()) if "generated" in record.images]


def _chosen(rounds: Sequence[RoundRecord]) -> list[tuple[str, ImageFile, RoundRecord]]:
    """Return the first round, the last, and at most so many between them, at even distances."""
    positions = np.unique(np.linspace(0, len(rounds) - 1, min(len(rounds), _MOST_BETWEEN + 2)).round().astype(int))
    records = [rounds[position] for position in positions]
    return [(f"After round {record.round}", record.images["generated"], record) for record in records]


def _caption(twins: Sequence[ReportedRun], rounds: Sequence[RoundRecord]) -> str:
    result = twins[0].result
    who = join_all([run.label for run in twins])
    same = ", the same pixel for pixel" if len(twins) > 1 else ""
    by = features_in_words([result.features if result else None], [record.evaluation or {} for record in rounds])
    clients = rounds[-1].images["generated"].clients
    rows = f" Row by row from the models of clients {join_all([*map(str, clients)])}." if clients else ""
    told = f" {by[0]}." if by else ""
    return f"Pictures made from the same random numbers after each round: {who}{same}.{rows}{told}"


def _alt(title: str, image: ImageFile) -> str:
    if title == "Real pictures":
        return "Grid of real pictures of the test set."
    rows = f", a row each of clients {join_all([*map(str, image.clients)])}" if image.clients else ""
    return f"Grid of generated pictures {title[0].lower()}{title[1:]}{rows}."


def _kid(record: RoundRecord | None) -> str:
    value = (record.evaluation or {}).get("test", {}).get("kid") if record else None
    return "" if value is None else f"kid {number(value, 3)}"


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a grid as an image in a page, scaled to about one width, in the format that takes less room."""
    from PIL import Image

    image = Image.fromarray(pixels)
    if image.width > _WIDTH:
        image = image.resize((_WIDTH, max(1, image.height * _WIDTH // image.width)), Image.Resampling.LANCZOS)
    elif (times := _WIDTH // image.width) > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    kind, content = min(((kind, _encoded(image, kind)) for kind in _BROWSERS_READ), key=lambda one: len(one[1]))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content).decode()}"


def _encoded(image: Image, kind: str) -> bytes:
    file = BytesIO()
    image.save(file, kind, **({"quality": 90, "subsampling": 0} if kind == "JPEG" else {"optimize": True}))
    return file.getvalue()
