"""State files: bit for bit, whole or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flspec.errors import InputError
from flspec.protocol.state import (
    OptimizerState,
    ServerState,
    _encode,
    load_state,
    load_weights,
    save_state,
    save_weights,
    state_file,
)

PLAN, OTHER = "a" * 64, "b" * 64
ODD = np.array([0.0, -0.0, 1e-45, np.finfo(np.float32).max, np.nan, -np.inf], np.float32)


def state(number=3, shift=0.0):
    weights = {
        "z.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T + np.float32(shift),  # not contiguous
        "a.bias": ODD,
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    slots = {"second": {name: -value for name, value in weights.items()}, "first": dict(weights)}
    clients = {
        12: {"weights": {"z.weight": weights["z.weight"]}, "optimizer": {"step": np.array(3, np.float32)}},
        3: {"of/my/own": {"x": ODD}},
    }
    records = {"control": {"a.bias": -ODD}, "post/0": {"norm": np.array(0.5, np.float32)}}
    return ServerState(number, weights, OptimizerState(7, slots), records, clients)


def content(server_state):
    """Everything a state says, as plain values in order."""

    def plain(tensors):
        return [(name, value.dtype.str, value.shape, value.tobytes()) for name, value in tensors.items()]

    slots = {slot: plain(values) for slot, values in server_state.optimizer.slots.items()}
    records = {None: server_state.records, **server_state.clients}
    carried = [(who, name, plain(record)) for who, own in records.items() for name, record in own.items()]
    return server_state.round, server_state.optimizer.step, plain(server_state.weights), list(slots.items()), carried


@pytest.fixture
def saved(tmp_path):
    save_state(tmp_path / "state", state(), PLAN)
    return tmp_path / "state"


def test_a_state_comes_back_bit_for_bit_and_in_order(saved):
    assert content(load_state(saved, PLAN)) == content(state())
    assert content(load_state(saved, PLAN)) != content(state(shift=1e-7))


def test_the_definitions_state_beside_a_native_run_comes_back_and_is_taken_for_no_part_of_it(tmp_path):
    both = replace(state(), definition=replace(state(shift=0.5), optimizer=OptimizerState(3, {})))
    save_state(tmp_path / "both", both, PLAN)
    found = load_state(tmp_path / "both", PLAN)
    assert found.definition
    assert content(found) == content(state())
    assert content(found.definition) == content(both.definition)
    save_state(tmp_path / "alone", replace(found, definition=None), PLAN)
    assert load_state(tmp_path / "alone", PLAN).definition is None


def test_equal_states_have_equal_files(tmp_path, saved):
    for number in range(5):
        save_state(tmp_path / f"again_{number}", state(), PLAN)
        assert (tmp_path / f"again_{number}").read_bytes() == saved.read_bytes()
    save_state(tmp_path / "other", state(number=4), PLAN)
    assert (tmp_path / "other").read_bytes() != saved.read_bytes()


def test_equal_weights_have_equal_files_and_the_digest_names_them(tmp_path):
    digests = [save_weights(tmp_path / name, state().weights) for name in ("one", "two")]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert digests[0] == digests[1] != save_weights(tmp_path / "three", state(shift=1).weights)


def test_weights_come_back_bit_for_bit_and_in_order(tmp_path):
    save_weights(tmp_path / "w", state().weights)
    loaded = load_weights(tmp_path / "w")
    assert content(ServerState(0, loaded)) == content(ServerState(0, state().weights))


def test_any_program_that_reads_safetensors_reads_the_weights(tmp_path):
    from safetensors.numpy import load_file

    save_weights(tmp_path / "w", state().weights)
    assert load_file(tmp_path / "w")["a.bias"].tobytes() == ODD.tobytes()


def test_a_state_of_another_plan_is_refused(saved):
    with pytest.raises(InputError, match=f"belongs to plan {PLAN[:12]}, not {OTHER[:12]}; use the spec"):
        load_state(saved, OTHER)


def test_without_a_plan_to_compare_with_any_state_is_read(saved):
    assert load_state(saved).round == 3


def test_a_state_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        load_state(tmp_path / "nowhere")


def is_refused(path):
    try:
        load_state(path, PLAN)
    except InputError:
        return True
    return False


def test_a_state_with_any_bit_flipped_is_refused(saved):
    intact = saved.read_bytes()
    for position in range(len(intact)):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << (position % 8)
        saved.write_bytes(damaged)
        assert is_refused(saved), (position, intact[position - 9 : position + 9])
    saved.write_bytes(intact)
    assert not is_refused(saved)


def test_a_state_cut_short_anywhere_is_refused(saved):
    intact = saved.read_bytes()
    for length in range(0, len(intact), 7):
        saved.write_bytes(intact[:length])
        with pytest.raises(InputError, match=r"cut short|damaged"):
            load_state(saved, PLAN)


@pytest.mark.parametrize("wrong", [b"", b"hello", b"\xff" * 8 + b"{}", b"PK\x03\x04" + b"\0" * 100])
def test_a_file_that_is_no_state_is_refused(saved, wrong):
    saved.write_bytes(wrong)
    with pytest.raises(InputError, match="not a flspec weights file"):
        load_state(saved, PLAN)


def test_a_folder_is_not_a_state(tmp_path):
    with pytest.raises(InputError):
        load_state(tmp_path)


def test_somebody_elses_safetensors_file_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weights/a": ODD}, tmp_path / "foreign")
    with pytest.raises(InputError, match="not a flspec weights file"):
        load_state(tmp_path / "foreign")


def test_a_model_is_not_taken_for_a_state(tmp_path):
    save_weights(tmp_path / "w", state().weights)
    with pytest.raises(InputError):
        load_state(tmp_path / "w")


def test_writing_again_replaces_the_file_and_leaves_nothing_beside_it(tmp_path, saved):
    save_state(saved, state(number=9), PLAN)
    assert load_state(saved, PLAN).round == 9
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_state_files_sort_in_the_order_of_rounds(tmp_path):
    names = [state_file(tmp_path, number).name for number in (1, 2, 10, 999_999)]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("name", "header", "told"),
    [
        ("clients/x/weights/w", {}, "'clients/x/weights/w' of no client"),
        ("clients//w", {}, "'clients//w' of no client"),
        ("weights/w", {"round": "x"}, "no round and step"),
        ("weights/w", {"round": -1}, "no round and step"),
        ("weights/w", {"step": None}, "no round and step"),
    ],
)
def test_a_state_that_flspec_did_not_write_is_refused(tmp_path, name, header, told):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(_encode({name: np.ones(2, np.float32)}, {"round": 1, "step": 0, "plan_digest": "p"} | header))
    with pytest.raises(InputError, match=told):
        load_state(path)


def test_a_state_that_flspec_did_write_is_not(tmp_path):
    path = tmp_path / "state.safetensors"
    names = ("clients/0/weights/w", "weights/w")
    path.write_bytes(_encode(dict.fromkeys(names, np.ones(2, np.float32)), {"round": 1, "step": 0, "plan_digest": "p"}))
    assert [*load_state(path).clients] == [0]
