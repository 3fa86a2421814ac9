"""Why a captured module did not run, as far as that can be known."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Sequence

from torch import nn
from torch.fx import GraphModule

from pytest_featuremaps.names.keys import Layer
from pytest_featuremaps.names.paths import ROOT, Survey
from pytest_featuremaps.names.targets import Resolved, is_called
from pytest_featuremaps.wording import listed

_NOT_CALLED = (
    "the model was not called while it was captured; perhaps another model was, or its forward ran "
    "before the hooks went on, in another process, on a copy of the model, or as "
    "model.forward(...), which runs no hooks of it"
)


def owner(known: Survey, path: str) -> str:
    """Return the nearest module above `path` that can be called; the model for the model."""
    while path != ROOT:
        path = path.rpartition(".")[0] or ROOT
        if is_called(known.modules[path]):
            return path
    return ROOT


def sentence(
    target: Resolved, layers: Sequence[Layer], reasons: Sequence[str], ran: Collection[str]
) -> str:
    """Say that a target gave no feature map, and why.

    Args:
        target: what was asked for.
        layers: the modules that it means.
        reasons: why each of them gave none.
        ran: the paths of the modules that are known to have run.
    """
    asked = f"capture({target.text})"
    if len(layers) == 1:
        layer = layers[0]
        title = f"{layer.name!r} ({layer.module_type})"
        which = title if target.exact else f"the one module it matches, {title},"
        return f"{asked}: {which} {_outcome(layer)}: {reasons[0]}."
    names = listed([layer.name for layer in layers], most=6)
    outcome = "has a feature map" if any(map(_left_no_map, layers)) else "ran"
    reason = reasons[0] if len(set(reasons)) == 1 else why_no_match(ran)
    because = f": {reason}" if reason else ""
    return f"{asked}: none of the {len(layers)} modules it matches {outcome}: {names}{because}."


def _outcome(layer: Layer) -> str:
    if layer.recorded:
        return f"has no feature map of one of its {layer.calls} calls"
    return "has no feature map" if _left_no_map(layer) else "did not run"


def _left_no_map(layer: Layer) -> bool:
    return bool(layer.calls or layer.problem)


def why(layer: Layer, known: Survey | None, ran: Collection[str], *, replaced: bool = False) -> str:
    """Say why a module has no feature map.

    Args:
        layer: the captured module.
        known: its model; None when that is gone.
        ran: the paths of the modules that are known to have run.
        replaced: whether another module has taken the place of the one with the hooks on.
    """
    if after := _by_its_calls(layer):
        return after
    if known is None or layer.path not in known.modules:
        return "it was never called while it was captured"
    if replaced:
        now = type(known.modules[layer.path]).__name__
        return (
            f"the model has another module in its place now ({now}); capture after it was changed"
        )
    return _by_its_kind(layer, known) or _by_its_owner(layer, known, ran)


def why_no_match(ran: Collection[str]) -> str:
    """Say why none of a pattern's modules ran, whatever each one's reason is; empty if unknown."""
    return "" if ROOT in ran else _NOT_CALLED


def _by_its_calls(layer: Layer) -> str:
    if layer.problem:
        return f"it ran, but its output could not be recorded: {layer.problem}"
    if layer.calls:
        return (
            "it ran, but no tensor was found in its output; tensors are looked for in tuples, "
            "lists, mappings and dataclasses"
        )
    if layer.recomputed:
        return "it only ran during backward(), where checkpointing repeats a forward"
    return "it has not run since the last clear()" if layer.ran else ""


def _by_its_kind(layer: Layer, known: Survey) -> str:
    module = known.modules[layer.path]
    if type(module) is nn.Module and isinstance(known.modules[ROOT], GraphModule):
        return (
            "a traced model is a graph, in which what this module did has been taken apart; "
            "capture the model that was traced"
        )
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
    use = _use(known.modules[above], name.partition(".")[0])
    if use:
        return f"{title} {use}"
    if above in ran:
        kind = type(known.modules[layer.path])
        if kind.__call__ is not nn.Module.__call__:
            return f"{kind.__name__} has a __call__ of its own, which runs no hooks"
        return (
            f"{title} ran without it; perhaps a branch was not taken, or an error of it was caught"
        )
    if ROOT in ran:
        return f"{title}, which calls it, did not run either"
    return _NOT_CALLED


def _use(module: nn.Module, attribute: str) -> str:
    """Say how a module's forward uses a part of it, where that explains that no hook ran."""
    source = _source(module)
    part = rf"\b{re.escape(attribute)}(\[[^\]]*\])?"
    if re.search(rf"{part}\(", source):
        return ""  # it is called, somewhere
    if re.search(rf"{part}\.forward\(", source):
        return "calls its forward() directly, which runs no hooks; call the module itself"
    if re.search(rf"{part}\.(weight|bias)\b", source):
        return "uses its weights and never calls it"
    return ""


def _source(module: nn.Module) -> str:
    try:
        return inspect.getsource(type(module).forward)
    except (OSError, TypeError):
        return ""
