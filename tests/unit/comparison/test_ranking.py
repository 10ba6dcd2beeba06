"""Settings are compared where they were measured alike, and it is said where they were not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from flspec.comparison.ranking import Ranking, rank
from flspec.errors import InputError
from flspec.measurements import Measurements
from flspec.runs.result import Result
from tests.command_line import flspec
from tests.unit.report.report_cases import a_result

SPEC: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"kind": "digits"},
    "partition": {"kind": "dirichlet", "alpha": 0.5},
    "aggregator": {"kind": "fedavg"},
    "evaluation": {"metrics": ["accuracy", "loss"]},
}
FEDADAM = {"aggregator": {"kind": "fedadam"}}
EIGHT = tuple(range(8))


def runs(changes: dict[str, Any], scores: Sequence[float], seeds: Sequence[int] = EIGHT, **fields: Any) -> list[Result]:
    spec = SPEC | changes
    digest = sha256(json.dumps(spec).encode()).hexdigest()[:60]
    return [
        a_result(
            "local",
            spec=spec,
            seed=seed,
            plan_digest=f"{digest}{seed:04x}",
            **{"final": {"evaluation": {"test": {"accuracy": score, "loss": 1 - score}}}} | fields,
        )
        for seed, score in zip(seeds, scores, strict=True)
    ]


def ranked(
    *results: list[Result], data: Mapping[int, str] | None = None, folder: Path | None = None, **options: Any
) -> Ranking:
    """The ranking of these runs; `data` has digests of the data of some, by position."""
    every = [one for several in results for one in several]
    folders = tuple((folder or Path("/nowhere")) / str(number) for number in range(len(every)))
    for number, digest in (data or {}).items():
        (folders[number] / "plan").mkdir(parents=True)
        (folders[number] / "plan" / "plan.json").write_text(json.dumps({"settings": {"data": {"digest": digest}}}))
    return rank(Measurements(folders, tuple(every)), **options)


BASE = [0.70, 0.74, 0.66, 0.71, 0.69, 0.75, 0.68, 0.72]


def test_what_is_better_with_every_seed_is_called_so_by_what_sets_it_apart() -> None:
    ranking = ranked(runs({}, BASE), runs(FEDADAM, [score + 0.02 for score in BASE]))
    (pair,) = ranking.pairs
    assert pair.contrast
    assert (pair.axes, pair.contrast.paired) == (("aggregator",), True)
    assert pair.contrast.difference == pytest.approx(-0.02)
    assert ranking.verdict(pair) == "fedadam better"


def test_a_low_loss_is_good() -> None:
    ranking = ranked(runs({}, BASE), runs(FEDADAM, [score + 0.02 for score in BASE]), metric="loss")
    assert ranking.verdict(ranking.pairs[0]) == "fedadam better"


def test_what_goes_both_ways_is_not() -> None:
    mixed = [score + (0.02 if number % 2 else -0.02) for number, score in enumerate(BASE)]
    ranking = ranked(runs({}, BASE), runs(FEDADAM, mixed))
    assert [ranking.verdict(pair) for pair in ranking.pairs] == ["not shown"]


def test_of_few_seeds_it_is_said_how_many_could_show_it() -> None:
    three = (0, 1, 2)
    ranking = ranked(runs({}, BASE[:3], three), runs(FEDADAM, [s + 0.2 for s in BASE[:3]], three))
    assert ranking.verdict(ranking.pairs[0]) == "too few seeds"
    assert ranking.reasons == [
        "too few seeds: with 1 compared at once, 6 seeds are the fewest that can show a difference"
    ]


def test_runs_that_share_no_seed_are_not_paired() -> None:
    ranking = ranked(runs({}, BASE), runs(FEDADAM, [score + 0.2 for score in BASE], range(10, 18)))
    assert ranking.pairs[0].contrast
    assert not ranking.pairs[0].contrast.paired
    assert ranking.verdict(ranking.pairs[0]) == "fedadam better"


def test_pairs_differ_in_one_setting_where_there_are_such() -> None:
    other = {"partition": {"kind": "dirichlet", "alpha": 5.0}}
    ranking = ranked(runs({}, BASE), runs(FEDADAM, BASE), runs(other, BASE), runs(other | FEDADAM, BASE))
    assert [(pair.axes, ranking.shared(pair), ranking.told_apart(pair)) for pair in ranking.pairs] == [
        (("aggregator",), "0.5", ("fedavg", "fedadam")),
        (("partition.alpha",), "fedavg", ("0.5", "5.0")),
        (("partition.alpha",), "fedadam", ("0.5", "5.0")),
        (("aggregator",), "5.0", ("fedavg", "fedadam")),
    ]


@pytest.mark.parametrize(
    ("changes", "on", "field"),
    [
        ({"dataset": {"kind": "mnist"}}, "test", "dataset"),
        (
            {"dataset": {"kind": "digits", "test_transforms": [{"kind": "horizontal_flip"}]}},
            "test",
            "dataset.test_transforms",
        ),
        ({"evaluation": SPEC["evaluation"] | {"generated": 50}}, "test", "evaluation.generated"),
        ({"partition": {"kind": "iid"}}, "holdout", "partition"),
    ],
)
def test_what_was_measured_otherwise_is_not_compared_and_the_field_is_named(
    changes: dict[str, Any], on: str, field: str
) -> None:
    both = [
        [
            one.model_copy(update={"final": one.final.model_copy(update={"evaluation": {on: {"accuracy": 0.5}}})})
            for one in several
            if one.final
        ]
        for several in (runs({}, BASE), runs(changes, BASE))
    ]
    ranking = ranked(*both, on=on)
    assert [ranking.verdict(pair) for pair in ranking.pairs] == ["not comparable"]
    assert field in ranking.pairs[0].why_not


@pytest.mark.parametrize(
    "harmless", [{"evaluation": {"metrics": ["accuracy"], "every": 5}}, {"partition": {"kind": "iid"}}]
)
def test_what_changes_no_test_set_is_no_reason(harmless: dict[str, Any]) -> None:
    assert all(pair.contrast for pair in ranked(runs({}, BASE), runs(harmless, BASE)).pairs)


def test_other_content_of_the_data_is_a_reason_but_for_faults_which_add_to_it(tmp_path: Path) -> None:
    data = dict(enumerate(["a"] * 8 + ["b"] * 8))
    ranking = ranked(runs({}, BASE), runs(FEDADAM, BASE), data=data, folder=tmp_path / "x")
    assert ranking.pairs[0].why_not == "the content of their data differs"
    flipped = {"faults": [{"kind": "label_flip"}]}
    assert ranked(runs({}, BASE), runs(flipped, BASE), data=data, folder=tmp_path / "y").pairs[0].contrast


def test_runs_that_do_not_count_are_told() -> None:
    ranking = ranked(
        runs({}, BASE),
        runs({}, BASE[:1], [0]),  # again, on another backend for instance
        runs(FEDADAM, BASE[:1], [0], status="failed"),
        runs(
            FEDADAM | {"evaluation": {"metrics": ["loss"]}},
            BASE[:1],
            [1],
            final={"evaluation": {"test": {"loss": 1.0}}},
        ),
    )
    assert len(ranking.settings) == 1
    assert [why.partition(": ")[2] for why in ranking.left_out] == [
        "another run has its settings and its seed 0",
        "failed",
        "the metric has no value",
    ]


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match=r"--metric: unknown 'acuracy'; did you mean 'accuracy'\?"):
        ranked(runs({}, BASE), metric="acuracy")
    with pytest.raises(InputError, match="--on: no run measured anything on 'tst'"):
        ranked(runs({}, BASE), on="tst")
    with pytest.raises(InputError, match="--round best: these runs kept no best round"):
        ranked(runs({}, BASE), of_round="best")


def test_the_command_shows_settings_pairs_and_reasons_of_a_sweep(tmp_path: Path) -> None:
    for number, result in enumerate([*runs({}, BASE), *runs(FEDADAM, [score + 0.02 for score in BASE])]):
        (tmp_path / "sweep" / f"run-{number}").mkdir(parents=True)
        (tmp_path / "sweep" / f"run-{number}" / "result.json").write_text(result.model_dump_json())
    done = flspec(tmp_path, "compare", "sweep")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines() if "fedadam" in line] == [
        ["fedadam", "8", "0.7263", "±", "0.0302"],
        ["fedavg", "fedadam", "8", "-0.0200", "-0.0200,", "-0.0200", "0.008", "fedadam", "better"],
    ]
    assert "permutation test of runs paired by seed" in done.stdout
    told = json.loads(flspec(tmp_path, "compare", "sweep", "--json").stdout)["ranking"]
    assert [(pair["verdict"], pair["p"], pair["num"]) for pair in told["pairs"]] == [
        ("fedadam better", 2 / 2**8, [8, 8])
    ]
