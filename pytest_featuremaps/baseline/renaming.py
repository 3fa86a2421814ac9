"""Renaming that the user declares: what keys of one run are called in another."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from pytest_featuremaps.errors import BaselineError
from pytest_featuremaps.wording import listed

Rename: TypeAlias = (
    Mapping[str, str]
    | Mapping[re.Pattern[str], str]
    | tuple[str | re.Pattern[str], str]
    | Callable[[str], str]
)
"""How old keys are called now.

A mapping of keys or of paths of layers, with all below them, to what they are called now (`""`
is the whole model, so that a wrapper may come or go); a regular expression and its replacement,
as `re.sub` takes them, or a mapping of compiled ones; or a function from old key to new.
"""


def renamed(
    rename: Rename | None, old: Sequence[str], new: Sequence[str], *, of: str = "the baseline"
) -> dict[str, str]:
    """Return the new names of the old keys that a renaming changes.

    Args:
        rename: how old keys are called now; None for no renaming.
        old: the keys of the baseline or of the reference.
        new: the keys of this run.
        of: whose the old keys are.

    Raises:
        BaselineError: a part of the renaming fits no old key or gives no new one, makes two
            keys the same, or cannot be read.
    """
    if rename is None:
        return {}
    names: dict[str, str] = {}
    if callable(rename):
        names = _called(rename, old)
        _check(_name(rename), names, old, new, of)
    else:
        for one, replacement in _parts(rename):
            fitting = _fitting(one, replacement, old)
            _check(_shown(one, replacement), fitting, old, new, of)
            names |= {key: value for key, value in fitting.items() if key not in names}
    _refuse_twins(names, old, of)
    return names


def _called(rename: Callable[[str], str], old: Sequence[str]) -> dict[str, str]:
    names = {key: rename(key) for key in old}
    for key, name in names.items():
        if not isinstance(name, str):
            raise BaselineError(
                f"rename={_name(rename)}: it gives {name!r} for {key!r}; it must give a key."
            )
    return {key: name for key, name in names.items() if name != key}


def _parts(rename: object) -> list[tuple[str | re.Pattern[str], str]]:
    """Return what is replaced by what, the longest path first, which is the most exact."""
    if isinstance(rename, Mapping):
        parts = list(rename.items())
        parts.sort(key=lambda part: -len(part[0]) if isinstance(part[0], str) else 0)
    elif isinstance(rename, tuple) and len(rename) == 2:
        parts = [(_compiled(rename[0]), rename[1])]
    else:
        parts = [(None, None)]
    for one, replacement in parts:
        if not isinstance(one, str | re.Pattern) or not isinstance(replacement, str):
            raise BaselineError(
                f"rename={rename!r} cannot be read.\nIt is a mapping of old names to new ones, "
                "a pair (regular expression, replacement), or a function from old key to new."
            )
    return parts


def _compiled(pattern: object) -> object:
    if not isinstance(pattern, str):
        return pattern
    try:
        return re.compile(pattern)
    except re.error as error:
        raise BaselineError(f"rename: {pattern!r} is no regular expression: {error}.") from None


def _fitting(one: str | re.Pattern[str], replacement: str, old: Sequence[str]) -> dict[str, str]:
    """Return the old keys that one part of a renaming fits, with what they are called now."""
    if isinstance(one, str):
        return {key: _moved(key, one, replacement) for key in old if _is_below(key, one)}
    try:
        names = {key: one.sub(replacement, key) for key in old if one.search(key)}
    except (re.error, IndexError) as error:
        raise BaselineError(
            f"rename: {replacement!r} is no replacement for {one.pattern!r}: {error}."
        ) from None
    return {key: name for key, name in names.items() if name != key}


def _is_below(key: str, path: str) -> bool:
    """Tell whether a key is that of a layer, or of what is below it."""
    if not path:
        return key != "."
    return key == path or (key.startswith(path) and key[len(path)] in ".#[")


def _moved(key: str, path: str, name: str) -> str:
    rest = key[len(path) :] if path else f".{key}"
    return name + rest if name else rest.removeprefix(".") or "."


def _check(
    shown: str, names: Mapping[str, str], old: Sequence[str], new: Sequence[str], of: str
) -> None:
    if not names:
        known = {
            "the baseline": "\nIf it was updated since and has the new names, take rename= away."
        }
        raise BaselineError(
            f"rename={shown} fits no key of {of}.\n{_near(shown, old)}{known.get(of, '')}"
        )
    if set(new).isdisjoint(names.values()):
        first, name = next(iter(names.items()))
        raise BaselineError(
            f"rename={shown} calls {first!r} {name!r}, and there is no such key here.\n"
            f"{_near(name, new)}"
        )


def _refuse_twins(names: Mapping[str, str], old: Sequence[str], of: str) -> None:
    sources: dict[str, list[str]] = defaultdict(list)
    for key in old:
        sources[names.get(key, key)].append(key)
    for name, keys in sources.items():
        if len(keys) > 1:
            raise BaselineError(
                f"rename makes {len(keys)} keys of {of} the same, {name!r}: {listed(keys)}."
            )


def _near(asked: str, keys: Sequence[str]) -> str:
    words = re.sub(r"[^\w.]+", " ", asked).split()
    paths = {".".join(key.split(".")[:depth]) for key in keys for depth in range(1, 5)}
    near = {close for word in words for close in difflib.get_close_matches(word, paths, n=4)}
    if near:
        return f"Near matches: {listed(near)}."
    return f"The keys are: {listed(keys)}."


def _shown(one: str | re.Pattern[str], replacement: str) -> str:
    if isinstance(one, str):
        return f"{{{one!r}: {replacement!r}}}"
    return f"({one.pattern!r}, {replacement!r})"


def _name(rename: Callable[[str], str]) -> str:
    return getattr(rename, "__name__", repr(rename))
