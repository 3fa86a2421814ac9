"""How names, and lists of them, are written in messages."""

from __future__ import annotations

import re
from collections.abc import Iterable


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key under which `layer.3` stands before `layer.11`."""
    return [
        (0, len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def plain(name: str, width: int = 160) -> str:
    """Write a name so that it stays on one line: what a terminal would obey is escaped.

    The middle of a very long one is left out.
    """
    shown = printable(name)
    if len(shown) <= width:
        return shown
    return f"{shown[: width // 2]}…{shown[-(width // 2 - 1) :]}"


def listed(names: Iterable[str], *, most: int = 20, nothing: str = "none") -> str:
    """Write names in natural order, separated by commas, and say how many were left out."""
    ordered = sorted(names, key=natural)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return (", ".join(map(plain, ordered[:most])) or nothing) + more


def printable(text: str) -> str:
    """Return a text from outside without what a terminal would obey."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
