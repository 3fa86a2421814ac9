"""Features as colour: the three directions in which a map varies most, as red, green and blue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FAINT = 1e-4
"""A direction that varies less than this share of the first is rounding, and gets no colour."""

_MIDDLE = 128
_NEARLY_LARGEST = 1 - 1e-6


def colours(pictures: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return one sample's principal components as colours, the same for the same map.

    Each component runs over its whole range of colour; the first is red. A component's sign
    is chosen so that the channel which counts most in it counts positive.

    Args:
        pictures: one sample, (C, H, W), any real dtype.

    Returns:
        The colours, uint8, (H, W, 3), and where all channels are finite, (H, W). Elsewhere
        nothing is known, and the colour is black.
    """
    _, height, width = pictures.shape
    points = pictures.reshape(len(pictures), height * width).T.astype(np.float64)
    known = np.isfinite(points).all(axis=1)
    shades = np.zeros((height * width, 3), np.uint8)
    shades[known] = _shades(_scores(points[known]))
    return shades.reshape(height, width, 3), known.reshape(height, width)


def _scores(points: Floats) -> Floats:
    """Return the coordinates of points (P, C) along up to three components, (P, 3)."""
    found = np.zeros((len(points), 3))
    largest = np.abs(points).max(initial=0.0)
    if not largest:
        return found
    points = points / largest
    points -= points.mean(axis=0)
    few = points.shape[0] < points.shape[1]
    # The smaller of the two products holds the same directions.
    _, vectors = np.linalg.eigh(points @ points.T if few else points.T @ points)
    vectors = vectors[:, ::-1][:, :3]
    loadings = points.T @ vectors if few else vectors
    scores = points @ _upright(loadings)
    found[:, : scores.shape[1]] = scores
    return found


def _upright(loadings: Floats) -> Floats:
    """Return directions (C, k) of length 1, each turned so that its largest part is positive."""
    lengths = np.linalg.norm(loadings, axis=0)
    loadings = loadings / np.where(lengths > 0, lengths, 1.0)
    sizes = np.abs(loadings)
    # Of several that are as large, the first: rounding must not choose.
    first = (sizes >= _NEARLY_LARGEST * sizes.max(axis=0, initial=0.0)).argmax(axis=0)
    return loadings * np.where(loadings[first, np.arange(len(first))] < 0, -1.0, 1.0)


def _shades(scores: Floats) -> npt.NDArray[np.uint8]:
    """Return each component over its range of 8 bits; one that hardly varies in the middle."""
    if not scores.size:
        return np.zeros(scores.shape, np.uint8)
    low, high = scores.min(axis=0), scores.max(axis=0)
    ranges = high - low
    # Below the last part of float64 even the first component is none.
    clear = ranges > max(FAINT * ranges[0], 1e-12)
    levels = np.rint(255 * (scores - low) / np.where(clear, ranges, 1.0))
    return np.where(clear, levels, _MIDDLE).astype(np.uint8)
