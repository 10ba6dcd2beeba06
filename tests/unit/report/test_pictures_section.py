"""Grids of pictures on a page, and as files of a run."""

from __future__ import annotations

import base64
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flspec.comparison.results import ComparedRun, Comparison
from flspec.errors import InputError
from flspec.protocol.events import ImageFile
from flspec.report import write_comparison_report
from flspec.runs.image_files import read_image, save_images
from flspec.runs.measured import Grid
from tests.unit.report.report_cases import Parsed, a_result, a_round

SPACE = {"title": "random_conv", "sha256": "0" * 64}


def a_grid(seed, height=20, width=30, clients=()):
    return Grid(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8), clients)


def a_run(folder: Path, num_rounds: int = 3, backend: str = "local", seed: int = 0, **size) -> ComparedRun:
    rounds = []
    for number in range(1, num_rounds + 1):
        folder.mkdir(parents=True, exist_ok=True)
        images = save_images(folder, number, {"generated": a_grid(seed + number, **size), "real": a_grid(-1 + 100)})
        evaluation = {"test": {"kid": 0.5 / number}}
        rounds.append(a_round(number, evaluation=evaluation, images={n: i.model_dump() for n, i in images.items()}))
    final = {"evaluation": rounds[-1].evaluation}
    result = a_result(backend, rounds, final=final, features=SPACE)
    return ComparedRun(folder, result, True, True, 0.0)


def page_of(*runs: ComparedRun, at: Path) -> Parsed:
    return Parsed(write_comparison_report(Comparison(runs), at / "page.html").read_text(encoding="utf-8"))


def shown(page: Parsed) -> list[str]:
    return [str(attrs["alt"]) for tag, attrs in page.tags if tag == "img"]


def decoded(page: Parsed, number: int) -> Image.Image:
    uri = [str(attrs["src"]) for tag, attrs in page.tags if tag == "img"][number]
    assert uri.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
    return Image.open(BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_grids_of_a_run_are_on_its_page_with_real_ones_last(tmp_path):
    page = page_of(a_run(tmp_path / "run"), at=tmp_path)
    assert shown(page) == [
        *(f"Grid of generated pictures after round {number}." for number in (1, 2, 3)),
        "Grid of real pictures of the test set.",
    ]
    assert "Pictures" in page.texts["h2"]
    text = " ".join(page.texts["b"])
    assert "from the same random numbers after each round: local. kid by random_conv." in text
    assert page.texts["p"].count("kid 0.500") == 1


def test_of_many_rounds_the_first_the_last_and_six_between_are_shown(tmp_path):
    alts = shown(page_of(a_run(tmp_path / "run", num_rounds=30), at=tmp_path))
    rounds = [int(alt.split()[-1].rstrip(".")) for alt in alts[:-1]]
    assert len(rounds) == 8
    assert (rounds[0], rounds[-1]) == (1, 30)
    assert set(np.diff(rounds)) <= {4, 5}


def test_small_grids_are_enlarged_in_whole_pixels_and_wide_ones_shrunk(tmp_path):
    small = decoded(page_of(a_run(tmp_path / "small"), at=tmp_path), 0)
    assert small.size == (30 * 21, 20 * 21)
    assert decoded(page_of(a_run(tmp_path / "wide", height=500, width=1000), at=tmp_path), 0).size == (640, 320)


def test_a_page_of_large_noisy_grids_stays_below_four_megabytes_and_says_what_it_left_out(tmp_path):
    runs = [a_run(tmp_path / str(n), num_rounds=8, seed=50 * n, height=640, width=640) for n in range(3)]
    page = page_of(*runs, at=tmp_path)
    assert os.path.getsize(tmp_path / "page.html") < 4 * 2**20
    assert any("is left out, as the page would grow too large" in text for text in page.texts["p"])
    assert 4 < len(shown(page)) < 27


def test_runs_with_the_same_pixels_are_shown_once(tmp_path):
    local, flower = a_run(tmp_path / "a"), a_run(tmp_path / "b", backend="flower")
    page = page_of(local, flower, at=tmp_path)
    assert len(shown(page)) == 4
    assert "local and flower, the same pixel for pixel." in " ".join(page.texts["b"])
    other = a_run(tmp_path / "c", backend="flower", seed=9)
    assert len(shown(page_of(local, other, at=tmp_path))) == 8


def test_rows_of_clients_are_named(tmp_path):
    page = page_of(a_run(tmp_path / "run", num_rounds=1, clients=(0, 1)), at=tmp_path)
    assert shown(page)[0] == "Grid of generated pictures after round 1, a row each of clients 0 and 1."


def test_runs_without_pictures_have_no_such_section(tmp_path):
    page = page_of(ComparedRun(tmp_path, a_result("local"), True, True, 0.0), at=tmp_path)
    assert "Pictures" not in page.texts["h2"]


def test_a_grid_that_is_gone_or_another_is_told_and_the_others_shown(tmp_path):
    run = a_run(tmp_path / "run")
    (tmp_path / "run/images/round_0000001.png").unlink()
    Image.new("RGB", (30, 20)).save(tmp_path / "run/images/round_0000002.png")
    page = page_of(run, at=tmp_path)
    assert len(shown(page)) == 2
    notes = [text for text in page.texts["p"] if text.startswith("Note: ")]
    assert "round_0000001.png" in notes[0]
    assert notes[1].endswith("round_0000002.png is not the picture that the run recorded.")


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "images/../x.png", "images/a.svg", "images/A b.png"])
def test_a_result_from_elsewhere_has_no_other_file_read(tmp_path, path):
    Image.new("RGB", (3, 3)).save(tmp_path / "secret.png")
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="a picture is not where a run puts it"):
        read_image(tmp_path / "run", ImageFile(path=path, sha256="0" * 64))


def test_a_file_that_is_no_picture_is_told(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/real.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    with pytest.raises(InputError, match=r"images/real.png cannot be read"):
        read_image(tmp_path, ImageFile(path="images/real.png", sha256="0" * 64))


def test_a_grid_reads_as_it_was_saved(tmp_path):
    grid = a_grid(1, clients=(4, 5))
    image = save_images(tmp_path, 12, {"generated": grid})["generated"]
    assert (image.path, image.clients) == ("images/round_0000012.png", (4, 5))
    assert np.array_equal(read_image(tmp_path, image), grid.pixels)
    assert save_images(tmp_path, 12, {"generated": grid})["generated"] == image
    assert save_images(tmp_path / "none", 1, {}) == {}
    assert not (tmp_path / "none").exists()
