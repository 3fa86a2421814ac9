"""How the keys of two runs differ: a parent that was renamed, a number that shifted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

Names: TypeAlias = tuple[str, str]
"""What a layer, with all below it, is called on the one side and on the other."""

# The call and the place in the output, behind the path of the layer.
_SUFFIX: Final = re.compile(r"(?:#\d+)?(?:\[[^\[\]]*\])*(?:\.grad|\.inputs\[.*\])?$")


def split(key: str) -> tuple[list[str], str]:
    """Return the segments of a key's path, none for the model itself, and what follows: `#1[0]`."""
    end = _SUFFIX.search(key)
    suffix = end.group() if end else ""
    path = key[: len(key) - len(suffix)]
    return [] if path == "." else path.split("."), suffix


def join(path: Sequence[str], suffix: str) -> str:
    """Return the key that `split` takes apart."""
    return (".".join(path) or ".") + suffix


def skeleton(key: str) -> str:
    """Return a key with the numbers of containers taken out, which shift when a block comes."""
    path, suffix = split(key)
    return join(["0" if segment.isdecimal() else segment for segment in path], suffix)


def first_call(key: str) -> str:
    """Return a key without the number of a first call, which is there only if others follow."""
    return re.sub(r"#0(?=\[|$)", "", key)


def any_call(key: str) -> str:
    """Return a key without the number of the call."""
    path, suffix = split(key)
    return join(path, re.sub(r"^#\d+", "", suffix))


def difference(old: str, new: str) -> Names | None:
    """Return the names that tell two keys apart, without what they end in; None if they are one.

    `backbone.conv1` and `encoder.conv1` differ in `backbone` and `encoder`; `conv1` and
    `module.conv1` in nothing, which stands for the whole model, and `module`.
    """
    if old == new:
        return None
    (before, end), (after, other_end) = split(old), split(new)
    if end != other_end:
        return old, new
    while before and after and before[-1] == after[-1]:
        before.pop()
        after.pop()
    return ".".join(before), ".".join(after)


def shift(names: Names) -> tuple[str, str, int]:
    """Return what blocks of one container share that all moved up by one: the names around, and 1.

    Names that are no numbers are returned as they are, and 0.
    """
    (around, _, old), (other, _, new) = names[0].rpartition("."), names[1].rpartition(".")
    if old.isdecimal() and new.isdecimal():
        return around, other, int(new) - int(old)
    return *names, 0


def around(key: str) -> str:
    """Return the path of the block that a layer is in; empty where that is the whole model."""
    return ".".join(split(key)[0][:-1])


def renamings(key: str, taken: dict[str, list[str]]) -> Iterator[tuple[int, str]]:
    """Yield what a key may be called, where layers around it are called as in `taken`.

    With it comes how many segments of the key those layers share. Numbers that come after those
    may have shifted, unless they are inside a numbered block.
    """
    path, suffix = split(key)
    for end in range(len(path), -1, -1):
        whole = end > 0 and path[end - 1].isdecimal()
        if not whole and any(map(str.isdecimal, path[end:])):
            continue
        for new in taken.get(".".join(path[:end]), ()):
            yield end, join([*([new] if new else []), *path[end:]], suffix)
