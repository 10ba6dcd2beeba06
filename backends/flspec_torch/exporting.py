"""A plan's model as a torch module, for those who go on with it in torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from flspec.core.randomness import Stream
from flspec.execution.parts import networks_of
from flspec.layers import Network, TorchModule, draw_masks
from flspec.protocol.plan import Plan
from flspec.protocol.state import Weights
from flspec_torch.model import Masks, build_network, to_tensors
from flspec_torch.own_module import fresh_module

__all__ = ["PlannedNetwork", "onnx_model", "torch_module", "torch_program"]


def torch_module(plan: Plan, weights: Weights) -> nn.Module:
    """Return the model with copies of its tensors, in evaluation mode; of several networks a dictionary of them."""
    tensors = to_tensors({**plan.constants, **weights})
    fixed = {*plan.constants, *plan.statistics}
    modules = {name: _of_network(network, tensors, fixed) for name, network in networks_of(plan).items()}
    module = modules[""] if "" in modules else nn.ModuleDict(modules)
    return module.eval()


def torch_program(plan: Plan, weights: Weights) -> bytes:
    """Return a file of `torch.export` of the model in evaluation mode, for batches of any size.

    Raises ValueError for a model that cannot be traced, and for one of several networks.
    """
    file = io.BytesIO()
    with _exporting("torch.export"):
        torch.export.save(_traced(plan, weights), file)
    return file.getvalue()


def onnx_model(plan: Plan, weights: Weights) -> bytes:
    """Return the same program in ONNX, by torch's own exporter, which needs onnx and onnxscript.

    Raises ValueError as `torch_program` does, and for an operation that ONNX does not have.
    """
    with _exporting("torch.onnx"):
        made = torch.onnx.export(_traced(plan, weights), dynamo=True, verbose=False)
        if made is None:
            raise ValueError("it gave no program")
        return bytes(made.model_proto.SerializeToString())


def _traced(plan: Plan, weights: Weights) -> torch.export.ExportedProgram:
    module = torch_module(plan, weights)
    if isinstance(module, nn.ModuleDict):
        raise ValueError(f"the model has {len(module)} networks")
    example, batch = torch.zeros(2, *plan.settings.data.input_shape), {0: torch.export.Dim("batch")}
    sizes = ((batch,),) if isinstance(module, PlannedNetwork) else (batch,)  # whose inputs are one argument, *inputs
    return torch.export.export(module, (example,), dynamic_shapes=sizes)


@contextmanager
def _exporting(by: str) -> Iterator[None]:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own code
        try:
            yield
        except Exception as error:  # tracing raises whatever a module does
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ValueError(f"{by}: {first}") from error


def _of_network(network: Network, tensors: Mapping[str, Tensor], fixed: set[str]) -> nn.Module:
    (layer, *others) = network.layers
    if isinstance(layer, TorchModule) and not others:
        return fresh_module(layer, network.own(tensors))
    own_fixed = {name.removeprefix(network.prefix) for name in fixed if name.startswith(network.prefix)}
    return PlannedNetwork(network, network.own(tensors), own_fixed)


class PlannedNetwork(nn.Module):
    """One network of a plan; its parameters and buffers have the plan's names, LAYER.SUFFIX.

    In training, dropout draws from torch's generator, and batch norm uses and changes its statistics.
    """

    def __init__(self, network: Network, tensors: Mapping[str, Tensor], fixed: set[str]) -> None:
        super().__init__()
        self._network, self._evaluate = network, build_network(network)
        for name, tensor in tensors.items():
            _register(self, name, tensor, learned=name not in fixed)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output for a batch of each of the network's inputs, in their order."""
        given = dict(zip(self._network.inputs, inputs, strict=True))
        own = (*self.named_parameters(), *self.named_buffers())
        tensors = {f"{self._network.prefix}{name}": tensor for name, tensor in own}
        return self._evaluate(tensors, given, self._masks(len(inputs[0])) if self.training else None)

    def _masks(self, num: int) -> Masks:
        seed = int(torch.randint(2**63 - 1, ()))
        return {name: torch.from_numpy(mask) for name, mask in draw_masks(self._network, num, Stream(seed)).items()}


def _register(module: nn.Module, name: str, tensor: Tensor, learned: bool) -> None:
    """Put a tensor where its dotted name says, below modules that have nothing else."""
    *path, leaf = name.split(".")
    for part in path:
        module._modules.setdefault(part, nn.Module())  # not add_module, which refuses names such as `type`
        module = module._modules[part] or module
    if learned:
        module.register_parameter(leaf, nn.Parameter(tensor))
    else:
        module.register_buffer(leaf, tensor)
