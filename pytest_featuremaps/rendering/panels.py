"""What a reviewer sees: what was expected, what came, and what is different."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from pytest_featuremaps.rendering import captions, lettering
from pytest_featuremaps.rendering.changes import changes
from pytest_featuremaps.rendering.colours import FLAT, INK, PAPER, PAPER_INDEX, palette
from pytest_featuremaps.rendering.drawing import NOISE_FLOOR
from pytest_featuremaps.rendering.mosaic import (
    HIGHEST,
    LEVELS,
    LOWEST,
    MARKS_FROM,
    Mosaic,
    check_scale,
    colour,
    grid,
    size,
)
from pytest_featuremaps.rendering.pages import FONT, tiled
from pytest_featuremaps.rendering.rows import MARKED, cell_size, heat_map
from pytest_featuremaps.wording import counted

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_featuremaps.rendering.captions import Entry
    from pytest_featuremaps.rendering.mosaic import Tiles

_Colour = tuple[int, int, int]

_CALM, _FURTHEST, _OTHER_MARK = 120, 120, 245
_UP, _DOWN, _MARK_CHANGED = (178, 16, 40), (16, 84, 176), (122, 62, 200)
_BLANK, _GROUND = (246, 248, 250), (222, 227, 232)
_MARGIN, _HEADING, _PANEL = 16, 44, 320
_STEPS = HIGHEST - LOWEST

_LEAST = 16
"""A change of so many levels has the full colour where there is none that is larger."""

_SMALLEST_FRAMED = 6
_MOST_ROWS, _MOST_COLUMNS = 160, 480


def _difference_colour(index: int) -> _Colour:
    """White where nothing changed, towards red where the value rose, blue where it fell."""
    if index == _OTHER_MARK:
        return _MARK_CHANGED
    end, share = (_UP if index > _CALM else _DOWN), min(abs(index - _CALM), _FURTHEST)
    red, green, blue = (255 - (255 - part) * share // _FURTHEST for part in end)
    return red, green, blue


_DIFFERENCE_PALETTE = bytes(
    part
    for index in range(256)
    for part in (_GROUND if index == PAPER_INDEX else _difference_colour(index))
)


@dataclass(frozen=True)
class _Pair:
    """The tiles of two maps as they are shown, and what is different.

    Attributes:
        before: Palette indices, (C, H, W).
        now: Likewise.
        difference: Likewise, of `_difference_colour`.
        labels: The number of each channel.
        changed: The places of channels that differ by more than is tolerated.
        full: How many levels have the full colour.
        notes: What is left out.
    """

    before: Tiles
    now: Tiles
    difference: Tiles
    labels: list[str]
    changed: list[int]
    full: int
    notes: list[str]


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
        expected: The baseline.
        actual: The picture now, drawn in the range of the baseline.
        scale: Pixels per value; None makes the longer side of a panel about 320 pixels.
        levels: What is tolerated.
        unseen: What to say before "no pixel by more than 1 level".
    """
    titles = "expected", "actual", "difference"
    extents = [_extent(one) for one in (expected, actual)]
    if expected.tiles.shape != actual.tiles.shape or expected.channels != actual.channels:
        panels = [_alone(one, scale) for one in (expected, actual)]
        panels.append(Image.new("RGB", panels[1].size, _BLANK))
        seen = [_for_people(one, one) for one in (expected, actual)]
        notes = [*extents, "none drawn: channels or sizes differ"]
        return _page(panels, titles, notes, _marks(*seen))
    pair, count = _pair(expected, actual, levels)
    frames = (None, pair.changed, pair.changed)
    tiles = (pair.before, pair.now, pair.difference)
    colours = (palette("grey"), palette("grey"), _DIFFERENCE_PALETTE)
    panels = [
        _panel(one, shades, pair.labels, scale, framed)
        for one, shades, framed in zip(tiles, colours, frames, strict=True)
    ]
    verdict = f"{unseen}no pixel by more than {counted(levels, 'level')}"
    if count:
        verdict = f"{count} of {counted(len(expected.tiles), 'channel')} changed"
    return _page(panels, titles, [*extents, verdict], _legend(pair, scale))


def readable(mosaic: Mosaic) -> Image.Image:
    """Return a baseline's picture as an RGB image that can be looked at, with numbers."""
    tiles = _for_people(mosaic, mosaic)
    large = max(_fitting(tiles.shape), 512 // max(size(*tiles.shape)))
    scale = None if tiles.shape[1] == 1 else large
    panel = _panel(tiles, palette("grey"), list(map(str, mosaic.channels)), scale, None)
    entries = [(captions.bar(palette("grey")), "lowest to highest value of each channel")]
    legend = [*entries, *_marks(tiles)]
    return _page([panel], ("as it would be recorded",), [_extent(mosaic)], legend)


def _pair(expected: Mosaic, actual: Mosaic, levels: int) -> tuple[_Pair, int]:
    """Return what is shown of two maps, and how many of all channels changed."""
    signed = actual.tiles.astype(np.int16) - expected.tiles
    other = (np.maximum(expected.tiles, actual.tiles) >= MARKS_FROM) & (signed != 0)
    beyond = ((np.abs(signed) > levels) | other).any(axis=(1, 2))
    signed[other] = 0
    full = max(int(np.abs(signed).max(initial=0)), _LEAST)
    difference = _difference(signed, other, full)
    before, now = _for_people(expected, expected), _for_people(actual, expected)
    count, height, width = before.shape
    kept, notes = np.arange(count), []
    if height == 1 and count > _MOST_ROWS:
        kept = np.sort(np.argsort(-changes(expected, actual), kind="stable")[:_MOST_ROWS])
        notes.append(f"shown: the {_MOST_ROWS} channels of {count} that moved farthest")
    tiles = [one[kept] for one in (before, now, difference)]
    if height == 1 and width > _MOST_COLUMNS:
        each = -(-width // _MOST_COLUMNS)
        places = _most_changed(np.where(other, LEVELS, np.abs(signed))[kept], each)
        tiles = [np.take_along_axis(one, places, axis=2) for one in tiles]
        notes.append(f"shown: of {each} positions the one that changed most")
    labels = [str(expected.channels[place]) for place in kept]
    changed = np.flatnonzero(beyond[kept]).tolist()
    return _Pair(tiles[0], tiles[1], tiles[2], labels, changed, full, notes), int(beyond.sum())


def _difference(signed: npt.NDArray[np.int16], other: npt.NDArray[np.bool_], full: int) -> Tiles:
    """Return indices of `_difference_colour`: the cube root of the share of the largest change."""
    root = np.ceil(_FURTHEST * np.cbrt(np.abs(signed) / full))
    tiles: Tiles = (_CALM + np.sign(signed) * root).astype(np.uint8)
    tiles[other] = _OTHER_MARK
    return tiles


def _most_changed(distance: npt.NDArray[Any], each: int) -> npt.NDArray[np.intp]:
    """Return the place of the largest of each so many positions, (C, 1, positions)."""
    width = distance.shape[2]
    starts = np.arange(0, width, each)
    padded = np.pad(distance, ((0, 0), (0, 0), (0, -width % each)), constant_values=-1)
    bins = padded.reshape(*distance.shape[:2], len(starts), each)
    places: npt.NDArray[np.intp] = bins.argmax(axis=3) + starts
    return places


def _for_people(mosaic: Mosaic, baseline: Mosaic) -> Tiles:
    """Return tiles in which what is constant, or nearly zero, does not look like a signal.

    A range that was widened to the noise floor is drawn around its middle in a baseline; here
    the smallest value of the baseline is the darkest.
    """
    tiles, values = mosaic.tiles.copy(), mosaic.tiles < MARKS_FROM
    narrowest = _STEPS * NOISE_FLOOR * baseline.layer_max
    widened = baseline.high - baseline.low < 1.01 * narrowest
    if tiles.shape[1] * tiles.shape[2] < 2:
        return tiles
    for place in np.flatnonzero(widened):
        drawn = baseline.tiles[place][baseline.tiles[place] < MARKS_FROM]
        if drawn.size:
            inside = values[place] & (tiles[place] > 0) & (tiles[place] < LEVELS - 1)
            moved = tiles[place].astype(np.int16) - (int(drawn.min()) - LOWEST)
            tiles[place] = np.where(inside, np.clip(moved, 0, LEVELS - 1), tiles[place])
    tiles[_flat(mosaic.tiles, values, widened)[:, None, None] & values] = FLAT
    return tiles


def _flat(
    tiles: Tiles, values: npt.NDArray[np.bool_], widened: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    low = tiles.min(axis=(1, 2), initial=LEVELS, where=values).astype(np.int16)
    high = tiles.max(axis=(1, 2), initial=0, where=values)
    least = np.where(widened, 2, 0)
    flat: npt.NDArray[np.bool_] = (
        (low <= high) & (low >= LOWEST) & (high <= HIGHEST) & (high - low <= least)
    )
    return flat


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
    tiles = _for_people(mosaic, mosaic)
    return _panel(tiles, palette("grey"), [str(one) for one in mosaic.channels], scale, None)


def _extent(mosaic: Mosaic) -> str:
    count, height, width = mosaic.tiles.shape
    return f"{counted(count, 'channel')} of {height}x{width}"


def _marks(*tiles: Tiles) -> list[Entry]:
    """Explain the colours of both pictures that are there."""
    seen = np.concatenate([one.ravel() for one in tiles])
    entries = captions.marks(seen, palette("grey"))
    if (seen < LOWEST).any():
        entries.append((captions.patch(colour(0)), "below the baseline's range"))
    if ((seen > HIGHEST) & (seen < LEVELS)).any():
        entries.append((captions.patch(colour(LEVELS - 1)), "above the baseline's range"))
    return entries


def _legend(pair: _Pair, scale: int | None) -> list[Entry]:
    """Explain the colours that are there."""
    entries = _marks(pair.before, pair.now)
    if ((pair.difference != _CALM) & (pair.difference != _OTHER_MARK)).any():
        share = f"{100 * pair.full / _STEPS:.0f} %"
        text = (
            f"lower / higher, by up to {counted(pair.full, 'level')} ({share} of a channel's "
            "range); cube-root scale"
        )
        entries.append((_scale_bar(), text))
    if (pair.difference == _OTHER_MARK).any():
        entries.append((captions.patch(_MARK_CHANGED), "another mark"))
    _, height, width = pair.before.shape
    scale = _fitting(pair.before.shape) if scale is None else scale
    if pair.changed and (height == 1 or min(height, width) * scale >= _SMALLEST_FRAMED):
        entries.append((captions.patch(MARKED), "a channel that changed"))
    return [*entries, *((None, note) for note in pair.notes)]


def _scale_bar() -> Image.Image:
    shares = np.linspace(-1, 1, 81)
    shades = [_difference_colour(_CALM + round(one)) for one in np.cbrt(shares) * _FURTHEST]
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
