"""A digest of a module's weights, to tell a change of weights from a change of code."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial

from torch import nn
from torch.nn.parameter import is_lazy

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.numbers.sketch import digest, digest_text


def weights_of(module: nn.Module) -> Callable[[], str | None]:
    """Return what gives the digest of a module's weights as they are now, without holding it."""
    return partial(_weights, weakref.ref(module), _versions(module))


def _versions(module: nn.Module) -> int:
    """Return a number that grows whenever a parameter or buffer is changed in place.

    It is 0 where there are none.
    """
    if module._modules:
        own = [*module.parameters(), *module.buffers()]
    else:  # most modules; a walk over children costs more than all the rest
        state = (*module._parameters.values(), *module._buffers.values())
        own = [one for one in state if one is not None]
    try:
        return len(own) + sum([one._version for one in own])
    except (RuntimeError, ValueError):
        # A tensor of inference mode counts no changes, and what a lazy module has not made yet
        # refuses every question.
        made = [one for one in own if not is_lazy(one)]
        return len(made) + sum(one._version for one in made if not one.is_inference())


def _weights(module: weakref.ref[nn.Module], versions: int) -> str | None:
    """Return a digest of a module's parameters and buffers, those of its children included.

    The counter of a BatchNorm is left out: it grows in every step, and no output follows from it
    outside of training.

    None where there are none; empty where they are not known: where they cannot be read, the
    module is gone, or they have changed since it was captured, and are not what its feature
    maps were made with.
    """
    alive = module()
    if alive is None:
        return "" if versions else None
    if _versions(alive) != versions:
        return ""
    state = [
        (name, one)
        for name, one in (*alive.named_parameters(), *alive.named_buffers())
        if name.rpartition(".")[2] != "num_batches_tracked"
    ]
    try:
        text = " ".join(f"{name} {tuple(one.shape)} {digest(one)}" for name, one in state)
    except UnsupportedTensor:
        return ""
    return digest_text(text) if state else None
