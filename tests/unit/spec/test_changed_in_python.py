"""A spec that is changed in Python is held to what a spec may say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from flspec.aggregators.fedavg import FedAvg
from flspec.compiler.compile import compile
from flspec.errors import InputError
from flspec.samplers.uniform import Uniform
from flspec.spec.spec import Spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rouns": 3}, "Spec: unknown 'rouns'; did you mean 'rounds'"),
        ({"rounds": "3"}, "Spec.rounds: Input should be a valid integer, got '3'"),
        ({"rounds": 0}, "Spec.rounds: Input should be greater than or equal to 1, got 0"),
        ({"mode": "alone"}, "Spec.mode: Input should be 'federated', 'centralized' or 'local_only', got 'alone'"),
        ({"cohort": FedAvg()}, "Spec.cohort: "),
        ({"name": "../up"}, "Spec.name: "),
        ({"postprocessors": [1]}, "Spec.postprocessors: "),
    ],
)
def test_a_change_that_a_file_could_not_say_is_refused(
    make_spec: Callable[..., Spec], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        make_spec().model_copy(update=change)
    assert str(refused.value).startswith(message)


def test_so_is_a_change_of_a_section(make_spec: Callable[..., Spec]) -> None:
    client = make_spec().client
    with pytest.raises(InputError, match="ClientWork: unknown 'epoch'; did you mean 'epochs'"):
        client.model_copy(update={"epoch": 3})
    with pytest.raises(InputError, match=r"Sgd\.learning_rate: Input should be greater than 0, got -1\.0"):
        client.optimizer.model_copy(update={"learning_rate": -1.0})


def test_a_sound_change_has_its_effect(make_spec: Callable[..., Spec]) -> None:
    spec = make_spec().model_copy(update={"rounds": 2, "cohort": Uniform(size=1), "postprocessors": ()})
    assert compile(spec).num_rounds == 2
    assert compile(spec).digest == compile(make_spec(rounds=2, cohort={"kind": "uniform", "size": 1})).digest


def test_a_class_of_one_s_own_can_be_put_in(make_spec: Callable[..., Spec]) -> None:
    class Mine(FedAvg):
        kind: Literal["mine_of_today"] = "mine_of_today"  # type: ignore[assignment]

    assert isinstance(make_spec().model_copy(update={"aggregator": Mine()}).aggregator, Mine)
