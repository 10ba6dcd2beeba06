"""Weights to start from: what is taken from a file by name, and every file that is refused in one line."""

from __future__ import annotations

import contextlib
import os
import pickle

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from flspec.compiler.initial_weights import start_tensors
from flspec.core.randomness import Stream
from flspec.errors import InputError
from flspec.layers import initial_tensors, one_network, parameters_of
from flspec.models.lenet import LeNet
from flspec.models.resnet18 import ResNet18
from flspec.protocol.state import save_weights

CIFAR = (3, 32, 32)
PARAMETERS = parameters_of(one_network(LeNet().layers(CIFAR, 10), CIFAR))
PUBLISHED = initial_tensors(PARAMETERS, Stream(7))
HEAD = {"output.weight", "output.bias"}


@pytest.fixture
def write(tmp_path):
    """Writes tensors, by default a whole LeNet's with some replaced or, as None, left out; returns the file's name."""

    def write_file(name="weights.safetensors", keep=PUBLISHED, **changed):
        tensors = {key: value for key, value in ({**keep, **changed}).items() if value is not None}
        save_file({key: np.asarray(value) for key, value in tensors.items()}, tmp_path / name)
        return name

    return write_file


@pytest.fixture
def start(tmp_path):
    """The tensors that a LeNet starts with from a file below the data root."""
    return lambda file, **fields: start_tensors(LeNet(pretrained=file, **fields), PARAMETERS, tmp_path, Stream(0))


@pytest.fixture
def refusal(start):
    """What is said of a file, always in one line that begins with the field."""

    def told(file, **fields):
        with pytest.raises(InputError) as caught:
            start(file, **fields)
        field, _, message = str(caught.value).partition(": ")
        assert (field, "\n" in message) == ("model.pretrained", False)
        return message.removeprefix(f"{file}: ")

    return told


def in_torch(tensors=PUBLISHED):
    return {name: torch.from_numpy(value) for name, value in tensors.items()}


# -------------------------------------------------------------------------------------------------- what is taken


def test_without_a_file_every_tensor_is_drawn(tmp_path):
    drawn = initial_tensors(PARAMETERS, Stream(0))
    started = start_tensors(LeNet(), PARAMETERS, tmp_path, Stream(0))
    assert all(np.array_equal(started[name], drawn[name]) for name in PARAMETERS)


def test_all_but_the_head_is_the_files_and_the_head_is_what_would_have_been_drawn(start, write):
    started, drawn = start(write()), initial_tensors(PARAMETERS, Stream(0))
    assert list(started) == list(PARAMETERS)
    for name, value in started.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, (drawn if name in HEAD else PUBLISHED)[name]), name
        assert name.endswith("bias") or not np.array_equal(value, (PUBLISHED if name in HEAD else drawn)[name]), name


def test_the_head_is_the_files_too_where_it_is_kept(start, write):
    started = start(write(), keep_head=True)
    assert all(np.array_equal(started[name], PUBLISHED[name]) for name in PARAMETERS)


def test_keeping_the_head_of_no_file_is_a_contradiction():
    with pytest.raises(ValidationError, match="keep_head: true needs a file"):
        LeNet(keep_head=True)


@pytest.mark.parametrize("changed", [dict.fromkeys(HEAD), {"output.weight": np.ones((1000, 84), np.float32)}])
def test_a_file_may_have_another_head_or_none(start, write, changed):
    assert np.array_equal(start(write(**changed))["dense_2.weight"], PUBLISHED["dense_2.weight"])


@pytest.mark.parametrize("name", ["w.pt", "w.pth"])
@pytest.mark.parametrize("zipped", [True, False], ids=["today's form", "the form before torch 1.6"])
def test_a_state_dict_of_torch_is_read(start, tmp_path, name, zipped):
    torch.save(in_torch(), tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert np.array_equal(start(name)["conv_1.weight"], PUBLISHED["conv_1.weight"])


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": in_torch(), "epoch": 3},
        {"model": in_torch(), "optimizer": {"step": 1}},
        {f"module.{name}": value for name, value in in_torch().items()},
        {"state_dict": {f"module.{name}": value for name, value in in_torch().items()}},
        in_torch() | {"bn.num_batches_tracked": torch.tensor(7)},
    ],
    ids=["state_dict", "model", "DataParallel", "both", "counted batches"],
)
def test_what_training_scripts_put_around_a_state_dict_is_taken_off(start, tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    assert np.array_equal(start("w.pt")["conv_1.weight"], PUBLISHED["conv_1.weight"])


def test_the_weights_of_a_finished_run_are_read(start, tmp_path):
    save_weights(tmp_path / "weights.safetensors", PUBLISHED)
    assert np.array_equal(start("weights.safetensors", keep_head=True)["output.weight"], PUBLISHED["output.weight"])


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_shorter_numbers_are_widened_exactly(start, tmp_path, suffix, dtype):
    short = {name: value.to(dtype) for name, value in in_torch().items()}
    save = save_torch_file if suffix == "safetensors" else torch.save
    save(short, tmp_path / f"w.{suffix}")
    started = start(f"w.{suffix}", keep_head=True)
    assert all(np.array_equal(started[name], value.float().numpy()) for name, value in short.items())
    assert not np.array_equal(started["conv_1.weight"], PUBLISHED["conv_1.weight"])


def test_float64_is_read_where_float32_holds_the_same_values_and_refused_where_it_would_round(start, write, refusal):
    wide = {name: value.astype(np.float64) for name, value in PUBLISHED.items()}
    assert np.array_equal(start(write(keep=wide))["conv_1.weight"], PUBLISHED["conv_1.weight"])
    for off in (1e-12, 1e300):
        file = write(keep=wide, **{"conv_1.bias": wide["conv_1.bias"] + 1.0 + off})
        assert refusal(file) == "conv_1.bias is float64, whose values float32 would round; save it as float32"


def test_a_plan_starts_from_the_file_and_is_another_plan(make_plan, tmp_path):
    drawn = make_plan(tmp_path, model={"kind": "mlp", "hidden": [6]})
    save_file({name: value + np.float32(0.5) for name, value in drawn.weights.items()}, tmp_path / "w.safetensors")
    plan = make_plan(tmp_path, model={"kind": "mlp", "hidden": [6], "pretrained": "w.safetensors"})
    assert np.array_equal(plan.weights["hidden_1.weight"], drawn.weights["hidden_1.weight"] + np.float32(0.5))
    assert np.array_equal(plan.weights["output.weight"], drawn.weights["output.weight"])
    assert plan.digest != drawn.digest


# ------------------------------------------------------------------------------------------- what does not match


def test_missing_extra_and_misshaped_tensors_are_named_in_one_message(refusal, write):
    file = write(
        **{"conv_1.weight": None, "conv_1.bias": np.ones(7, np.float32), "fc.weight": np.ones((2, 3), np.float32)}
    )
    assert refusal(file) == (
        "lacks conv_1.weight [6, 3, 5, 5]; holds what the model does not: fc.weight [2, 3]; "
        "conv_1.bias is [7] where the model has [6]; name weights of this very model"
    )


def test_of_many_tensors_a_few_are_named(refusal, write):
    message = refusal(write(keep={"a": np.ones(1, np.float32)}))
    assert message.startswith("lacks conv_1.weight [6, 3, 5, 5], conv_1.bias [6], conv_2.weight [16, 6, 5, 5] and 5 ")


def test_a_head_that_is_kept_must_fit(refusal, write):
    file = write(**{"output.bias": np.ones(1000, np.float32)})
    assert refusal(file, keep_head=True).startswith("output.bias is [1000] where the model has [10]; ")


def test_a_file_without_the_head_that_is_to_be_kept_lacks_it(refusal, write):
    assert refusal(write(**{"output.bias": None}), keep_head=True).startswith("lacks output.bias [10]; ")


@pytest.mark.parametrize(
    ("norm", "of_file", "hint"),
    [
        ({}, {"norm": "batch", "batch_norm": "averaged"}, "give the model batch norm, of which these are the"),
        ({"norm": "batch", "batch_norm": "averaged"}, {}, "with the statistics of its batch norm"),
    ],
    ids=["batch into group", "group into batch"],
)
def test_what_another_norm_comes_to_is_told(tmp_path, norm, of_file, hint):
    saved = parameters_of(one_network(ResNet18(**of_file).layers(CIFAR, 10), CIFAR))
    save_file({name: np.ones(tensor.shape, np.float32) for name, tensor in saved.items()}, tmp_path / "w.safetensors")
    model = ResNet18(pretrained="w.safetensors", **norm)
    with pytest.raises(InputError, match=hint):
        start_tensors(model, parameters_of(one_network(model.layers(CIFAR, 10), CIFAR)), tmp_path, Stream(0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full(6, np.nan, np.float32), "conv_1.bias holds values that are not finite; name sound weights"),
        (np.full(6, -np.inf, np.float16), "conv_1.bias holds values that are not finite; name sound weights"),
        (np.ones(6, np.int64), "conv_1.bias is of type int64; save it as float32"),
        (np.ones(6, np.uint32), "conv_1.bias is of type U32; save it as float32"),
    ],
    ids=["NaN", "infinity", "integers", "unknown"],
)
def test_values_that_are_no_weights_are_refused(refusal, write, value, message):
    assert refusal(write(**{"conv_1.bias": value})) == message


# ---------------------------------------------------------------------------------------------- what is no file


def test_a_path_is_below_the_data_root_or_absolute_or_in_the_environment(start, write, tmp_path, monkeypatch):
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    (tmp_path / "sub").mkdir()
    for name in (write("sub/w.safetensors"), str(tmp_path / "sub/w.safetensors"), "${env:WEIGHTS}/sub/w.safetensors"):
        assert np.array_equal(start(name)["conv_1.weight"], PUBLISHED["conv_1.weight"])


def test_a_variable_that_is_not_set_is_named(refusal, monkeypatch):
    monkeypatch.delenv("WEIGHTS", raising=False)
    assert refusal("${env:WEIGHTS}/w.pt") == "WEIGHTS is not set in the environment; set it"


@pytest.mark.parametrize("name", ["absent.pt", ".", "pipe.pt"])
def test_what_is_no_file_is_refused_without_waiting(refusal, tmp_path, name):
    os.mkfifo(tmp_path / "pipe.pt")
    assert "is not a file; name one below the data root, beside the spec, or absolute" in refusal(name)


@pytest.mark.parametrize("suffix", ["h5", "bin", ""])
def test_an_unknown_type_of_file_is_refused_with_the_known_ones(refusal, tmp_path, suffix):
    name = f"w.{suffix}".rstrip(".")
    (tmp_path / name).write_bytes(b"x")
    assert refusal(name).endswith("are not read; known types: .pt, .pth, .safetensors")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("kept", [0.0, 1e-4, 0.01, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_refused(refusal, write, tmp_path, suffix, kept):
    torch.save(in_torch(), tmp_path / "w.pt")
    path = tmp_path / write("w.safetensors").replace("safetensors", suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "or is cut short or damaged" in refusal(path.name)


def test_a_bit_that_flipped_in_torchs_archive_is_noticed(start, refusal, tmp_path):
    torch.save(in_torch(), tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    content[content.find(PUBLISHED["conv_2.weight"].tobytes()) + 5] ^= 1
    (tmp_path / "w.pt").write_bytes(content)
    assert torch.load(tmp_path / "w.pt", weights_only=True)  # torch does not mind
    assert "or is cut short or damaged" in refusal("w.pt")


class _Runs:
    """Does something where it is unpickled in good faith."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["archive", "legacy", "bare pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(refusal, tmp_path, form):
    target = tmp_path / "ran"
    content = {"conv_1.weight": _Runs(str(target))}
    if form == "bare pickle":
        (tmp_path / "w.pt").write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=form == "archive")
    assert refusal("w.pt") == (
        "holds something other than weights, posix.mkdir, and pickled objects are not loaded; if you trust the file, "
        "convert it with torch.save(model.state_dict(), FILE)"
    )
    assert not target.exists()
    with contextlib.suppress(pickle.UnpicklingError, RuntimeError):
        torch.load(tmp_path / "w.pt", weights_only=False)
    assert target.exists()  # it would have run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.nn.Linear(2, 2), "holds something other than weights, torch.nn.modules.linear.Linear, and pickled"),
        (torch.ones(2), "holds no state dict"),
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"conv_1.weight": 3}, "conv_1.weight is not a tensor but a int"),
        (in_torch() | {"conv_1.bias": torch.ones(6).to_sparse()}, "conv_1.bias is sparse or quantized"),
        (in_torch() | {"conv_1.bias": torch.ones(1).expand(10**9)}, "conv_1.bias claims to be larger than the"),
    ],
    ids=["module", "tensor", "list", "empty", "number", "sparse", "expanded"],
)
def test_what_is_no_state_dict_of_plain_tensors_is_refused(refusal, tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    assert refusal("w.pt").startswith(message)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_told_apart(refusal, tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "w.pt")
    assert refusal("w.pt").startswith("is TorchScript; save its weights")


def test_a_name_that_could_command_a_terminal_is_made_harmless(refusal, write):
    assert "\x1b" not in refusal(write(**{"a\x1b[2J\n": np.ones(1, np.float32)}))
