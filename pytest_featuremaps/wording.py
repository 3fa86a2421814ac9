"""How names, numbers of things and lists are written in messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

FAILED_SECTION: Final = "feature baseline "
"""How the title of a report's section with the story of a failed comparison begins."""


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key under which `layer.3` stands before `layer.11`."""
    return [
        (0, len(part.lstrip("0")), part.lstrip("0")) if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def plain(text: str, width: int | None = 160) -> str:
    """Write a text from outside on one line: what a terminal would obey is escaped.

    The middle of one that is longer than `width` is left out; None leaves nothing out.
    """
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
    if width is None or len(shown) <= width:
        return shown
    return f"{shown[: width // 2]}…{shown[-(width // 2 - 1) :]}"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _quoted(name: str) -> str:
    # The model itself is called ".", which would read as the end of the sentence.
    return repr(name) if name == "." else plain(name)


def listed(
    names: Iterable[str],
    *,
    most: int = 20,
    nothing: str = "none",
    write: Callable[[str], str] = _quoted,
) -> str:
    """Write names in natural order, separated by commas, and say how many were left out."""
    ordered = sorted(names, key=natural)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return (", ".join(map(write, ordered[:most])) or nothing) + more


def in_columns(rows: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """Write rows of a table as lines: the first `words` columns flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
