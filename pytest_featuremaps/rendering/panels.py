"""What a reviewer sees: what was expected, what came, and what is different."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from pytest_featuremaps.rendering import captions, lettering
from pytest_featuremaps.rendering.colours import INK, PAPER, PAPER_INDEX, palette
from pytest_featuremaps.rendering.mosaic import (
    HIGHEST,
    LEVELS,
    LOWEST,
    Mosaic,
    check_scale,
    colour,
    extent,
    grid,
    size,
)
from pytest_featuremaps.rendering.pages import FONT, tiled
from pytest_featuremaps.rendering.pairs import CALM, FURTHEST, OTHER_MARK, Pair, pair
from pytest_featuremaps.rendering.people import for_people
from pytest_featuremaps.rendering.rows import MARKED, cell_size, heat_map
from pytest_featuremaps.wording import counted

if TYPE_CHECKING:
    from pytest_featuremaps.rendering.captions import Entry
    from pytest_featuremaps.rendering.mosaic import Tiles

_Colour = tuple[int, int, int]

_UP, _DOWN, _MARK_CHANGED = (178, 16, 40), (16, 84, 176), (122, 62, 200)
_BLANK, _GROUND = (246, 248, 250), (222, 227, 232)
_MARGIN, _HEADING, _PANEL = 16, 44, 320
_STEPS = HIGHEST - LOWEST

_SMALLEST_FRAMED = 6


def _difference_colour(index: int) -> _Colour:
    """White where nothing changed, towards red where the value rose, blue where it fell."""
    if index == OTHER_MARK:
        return _MARK_CHANGED
    end, share = (_UP if index > CALM else _DOWN), min(abs(index - CALM), FURTHEST)
    red, green, blue = (255 - (255 - part) * share // FURTHEST for part in end)
    return red, green, blue


_DIFFERENCE_PALETTE = bytes(
    part
    for index in range(256)
    for part in (_GROUND if index == PAPER_INDEX else _difference_colour(index))
)


def side_by_side(
    expected: Mosaic,
    actual: Mosaic,
    scale: int | None = None,
    *,
    levels: int = 1,
    unseen: str = "",
) -> Image.Image:
    """Return an RGB image of the baseline, the picture now, and the signed difference.

    Channels that differ by more than `levels` levels, or in a mark, have a line around them, or
    a tick before their row. The colour of a difference grows with its cube root up to the
    largest one, so that a few levels are seen too; the legend says how many those are.

    Args:
        expected: the baseline.
        actual: the picture now, drawn in the range of the baseline.
        scale: pixels per value; None makes the longer side of a panel about 320 pixels.
        levels: what is tolerated.
        unseen: what to say before "no pixel by more than 1 level".
    """
    titles = "expected", "actual", "difference"
    extents = [extent(one.tiles.shape) for one in (expected, actual)]
    if expected.tiles.shape != actual.tiles.shape or expected.channels != actual.channels:
        panels = [_alone(one, scale) for one in (expected, actual)]
        panels.append(Image.new("RGB", panels[1].size, _BLANK))
        seen = [for_people(one, one) for one in (expected, actual)]
        notes = [*extents, "none drawn: channels or sizes differ"]
        return _page(panels, titles, notes, _marks(*seen))
    shown, count = pair(expected, actual, levels)
    frames = (None, shown.changed, shown.changed)
    tiles = (shown.before, shown.now, shown.difference)
    colours = (palette("grey"), palette("grey"), _DIFFERENCE_PALETTE)
    panels = [
        _panel(one, shades, shown.labels, scale, framed)
        for one, shades, framed in zip(tiles, colours, frames, strict=True)
    ]
    verdict = f"{unseen}no pixel by more than {counted(levels, 'level')}"
    if count:
        verdict = f"{count} of {counted(len(expected.tiles), 'channel')} changed"
    return _page(panels, titles, [*extents, verdict], _legend(shown, scale))


def readable(mosaic: Mosaic) -> Image.Image:
    """Return a baseline's picture as an RGB image that can be looked at, with numbers."""
    tiles = for_people(mosaic, mosaic)
    large = max(_fitting(tiles.shape), 512 // max(size(*tiles.shape)))
    scale = None if tiles.shape[1] == 1 else large
    panel = _panel(tiles, palette("grey"), list(map(str, mosaic.channels)), scale, None)
    entries = [(captions.bar(palette("grey")), "lowest to highest value of each channel")]
    legend = [*entries, *_marks(tiles)]
    return _page([panel], ("as it would be recorded",), [extent(mosaic.tiles.shape)], legend)


def _fitting(shape: tuple[int, ...]) -> int:
    """Return the scale at which a panel is about 320 pixels, and tiles can be told apart."""
    count, height, width = shape
    whole = max(1, _PANEL // max(size(count, height, width)))
    wanted = -(-_SMALLEST_FRAMED // max(min(height, width), 1))
    _, columns = grid(count, height, width)
    fits = columns * (width * wanted + _SMALLEST_FRAMED) <= 1.5 * _PANEL
    return max(whole, wanted) if fits else whole


def _panel(
    tiles: Tiles,
    shades: bytes,
    labels: list[str],
    scale: int | None,
    framed: list[int] | None,
) -> Image.Image:
    """Draw tiles at one size: all three panels of a page lie alike."""
    count, height, width = tiles.shape
    if height == 1:
        cell = cell_size(count, width, _PANEL) if scale is None else (scale, scale)
        return heat_map(tiles[:, 0], shades, labels, cell, framed or ())
    scale = _fitting(tiles.shape) if scale is None else scale
    check_scale(scale, tiles.size)
    large = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    smallest = min(large.shape[1:])
    if smallest < _SMALLEST_FRAMED:
        return tiled(large, shades, (), gap=1)
    widest = max((lettering.length(text, FONT) for text in labels), default=0)
    texts = labels if count > 1 and widest <= large.shape[2] and smallest >= 12 else ()
    return tiled(large, shades, texts, gap=_SMALLEST_FRAMED, framed=framed or ())


def _alone(mosaic: Mosaic, scale: int | None) -> Image.Image:
    tiles = for_people(mosaic, mosaic)
    return _panel(tiles, palette("grey"), [str(one) for one in mosaic.channels], scale, None)


def _marks(*tiles: Tiles) -> list[Entry]:
    """Explain the colours of both pictures that are there."""
    seen = np.concatenate([one.ravel() for one in tiles])
    entries = captions.marks(seen, palette("grey"))
    if (seen < LOWEST).any():
        entries.append((captions.patch(colour(0)), "below the baseline's range"))
    if ((seen > HIGHEST) & (seen < LEVELS)).any():
        entries.append((captions.patch(colour(LEVELS - 1)), "above the baseline's range"))
    return entries


def _legend(shown: Pair, scale: int | None) -> list[Entry]:
    """Explain the colours that are there."""
    entries = _marks(shown.before, shown.now)
    if ((shown.difference != CALM) & (shown.difference != OTHER_MARK)).any():
        share = f"{100 * shown.full / _STEPS:.0f} %"
        text = (
            f"lower / higher, by up to {counted(shown.full, 'level')} ({share} of a channel's "
            "range); cube-root scale"
        )
        entries.append((_scale_bar(), text))
    if (shown.difference == OTHER_MARK).any():
        entries.append((captions.patch(_MARK_CHANGED), "another mark"))
    _, height, width = shown.before.shape
    scale = _fitting(shown.before.shape) if scale is None else scale
    if shown.changed and (height == 1 or min(height, width) * scale >= _SMALLEST_FRAMED):
        entries.append((captions.patch(MARKED), "a channel that changed"))
    return [*entries, *((None, note) for note in shown.notes)]


def _scale_bar() -> Image.Image:
    shares = np.linspace(-1, 1, 81)
    shades = [_difference_colour(CALM + round(one)) for one in np.cbrt(shares) * FURTHEST]
    return Image.fromarray(np.tile(np.array(shades, np.uint8), (11, 1, 1)))


def _page(
    panels: list[Image.Image],
    titles: tuple[str, ...],
    notes: list[str],
    legend: list[Entry],
) -> Image.Image:
    widths = [
        max(panel.width, lettering.length(title, 16), lettering.length(note, 12))
        for panel, title, note in zip(panels, titles, notes, strict=True)
    ]
    width = sum(widths) + _MARGIN * (len(widths) + 1)
    below = captions.note(legend, width - 2 * _MARGIN)
    width = max(width, below.width + 2 * _MARGIN)
    bottom = _MARGIN + _HEADING + max(panel.height for panel in panels) + _MARGIN
    page = Image.new("RGB", (width, bottom + (below.height + _MARGIN if legend else 0)), PAPER)
    pen = ImageDraw.Draw(page)
    left = _MARGIN
    for panel, title, note, column in zip(panels, titles, notes, widths, strict=True):
        lettering.write(pen, (left, _MARGIN - 4), title, 16, colour=INK)
        lettering.write(pen, (left, _MARGIN + 18), note, 12)
        page.paste(panel, (left, _MARGIN + _HEADING))
        left += column + _MARGIN
    page.paste(below, (_MARGIN, bottom - 4))
    return page
