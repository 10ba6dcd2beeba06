"""Questions to TensorFlow, which one process in TFF's environment answers (`tensorflow_answers.py`)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.errors import InputError
from flspec.execution.environments import environment_python, find_environment
from tests.conformance.harness import absent
from tests.torch_passes import largest_deviation

STEP = 2.0**-23  # one float32 step, relative

Arrays = Mapping[str, NDArray[Any]]
Answers = Callable[[str], dict[str, NDArray[Any]]]


def ask(questions: dict[str, Any], arrays: dict[str, Any], name: str, question: Any, given: Arrays) -> None:
    questions[name] = question
    arrays.update({f"{name}:{key}": value for key, value in given.items()})


def below(**groups: Arrays) -> dict[str, NDArray[Any]]:
    return {f"{group}/{name}": value for group, arrays in groups.items() for name, value in arrays.items()}


def answers_of(questions: Mapping[str, Any], arrays: Arrays, folder: Path) -> Answers:
    """What TensorFlow answers to each question, by its name."""
    (folder / "questions.json").write_text(json.dumps(questions))
    np.savez(folder / "questions.npz", allow_pickle=False, **arrays)
    _run_in_tff(folder)
    with np.load(folder / "answers.npz") as file:
        found = dict(file)
    return lambda name: {k.removeprefix(f"{name}:"): v for k, v in found.items() if k.startswith(f"{name}:")}


def _run_in_tff(folder: Path) -> None:
    try:
        python = environment_python(find_environment("tff"))
    except InputError as error:
        absent("tff", str(error))
    script, log = Path(__file__).with_name("tensorflow_answers.py"), folder / "log"
    with log.open("wb") as output:
        done = subprocess.run(
            [python, "-I", script, folder],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, log.read_text()[-2000:]


def furthest(found: Arrays, expected: Arrays) -> float:
    return max(largest_deviation(found[name], value) for name, value in expected.items() if np.abs(value).max())
