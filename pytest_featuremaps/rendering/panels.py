"""What a reviewer sees: expected, actual and difference, side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pytest_featuremaps.rendering.colours import INK, PAPER, SOFT_INK
from pytest_featuremaps.rendering.differences import MARK_DISTANCE, distances
from pytest_featuremaps.rendering.mosaic import (
    DEAD,
    GUTTER,
    HIGHEST,
    LEVELS,
    LOWEST,
    MARK_COLOURS,
    MINUS_INF,
    NAN,
    PALETTE,
    PLUS_INF,
    Mosaic,
    assemble,
    colour,
    enlarged,
    extent,
    grid,
    indexed,
)
from pytest_featuremaps.wording import counted

if TYPE_CHECKING:
    from pytest_featuremaps.rendering.mosaic import Tiles

_Colour = tuple[int, int, int]

_CALM, _FURTHEST, _OTHER_MARK = 120, 120, 250
_UP, _DOWN, _MARK_CHANGED, _LINES = (178, 16, 40), (16, 84, 176), (122, 62, 200), (208, 215, 222)
_BLANK = 246, 248, 250
_FRAME = (255, 160, 0)
_MARGIN, _HEADING, _LEGEND_LINE = 16, 44, 20


def _difference_colour(index: int) -> _Colour:
    """White where nothing changed, towards red where the value rose, blue where it fell."""
    if index == _OTHER_MARK:
        return _MARK_CHANGED
    if index > _CALM + _FURTHEST:
        return _LINES
    end, share = (_UP if index > _CALM else _DOWN), abs(index - _CALM)
    red, green, blue = (255 - (255 - part) * share // _FURTHEST for part in end)
    return red, green, blue


_DIFFERENCE_PALETTE = bytes(
    part for index in range(GUTTER + 1) for part in _difference_colour(index)
)


def side_by_side(
    expected: Mosaic, actual: Mosaic, scale: int | None = None, *, levels: int = 1
) -> Image.Image:
    """Return an RGB image of the baseline, the picture now, and the signed difference.

    Tiles that differ by more than `levels` levels, or in a mark, are framed. The colour of a
    difference grows with its square root, so that a few levels are seen too.

    Args:
        expected: the baseline.
        actual: the picture now, drawn in the range of the baseline.
        scale: pixels per value; None makes the longer side of a panel about 320 pixels.
        levels: what is tolerated.
    """
    panels = [indexed(assemble(one.tiles), PALETTE) for one in (expected, actual)]
    if expected.tiles.shape == actual.tiles.shape and expected.channels == actual.channels:
        difference, changed = _difference(expected.tiles, actual.tiles, levels)
        panels.append(indexed(assemble(difference), _DIFFERENCE_PALETTE))
        verdict = f"{len(changed)} of {counted(len(difference), 'channel')} changed"
    else:
        difference, changed = np.empty(0, np.uint8), []
        panels.append(Image.new("RGB", panels[1].size, _BLANK))
        verdict = "none drawn: channels or sizes differ"
    if scale is None:
        scale = max(1, 320 // max(max(panel.size) for panel in panels))
    pictures = [enlarged(panel, scale).convert("RGB") for panel in panels]
    for picture in pictures[1:]:
        _frame(picture, changed, actual.tiles.shape, scale)
    captions = [
        ("expected", extent(expected.tiles.shape)),
        ("actual", extent(actual.tiles.shape)),
        ("difference", verdict),
    ]
    return _page(pictures, captions, _legend(expected, actual, difference))


def _difference(expected: Tiles, actual: Tiles, levels: int) -> tuple[Tiles, list[int]]:
    """Return a tile of `_difference_colour` indices per channel, and which are beyond `levels`."""
    distance, beyond = distances(expected, actual, levels)
    root = np.rint(_FURTHEST * np.sqrt(distance / (LEVELS - 1)))
    tiles = np.where(actual > expected, _CALM + root, _CALM - root).astype(np.uint8)
    tiles[distance == MARK_DISTANCE] = _OTHER_MARK
    return tiles, np.flatnonzero(beyond.any(axis=(1, 2))).tolist()


def _frame(panel: Image.Image, changed: list[int], shape: tuple[int, ...], scale: int) -> None:
    """Outline tiles on the lines around them."""
    count, height, width = shape
    _, columns = grid(count, height, width)
    pen = ImageDraw.Draw(panel)
    for place in changed:
        row, column = divmod(place, columns)
        left, top = column * (width + 1) * scale, row * (height + 1) * scale
        right, bottom = left + (width + 2) * scale - 1, top + (height + 2) * scale - 1
        pen.rectangle((left, top, right, bottom), outline=_FRAME, width=max(2, scale))


def _legend(expected: Mosaic, actual: Mosaic, difference: Tiles) -> list[tuple[_Colour, str]]:
    """Explain the colours that are there."""
    seen = np.concatenate((expected.tiles, actual.tiles), axis=None)
    entries = [
        (DEAD in seen, MARK_COLOURS[DEAD], "dead"),
        (NAN in seen, MARK_COLOURS[NAN], "NaN"),
        (PLUS_INF in seen, MARK_COLOURS[PLUS_INF], "+Inf"),
        (MINUS_INF in seen, MARK_COLOURS[MINUS_INF], "-Inf"),
        ((seen < LOWEST).any(), colour(0), "below the baseline's range"),
        (
            ((seen > HIGHEST) & (seen < LEVELS)).any(),
            colour(LEVELS - 1),
            "above the baseline's range",
        ),
        ((difference < _CALM).any(), _DOWN, "fell"),
        (((difference > _CALM) & (difference != _OTHER_MARK)).any(), _UP, "rose"),
        (_OTHER_MARK in difference, _MARK_CHANGED, "another mark"),
    ]
    return [(swatch, text) for present, swatch, text in entries if present]


def _page(
    panels: list[Image.Image],
    captions: list[tuple[str, str]],
    legend: list[tuple[_Colour, str]],
) -> Image.Image:
    title_font, note_font = ImageFont.load_default(16), ImageFont.load_default(12)
    widths = [
        max(panel.width, *(math.ceil(title_font.getlength(text)) for text in caption))
        for panel, caption in zip(panels, captions, strict=True)
    ]
    width = sum(widths) + _MARGIN * (len(widths) + 1)
    places = _flow([math.ceil(note_font.getlength(text)) + 32 for _, text in legend], width)
    bottom = _MARGIN + _HEADING + max(panel.height for panel in panels) + _MARGIN
    lines = places[-1][1] + 1 if places else 0
    page = Image.new(
        "RGB", (width, bottom + lines * _LEGEND_LINE + (_MARGIN if lines else 0)), PAPER
    )
    pen = ImageDraw.Draw(page)

    left = _MARGIN
    for panel, (title, note), column in zip(panels, captions, widths, strict=True):
        pen.text((left, _MARGIN - 4), title, fill=INK, font=title_font)
        pen.text((left, _MARGIN + 18), note, fill=SOFT_INK, font=note_font)
        page.paste(panel, (left, _MARGIN + _HEADING))
        left += column + _MARGIN
    for (swatch, text), (left, line) in zip(legend, places, strict=True):
        top = bottom + line * _LEGEND_LINE
        pen.rectangle((left, top, left + 11, top + 11), fill=swatch)
        pen.text((left + 17, top - 1), text, fill=SOFT_INK, font=note_font)
    return page


def _flow(lengths: list[int], width: int) -> list[tuple[int, int]]:
    """Return left edge and line of boxes that fill one line after the other."""
    left, line, places = _MARGIN, 0, []
    for length in lengths:
        if left + length > width and left > _MARGIN:
            left, line = _MARGIN, line + 1
        places.append((left, line))
        left += length
    return places
