"""What stands below a picture: its colours, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from pytest_featuremaps.rendering import lettering
from pytest_featuremaps.rendering.colours import FLAT, PAPER, shown
from pytest_featuremaps.rendering.mosaic import (
    DEAD,
    HIGHEST,
    LOWEST,
    MINUS_INF,
    NAN,
    PLUS_INF,
)

if TYPE_CHECKING:
    import numpy.typing as npt

Entry: TypeAlias = tuple[Image.Image | None, str]
"""A patch of colour, if any, and what it means."""

MARKS = {
    DEAD: "dead: zero throughout",
    FLAT: "flat: constant to within the noise floor",
    NAN: "NaN",
    PLUS_INF: "+Inf",
    MINUS_INF: "-Inf",
}
_SIDE, _LINE, _FONT = 11, 18, 11
_NEAR, _FAR = 5, 18
_BAR = 72


def patch(shade: tuple[int, int, int]) -> Image.Image:
    """Return a patch of one colour."""
    return Image.new("RGB", (_SIDE, _SIDE), shade)


def marks(tiles: npt.NDArray[np.uint8], palette: bytes) -> list[Entry]:
    """Return an entry for each mark among indices."""
    seen = np.bincount(tiles.ravel(), minlength=256)
    return [(_texture(mark, palette), text) for mark, text in MARKS.items() if seen[mark]]


def bar(palette: bytes) -> Image.Image:
    """Return all colours of a range of values, from its lowest to its highest."""
    levels = np.rint(np.linspace(LOWEST, HIGHEST, _BAR)).astype(np.uint8)
    return shown(np.tile(levels, (_SIDE, 1)), palette).convert("RGB")


def note(entries: Sequence[Entry], width: int) -> Image.Image:
    """Return an RGB picture of entries, as many on each line as fit."""
    lengths = [
        (patch.width + _NEAR if patch else 0) + lettering.length(text, _FONT) + _FAR
        for patch, text in entries
    ]
    places = _flow(lengths, width + _FAR)
    whole = max((left + own for (left, _), own in zip(places, lengths, strict=True)), default=_FAR)
    lines = places[-1][1] + 1 if places else 0
    image = Image.new("RGB", (whole - _FAR, lines * _LINE), PAPER)
    pen = ImageDraw.Draw(image)
    for (swatch, text), (left, line) in zip(entries, places, strict=True):
        top, start = line * _LINE, left
        if swatch:
            image.paste(swatch, (left, top + 4))
            start += swatch.width + _NEAR
        lettering.write(pen, (start, top + 2), text, _FONT)
    return image


def _texture(mark: int, palette: bytes) -> Image.Image:
    return shown(np.full((_SIDE, _SIDE), mark, np.uint8), palette).convert("RGB")


def _flow(lengths: Sequence[int], width: int) -> list[tuple[int, int]]:
    """Return left edge and line of boxes that fill one line after the other."""
    left, line, places = 0, 0, []
    for length in lengths:
        if left and left + length > width:
            left, line = 0, line + 1
        places.append((left, line))
        left += length
    return places
