"""Settings of a plan that is not one: refused when it is read, with the setting and its value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flspec.errors import InputError
from flspec.execution.parts import postprocessors_of
from flspec.protocol.plan import Plan
from flspec.protocol.settings import PlanSettings, read_settings, write_settings
from tests.plan_settings import settings_with

WRONG = {
    "data": ([], r"DataSettings is \[\], not a mapping"),
    "layers": ("x", "PlanSettings.layers has 'x', not a list"),
    "client_optimizer": ("sgd", "PlanSettings.client_optimizer has 'sgd', not a mapping"),
    "client_algorithm": (3, "PlanSettings.client_algorithm has 3, not a mapping"),
    "postprocessors": ([3], "PlanSettings.postprocessors has 3, not a mapping"),
    "weights": ("ab", "PlanSettings.weights has 'ab', not a list"),
    "epochs": (True, "PlanSettings.epochs has True, not a whole number"),
    "label_weights": (["1"], "PlanSettings.label_weights has '1', not a number"),
    "clip": ({"norm": "1", "by": "global"}, "ClipSettings.norm has '1', not a number"),
    "evaluation": ({"every": 1}, "EvaluationSettings lacks metrics"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_setting_of_another_type_is_refused_with_its_place_and_value(key):
    value, message = WRONG[key]
    with pytest.raises(ValueError, match=message) as raised:
        read_settings(PlanSettings, write_settings(settings_with()) | {key: value})
    assert str(raised.value).endswith("; compile its spec again")


def test_settings_without_a_part_are_refused_by_its_name():
    document = write_settings(settings_with())
    with pytest.raises(ValueError, match="PlanSettings lacks aggregator"):
        read_settings(PlanSettings, {key: value for key, value in document.items() if key != "aggregator"})


def test_a_whole_number_is_a_number():
    document = write_settings(settings_with()) | {"label_weights": [1, 2.5]}
    assert read_settings(PlanSettings, document).label_weights == (1, 2.5)


def test_a_plan_that_names_a_tensor_without_array_is_refused(make_plan, tmp_path):
    plan = make_plan(rounds=1)
    named = replace(plan, settings=replace(plan.settings, constants=("absent",)))
    named.save(tmp_path)
    with pytest.raises(InputError, match="constants/absent"):
        Plan.load(tmp_path)


def test_a_part_that_is_not_installed_is_an_error_in_the_plan(make_plan):
    plan = make_plan(rounds=1)
    plan = replace(plan, settings=replace(plan.settings, postprocessors=({"kind": "elsewhere"},)))
    with pytest.raises(InputError, match=r"the plan's Postprocessor .*elsewhere.* cannot be read here") as raised:
        postprocessors_of(plan)
    assert "\n" not in str(raised.value)
