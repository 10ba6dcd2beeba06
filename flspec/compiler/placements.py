"""Where a model's tensors live, once what a spec leaves with each client has moved there.

`model.local` names networks, or parts of one: a layer or module, in which all tensors are meant, or a tensor; with `*`
for any text. So `[output]` is FedPer (Arivazhagan et al., 2019), whose clients share all layers but the last, and
`["*.norm"]` leaves normalisation with each client, as FedBN does (Li et al., ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import accumulate

from flspec.core.text import join_some
from flspec.errors import Problem, SpecError, suggestion
from flspec.layers import Tensor
from flspec.spec.spec import Spec

__all__ = ["placements"]


def placements(spec: Spec, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's tensors with their placement.

    The server's tensors that `model.local` names move to each client; in `local_only` all do. Raises SpecError if it
    names none of them, or all.
    """
    sent = [name for name, tensor in parameters.items() if tensor.placement == "server"]
    own = _named(spec.model.local, sent)
    if own and len(own) == len(sent):
        message = "leaves nothing to send; use mode: local_only, or leave a part out"
        raise SpecError([Problem(message, "model.local")])
    moved = set(sent if spec.mode == "local_only" else own)
    return {
        name: replace(tensor, placement="client") if name in moved else tensor for name, tensor in parameters.items()
    }


def _named(parts: tuple[str, ...], sent: list[str]) -> list[str]:
    """Return the names that are one of `parts` or in one. Raises SpecError for a part without any."""
    own = {part: [name for name in sent if any(fnmatchcase(one, part) for one in _around(name))] for part in parts}
    for part, names in own.items():
        if not names:
            meant = suggestion(part, {one for name in sent for one in _around(name)})
            message = f"{part} names nothing that is sent; {meant}tensors are {join_some(sent)}"
            raise SpecError([Problem(message, "model.local")])
    return list(dict.fromkeys(name for names in own.values() for name in names))


def _around(name: str) -> Iterator[str]:
    """Yield what holds a tensor, from the outermost, and the tensor: a, a.b and a.b.weight."""
    return accumulate(name.split("."), "{}.{}".format)
