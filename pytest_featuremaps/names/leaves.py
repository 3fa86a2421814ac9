"""The tensors in what a module takes and returns, each with a readable place."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch

Leaf: TypeAlias = tuple[str | int, ...]
"""Where a tensor stood: `()` is the value itself, `(1, 0)` its `[1][0]`."""


_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})


def tensors(value: object) -> list[tuple[Leaf, torch.Tensor]]:
    """Return the tensors in a value, in order: in tuples, lists, mappings and dataclasses.

    A part of a named tuple or a dataclass has its name, a part of a mapping its key as a
    reader would write it. A container that holds itself is entered once.
    """
    if isinstance(value, torch.Tensor):
        return [((), value)]
    found: list[tuple[Leaf, torch.Tensor]] = []
    todo: list[tuple[object, Leaf, frozenset[int]]] = [(value, (), frozenset())]
    while todo:
        one, leaf, inside = todo.pop()
        if isinstance(one, torch.Tensor):
            found.append((leaf, one))
        elif id(one) not in inside:
            around = inside | {id(one)}
            todo += [(part, (*leaf, step), around) for step, part in reversed(_parts(one))]
    return found


def _parts(value: object) -> Sequence[tuple[str | int, object]]:
    if isinstance(value, Mapping):
        return [(_step(key), part) for key, part in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        # Not what surely holds no tensor: lists of numbers may be long.
        return [(step, part) for step, part in enumerate(value) if type(part) not in _PLAIN]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(one.name, getattr(value, one.name, None)) for one in dataclasses.fields(value)]
    return []


def _step(key: object) -> str | int:
    """Write a mapping's key: a word as it is, anything that could be taken for another quoted."""
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    plain = isinstance(key, str) and re.fullmatch(r"[\w.\-/ ]*[^\W\d][\w.\-/ ]*", key)
    return key if isinstance(key, str) and plain else repr(key)


def arguments(
    function: Callable[..., object],
    args: Sequence[object],
    kwargs: Mapping[str, object],
    names: Sequence[str] = (),
) -> dict[str, object]:
    """Return what a function was called with, by the names of its parameters.

    What it takes as `*args` is named `args[0]` and so on, what it takes as `**kwargs` by the
    keyword. Where the signature is not known, or
    the call does not fit it, positional arguments are named by their number.

    Args:
        function: the function, such as a module's `forward`.
        args: the positional arguments.
        kwargs: the keyword arguments.
        names: the names of the first positional ones, for a function without a signature.
    """
    try:
        bound = inspect.signature(function).bind_partial(*args, **kwargs)
    except (TypeError, ValueError):
        numbers = (*names, *map(str, range(len(names), len(args))))
        return dict(zip(numbers, args, strict=False)) | dict(kwargs)
    named: dict[str, object] = {}
    parameters = bound.signature.parameters
    for name, value in bound.arguments.items():
        kind = parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named |= {f"{name}[{number}]": one for number, one in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            # One that is called like a parameter, which is then positional only, is another.
            named |= {
                f"{name}[{key}]" if key in parameters else key: one for key, one in value.items()
            }
        else:
            named[name] = value
    return named


def brackets(leaf: Leaf) -> str:
    """Write a place as in Python: `[1][last_hidden_state]`."""
    return "".join(f"[{step}]" for step in leaf)
