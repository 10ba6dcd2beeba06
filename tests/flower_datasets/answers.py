"""Partitions by Flower Datasets, run by the Python of its environment: `python answers.py COLUMNS.json`.

Reads a question a line, `{"name": the partitioner's class, "parameters": its arguments}`, and writes an answer a line:
`{"partitions": [indices of each client]}`, or `{"error": why it failed}`. Imports nothing of the tests.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import datasets
import flwr_datasets.partitioner
import numpy as np


def split(columns: dict[str, list[Any]], name: str, parameters: dict[str, Any]) -> list[list[int]]:
    if "distribution_array" in parameters:
        parameters = parameters | {"distribution_array": np.array(parameters["distribution_array"])}
    partitioner = getattr(flwr_datasets.partitioner, name)(**parameters)
    partitioner.dataset = datasets.Dataset.from_dict(columns)
    return [list(partitioner.load_partition(client)["index"]) for client in range(partitioner.num_partitions)]


def main(file: str) -> None:
    warnings.simplefilter("ignore")
    columns = json.loads(Path(file).read_text())
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer: dict[str, Any] = {"partitions": split(columns, question["name"], question["parameters"])}
        except ValueError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
