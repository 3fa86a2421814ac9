"""Functional calls by name: `block.relu()` is every call of `relu` that `block` itself makes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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
