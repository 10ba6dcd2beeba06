"""What a spec may ask to be measured of a model that makes pictures, and of one that gives scores."""

from __future__ import annotations

import json

import pytest

from flspec.compiler.compile import compile
from flspec.core.components import family_members
from flspec.errors import InputError, SpecError
from flspec.features import FeatureSpace
from flspec.metrics import METRICS
from flspec.spec.loading import parse_spec
from flspec.spec.template import new_spec

SPEC = """
flspec: 1
name: pictures
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 2}
"""
GAN = """
model: {kind: dcgan, batch_norm: averaged, width: 2, latent: 4}
client: {steps: 1, batch_size: 8, objective: {kind: gan}, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
SCORES = """
model: {kind: softmax_regression}
client: {steps: 1, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


def spec_of(kind, evaluation=None, **more):
    return parse_spec(SPEC + kind + (f"evaluation: {json.dumps(evaluation)}\n" if evaluation else ""))


def problems(kind, evaluation):
    with pytest.raises(SpecError) as error:
        spec_of(kind, evaluation)
    return [(one.path, one.message) for one in error.value.problems]


OF_PICTURES = [name for name, metric in METRICS.items() if metric.measures == "pictures"]


def test_there_are_these_metrics_of_pictures():
    assert OF_PICTURES == ["fid", "image_precision", "image_recall", "kid", "kid_deviation"]


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_goes_with_what_it_measures_and_with_nothing_else(name):
    subsets = {"subsets": {"count": 2, "size": 2}} if name == "kid_deviation" else {}
    fitting, other = (GAN, SCORES) if name in OF_PICTURES else (SCORES, GAN)
    assert spec_of(fitting, {"metrics": [name], **subsets}).evaluation.metrics == (name,)
    found = problems(other, {"metrics": [name]})
    assert f"{name} is of {'pictures' if name in OF_PICTURES else 'scores'}, but this objective gives" in str(found)


def test_what_is_measured_by_default_suits_the_objective():
    assert compile(spec_of(SCORES)).settings.evaluation.metrics == ("accuracy", "loss")
    assert compile(spec_of(SCORES)).settings.evaluation.pictures is None
    planned = compile(spec_of(GAN)).settings.evaluation
    assert planned.metrics == ("image_precision", "image_recall", "kid")
    assert planned.pictures
    assert (planned.pictures.generated, planned.pictures.rows, planned.pictures.columns) == (1000, 8, 8)
    assert planned.pictures.features.title == "random_conv"


@pytest.mark.parametrize(
    "key",
    [
        {"generated": 5},
        {"features": {"kind": "random_conv"}},
        {"images": {"rows": 1}},
        {"subsets": {"count": 5, "size": 5}},
        {"by_label": True},
    ],
    ids=lambda key: next(iter(key)),
)
def test_a_key_of_pictures_beside_scores_would_have_no_effect_and_is_refused(key):
    assert problems(SCORES, key) == [
        (f"evaluation.{next(iter(key))}", "is of generated pictures, and this objective makes none; remove it")
    ]


def test_a_deviation_over_subsets_needs_subsets():
    [(path, message)] = problems(GAN, {"metrics": ["kid", "kid_deviation"]})
    assert (path, message[:46]) == ("evaluation.metrics", "kid_deviation is over subsets; add evaluation.")


def test_the_best_round_may_be_chosen_by_a_default_metric_and_by_no_other():
    assert spec_of(GAN, {"best": {"metric": "kid"}}).evaluation.best
    assert spec_of(SCORES, {"best": {"metric": "loss"}}).evaluation.best
    assert "fid is not among evaluation.metrics; add it there" in str(problems(GAN, {"best": {"metric": "fid"}}))
    assert "loss is not among evaluation.metrics" in str(problems(GAN, {"best": {"metric": "loss"}}))


def test_best_on_names_what_is_measured():
    plan = compile(spec_of(GAN, {"best": {"metric": "kid", "on": "test/label=3"}, "by_label": True}))
    assert plan.settings.evaluation.best
    with pytest.raises(InputError, match=r"evaluation.best.on: unknown 'test/label=3'"):
        compile(spec_of(GAN, {"best": {"metric": "kid", "on": "test/label=3"}}))


def test_what_changes_how_pictures_are_measured_changes_the_digest():
    ways = [
        {},
        {"generated": 5},
        {"features": {"kind": "pixels"}},
        {"features": {"kind": "random_conv", "standardise": True}},
        {"images": {"rows": 2, "columns": 2}},
        {"subsets": {"count": 5, "size": 5}},
        {"by_label": True},
    ]
    digests = [compile(spec_of(GAN, way)).digest for way in ways]
    assert len(set(digests)) == len(ways)
    assert compile(spec_of(GAN, {"features": {"kind": "random_conv"}, "generated": 1000})).digest == digests[0]


@pytest.mark.parametrize("kind", family_members(FeatureSpace))
def test_a_new_spec_with_a_feature_space_is_valid(kind):
    asked = {"model": {"kind": "dcgan"}, "evaluation": {"features": {"kind": kind}}}
    spec = parse_spec(new_spec(asked))
    assert spec.evaluation.features
    assert spec.client.objective.is_generative


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"generated": 0}, "evaluation.generated"),
        ({"generated": 100_001}, "evaluation.generated"),
        ({"images": {"rows": 65}}, "evaluation.images.rows"),
        ({"images": {"rows": 0}}, "evaluation.images.rows"),
        ({"images": {"colums": 3}}, "did you mean 'columns'"),
        ({"subsets": {"count": 1}}, "evaluation.subsets.count"),
        ({"metrics": ["kdi"]}, "did you mean 'kid'"),
        ({"features": {"kind": "inception"}}, "evaluation.features.kind"),
    ],
)
def test_what_is_out_of_range_is_told_by_its_field(evaluation, message):
    with pytest.raises(SpecError) as error:
        spec_of(GAN, evaluation)
    assert message in str(error.value)
