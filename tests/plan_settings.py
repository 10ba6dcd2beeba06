"""The settings of a plan of which a test needs only a part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flspec.protocol.settings import DataSettings, EvaluationSettings, PlanSettings

_DATA = DataSettings(
    digest="0" * 64, input_shape=(4,), num_classes=3, feature_type="float32", divisor=1.0, num_train=60, num_test=20
)
_SETTINGS = PlanSettings(
    data=_DATA,
    layers=(),
    loss="cross_entropy",
    client_optimizer={"kind": "sgd", "learning_rate": 0.1},
    aggregator={"kind": "fedavg"},
    evaluation=EvaluationSettings(every=1, metrics=("loss",)),
    weights=(),
)


def settings_with(**parts: Any) -> PlanSettings:
    """Settings that are whole, with some of their parts replaced."""
    return replace(_SETTINGS, **parts)
