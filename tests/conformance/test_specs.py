"""The shipped specs of the reference systems run from end to end on their twins, learn, and certify, with `--small`.

The others need no twin; their digests and curves are held in tests/golden.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from flspec.compiler.compile import compile
from flspec.data.synthetic.twin_cache import twin_in_words
from flspec.protocol.backend import Job
from flspec.protocol.plan import Plan
from flspec.runs.folders import prepared_folder
from flspec.runs.result import Result
from flspec.runs.runner import attempt_of, execute_plan
from flspec.spec.overlays import compose
from flspec.spec.study import load_study
from tests.conformance.harness import BACKENDS, Certified, Engines

SPECS = Path(__file__).parents[2] / "specs"
NOWHERE = Path("/nowhere")  # no download is read
# A spec, one experiment of its matrix if it has one, and what it must reach at least; guessing gives 0.5 of an area
# under the curve, and a tenth of CIFAR-10's classes.
LEARNED = [
    ("flair/federated_scratch", None, "macro_roc_auc", 0.62),
    ("flair/ml_flair_recipe", None, "macro_roc_auc", 0.62),
    ("flair/federated_pretrained", None, "macro_roc_auc", 0.62),
    ("flair/fine_grained", None, "macro_roc_auc", 0.58),
    ("flair/binary_label", None, "roc_auc", 0.9),
    ("flair/central", None, "macro_roc_auc", 0.65),
    ("flair/private_honest", None, "macro_roc_auc", 0.62),
    ("flair/private_ml_flair", None, "macro_roc_auc", 0.52),  # three times the noise that its epsilon needs
    ("flair/private_pfl", None, "macro_roc_auc", 0.62),
    ("celeba_smiling_by_identity", None, "roc_auc", 0.9),
    ("celeba_smiling_iid", None, "roc_auc", 0.9),
    ("celeba_smiling_modes", "mode=federated", "roc_auc", 0.9),
    ("celeba_smiling_modes", "mode=centralized", "roc_auc", 0.9),
    ("celeba_smiling_modes", "mode=local_only", "roc_auc", 0.65),
    ("isic_melanoma_normal", "batch_norm=averaged", "roc_auc", 0.9),
    ("isic_melanoma_normal", "batch_norm=local", "roc_auc", 0.9),
    ("isic_melanoma_exp1", "batch_norm=averaged", "roc_auc", 0.9),
    ("isic_melanoma_exp2", "batch_norm=local", "roc_auc", 0.9),
    ("isic_melanoma_exp3", "batch_norm=averaged", "roc_auc", 0.9),
    ("isic_melanoma_exp4", "batch_norm=local", "roc_auc", 0.8),
    ("isic_melanoma_exp5", "batch_norm=averaged", "roc_auc", 0.9),
    ("isic_melanoma_exp6", "batch_norm=local", "roc_auc", 0.9),
    ("cifar10_benchmark_iid", None, "accuracy", 0.3),
    ("cifar10_benchmark_dirichlet", None, "accuracy", 0.2),
    ("cifar10_benchmark_private", None, "accuracy", 0.3),
    ("shakespeare_lstm", None, "accuracy", 0.6),  # its most frequent character is a fifth
    ("sent140_lstm", None, "roc_auc", 0.95),
    ("shakespeare_transformer", None, "accuracy", 0.45),
    ("robust_attacks", "partition=iid,aggregator=median,faults=sign_flip,seed=0", "accuracy", 0.65),
]
# Specs of models that make pictures, which come nearer to real ones.
GENERATED = [
    ("celeba_dcgan", None),
    ("celeba_dcgan_modes", "mode=federated"),
    ("celeba_dcgan_modes", "mode=centralized"),
    ("celeba_dcgan_modes", "mode=local_only"),
    ("celeba_dcgan_modes", "mode=federated,local=discriminator"),
]
WITHOUT_TWIN = ("robust_attacks",)  # its data are published, and its small variant has fewer experiments
LARGE = ("flair/federated_scratch", "flair/central")
# One experiment of most data sets, networks and modes is run each time. The others differ from it in who holds what, in
# pictures of another kind, or in settings that have small plans of their own.
EACH_TIME = (
    ("flair/federated_pretrained", None),
    ("celeba_smiling_by_identity", None),
    ("celeba_smiling_modes", "mode=local_only"),
    ("isic_melanoma_normal", "batch_norm=local"),
    ("cifar10_benchmark_iid", None),
    ("shakespeare_transformer", None),
    ("robust_attacks", "partition=iid,aggregator=median,faults=sign_flip,seed=0"),
)
# What TFF's clients cannot do, and the field that the refusal names; the others it has to carry out alike.
REFUSED_BY_TFF: dict[tuple[str, str | None], str] = {
    ("isic_melanoma_normal", "batch_norm=averaged"): "client.optimizer.schedule",
    ("isic_melanoma_normal", "batch_norm=local"): "client.optimizer.schedule",
}

A_LONG_RECIPE = pytest.mark.release("a long recipe, a minute of training for what shorter ones show, too")


def small_plan(name: str, cell: str | None, settings: tuple[str, ...] = ()) -> tuple[Plan, str]:
    chosen = load_study(SPECS / f"{name}.yaml", settings, small=True).cell(cell)
    plan = compile(chosen.spec, NOWHERE)
    assert chosen.spec.name.endswith("-small")
    assert twin_in_words(plan.spec) or name in WITHOUT_TWIN
    return plan, chosen.text


def run_small(name: str, cell: str | None, engines: Engines, folder: Path, settings: tuple[str, ...] = ()) -> Result:
    plan, text = small_plan(name, cell, settings)
    with prepared_folder(folder, plan, attempt_of("local", plan, engines("local")), text):
        return execute_plan(engines("local"), "local", plan, Job(folder))


def reached(result: Result, metric: str) -> float:
    assert result.final
    return result.final.evaluation["test"][metric]


def test_every_spec_that_has_a_small_variant_is_run_here() -> None:
    files = {path.relative_to(SPECS).with_suffix("").as_posix(): path for path in SPECS.rglob("*.yaml")}
    small = {name for name, path in files.items() if compose(path).small}
    assert small == {name for name, *_ in (*LEARNED, *GENERATED)}


@pytest.mark.parametrize(
    ("name", "cell", "metric", "least"),
    [pytest.param(*one, marks=[] if one[:2] in EACH_TIME else [A_LONG_RECIPE]) for one in LEARNED],
)
def test_a_shipped_spec_learns_on_its_twin(
    name: str, cell: str | None, metric: str, least: float, engines: Engines, tmp_path: Path
) -> None:
    assert reached(run_small(name, cell, engines, tmp_path / "run"), metric) > least


@A_LONG_RECIPE
@pytest.mark.parametrize(("name", "cell"), GENERATED)
def test_pictures_of_a_shipped_spec_come_nearer_to_real_ones(
    name: str, cell: str | None, engines: Engines, tmp_path: Path
) -> None:
    kid = [
        record.evaluation["test"]["kid"]
        for record in run_small(name, cell, engines, tmp_path).rounds
        if record.evaluation
    ]
    assert min(kid) < 0.6 * kid[0]  # after three rounds the pooled pictures have brought it to 0.006 already
    assert min(kid) < 0.005  # other real pictures have 0.005; a generator without a sensible step stays above 0.02


@pytest.fixture(scope="module")
def certified_briefly(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str | None], Certified]:
    """The certificate of a shipped spec on two rounds of two steps, or on one round, on every backend that there is.

    What an engine does otherwise shows in the first round, and rounding has no time to grow; `flspec certify SPEC
    --small` is the whole.
    """

    @cache
    def certify(name: str, cell: str | None) -> Certified:
        # ISIC's schedule needs whole passes. With eleven million weights even one step takes TFF half a minute.
        num_steps = 1 if name in LARGE else 2
        steps = () if name.startswith("isic") else ("client.epochs=null", f"client.steps={num_steps}")
        rounds = 1 if name.startswith("isic") or name == "flair/federated_scratch" else 2
        plan, _ = small_plan(name, cell, (f"rounds={rounds}", *steps))
        return engines.certify(plan, engines.available(BACKENDS), tmp_path_factory.mktemp("spec") / "certificate")

    return certify


# The experiments of ISIC differ by who holds which pictures, which no engine sees: one of them will do.
SEEN_BY_ENGINES = [
    pytest.param(name, cell, marks=[] if (name, cell) in EACH_TIME else [A_LONG_RECIPE])
    for name, cell, *_ in LEARNED
    if not name.startswith("isic_melanoma_exp")
]


@pytest.mark.parametrize(("name", "cell"), SEEN_BY_ENGINES)
def test_a_shipped_spec_is_the_same_to_the_bit_on_flower(
    name: str, cell: str | None, engines: Engines, certified_briefly: Callable[[str, str | None], Certified]
) -> None:
    engines("flower:inprocess")
    case = certified_briefly(name, cell)
    assert case.verdict("flower:inprocess").bitwise, case.verdict("flower:inprocess").reason
    ours, theirs = case.result("local"), case.result("flower:inprocess")
    assert ours.weights == theirs.weights
    assert ours.final == theirs.final


@pytest.mark.parametrize(("name", "cell"), SEEN_BY_ENGINES)
def test_a_shipped_spec_is_equivalent_on_tff_or_refused_for_its_field(
    name: str, cell: str | None, engines: Engines, certified_briefly: Callable[[str, str | None], Certified]
) -> None:
    engines("tff")
    verdict = certified_briefly(name, cell).verdict("tff")
    field = REFUSED_BY_TFF.get((name, cell))
    assert verdict.verdict == ("refused" if field else "equivalent"), verdict.reason
    assert not field or f"tff cannot run this plan: {field}: " in (verdict.reason or "")


@pytest.mark.parametrize("name", ["flair/binary_label", "celeba_smiling_by_identity"])
def test_what_hardly_takes_a_step_does_not_reach_what_is_asked(name: str, engines: Engines, tmp_path: Path) -> None:
    [(metric, least)] = [(metric, least) for one, _, metric, least in LEARNED if one == name]
    settings = ("rounds=1", "client.optimizer.learning_rate=1e-12")
    assert reached(run_small(name, None, engines, tmp_path / "run", settings=settings), metric) < least
