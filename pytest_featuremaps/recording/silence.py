"""Why a captured module did not run, as far as that can be known."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection

from torch import nn

from pytest_featuremaps.names.keys import Layer
from pytest_featuremaps.names.paths import ROOT, Survey
from pytest_featuremaps.names.targets import is_called

_NOT_CALLED = (
    "the model was not called while it was captured; its forward ran before the hooks went on, in "
    "another thread or process, or as model.forward(...), which runs no hooks of the model"
)


def owner(known: Survey, path: str) -> str:
    """Return the nearest module above `path` that can be called; the model for the model."""
    while path != ROOT:
        path = path.rpartition(".")[0] or ROOT
        if is_called(known.modules[path]):
            return path
    return ROOT


def why(
    layer: Layer, known: Survey | None, ran: Collection[str], captured: nn.Module | None = None
) -> str:
    """Say why a module has no feature map.

    Args:
        layer: the captured module.
        known: its model; None when that is gone.
        ran: the paths of the modules that are known to have run.
        captured: the module that the hooks are on, as far as it is alive.
    """
    if after := _by_its_calls(layer):
        return after
    if known is None or layer.path not in known.modules:
        return "it was never called while it was captured"
    now = known.modules[layer.path]
    if captured is not None and captured is not now:
        return (
            f"the model has another module in its place now ({type(now).__name__}); capture after "
            "the model was changed"
        )
    return _by_its_kind(layer, known) or _by_its_owner(layer, known, ran)


def why_no_match(ran: Collection[str]) -> str:
    """Say why none of a pattern's modules ran, whatever each one's reason is; empty if unknown."""
    return "" if ROOT in ran else _NOT_CALLED


def _by_its_calls(layer: Layer) -> str:
    if layer.problem:
        return f"it ran, but its output could not be recorded: {layer.problem}"
    if layer.calls:
        return "it ran, but its output held no tensor"
    if layer.recomputed:
        return "it only ran during backward(), where checkpointing repeats a forward"
    return "it has not run since the last clear()" if layer.ran else ""


def _by_its_kind(layer: Layer, known: Survey) -> str:
    module = known.modules[layer.path]
    if not is_called(module):
        return (
            f"a {layer.module_type} holds modules and is never called itself; "
            f"capture what it holds, such as '{layer.path}.*'"
            if any(True for _ in module.children())
            else f"a {layer.module_type} without a forward of its own is never called"
        )
    above = known.modules[owner(known, layer.path)]
    if isinstance(above, nn.MultiheadAttention) and layer.path.endswith("out_proj"):
        return (
            "MultiheadAttention uses the weights of its out_proj and never calls it; "
            "capture the MultiheadAttention"
        )
    return ""


def _by_its_owner(layer: Layer, known: Survey, ran: Collection[str]) -> str:
    if layer.path == ROOT:
        return _NOT_CALLED
    above = owner(known, layer.path)
    name = layer.path.removeprefix(f"{above}.") if above != ROOT else layer.path
    title = "the model" if above == ROOT else repr(above)
    source = _source(known.modules[above])
    attribute = re.escape(name.partition(".")[0])
    if re.search(rf"\b{attribute}\b[^\n]*\.forward\(", source):
        return f"{title} calls its forward() directly, which runs no hooks; call the module itself"
    if re.search(rf"\b{attribute}\.(weight|bias)\b", source):
        return f"{title} uses its weights and never calls it"
    if above in ran:
        return f"{title} ran without calling it; perhaps a branch was not taken"
    if ROOT in ran:
        return f"{title}, which calls it, did not run either"
    return _NOT_CALLED


def _source(module: nn.Module) -> str:
    try:
        return inspect.getsource(type(module).forward)
    except (OSError, TypeError):
        return ""
