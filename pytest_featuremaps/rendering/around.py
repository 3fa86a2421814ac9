"""Tiles in their context: laid over the picture that a model was shown, or between words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pytest_featuremaps.rendering.colours import PAPER, SOFT_INK
from pytest_featuremaps.rendering.mosaic import MARKS_FROM, check_scale, enlarged, grid, indexed
from pytest_featuremaps.rendering.png import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_featuremaps.rendering.mosaic import Mosaic, Tiles

_LONGEST = 224
_CELL = 14
_GAP, _TITLE = 6, 14
_FONT = 11

# How much of a colour lies over the picture: enough to be read off, and to see through.
_OPACITY = 0.6


def over(
    mosaic: Mosaic,
    palette: bytes,
    picture: Image.Image,
    scale: int | None = None,
    *,
    numbers: bool = True,
) -> Image.Image:
    """Return an RGB image of tiles, each laid over a picture in grey.

    Marks are opaque. The picture is brought to the shape of a tile, as it is to that of a
    model's input.

    Args:
        mosaic: what to show.
        palette: the colours of its indices.
        picture: what to lay the tiles over, of any size.
        scale: pixels per value. None makes the longer side of a tile about 224 pixels, less
            where there are many.
        numbers: whether tiles are numbered, where there are several.
    """
    count, height, width = mosaic.tiles.shape
    if scale is None:
        scale = max(1, min(-(-_LONGEST // max(height, width)), _fitting(mosaic.tiles)))
    check_scale(scale, width * scale, count * height * scale)
    size = width * scale, height * scale
    grey = picture.convert("L").resize(size, Image.Resampling.LANCZOS).convert("RGB")
    laid = [_blended(tile, palette, grey, scale) for tile in mosaic.tiles]
    return _arranged(laid, mosaic.channels if numbers else ())


def _fitting(tiles: Tiles) -> int:
    """Return the largest scale at which all tiles together can be looked at."""
    return math.isqrt(MAX_PIXELS // max(tiles.size, 1))


def _blended(tile: Tiles, palette: bytes, grey: Image.Image, scale: int) -> Image.Image:
    colours = enlarged(indexed(tile, palette), scale).convert("RGB")
    blended = Image.blend(grey, colours, _OPACITY)
    marks = Image.fromarray((tile >= MARKS_FROM).astype(np.uint8) * 255)
    blended.paste(colours, mask=enlarged(marks, scale))
    return blended


def between_words(
    mosaic: Mosaic,
    palette: bytes,
    words: Sequence[str],
    scale: int | None = None,
    *,
    numbers: bool = True,
) -> Image.Image:
    """Return an RGB image of tiles with words at their columns, and at as many rows.

    Tiles of one row are the rows of one table.

    Args:
        mosaic: what to show, as wide as there are words.
        palette: the colours of its indices.
        words: one for each column.
        scale: pixels per value. None leaves room for the words.
        numbers: whether tiles are numbered, where there are several.
    """
    scale = _CELL if scale is None else scale
    count, height, width = mosaic.tiles.shape
    check_scale(scale, width * scale, count * height * scale)
    shown = mosaic.channels if numbers else ()
    if height == 1:
        rows = [str(one) for one in shown]
        return _labelled(mosaic.tiles[:, 0], palette, rows, words, scale)
    beside = words if height == width else ()
    tables = [_labelled(tile, palette, beside, words, scale) for tile in mosaic.tiles]
    return _arranged(tables, shown)


def _labelled(
    tile: Tiles, palette: bytes, rows: Sequence[str], columns: Sequence[str], scale: int
) -> Image.Image:
    """Return a tile, with words before its rows and, from below, above its columns."""
    left, top = _longest(rows), _longest(columns)
    height, width = tile.shape
    table = Image.new("RGB", (left + width * scale, top + height * scale), PAPER)
    table.paste(enlarged(indexed(tile, palette), scale).convert("RGB"), (left, top))
    for number, word in enumerate(rows):
        table.paste(_line(word, left, scale, "right"), (0, top + number * scale))
    for number, word in enumerate(columns):
        line = _line(word, top, scale, "left").transpose(Image.Transpose.ROTATE_90)
        table.paste(line, (left + number * scale, 0))
    return table


def _longest(words: Sequence[str]) -> int:
    font = ImageFont.load_default(_FONT)
    return max((math.ceil(font.getlength(word)) for word in words), default=0) + _GAP


def _line(word: str, length: int, height: int, side: Literal["left", "right"]) -> Image.Image:
    """Return a word on a line of this size, at one side of it."""
    line, font = Image.new("RGB", (length, height), PAPER), ImageFont.load_default(_FONT)
    start = _GAP // 2 if side == "left" else length - math.ceil(font.getlength(word)) - _GAP // 2
    ImageDraw.Draw(line).text((start, height // 2), word, fill=SOFT_INK, font=font, anchor="lm")
    return line


def _arranged(images: Sequence[Image.Image], numbers: Sequence[int]) -> Image.Image:
    """Return images of one size next to and below each other, each below its number, if any."""
    if len(images) < 2:
        return images[0] if images else Image.new("RGB", (0, 0))
    top = _TITLE if numbers else 0
    width, height = images[0].width + _GAP, top + images[0].height + _GAP
    rows, columns = grid(len(images), height - 1, width - 1)
    whole = Image.new("RGB", (columns * width - _GAP, rows * height - _GAP), PAPER)
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(_FONT)
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        whole.paste(image, (column * width, row * height + top))
        if numbers:
            text = str(numbers[place])
            pen.text((column * width, row * height), text, fill=SOFT_INK, font=font)
    return whole
