"""A baseline's tiles as people see them: what is constant does not look like a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pytest_featuremaps.rendering.colours import FLAT
from pytest_featuremaps.rendering.mosaic import HIGHEST, LEVELS, LOWEST, MARKS_FROM, Mosaic
from pytest_featuremaps.rendering.ranges import NOISE_FLOOR, STEPS

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_featuremaps.rendering.mosaic import Tiles


def for_people(mosaic: Mosaic, baseline: Mosaic) -> Tiles:
    """Return tiles in which what is constant, or nearly zero, does not look like a signal.

    A range that was widened to the noise floor is drawn around its middle in a baseline; here
    the smallest value of the baseline is the darkest.
    """
    tiles, values = mosaic.tiles.copy(), mosaic.tiles < MARKS_FROM
    narrowest = STEPS * NOISE_FLOOR * baseline.layer_max
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
