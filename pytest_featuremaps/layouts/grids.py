"""How a sequence of tokens lies over an image: tokens before the patches, and the patches' grid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isqrt, prod

# Beyond a class token, a distillation token and four registers nobody has put any.
_MOST_BEFORE = 5


@dataclass(frozen=True)
class Grid:
    """A patch grid, written `"1+14x14"`: one token, then 14 rows of 14 patches.

    Attributes:
        before: how many class and register tokens come before the patches.
        sizes: rows and columns of the patches, after their depth where there is one.
    """

    before: int
    sizes: tuple[int, ...]

    @property
    def length(self) -> int:
        """The number of tokens."""
        return self.before + prod(self.sizes)

    @property
    def patches(self) -> str:
        """The sizes in words, such as `14x14`."""
        return "x".join(map(str, self.sizes))

    def __str__(self) -> str:
        return f"{self.before}+{self.patches}" if self.before else self.patches


def parse(text: str) -> Grid | None:
    """Read a grid as it is written: `"1+14x14"`, `"12x20"`, `"8x14x14"`; None for a slip."""
    found = re.fullmatch(r"(?:(\d{1,6})\+)?(\d{1,6}(?:x\d{1,6}){1,2})", text, re.ASCII)
    if not found:
        return None
    grid = Grid(int(found[1] or 0), tuple(map(int, found[2].split("x"))))
    return grid if 0 not in grid.sizes else None


def square(length: int) -> Grid | None:
    """Return the square grid that leaves up to five tokens before it, fewer than its patches.

    There is never more than one: the next square is farther away, or smaller than what it leaves.
    """
    side = isqrt(length)
    before = length - side * side
    return Grid(before, (side, side)) if before <= _MOST_BEFORE and before < side * side else None


def oblong(length: int) -> list[Grid]:
    """Return grids that are no squares, for a message: with no token or one before the patches."""
    return [
        Grid(before, (patches // columns, columns))
        for before in (0, 1)
        for patches in [length - before]
        for columns in _near_root(patches)
    ]


def _near_root(count: int) -> list[int]:
    """Return the next two divisors above the root, up to its double: four times as wide as high."""
    root = isqrt(max(count, 0))
    return [one for one in range(root + 1, min(2 * root, count) + 1) if count % one == 0][:2]


def nearest(count: int) -> tuple[int, int]:
    """Return the rows and columns that hold exactly `count` cells and are nearest to a square.

    Rows are the fewer; a prime makes one row.
    """
    rows = next((one for one in range(isqrt(count), 0, -1) if count % one == 0), 1)
    return rows, count // rows
