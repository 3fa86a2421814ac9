"""The numbers of disjoint parts of a tensor, and their merging into those of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_featuremaps.numbers.chunks import scale_to_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


class Parts(NamedTuple):
    """The numbers of disjoint parts of a tensor, one array entry per part.

    `mean + rest` is the mean to more digits than one float64 holds. A part without finite values
    has mean, rest and std 0, and extremes that yield to any other.
    """

    mean: Floats
    rest: Floats
    std: Floats
    low: Floats
    high: Floats
    zeros: Integers
    nan: Integers
    inf: Integers
    size: Integers

    @property
    def finite(self) -> Integers:
        """How many values of each part are finite."""
        return self.size - self.nan - self.inf


def no_values(parts: int) -> Parts:
    """Return the numbers of parts without values."""
    zero, none = np.zeros(parts), np.zeros(parts, np.int64)
    return Parts(zero, zero, zero, zero + np.inf, zero - np.inf, none, none, none, none)


def concatenate(parts: list[Parts]) -> Parts:
    """Return lists of parts as one list."""
    return parts[0] if len(parts) == 1 else Parts(*map(np.concatenate, zip(*parts, strict=True)))


def merge(parts: Parts) -> Parts:
    """Merge any number of parts into one."""
    if len(parts.size) == 1:
        return parts
    return Parts(
        *_merge_moments(parts),
        parts.low.min(initial=np.inf, keepdims=True),
        parts.high.max(initial=-np.inf, keepdims=True),
        *(counts.sum(keepdims=True) for counts in parts[5:]),
    )


def _merge_moments(parts: Parts) -> tuple[Floats, Floats, Floats]:
    used = parts.finite > 0
    if not used.any():
        return np.zeros(1), np.zeros(1), np.zeros(1)
    weights = parts.finite[used] / parts.finite.sum()
    means, rests, stds = parts.mean[used], parts.rest[used], parts.std[used]
    scale = scale_to_square(np.maximum(np.abs(means), stds).max(keepdims=True))
    means, rests, stds = means * scale, rests * scale, stds * scale
    # Differences from one of the means are exact where the means lie close together.
    origin = means[:1]
    offsets = (means - origin) + rests
    shift = (weights * offsets).sum(keepdims=True)
    std = np.sqrt((weights * (stds**2 + (offsets - shift) ** 2)).sum(keepdims=True))
    mean = origin + shift
    rest = (origin - mean) + shift
    return mean / scale, rest / scale, std / scale
