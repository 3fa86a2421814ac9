"""Sequences as one heat map: a row for each channel, a column for each position."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from pytest_featuremaps.rendering import lettering
from pytest_featuremaps.rendering.colours import PAPER, PAPER_INDEX, shown
from pytest_featuremaps.rendering.mosaic import check_scale

if TYPE_CHECKING:
    from pytest_featuremaps.rendering.mosaic import Tiles

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True

MARKED = (255, 160, 0)

_FONT, _LABEL = 10, 12
_GAP, _TICK = 4, 4
_APART = 8
"""From this height on rows have a line of paper between them."""


def cell_size(count: int, width: int, longest: int) -> tuple[int, int]:
    """Return the height of a row and the width of a position, of a map about so many pixels."""
    return min(max(longest // max(count, 1), 1), 16), min(max(longest // max(width, 1), 1), 24)


def heat_map(
    rows: Tiles,
    palette: bytes,
    labels: Sequence[str],
    size: tuple[int, int],
    marked: Collection[int] | None = None,
) -> Image.Image:
    """Return an RGB image of rows, with a name before as many of them as there is room for.

    Args:
        rows: palette indices, (channels, positions).
        palette: the colours of the indices.
        labels: the name of each row.
        size: the height and the width of one value in pixels.
        marked: the places of rows with a tick before them; None leaves no room for ticks.
    """
    tall, wide = size
    count, width = rows.shape
    check_scale(max(size), rows.size)
    widest = max((lettering.length(text, _FONT) + 2 for text in labels if text), default=0)
    left = (widest + _GAP if widest else 0) + (0 if marked is None else _TICK + 2)
    pitch = tall + (1 if tall >= _APART else 0)
    body = np.full((count, pitch, width * wide), PAPER_INDEX, np.uint8)
    body[:, :tall] = rows.repeat(wide, axis=1)[:, None]
    picture = shown(body.reshape(count * pitch, width * wide), palette).convert("RGB")
    height = max(picture.height, _LABEL) if widest else picture.height
    image = Image.new("RGB", (left + picture.width, height), PAPER)
    image.paste(picture, (left, 0))
    pen = ImageDraw.Draw(image)
    for row in range(0, count if widest else 0, _every(pitch)):
        middle = min(max(row * pitch + tall // 2, _LABEL // 2), image.height - _LABEL // 2)
        lettering.write(pen, (widest, middle), labels[row], _FONT, anchor="rm")
    for row in marked or ():
        top = row * pitch
        pen.rectangle((left - 2 - _TICK, top, left - 3, top + tall - 1), fill=MARKED)
    return image


def _every(pitch: int) -> int:
    """Return how many rows a name takes: 1, 2, 5, 10, 20 ..."""
    tens = 1
    while True:
        for step in (tens, 2 * tens, 5 * tens):
            if step * pitch >= _LABEL:
                return step
        tens *= 10
