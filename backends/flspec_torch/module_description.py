"""What an experiment has to know of somebody's torch module, found by running it a few times.

Whatever would make a plan untrue is refused here: state in Python attributes, draws in evaluation, counts that change
what is computed, parameters that nothing depends on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flspec.core.references import find_object
from flspec.core.text import join_some
from flspec.core.tokens import Tokens
from flspec.errors import FlspecError, InputError, Problem, SpecError
from flspec.execution.part_checks import PartCall
from flspec.layers import BatchNormPolicy, ModuleTensor, Placement, Shape, TorchModule
from flspec_torch.own_module import check_output, construct, digest_of_buffer, module_call, seeded

__all__ = ["describe", "draw_tensors"]

_BATCH, _SEEDS = 4, (1, 2)
_NAMED = 3  # tensors that an error names
_COUNTED_ON = 1000  # added to a count, to see whether it matters


def describe(
    reference: str,
    arguments: Mapping[str, Any],
    input_shape: Shape,
    policy: BatchNormPolicy | None,
    tokens: Tokens | None = None,
) -> TorchModule:
    """Describe the module that `reference` names. Raises SpecError if it cannot be trained as a plan says."""
    with _refusals():
        probe = _Probe(_class_of(reference), arguments, input_shape)
        probe.x = made_up_inputs(input_shape, tokens)
        probe.check_types()
        statistics, counters = probe.changed_buffers()
        _check_policy(reference, statistics, policy)
        probe.still = probe.owners(statistics) if policy == "frozen" else ()
        if policy == "frozen" and (left := probe.changed_buffers()[0]):
            raise _wrong(f"{reference} changes {left[0]} in training even where its module is in evaluation mode", "")
        probe.check_repeats(counters)
        probe.check_evaluation()
        probe.check_gradients()
        return TorchModule(
            name="module",
            module=reference,
            arguments=dict(arguments),
            input=input_shape,
            output=probe.output_shape,
            tensors=probe.tensors(statistics, policy),
            still=probe.still,
            fixed=probe.fixed,
            counters=counters,
            unused_names=probe.unused_names,
            names_in_files=probe.names_in_files(),
            draws=probe.draws,
            needs_two=probe.needs_two(),
            multiply_adds=probe.count_multiply_adds(),
            values=probe.count_values(),
        )


def draw_tensors(layer: TorchModule, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of an instance that is made under `seed`."""
    with _refusals():
        module = construct(_class_of(layer.module), layer.arguments, layer.input, seed)
        own = dict(module.named_parameters()) | dict(module.named_buffers())
        drawn = {name: own[name].detach().numpy().copy() for name in layer.tensors}
        PartCall("model", module, "__init__").check_finite(drawn, "initial weights")
        return drawn


@dataclass
class _Run:
    """One call of a module, and what came of it."""

    output: Tensor
    buffers: dict[str, Tensor]  # afterwards
    has_drawn: bool


def made_up_inputs(shape: Shape, tokens: Tokens | None) -> Tensor:
    """Return examples to run a module on, float32 [4, *shape]: numbers from 0 to 1, or of texts token numbers.

    Those have the greatest number among them. The first text fills all steps; others are shorter if texts are padded.
    """
    generator = torch.Generator().manual_seed(0)
    if tokens is None:
        return torch.rand(_BATCH, *shape, generator=generator)
    x = torch.randint(1, max(tokens.num, 2), (_BATCH, *shape), generator=generator).float()
    x[0, 0] = tokens.num - 1
    for row in range(1, _BATCH) if tokens.are_padded else ():
        x[row, max(1, shape[0] * row // _BATCH) :] = 0
    return x


class _Probe:
    """A module that is run a few times on made-up examples."""

    def __init__(self, cls: Callable[..., Any], arguments: Mapping[str, Any], input_shape: Shape) -> None:
        self._cls, self._arguments, self._shape = cls, arguments, input_shape
        self.still: tuple[str, ...] = ()
        self.module = self._made(0)
        self.x = made_up_inputs(input_shape, None)

    def _made(self, seed: int) -> nn.Module:
        call = PartCall("model", _Named(self._cls), "__init__", way_out="repair it there, or model.arguments")
        with call.guarded():
            module = construct(self._cls, self._arguments, self._shape, seed)
        if not isinstance(module, nn.Module):
            raise _wrong(f"{self._cls.__name__} makes a {type(module).__name__}, not a torch.nn.Module", "name one")
        return module

    @cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.module.named_parameters())

    @cached_property
    def buffers(self) -> dict[str, Tensor]:
        return dict(self.module.named_buffers())

    @cached_property
    def learned(self) -> list[str]:
        return [name for name, parameter in self.parameters.items() if parameter.requires_grad]

    def check_types(self) -> None:
        """Raise SpecError for a parameter that is not of float32, or if there is nothing to learn."""
        for name, parameter in self.parameters.items():
            if parameter.dtype is not torch.float32:
                kind = str(parameter.dtype).removeprefix("torch.")
                raise _wrong(f"parameter {name} is {kind}", "make it float32, as by .float()")
        if not self.learned:
            raise _wrong("no parameter requires gradients", "a model needs one to learn")

    def changed_buffers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the buffers that training changes: statistics of float32, and counts in whole numbers."""
        after = self.run(self.module, training=True).buffers
        changed = [name for name, before in self.buffers.items() if not torch.equal(before, after[name])]
        kinds = {name: self.buffers[name].dtype for name in changed}
        if odd := [n for n, kind in kinds.items() if kind.is_floating_point and kind is not torch.float32]:
            raise _wrong(f"training changes buffer {odd[0]}, which is not float32", "make it float32")
        return (
            tuple(name for name in changed if kinds[name] is torch.float32),
            tuple(name for name in changed if kinds[name] is not torch.float32),
        )

    def owners(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the modules that have tensors of these names."""
        return tuple(dict.fromkeys(name.rpartition(".")[0] for name in names))

    @cached_property
    def fixed(self) -> dict[str, str]:
        """The digest of each buffer that is not of float32. Raises SpecError if an instance has another."""
        others = {name: tensor for name, tensor in self.buffers.items() if tensor.dtype is not torch.float32}
        digests = {name: digest_of_buffer(tensor) for name, tensor in others.items()}
        again = dict(self._made(1).named_buffers())
        for name, digest in digests.items():
            if digest_of_buffer(again[name]) != digest:
                raise _wrong(f"buffer {name} is drawn at random, but is not of float32", "make it float32")
        return digests

    @cached_property
    def unused_names(self) -> tuple[str, ...]:
        state = self.module.state_dict()
        used = {*self.parameters, *self.buffers} - set(self.fixed)
        return tuple(name for name in state if name not in used)

    def names_in_files(self) -> dict[str, str | None]:
        """Return the names of tensors in files of weights, where they are not the own ones; None of what is in none.

        A module may give them by a method `pretrained_name`. Buffers that its state does not hold are in no file.
        """
        float32 = [name for name in (*self.parameters, *self.buffers) if name not in self.fixed]
        saved = self.module.state_dict()
        unsaved = {name: None for name in float32 if name not in saved}
        if not callable(ask := getattr(self.module, "pretrained_name", None)):
            return dict(unsaved)
        call = PartCall("model", self.module, "pretrained_name", way_out="repair it there")
        with call.guarded():
            names = {name: ask(name) for name in float32 if name in saved} | unsaved
        if odd := [value for value in names.values() if not isinstance(value, str | None)]:
            raise call.error(f"gave a {type(odd[0]).__name__}, not a name in a file, or None for what none has")
        given = [stored for stored in names.values() if stored is not None]
        if twice := [stored for stored in given if given.count(stored) > 1]:
            raise call.error(f"gave {twice[0]} for two tensors")
        return names

    def run(self, module: nn.Module, training: bool, seed: int = _SEEDS[0], counted: int = 0) -> _Run:
        """Call a module on copies of the first instance's tensors, as if each of its counts were so much further."""
        module.train(training)
        for name in self.still:
            module.get_submodule(name).training = False
        given = {name: tensor.detach().clone() for name, tensor in (self.parameters | self.buffers).items()}
        for name in self.fixed if counted else ():
            given[name] += counted
        call = module_call(module)
        with seeded(seed):
            before = _generators()
            with torch.no_grad(), call.guarded():
                output = torch.func.functional_call(module, given, (self.x,))
            has_drawn = before != _generators()
        output = check_output(call, output, (_BATCH, None))
        return _Run(output, {name: given[name] for name in self.buffers}, has_drawn)

    @property
    def output_shape(self) -> Shape:
        return tuple(self.run(self.module, training=False).output.shape[1:])

    @cached_property
    def draws(self) -> bool:
        return self.run(self.module, training=True).has_drawn

    def check_repeats(self, counters: tuple[str, ...]) -> None:
        """Raise SpecError if a call computes something else after others, and not by tensors and seed alone."""
        before = _simple_state(self.module)
        first = self.run(self._made(0), training=True)
        for _ in range(3):
            if not _same(first, self.run(self.module, training=True), counters):
                raise _wrong("computes something else when it is called again", f"{_KEEP}")
        if changed := [name for name, value in _simple_state(self.module).items() if before.get(name) != value]:
            raise _wrong(f"changes {changed[0]} at each call", _KEEP)
        if counters and not _same(first, self.run(self.module, training=True, counted=_COUNTED_ON), counters):
            raise _wrong(
                f"computes by how often it was called ({counters[0]}), which is not averaged",
                "give its batch norm a momentum, or keep no count",
            )

    def check_evaluation(self) -> None:
        """Raise SpecError if evaluation draws, or changes anything."""
        first, second = (self.run(self.module, training=False, seed=seed) for seed in _SEEDS)
        if first.has_drawn or not torch.equal(first.output, second.output):
            raise _wrong("draws random numbers in evaluation", "draw only where self.training is true")
        for name, before in self.buffers.items():
            if not torch.equal(before, first.buffers[name]):
                raise _wrong(f"changes buffer {name} in evaluation", "change it only where self.training is true")

    def check_gradients(self) -> None:
        """Raise SpecError if the output does not depend on a parameter that is to be learned."""
        gradients = torch.autograd.grad(
            self._differentiable(self.x).sum(), [self.parameters[name] for name in self.learned], allow_unused=True
        )
        unused = [name for name, gradient in zip(self.learned, gradients, strict=True) if gradient is None]
        if unused:
            raise _wrong(
                f"outputs do not depend on {join_some(unused, _NAMED)}", "remove them, or set requires_grad=False"
            )

    def _differentiable(self, x: Tensor) -> Tensor:
        self.module.train(True)
        for name in self.still:
            self.module.get_submodule(name).training = False
        buffers = {name: tensor.clone() for name, tensor in self.buffers.items()}
        with seeded(_SEEDS[0]):
            given = torch.func.functional_call(self.module, {**self.parameters, **buffers}, (x,))
        output = check_output(module_call(self.module), given, (len(x), None))
        if not output.requires_grad:
            raise _wrong("outputs do not depend on its parameters", "compute them without detach() or no_grad()")
        return output

    def tensors(self, statistics: tuple[str, ...], policy: BatchNormPolicy | None) -> dict[str, ModuleTensor]:
        """Return every tensor of float32 and its placement, parameters first."""
        own = self.owners(statistics) if policy == "local" else ()
        kept = {name: tensor for name, tensor in self.buffers.items() if tensor.dtype is torch.float32}
        found = {}
        for name, tensor in {**self.parameters, **kept}.items():
            stays: Placement = "client" if name.rpartition(".")[0] in own else "server"
            is_learned = name in self.parameters and self.parameters[name].requires_grad
            is_sent = is_learned or (name in statistics and policy != "frozen")
            found[name] = ModuleTensor(
                shape=tuple(tensor.shape), is_learned=is_learned, placement=stays if is_sent else "plan"
            )
        return found

    def needs_two(self) -> bool:
        """Return whether training fails with one example alone, as batch norm does."""
        whole, self.x = self.x, self.x[:1]
        try:
            self._differentiable(self.x)
        except Exception:
            return True
        finally:
            self.x = whole
        return False

    def count_multiply_adds(self) -> int:
        """Count the multiplications of one example in matrix products and convolutions."""
        self.module.train(False)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.module(self.x[:1])
        counted: int = counter.get_total_flops() // 2
        return max(counted, sum(parameter.numel() for parameter in self.parameters.values()))

    def count_values(self) -> int:
        """Count the values of one example that torch keeps for the gradient, without parameters."""
        sizes: dict[int, int] = {}
        ours = {tensor.data_ptr() for tensor in (self.parameters | self.buffers).values()}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in ours:
                sizes[tensor.data_ptr()] = max(sizes.get(tensor.data_ptr(), 0), tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = self._differentiable(self.x)
        del output
        return -(-sum(sizes.values()) // _BATCH)


_KEEP = "keep what it remembers in buffers of float32, or nothing"


class _Named:
    """In place of an instance that is not made yet: errors name its class."""

    def __new__(cls, of: Callable[..., Any]) -> Any:
        return object.__new__(type(of.__name__, (), {"__module__": of.__module__, "__qualname__": of.__qualname__}))


def _class_of(reference: str) -> Callable[..., Any]:
    found = find_object(reference)
    if not callable(found):
        raise _wrong(f"{reference} is a {type(found).__name__}", "name a class, or a function that returns a module")
    return found  # type: ignore[no-any-return]


def _check_policy(reference: str, statistics: tuple[str, ...], policy: BatchNormPolicy | None) -> None:
    if statistics and policy is None:
        message = (
            f"{reference} has statistics that training changes ({join_some(list(statistics), _NAMED)}), which need a "
            "rule: add batch_norm: averaged, local (FedBN) or frozen"
        )
        raise SpecError([Problem(message, "model.batch_norm")])
    if policy and not statistics:
        message = f"{policy}, but {reference} has no statistics that training changes; remove it"
        raise SpecError([Problem(message, "model.batch_norm")])


def _generators() -> tuple[Any, ...]:
    of_numpy = np.random.get_state(legacy=False)["state"]
    return bytes(torch.get_rng_state().numpy()), random.getstate(), str(of_numpy["pos"]), of_numpy["key"].tobytes()


def _simple_state(module: nn.Module) -> dict[str, Any]:
    """Return the plain values among a module's attributes, by name."""
    return {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, one in module.named_modules()
        for name, value in vars(one).items()
        if name != "training" and isinstance(value, (int, float, str))
    }


def _same(one: _Run, other: _Run, but: tuple[str, ...]) -> bool:
    return torch.equal(one.output, other.output) and all(
        torch.equal(value, other.buffers[name]) for name, value in one.buffers.items() if name not in but
    )


@contextmanager
def _refusals() -> Iterator[None]:
    """Say of what is wrong that the spec's `model.module` is."""
    try:
        yield
    except SpecError:
        raise
    except FlspecError as error:
        raise SpecError([Problem(str(error).removeprefix("model: "), "model.module")]) from error


def _wrong(what: str, way_out: str) -> InputError:
    return InputError(f"{what}; {way_out}" if way_out else what)
