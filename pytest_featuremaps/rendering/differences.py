"""Where two pictures of one layer differ, channel by channel, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_featuremaps.rendering.mosaic import MARKS_FROM
from pytest_featuremaps.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_featuremaps.rendering.mosaic import Tiles

MARK_DISTANCE = 255
"""How far a mark is from anything but itself, in levels: further than two levels can be."""


@dataclass(frozen=True)
class TileDifference:
    """One channel that is beyond tolerance.

    Attributes:
        channel: its number in the layer.
        largest: the largest distance in levels; 255 where a mark (NaN, Inf, dead) differs.
        pixels: how many pixels are beyond tolerance.
        row: the row of the largest distance; of the first one, if there are several.
        column: its column.
    """

    channel: int
    largest: int
    pixels: int
    row: int
    column: int


@dataclass(frozen=True)
class Difference:
    """What distinguishes a picture from its baseline; nothing, if `equal`.

    Attributes:
        tiles: the channels beyond tolerance, the worst first.
        reason: why the two cannot be compared at all; empty where they can.
        shape: the picture's (channels, height, width).
        levels: the tolerance that was applied.
    """

    tiles: tuple[TileDifference, ...]
    reason: str
    shape: tuple[int, int, int]
    levels: int

    @property
    def equal(self) -> bool:
        """Whether the picture is within tolerance of its baseline everywhere."""
        return not self.tiles and not self.reason

    def lines(self, most: int = 5) -> list[str]:
        """Return the difference in words: one line for all channels, and one for the worst few.

        Args:
            most: how many channels get a line of their own.
        """
        if self.equal:
            return []
        if self.reason:
            return [self.reason]
        number = len(self.tiles)
        lines = [f"{number} of {counted(self.shape[0], 'channel')} {_differ(number)}"]
        lines += [self._line(tile) for tile in self.tiles[:most]]
        rest = sorted(tile.channel for tile in self.tiles[most:])
        if rest:
            lines.append(f"also channel{'s' * (len(rest) > 1)} {_listed(rest)}")
        return lines

    def _line(self, tile: TileDifference) -> str:
        _, height, width = self.shape
        if tile.largest == MARK_DISTANCE:
            worst = "another mark: NaN, Inf or dead"
        else:
            worst = counted(tile.largest, "level")
        return (
            f"channel {tile.channel}: {tile.pixels} of {counted(height * width, 'pixel')} "
            f"{_differ(tile.pixels)} by more than {counted(self.levels, 'level')}, "
            f"most at row {tile.row}, column {tile.column} ({worst})"
        )


def compare(
    expected: Tiles, actual: Tiles, channels: Sequence[int], *, levels: int = 1
) -> Difference:
    """Compare two pictures of the same channels; nothing is ever resized, cropped or padded.

    Args:
        expected: the baseline's tiles, palette indices, uint8, (C, H, W).
        actual: the tiles now.
        channels: the channel number of each tile of `actual`.
        levels: how far two levels may be apart, at every pixel.

    Raises:
        ValueError: there is not one channel number per tile.
    """
    count, height, width = actual.shape
    if len(channels) != count:
        raise ValueError(f"{count} tiles were given with {len(channels)} channel numbers")
    shape = (count, height, width)
    reason = _structure(expected.shape, shape)
    if reason or np.array_equal(expected, actual):
        return Difference((), reason, shape, levels)

    distance, beyond = distances(expected, actual, levels)
    tiles = [
        _tile(int(channels[place]), distance[place], beyond[place])
        for place in np.flatnonzero(beyond.any(axis=(1, 2))).tolist()
    ]
    tiles.sort(key=lambda tile: (-tile.largest, -tile.pixels))
    return Difference(tuple(tiles), "", shape, levels)


def distances(
    expected: Tiles, actual: Tiles, levels: int
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """Return how many levels apart the pixels of two pictures are, and which are beyond `levels`.

    Two marks, or a mark and a level, are `MARK_DISTANCE` apart, which no tolerance covers.
    """
    distance = np.abs(actual.astype(np.int16) - expected)
    marks = np.maximum(expected, actual) >= MARKS_FROM
    distance[marks & (distance > 0)] = MARK_DISTANCE
    return distance, (distance > levels) | (distance == MARK_DISTANCE)


def _structure(expected: tuple[int, ...], actual: tuple[int, int, int]) -> str:
    if expected[0] != actual[0]:
        return f"{counted(actual[0], 'channel')}, the baseline has {expected[0]}"
    if expected != actual:
        return f"tiles of {actual[1]}x{actual[2]}, the baseline has {expected[1]}x{expected[2]}"
    return ""


def _tile(
    channel: int, distance: npt.NDArray[np.int16], beyond: npt.NDArray[np.bool_]
) -> TileDifference:
    row, column = divmod(int(distance.argmax()), distance.shape[1])
    return TileDifference(channel, int(distance.max()), int(beyond.sum()), row, column)


def _differ(count: int) -> str:
    return "differs" if count == 1 else "differ"


def _listed(numbers: Sequence[int], most: int = 12) -> str:
    shown = ", ".join(map(str, numbers[:most]))
    left = len(numbers) - most
    return f"{shown} and {left} more" if left > 0 else shown
