"""DCGAN: the published networks' names, shapes and values, at every size, and other pictures refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from flspec.core.randomness import Stream
from flspec.layers import count_multiply_adds, count_parameters, initial_tensors, parameters_of, trace
from flspec.models.dcgan import Dcgan
from flspec_torch.model import build_network, to_tensors
from tests import numpy_layers
from tests.layer_cases import tensors_of


def networks_of(side=64, colours=3, **fields):
    return Dcgan(**({"batch_norm": "averaged"} | fields)).networks((colours, side, side), 1)


class Published(nn.Module):
    """A network of the usual code, whose layers are all below `main`."""

    def __init__(self, *layers):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x)


def published_generator(latent=100, width=64, colours=3):
    """The generator of 64 pixels that PyTorch's tutorial and MetisFL's example have, written out."""
    return Published(
        nn.ConvTranspose2d(latent, width * 8, 4, 1, 0, bias=False),
        nn.BatchNorm2d(width * 8),
        nn.ReLU(True),
        nn.ConvTranspose2d(width * 8, width * 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width * 4),
        nn.ReLU(True),
        nn.ConvTranspose2d(width * 4, width * 2, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width * 2),
        nn.ReLU(True),
        nn.ConvTranspose2d(width * 2, width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(True),
        nn.ConvTranspose2d(width, colours, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def published_discriminator(width=64, colours=3):
    """Its discriminator, without the sigmoid after the score."""
    return Published(
        nn.Conv2d(colours, width, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width, width * 2, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width * 2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width * 2, width * 4, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width * 4),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width * 4, width * 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width * 8),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width * 8, 1, 4, 1, 0, bias=False),
    )


PUBLISHED: dict[str, Callable[[], nn.Module]] = {
    "generator": published_generator,
    "discriminator": published_discriminator,
}
PAIR = {"kind": "dcgan", "latent": 6, "width": 4, "batch_norm": "averaged"}
INPUTS = {"generator": (6, 1, 1), "discriminator": (3, 64, 64)}


def test_at_64_pixels_it_has_the_published_numbers_of_parameters():
    counts = {name: count_parameters(network) for name, network in networks_of().items()}
    assert counts == {"generator": 3_576_704, "discriminator": 2_765_568}


@pytest.mark.parametrize("name", PUBLISHED)
def test_tensors_have_the_published_names_and_shapes_below_the_networks(name):
    state = {k: v for k, v in PUBLISHED[name]().state_dict().items() if not k.endswith("num_batches_tracked")}
    ours = {k: t.shape for k, t in parameters_of(networks_of()[name]).items()}
    assert ours == {f"{name}.{k}": tuple(v.shape) for k, v in state.items()}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_outputs_and_statistics_are_those_of_the_published_network(name, training):
    network = networks_of(latent=6, width=4)[name]
    made = published_generator(6, 4) if name == "generator" else published_discriminator(4)
    module: nn.Module = made.train(training).double()
    tensors = tensors_of(network)
    held = OrderedDict((k.removeprefix(f"{name}."), torch.tensor(v, dtype=torch.float64)) for k, v in tensors.items())
    module.load_state_dict(held, strict=False)
    x = np.random.default_rng(0).standard_normal((3, *INPUTS[name]))
    (given,) = network.inputs
    passed = numpy_layers.forward(network.layers, network.own(tensors), {given: x}, {} if training else None)
    expected = module(torch.tensor(x)).detach().numpy().reshape(passed.outputs.shape)
    np.testing.assert_allclose(passed.outputs, expected, rtol=1e-9, atol=1e-12)
    for k, v in passed.statistics.items():
        np.testing.assert_allclose(v, module.state_dict()[k].numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("colours", [1, 3])
def test_pictures_of_every_size_are_made_and_judged(side, colours):
    generator, discriminator = networks_of(side, colours, latent=5, width=2).values()
    assert trace(generator)[generator.output] == (colours, side, side)
    assert trace(discriminator)[discriminator.output] == (1,)
    assert trace(generator)["main.0"] == (2 * side // 8, 4, 4)
    assert trace(discriminator)[discriminator.layers[-2].name] == (1, 1, 1)


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 12, 12), (3, 64, 32), (3, 63, 63), (3, 96, 96), (1, 0, 0), (64,)])
def test_other_sizes_are_refused(shape):
    with pytest.raises(ValueError, match=r"square pictures of 8, 16, 32, 64, \.\.\. pixels; set dataset\.size"):
        Dcgan(batch_norm="averaged").networks(shape, 1)


def test_weights_start_as_published():
    """Radford et al., Section 4: N(0, 0.02); the usual code has batch norm's weights N(1, 0.02)."""
    for network in networks_of().values():
        started = initial_tensors(parameters_of(network), Stream(0))
        for name, value in started.items():
            kind = "kernel" if value.ndim == 4 else name.rpartition(".")[2]
            mean, std = {"kernel": (0, 0.02), "weight": (1, 0.02), "running_var": (1, 0)}.get(kind, (0, 0))
            assert value.mean() == pytest.approx(mean, abs=4 * std / value.size**0.5), name
            assert value.std() == pytest.approx(std, rel=4 / value.size**0.5), name


@pytest.mark.parametrize(
    ("policy", "norms", "statistics"),
    [("averaged", "server", "server"), ("local", "client", "client"), ("frozen", "server", "plan")],
)
def test_batch_norm_lives_where_its_policy_says(policy, norms, statistics):
    for network in networks_of(batch_norm=policy, width=2).values():
        norm_layers = {layer.name for layer in network.layers if layer.kind == "batch_norm"}
        assert norm_layers
        for name, tensor in parameters_of(network).items():
            layer, _, part = name.removeprefix(network.prefix).rpartition(".")
            expected = (statistics if "running" in part else norms) if layer in norm_layers else "server"
            assert tensor.placement == expected, name


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"width": 0}, {"batch_norm": None}, {"batch_norm": "group"}])
def test_impossible_fields_are_refused(wrong):
    with pytest.raises(ValidationError):
        Dcgan(**({"batch_norm": "averaged"} | wrong))


def test_there_is_no_head_to_keep():
    with pytest.raises(ValidationError, match="keep_head: true has no effect"):
        Dcgan(batch_norm="averaged", pretrained="weights/faces.pth", keep_head=True)


def test_the_two_networks_cost_what_their_convolutions_do():
    """A transposed convolution has its input's places, a convolution its output's."""
    generator, discriminator = networks_of(side=16, latent=5, width=2).values()
    norms = 4 * (4 * 16 + 2 * 64)  # of each channel's four numbers, at 4 x 4 and 8 x 8 pixels
    assert count_multiply_adds(generator) == 16 * (5 * 4 + 4 * 2 * 16 + 2 * 3 * 64) + norms
    assert count_multiply_adds(discriminator) == 16 * (3 * 2 * 64 + 2 * 4 * 16 + 4 * 1) + 4 * 4 * 16


def test_torch_makes_what_the_definition_makes():
    for network in networks_of(side=16, latent=6, width=4).values():
        tensors = tensors_of(network)
        ((given, shape),) = network.inputs.items()
        x = np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32)
        expected = numpy_layers.forward(network.layers, network.own(tensors), {given: x}).outputs
        found = build_network(network)(to_tensors(tensors), {given: torch.tensor(x)}, None).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_published_weights_of_both_networks_are_read_by_their_names(make_plan, tmp_path):
    """A file of torch's with the two state dicts, each below its network's name."""
    modules = {"generator": published_generator(6, 4), "discriminator": published_discriminator(4)}
    stored = {f"{name}.{k}": v for name, module in modules.items() for k, v in module.state_dict().items()}
    torch.save(stored, tmp_path / "pair.pth")
    plan = make_plan(
        dataset={"kind": "celeba", "twin": {"clients": 4, "examples": 40}, "size": 64, "split": "published"},
        partition={"kind": "iid", "clients": 4},
        model={**PAIR, "pretrained": str(tmp_path / "pair.pth")},
        client={
            "steps": 1,
            "batch_size": 4,
            "objective": {"kind": "gan"},
            "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        },
        evaluation={"metrics": ["kid"], "generated": 10, "features": {"kind": "random_conv"}},
    )
    assert len(plan.weights) == len([name for name in stored if not name.endswith("num_batches_tracked")])
    for name, weight in plan.weights.items():
        np.testing.assert_array_equal(weight, stored[name].numpy())
