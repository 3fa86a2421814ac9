"""Functional calls by name: `block.relu()` is every call of `relu` that `block` itself makes."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from types import CodeType

import torch
from torch import nn

from pytest_featuremaps.names.paths import ROOT


def call_path(owner: str, op: str) -> str:
    """Return the name of a functional call, made in the forward of the module at a path."""
    return f"{op}()" if owner == ROOT else f"{owner}.{op}()"


def parted(call: str) -> tuple[str, str] | None:
    """Return the module that makes a functional call, and the op; None for any other name."""
    if not call.endswith("()"):
        return None
    owner, _, op = call[:-2].rpartition(".")
    return owner or ROOT, op


def near_ops(op: str, seen: Iterable[str]) -> list[str]:
    """Return up to three of the ops seen that may have been meant, the likeliest first.

    These are its other form (`relu_` for `relu`, and the reverse), similar names, and
    names that hold this one or are held by it.
    """
    other = op.removesuffix("_") if op.endswith("_") else f"{op}_"
    likeness = {
        name: difflib.SequenceMatcher(None, op, name).ratio() for name in seen if name != op
    }
    near = [
        name
        for name, ratio in likeness.items()
        if name == other or ratio >= 0.75 or _holds(name, op) or _holds(op, name)
    ]
    return sorted(near, key=lambda name: (name != other, -likeness[name], name))[:3]


def _holds(name: str, word: str) -> bool:
    return len(word) > 2 and word in name


def without_import(owner: str) -> str:
    """Return an owner without what a function is imported from: `block` for `block.F`."""
    segments = owner.split(".")
    while segments and segments[-1] in _IMPORTS:
        segments.pop()
    return ".".join(segments) or ROOT


def calls(module: nn.Module, op: str) -> bool:
    """Tell whether a module's forward seems to call a function of torch, by its name."""
    plain = op.removesuffix("_")
    known = any(
        callable(getattr(home, plain, None)) for home in (torch, nn.functional, torch.Tensor)
    )
    if not known or plain in _OPERATORS:  # these leave no name in the code
        return known
    forward = inspect.unwrap(module.forward)
    return not {op, plain}.isdisjoint(_names(getattr(forward, "__code__", None)))


def _names(code: object) -> Iterator[str]:
    """Yield the names of what a function takes from elsewhere, or from an object."""
    if isinstance(code, CodeType):
        yield from code.co_names
        for part in code.co_consts:
            yield from _names(part)


_IMPORTS = frozenset({"F", "Tensor", "functional", "nn", "torch"})
_OPERATORS = frozenset({"add", "sub", "mul", "div", "matmul", "pow"})
