"""Text on pictures: in the letters that Pillow's own font has, with words that stand apart."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from PIL import ImageDraw, ImageFont

from pytest_featuremaps.rendering.colours import SOFT_INK

_SPACES = frozenset("Ġ▁")
"""What stands for a space in the tokens of GPT-2 and its like, and of SentencePiece."""

_MISSING = "\uffff"
_CLOSE = 11
"""Up to this size the font's own space is two pixels wide, and words run into each other."""


def written(text: str) -> str:
    r"""Return text in the letters of the font: `Ġ` and `▁` as `·`, others as `\u65e5`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_letter, text))


def length(text: str, size: int) -> int:
    """Return how many pixels wide a text is."""
    return math.ceil(float(_font(size).getlength(_apart(text, size))))


def write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    *,
    colour: tuple[int, int, int] = SOFT_INK,
    anchor: str = "la",
) -> None:
    """Write a text on a picture, from the left of a line, or as Pillow's anchors say."""
    pen.text(place, _apart(text, size), fill=colour, font=_font(size), anchor=anchor)


@cache
def _font(size: int) -> Any:  # noqa: ANN401 (a font of either kind that Pillow may have)
    return ImageFont.load_default(size)


def _apart(text: str, size: int) -> str:
    return written(text).replace(" ", "  " if size <= _CLOSE else " ")


@cache
def _letter(char: str) -> str:
    if char in _SPACES:
        return "·"
    if char.isprintable() and _look(char) != _look(_MISSING):
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _look(char: str) -> bytes:
    return bytes(_font(_CLOSE).getmask(char))
