"""Pages for people: tiles enlarged and numbered, several pictures under each other, with names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from pytest_featuremaps.rendering import captions, lettering
from pytest_featuremaps.rendering.colours import INK, PAPER, PAPER_INDEX, shown
from pytest_featuremaps.rendering.mosaic import Mosaic, assemble, check_scale, grid, size
from pytest_featuremaps.rendering.png import MAX_PIXELS, PictureTooLarge
from pytest_featuremaps.rendering.rows import MARKED, cell_size, heat_map

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_featuremaps.rendering.mosaic import Tiles

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True

FONT = 10
_NUMBER_HEIGHT, _GAP, _MARGIN, _TITLE_HEIGHT = 13, 4, 16, 40
_FRAME, _ROOM = 2, 3
_LONGEST, _TEXT_WIDTH = 768, 320


def numbered(
    mosaic: Mosaic,
    palette: bytes,
    scale: int | None = None,
    *,
    labels: Sequence[str] | None = None,
    longer: Sequence[str] = (),
    parts: tuple[int, int] = (1, 1),
    columns: int | None = None,
) -> Image.Image:
    """Return an RGB image of tiles, each with its channel number above it.

    Tiles of one row each, as of a sequence, are the rows of one heat map.

    Args:
        mosaic: what to show.
        palette: the colours of its indices.
        scale: pixels per value. None makes the longer side about 768 pixels, or what the
            numbers need.
        labels: what to write instead of the channel numbers.
        longer: what to write instead of that where there is room.
        parts: the rows and columns of slices that each tile is made of, shown with gaps.
        columns: the tiles in a row; chosen so that the page is nearly square when None.
    """
    texts = [str(number) for number in mosaic.channels] if labels is None else list(labels)
    count, height, width = mosaic.tiles.shape
    if height == 1:
        cell = cell_size(count, width, _LONGEST) if scale is None else (scale, scale)
        texts = list(longer) if longer and cell[0] > FONT else texts
        return heat_map(mosaic.tiles[:, 0], palette, texts, cell)
    widest = max((lettering.length(text, FONT) for text in texts), default=0)
    scale = _readable(mosaic.tiles.shape, widest) if scale is None else scale
    check_scale(scale, mosaic.tiles.size)
    if longer and max(lettering.length(text, FONT) for text in longer) <= width * scale:
        texts = list(longer)
    return tiled(_apart(mosaic.tiles, parts, scale), palette, texts, columns=columns)


def tiled(
    tiles: Tiles,
    palette: bytes,
    texts: Sequence[str],
    *,
    columns: int | None = None,
    gap: int = _GAP,
    framed: Collection[int] | None = None,
) -> Image.Image:
    """Return an RGB image of tiles that are enlarged already, each below a text.

    Args:
        tiles: palette indices, (C, H, W).
        palette: the colours of the indices.
        texts: one for each tile; none at all leave no room for them.
        columns: the tiles in a row; chosen so that the page is nearly square when None.
        gap: how far tiles are apart.
        framed: the places of tiles with a line around them, in the gap; None leaves no room
            for any at the edges.
    """
    count, height, width = tiles.shape
    widest = max((lettering.length(text, FONT) + 1 for text in texts), default=0)
    top = _NUMBER_HEIGHT if texts else 0
    cell = top + height + gap, max(width, widest) + gap
    if columns is None:
        _, columns = grid(count, cell[0] - 1, cell[1] - 1)
    lines = -(-count // max(columns, 1))
    canvas = np.full((lines * columns, *cell), PAPER_INDEX, np.uint8)
    canvas[:count, top : top + height, :width] = tiles
    canvas = canvas.reshape(lines, columns, *cell).swapaxes(1, 2)
    flat = canvas.reshape(lines * cell[0], columns * cell[1])
    image = shown(flat, palette).convert("RGB")
    pen = ImageDraw.Draw(image)
    for place, text in enumerate(texts):
        row, column = divmod(place, columns)
        lettering.write(pen, (column * cell[1] + 1, row * cell[0]), text, FONT)
    if framed is None:
        return image
    ground = palette[3 * PAPER_INDEX], palette[3 * PAPER_INDEX + 1], palette[3 * PAPER_INDEX + 2]
    whole = Image.new("RGB", (image.width + _ROOM, image.height + _ROOM), ground)
    whole.paste(image, (_ROOM, _ROOM))
    pen = ImageDraw.Draw(whole)
    for place in framed:
        row, column = divmod(place, columns)
        x, y = column * cell[1], row * cell[0] + top
        box = (x, y, x + width + 2 * _ROOM - 1, y + height + 2 * _ROOM - 1)
        pen.rectangle(box, outline=MARKED, width=_FRAME)
    return whole


def bare(mosaic: Mosaic, palette: bytes, scale: int | None = None) -> Image.Image:
    """Return the tiles alone as one palette image, one pixel apart."""
    tiles = mosaic.tiles
    canvas = tiles[0] if len(tiles) == 1 else assemble(tiles)
    scale = max(1, 512 // max(*canvas.shape, 1)) if scale is None else scale
    return shown(canvas, palette, scale)


def _readable(shape: tuple[int, ...], label: int) -> int:
    """Return a scale at which the whole is about 768 pixels, and a tile as wide as its label."""
    count, height, width = shape
    whole = max(1, _LONGEST // max(size(count, height, width)))
    return max(whole, -(-label // max(width, 1)))


def _apart(tiles: Tiles, parts: tuple[int, int], scale: int) -> Tiles:
    """Return tiles enlarged, with a line of paper between the slices that they are made of."""
    count, height, width = tiles.shape
    rows, columns = parts
    large = tiles if scale == 1 else tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    if parts == (1, 1):
        return large
    tall, wide = scale * height // rows, scale * width // columns
    slices = large.reshape(count, rows, tall, columns, wide)
    gaps = ((0, 0), (0, 0), (0, 2), (0, 0), (0, 2))
    padded = np.pad(slices, gaps, constant_values=PAPER_INDEX)
    whole = padded.reshape(count, rows * (tall + 2), columns * (wide + 2))
    return whole[:, :-2, :-2]


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


def page(bands: Sequence[Band], legend: Sequence[captions.Entry] = ()) -> Image.Image:
    """Return pictures under each other, each below its title.

    Args:
        bands: the pictures.
        legend: what their colours mean, for the head of the page.

    Raises:
        PictureTooLarge: the page would have more pixels than anybody can look at.
    """
    widths = [
        max(
            band.image.width if band.image else 0,
            lettering.length(band.title, 15),
            lettering.length(band.note, 11),
        )
        for band in bands
    ]
    heights = [_TITLE_HEIGHT + (band.image.height + _MARGIN if band.image else 0) for band in bands]
    inner = max(widths, default=0)
    head = captions.note(legend, max(inner, _TEXT_WIDTH))
    width = max(inner, head.width if legend else 0) + 2 * _MARGIN
    above = head.height + _MARGIN if legend else 0
    height = above + sum(heights) + _MARGIN
    if width * height > MAX_PIXELS:
        raise PictureTooLarge(
            f"the page of {len(bands)} pictures has {width * height:,} pixels; at most "
            f"{MAX_PIXELS:,} are drawn: choose fewer of them, for example with "
            'feature_maps.only("layer1.*").sheet()'
        )
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    sheet.paste(head, (_MARGIN, _MARGIN - 4))
    top = above + _MARGIN
    for band, tall in zip(bands, heights, strict=True):
        lettering.write(pen, (_MARGIN, top - 4), band.title, 15, colour=INK)
        lettering.write(pen, (_MARGIN, top + 15), band.note, 11)
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
