"""What recording a model does to it, and which models cannot be recorded."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TypeGuard

import torch
from torch import nn

from pytest_featuremaps.paths import ROOT, Survey


def is_model(value: object) -> TypeGuard[nn.Module]:
    """Tell whether a value is a module."""
    return isinstance(value, nn.Module)


def refusal(value: object) -> str:
    """Say why a value cannot be recorded, and the way out; empty when it can."""
    kind = type(value).__name__
    if kind == "ExportedProgram":
        return (
            "an exported program has no modules left to put hooks on.\n"
            "Record the model that it was exported from."
        )
    if not is_model(value):
        return f"the model is a {kind}, not a torch.nn.Module."
    if isinstance(value, torch.jit.ScriptModule):
        return (
            f"the model is a scripted module ({kind}), which takes no hooks.\n"
            "Record the model that it was made from, before torch.jit.script."
        )
    if "make_graphed_callables" in getattr(value.forward, "__qualname__", ""):
        return (
            "the model replays a CUDA graph, in which no hook runs.\n"
            "Record it before torch.cuda.make_graphed_callables."
        )
    return ""


def compiler_is_loaded() -> bool:
    """Tell whether anything may be compiled; a function that calls a model is not seen from it."""
    return "torch._dynamo" in sys.modules


def compiled_parts(model: nn.Module) -> bool:
    """Tell whether torch.compile would run some of this model's modules."""
    return any(
        type(module).__name__ == "OptimizedModule"
        or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def fused_layers(known: Survey, wanted: Collection[str]) -> list[str]:
    """Return the transformer layers that leave their fused fast path because of our hooks."""
    return [
        path
        for path, module in known.modules.items()
        if isinstance(module, nn.TransformerEncoderLayer)
        and any(one == path or one.startswith(f"{path}.") or path == ROOT for one in wanted)
    ]
