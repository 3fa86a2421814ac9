"""What recording a model does to it, and which models cannot be recorded."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeGuard

import torch
from torch import nn

from pytest_featuremaps.names.paths import ROOT, Survey, survey


def is_model(value: object) -> TypeGuard[nn.Module]:
    """Tell whether a value is a module."""
    return isinstance(value, nn.Module)


# An exported program, and what its `module()` gives.
_EXPORTED = frozenset({"ExportedProgram", "_StatefulGraphModule"})


def refusal(value: object) -> str:
    """Say why a value cannot be recorded, and the way out; empty when it can."""
    kinds = [one.__name__ for one in type(value).__mro__]
    if not _EXPORTED.isdisjoint(kinds):
        return (
            "an exported program has no modules left to put hooks on.\n"
            "Record the model that it was exported from, or torch.export.unflatten(program)."
        )
    if isinstance(value, type) and issubclass(value, nn.Module):
        return f"the model is the class {value.__name__}: make one, {value.__name__}(...)."
    kind = kinds[0]
    if not is_model(value):
        return f"the model is a {kind}, not a torch.nn.Module."
    if isinstance(value, torch.jit.ScriptModule):
        return (
            f"the model is a scripted module ({kind}), which takes no hooks.\n"
            "Record the model that it was made from, before torch.jit.script or torch.jit.trace."
        )
    if "make_graphed_callables" in getattr(value.forward, "__qualname__", ""):
        return (
            "the model replays a CUDA graph, in which no hook runs.\n"
            "Record it before torch.cuda.make_graphed_callables."
        )
    return ""


def training_of(model: nn.Module) -> Callable[[], list[str]]:
    """Return what names the modules that are in training mode and compute something else there.

    These are BatchNorm, and whatever drops values at random. The model is not held.
    """
    return partial(_in_training, weakref.ref(model))


def _in_training(model: weakref.ref[nn.Module]) -> list[str]:
    alive = model()
    return [
        f"{path} ({type(module).__name__})"
        for path, module in (survey(alive).modules.items() if alive is not None else ())
        if module.training and (isinstance(module, _BATCH_NORMS) or _drops(module))
    ]


_BATCH_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
)
_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def _drops(module: nn.Module) -> bool:
    if isinstance(module, _DROPOUTS):
        return module.p > 0
    # Recurrent layers and attention drop values themselves.
    return isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0


class _Compiler:
    """Whether compiled code runs, which runs no hooks: one switch for the whole process.

    Recordings may end in any order, in several threads. The first one turns the switch, and
    the last one turns it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = ExitStack()

    @staticmethod
    def is_loaded() -> bool:
        """Tell whether the compiler is loaded; torch loads it when something is compiled first."""
        return "torch._dynamo" in sys.modules

    @staticmethod
    def has_compiled() -> bool:
        """Tell whether anything was compiled; torch loads the compiler for other things as well."""
        utils = sys.modules.get("torch._dynamo.utils")
        return utils is not None and bool(utils.counters["frames"]["total"])

    @contextmanager
    def off(self) -> Iterator[None]:
        """Run eager code until the block ends; nothing where no compiler is loaded."""
        if not self.is_loaded():
            yield
            return
        with self._lock:
            if not self._users:
                self._before.enter_context(torch.compiler.set_stance("force_eager"))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._before.close()


COMPILER = _Compiler()


def fused_layers(known: Survey, wanted: Collection[str]) -> list[str]:
    """Return the transformer layers that leave their fused fast path because of our hooks."""
    return [
        path
        for path, module in known.modules.items()
        if isinstance(module, nn.TransformerEncoderLayer)
        and any(one == path or one.startswith(f"{path}.") or path == ROOT for one in wanted)
    ]
