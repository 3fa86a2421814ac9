"""Pages for people: tiles enlarged and numbered, several pictures under each other, with names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pytest_featuremaps.rendering.colours import INK, PAPER, SOFT_INK
from pytest_featuremaps.rendering.mosaic import (
    DEAD,
    GUTTER,
    MINUS_INF,
    NAN,
    PLUS_INF,
    Mosaic,
    check_scale,
    grid,
    indexed,
    size,
)
from pytest_featuremaps.rendering.png import MAX_PIXELS, PictureTooLarge

if TYPE_CHECKING:
    from pytest_featuremaps.rendering.mosaic import Tiles

_PAPER_INDEX, _INK_INDEX = GUTTER + 1, GUTTER + 2
_NUMBER_HEIGHT, _GAP, _MARGIN, _TITLE_HEIGHT = 13, 4, 16, 40
_MARKS = {
    DEAD: "dead: zero throughout",
    NAN: "NaN",
    PLUS_INF: "+Inf",
    MINUS_INF: "-Inf",
}
_LONGEST = 768


def numbered(
    mosaic: Mosaic,
    palette: bytes,
    scale: int | None = None,
    *,
    labels: Sequence[str] | None = None,
    parts: tuple[int, int] = (1, 1),
    columns: int | None = None,
) -> Image.Image:
    """Return an RGB image of tiles, each with its channel number above or before it.

    Args:
        mosaic: what to show.
        palette: the colours of its indices.
        scale: pixels per value. None makes the longer side about 768 pixels, or what the
            numbers need.
        labels: what to write instead of the channel numbers.
        parts: the rows and columns of slices that each tile is made of, shown with gaps.
        columns: the tiles in a row; chosen so that the page is nearly square when None.
    """
    texts = [str(number) for number in mosaic.channels] if labels is None else list(labels)
    font = ImageFont.load_default(10)
    widest = max((math.ceil(font.getlength(text)) for text in texts), default=0)
    scale = _readable(mosaic.tiles.shape, widest) if scale is None else scale
    count, height, width = mosaic.tiles.shape
    check_scale(scale, width * scale, count * height * scale)
    tiles = _apart(mosaic.tiles, parts, scale)
    count, height, width = tiles.shape
    beside = height < _NUMBER_HEIGHT
    top, left = (0, widest + _GAP) if beside else (_NUMBER_HEIGHT, 0)
    tall = max(top + height, _NUMBER_HEIGHT) + (1 if beside else _GAP)
    cell = tall, (left + width if beside else max(width, widest)) + _GAP
    if columns is None:
        _, columns = grid(count, cell[0] - 1, cell[1] - 1)
    rows = -(-count // max(columns, 1))
    canvas = np.full((rows * columns, *cell), _PAPER_INDEX, np.uint8)
    canvas[:count, top : top + height, left : left + width] = tiles
    canvas = canvas.reshape(rows, columns, *cell).swapaxes(1, 2)
    flat = canvas.reshape(rows * cell[0], columns * cell[1])
    image = indexed(flat, palette + bytes((*PAPER, *INK))).convert("RGB")
    pen = ImageDraw.Draw(image)
    for place, text in enumerate(texts):
        row, column = divmod(place, columns)
        x, y = column * cell[1], row * cell[0]
        shift = left - _GAP - math.ceil(font.getlength(text)) if beside else 0
        pen.text((x + shift, y - 1 if beside else y), text, fill=SOFT_INK, font=font)
    return image


def _readable(shape: tuple[int, ...], label: int) -> int:
    """Return a scale at which the whole is about 768 pixels, and a tile as wide as its label."""
    count, height, width = shape
    whole = max(1, _LONGEST // max(size(count, height, width)))
    tile = -(-label // max(width, 1)) if height > 1 else 1
    return max(whole, tile)


def _apart(tiles: Tiles, parts: tuple[int, int], scale: int) -> Tiles:
    """Return tiles enlarged, with a line of paper between the slices that they are made of."""
    count, height, width = tiles.shape
    rows, columns = parts
    large = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    if parts == (1, 1):
        return large
    tall, wide = scale * height // rows, scale * width // columns
    slices = large.reshape(count, rows, tall, columns, wide)
    gaps = ((0, 0), (0, 0), (0, 2), (0, 0), (0, 2))
    padded = np.pad(slices, gaps, constant_values=_PAPER_INDEX)
    whole = padded.reshape(count, rows * (tall + 2), columns * (wide + 2))
    return whole[:, :-2, :-2]


def legend(tiles: Tiles, palette: bytes) -> Image.Image | None:
    """Return an RGB line that explains the marks in tiles; None where there are none."""
    seen = [(index, text) for index, text in _MARKS.items() if index in tiles]
    if not seen:
        return None
    font = ImageFont.load_default(11)
    lengths = [math.ceil(font.getlength(text)) + 32 for _, text in seen]
    line = Image.new("RGB", (sum(lengths), 16), PAPER)
    pen, left = ImageDraw.Draw(line), 0
    for (index, text), length in zip(seen, lengths, strict=True):
        red, green, blue = palette[3 * index : 3 * index + 3]
        pen.rectangle((left, 3, left + 10, 13), fill=(red, green, blue))
        pen.text((left + 15, 1), text, fill=SOFT_INK, font=font)
        left += length
    return line


@dataclass(frozen=True)
class Band:
    """One picture of a page.

    Attributes:
        title: what it shows.
        note: what else is worth knowing of it.
        image: the picture; None where there is none, which the note explains.
    """

    title: str
    note: str
    image: Image.Image | None


def page(bands: Sequence[Band]) -> Image.Image:
    """Return pictures under each other, each below its title.

    Raises:
        PictureTooLarge: the page would have more pixels than anybody can look at.
    """
    title_font, note_font = ImageFont.load_default(15), ImageFont.load_default(11)
    widths = [
        max(
            band.image.width if band.image else 0,
            math.ceil(title_font.getlength(band.title)),
            math.ceil(note_font.getlength(band.note)),
        )
        for band in bands
    ]
    heights = [_TITLE_HEIGHT + (band.image.height + _MARGIN if band.image else 0) for band in bands]
    width, height = max(widths, default=0) + 2 * _MARGIN, sum(heights) + _MARGIN
    if width * height > MAX_PIXELS:
        raise PictureTooLarge(
            f"the page of {len(bands)} pictures has {width * height:,} pixels; at most "
            f"{MAX_PIXELS:,} are drawn: choose fewer of them, for example with "
            'feature_maps.only("layer1.*").sheet()'
        )
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    top = _MARGIN
    for band, tall in zip(bands, heights, strict=True):
        pen.text((_MARGIN, top - 4), band.title, fill=INK, font=title_font)
        pen.text((_MARGIN, top + 15), band.note, fill=SOFT_INK, font=note_font)
        if band.image:
            sheet.paste(band.image, (_MARGIN, top + _TITLE_HEIGHT - 4))
        top += tall
    return sheet


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Return RGB images under each other."""
    height = sum(image.height for image in images) + _GAP * (len(images) - 1)
    whole = Image.new("RGB", (max(image.width for image in images), height), PAPER)
    top = 0
    for image in images:
        whole.paste(image.convert("RGB"), (0, top))
        top += image.height + _GAP
    return whole
