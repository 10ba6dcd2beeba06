"""Plans: packing, the digest, and files that are whole or refused."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import subprocess
import sys
import weakref

import numpy as np
import pytest

from flspec.errors import InputError
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.settings import EvaluationSettings, PlanSettings, read_settings, write_settings
from tests.plan_settings import settings_with

WEIGHTS = {"output.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "output.bias": np.zeros(2, np.float32)}
SETTINGS = settings_with(evaluation=EvaluationSettings(every=2, metrics=("loss",)))


def task(client, *batches):
    return ClientTask(client, weight=client + 1, batches=tuple(np.array(batch) for batch in batches))


ROUNDS = [[task(0, [1, 2], [3])], [task(0, [4]), task(1, [5, 6], [7, 8], [9])], [task(1, [10])]]


@pytest.fixture
def plan() -> Plan:
    return Plan.build(SETTINGS, WEIGHTS, [np.array([1, 2, 3, 4]), np.array([5, 6])], ROUNDS, {"name": "example"})


@pytest.fixture
def saved(plan, tmp_path):
    plan.save(tmp_path / "plan")
    return tmp_path / "plan"


def test_a_plan_gives_back_what_was_packed(plan):
    assert (plan.num_rounds, plan.num_clients) == (3, 2)
    assert [list(plan.client_examples(client)) for client in (0, 1)] == [[1, 2, 3, 4], [5, 6]]
    for number, planned in enumerate(ROUNDS, start=1):
        unpacked = plan.cohort(number)
        assert [(t.client, t.weight, [list(b) for b in t.batches]) for t in unpacked] == [
            (t.client, t.weight, [list(b) for b in t.batches]) for t in planned
        ]


def test_rounds_are_packed_as_they_come(plan):
    alive = []

    def rounds():
        """The same rounds, each made when it is asked for, while nothing holds the ones before."""
        for cohort in ROUNDS:
            tasks = [task(t.client, *t.batches) for t in cohort]
            alive.append(weakref.ref(tasks[0]))
            yield tasks
            del tasks
            assert [one() for one in alive[:-1]] == [None] * (len(alive) - 1)

    made = Plan.build(SETTINGS, WEIGHTS, [np.array([1, 2, 3, 4]), np.array([5, 6])], rounds(), {})
    assert made.digest == plan.digest
    assert np.diff(made.arrays["batch_ends"], prepend=0).tolist() == [2, 1, 1, 2, 2, 1, 1]
    assert made.batch_sizes == {1, 2}
    assert made.num_trained.tolist() == [3, 1, 5, 1]


def test_a_task_is_read_alone_as_it_stands_in_its_cohort(plan):
    for number, planned in enumerate(ROUNDS, start=1):
        for position, one in enumerate(planned):
            alone = plan.task(number, position)
            assert (alone.client, alone.weight) == (one.client, one.weight)
            assert [list(batch) for batch in alone.batches] == [list(batch) for batch in one.batches]
    with pytest.raises(AssertionError):
        plan.task(1, 1)


def test_weights_keep_their_order_and_values(plan):
    assert list(plan.weights) == list(WEIGHTS)
    assert all(np.array_equal(plan.weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_task_counts_an_example_each_time_it_is_trained_on():
    assert task(0, [1, 2], [1, 2], [1]).num_trained == 5


@pytest.mark.parametrize(("every", "kept"), [(1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (100, [3])], ids=str)
def test_a_plan_keeps_every_so_many_rounds_and_always_the_last(plan, every, kept):
    plan = dataclasses.replace(plan, settings=settings_with(evaluation=EvaluationSettings(every, ("loss",))))
    assert [number for number in (1, 2, 3) if plan.keeps(number)] == kept


def test_a_saved_plan_comes_back_whole(plan, saved):
    loaded = Plan.load(saved)
    assert loaded.digest == plan.digest
    assert loaded.spec == plan.spec
    assert list(loaded.weights) == list(plan.weights)
    assert {name: array.tobytes() for name, array in loaded.arrays.items()} == {
        name: array.tobytes() for name, array in plan.arrays.items()
    }


@pytest.mark.parametrize(
    "name",
    [f"weights/{name}" for name in WEIGHTS]
    + ["client_examples", "client_ends", "batches", "batch_ends"]
    + ["task_batch_ends", "task_clients", "task_weights", "round_task_ends"],
)
def test_the_digest_changes_with_any_value_type_or_shape_of_an_array(plan, name):
    array = plan.arrays[name]
    changed = array.copy()
    changed.flat[-1] += 1
    variants = [changed, array.astype(">" + array.dtype.str[1:]), array[np.newaxis]]
    digests = {dataclasses.replace(plan, arrays={**plan.arrays, name: variant}).digest for variant in variants}
    assert len(digests | {plan.digest}) == 4


def test_the_digest_changes_when_an_array_is_added_removed_or_renamed(plan):
    without = {name: array for name, array in plan.arrays.items() if name != "batches"}
    variants = [without, {**plan.arrays, "more": np.zeros(1)}, {**without, "patches": plan.arrays["batches"]}]
    digests = {dataclasses.replace(plan, arrays=variant).digest for variant in variants}
    assert len(digests | {plan.digest}) == 4


def leaves(settings, path=()):
    for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def otherwise(value):
    """Another value of the same type; where nothing is given, a list of labels or columns."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "changed"
        case dict():
            return {"changed": []}
        case list():
            return ["changed"]
    return "changed"


def test_the_digest_changes_with_every_setting_of_a_compiled_plan(make_plan):
    plan = make_plan()
    settings = write_settings(plan.settings)
    paths = list(leaves(settings))
    assert len(paths) > 30
    digests = {plan.digest}
    for path in paths:
        changed = copy.deepcopy(settings)
        *parents, last = path
        place = changed
        for key in parents:
            place = place[key]
        place[last] = otherwise(place[last])
        digests.add(dataclasses.replace(plan, settings=read_settings(PlanSettings, changed)).digest)
    assert len(digests) == len(paths) + 1


def test_the_digest_ignores_the_spec_that_is_carried_along_and_the_order_of_arrays(plan):
    assert dataclasses.replace(plan, spec={"name": "other"}).digest == plan.digest
    assert dataclasses.replace(plan, arrays=dict(reversed(plan.arrays.items()))).digest == plan.digest


READER = """
import hashlib, json, sys
import numpy as np
folder = sys.argv[1]
document = json.load(open(folder + "/plan.json", encoding="utf-8"))
arrays = np.load(folder + "/arrays.npz", allow_pickle=False)
sha = hashlib.sha256(json.dumps([document["format"], document["settings"]], sort_keys=True).encode())
for name in sorted(arrays.files):
    sha.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\\n".encode() + arrays[name].tobytes())
print(document["digest"] == sha.hexdigest())
"""

BLOCKED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"flspec", "numpy"} | set(sys.stdlib_module_names):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Refuse())
from pathlib import Path
from flspec.protocol.plan import Plan
print(Plan.load(Path(sys.argv[1])).digest)
"""


def run_python(source, *arguments):
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_plan_is_read_with_json_and_numpy_alone(saved):
    assert run_python(READER, saved).stdout == "True\n"


def test_a_plan_loads_where_nothing_but_numpy_can_be_imported(plan, saved):
    assert run_python(BLOCKED, saved).stdout == f"{plan.digest}\n"
    assert (
        "pydantic is blocked" in run_python(BLOCKED.replace("flspec.protocol.plan", "flspec.spec.spec"), saved).stderr
    )


def is_refused_or_unchanged(folder, digest):
    try:
        return Plan.load(folder).digest == digest
    except InputError as error:
        return str(folder) in str(error)


@pytest.mark.parametrize("file", ["plan.json", "arrays.npz"])
def test_a_plan_file_with_a_flipped_bit_is_refused_or_means_the_same(plan, saved, file):
    content = (saved / file).read_bytes()
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        (saved / file).write_bytes(damaged)
        assert is_refused_or_unchanged(saved, plan.digest), position


@pytest.mark.parametrize("file", ["plan.json", "arrays.npz"])
def test_a_plan_file_that_was_cut_short_is_refused(saved, file):
    content = (saved / file).read_bytes()
    for length in range(0, len(content) - 1, 23):
        (saved / file).write_bytes(content[:length])
        with pytest.raises(InputError, match="plan"):
            Plan.load(saved)


@pytest.mark.parametrize("file", ["plan.json", "arrays.npz"])
def test_a_plan_without_one_of_its_files_is_refused(saved, file):
    (saved / file).unlink()
    with pytest.raises(InputError, match="holds no plan"):
        Plan.load(saved)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(digest="0" * 64), "is damaged"),
        (lambda d: d["settings"].update(loss="hinge"), "is damaged"),
        (lambda d: d.update(format=2), "format 2, this flspec reads format 1; compile its spec again"),
        (lambda d: d.pop("settings"), "readable plan"),
        (lambda d: d.update(settings=[]), "damaged|readable plan"),
    ],
    ids=["digest", "setting", "format", "no settings", "settings of another type"],
)
def test_an_edited_plan_is_refused(saved, edit, message):
    document = json.loads((saved / "plan.json").read_text())
    edit(document)
    (saved / "plan.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        Plan.load(saved)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", "{", "[" * 100_000, '{"format": NaN}'], ids=lambda t: t[:9])
def test_a_plan_that_is_no_plan_is_refused(saved, text):
    (saved / "plan.json").write_text(text)
    with pytest.raises(InputError, match="plan"):
        Plan.load(saved)


def test_pickled_arrays_are_not_loaded(saved):
    np.savez(saved / "arrays.npz", allow_pickle=True, weights=np.array([object()]))
    with pytest.raises(InputError, match="pickled objects, which are not loaded"):
        Plan.load(saved)


def test_arrays_of_another_plan_are_refused(plan, saved):
    np.savez(saved / "arrays.npz", **{**plan.arrays, "batches": plan.arrays["batches"][::-1]})
    with pytest.raises(InputError, match="is damaged"):
        Plan.load(saved)


def test_the_digest_is_that_of_the_documented_bytes():
    plan = Plan(settings_with(), {"b": np.array([1, 2], "<i4")})
    settings = (
        b'{"aggregator": {"kind": "fedavg"}, "client_optimizer": {"kind": "sgd", "learning_rate": 0.1}, "data": '
        b'{"digest": "' + 64 * b"0" + b'", "divisor": 1.0, "feature_type": "float32", "input_shape": [4], '
        b'"num_classes": 3, "num_test": 20, "num_train": 60}, "evaluation": {"every": 1, "metrics": ["loss"]}, '
        b'"loss": "cross_entropy", "weights": []}'
    )
    bytes_hashed = b"[1, " + settings + b"]" + b"b <i4 (2,)\n" + b"\1\0\0\0\2\0\0\0"
    assert plan.digest == hashlib.sha256(bytes_hashed).hexdigest()


@pytest.mark.parametrize("name", ["batches", "client_examples", "task_weights"])
def test_the_digest_covers_every_byte_of_an_array(make_plan, name):
    plan = make_plan()
    changed = plan.arrays[name].copy()
    changed[-1] += 1
    assert Plan(plan.settings, {**plan.arrays, name: changed}).digest != plan.digest
