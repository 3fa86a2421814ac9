"""Two drawn maps of the same channels, and what is different, as a reviewer sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_featuremaps.rendering.changes import changes
from pytest_featuremaps.rendering.differences import MARK_DISTANCE, distances
from pytest_featuremaps.rendering.mosaic import Mosaic
from pytest_featuremaps.rendering.people import for_people

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_featuremaps.rendering.mosaic import Tiles

CALM, FURTHEST, OTHER_MARK = 120, 120, 245
"""Indices of a difference: none, so many above or below it the largest, and another mark."""

_LEAST = 16
"""A change of so many levels has the full colour where there is none that is larger."""

_MOST_ROWS, _MOST_COLUMNS = 160, 480


@dataclass(frozen=True)
class Pair:
    """The tiles of two maps as they are shown, and what is different.

    Attributes:
        before: palette indices, (C, H, W).
        now: likewise.
        difference: likewise, of the palette of `panels`.
        labels: the number of each channel.
        changed: the places of channels that differ by more than is tolerated.
        full: how many levels have the full colour.
        notes: what is left out.
    """

    before: Tiles
    now: Tiles
    difference: Tiles
    labels: list[str]
    changed: list[int]
    full: int
    notes: list[str]


def pair(expected: Mosaic, actual: Mosaic, levels: int) -> tuple[Pair, int]:
    """Return what is shown of two maps, and how many of all channels changed."""
    distance, pixels = distances(expected.tiles, actual.tiles, levels)
    other: npt.NDArray[np.bool_] = distance == MARK_DISTANCE
    beyond = pixels.any(axis=(1, 2))
    signed = np.where(other, 0, actual.tiles.astype(np.int16) - expected.tiles)
    full = max(int(np.abs(signed).max(initial=0)), _LEAST)
    difference = _difference(signed, other, full)
    before, now = for_people(expected, expected), for_people(actual, expected)
    count, height, width = before.shape
    kept, notes = np.arange(count), []
    if height == 1 and count > _MOST_ROWS:
        kept = np.sort(np.argsort(-changes(expected, actual), kind="stable")[:_MOST_ROWS])
        notes.append(f"shown: the {_MOST_ROWS} channels of {count} that moved farthest")
    tiles = [one[kept] for one in (before, now, difference)]
    if height == 1 and width > _MOST_COLUMNS:
        each = -(-width // _MOST_COLUMNS)
        places = _most_changed(distance[kept], each)
        tiles = [np.take_along_axis(one, places, axis=2) for one in tiles]
        notes.append(f"shown: of {each} positions the one that changed most")
    labels = [str(expected.channels[place]) for place in kept]
    changed = np.flatnonzero(np.take(beyond, kept)).tolist()
    return Pair(tiles[0], tiles[1], tiles[2], labels, changed, full, notes), int(beyond.sum())


def _difference(signed: npt.NDArray[np.int16], other: npt.NDArray[np.bool_], full: int) -> Tiles:
    """Return indices of a difference: the cube root of its share of the largest one."""
    root = np.ceil(FURTHEST * np.cbrt(np.abs(signed) / full))
    tiles: Tiles = (CALM + np.sign(signed) * root).astype(np.uint8)
    tiles[other] = OTHER_MARK
    return tiles


def _most_changed(distance: npt.NDArray[Any], each: int) -> npt.NDArray[np.intp]:
    """Return the place of the largest of each so many positions, (C, 1, positions)."""
    width = distance.shape[2]
    starts = np.arange(0, width, each)
    padded = np.pad(distance, ((0, 0), (0, 0), (0, -width % each)), constant_values=-1)
    bins = padded.reshape(*distance.shape[:2], len(starts), each)
    places: npt.NDArray[np.intp] = bins.argmax(axis=3) + starts
    return places
