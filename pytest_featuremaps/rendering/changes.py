"""How two drawn maps of the same channels differ: by how much, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pytest_featuremaps.rendering.mosaic import DEAD, HIGHEST, LOWEST, MARKS_FROM

if TYPE_CHECKING:
    from pytest_featuremaps.rendering.mosaic import Floats, Mosaic


def changes(before: Mosaic, now: Mosaic) -> Floats:
    """Return how far each channel moved: the L2 norm of what is seen of its change, (C,).

    It is in units of the values, so that channels can be compared with each other. Where a
    value became NaN or infinite, or was so, it is infinite.

    Args:
        before: a drawn map.
        now: the same channels of another one, of the same size.
    """
    moved = _values(now) - _values(before)
    other = (before.tiles != now.tiles) & ~np.isfinite(moved)
    moved[~np.isfinite(moved)] = 0.0
    largest = np.abs(moved).max(initial=0.0) or 1.0
    lengths = np.sqrt(np.square(moved / largest).sum(axis=(1, 2))) * largest
    return np.where(other.any(axis=(1, 2)), np.inf, lengths)


def _values(mosaic: Mosaic) -> Floats:
    """Return the values as they can be read off the levels; NaN for NaN and infinity."""
    steps = mosaic.high / (HIGHEST - LOWEST) - mosaic.low / (HIGHEST - LOWEST)
    levels = mosaic.tiles.astype(np.float64) - LOWEST
    values = mosaic.low[:, None, None] + levels * steps[:, None, None]
    marks = np.where(mosaic.tiles == DEAD, 0.0, np.nan)
    return np.where(mosaic.tiles < MARKS_FROM, values, marks)
