"""The layers of `flspec.layers` in torch: the function of each, and for most of them its derivative written out.

A class for each kind, in the module of the same name as the layer's. A step whose layers all have derivatives is
computed without autograd, by the kernels that autograd would call.
"""

import importlib
import pkgutil

from flspec_torch.layers.base import Backward, Gradients, Masks, Tensors, Translation, Vjp, Wanted, translate

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")

__all__ = ["Backward", "Gradients", "Masks", "Tensors", "Translation", "Vjp", "Wanted", "translate"]
