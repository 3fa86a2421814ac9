"""The range of values that each channel is drawn in, never narrower than noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.rendering.mosaic import HIGHEST, LOWEST

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_featuremaps.rendering.mosaic import Floats, Mask

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True

NOISE_FLOOR = 1e-4
"""No level is finer than this share of the layer's max|x|: below it lies another machine's drift.

A channel whose whole range is smaller is therefore flat: every value is drawn at `MIDDLE`.
"""

STEPS = HIGHEST - LOWEST
"""How many levels a range is divided into."""
LARGEST = float(np.finfo(np.float64).max)
"""The largest finite value, where ranges end."""
_SMALLEST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Span:
    """The ranges to draw channels in for people, (C,) each.

    Attributes:
        low: what `render` takes as `low`.
        high: likewise.
        flat: which channels are constant to within the noise floor, and not zero throughout.
    """

    low: Floats
    high: Floats
    flat: Mask


def span(
    planes: npt.NDArray[Any],
    *,
    centred: bool,
    shared: bool,
    from_zero: bool,
) -> Span:
    """Return the ranges to draw channels in, for `low` and `high` of `render`.

    A range narrower than the noise floor allows is widened upwards, or on both sides of zero: a
    channel that is nearly zero looks like zero.

    Args:
        planes: one sample, (C, H, W), any real dtype.
        centred: whether zero is to be in the middle.
        shared: whether all channels are drawn in one range, that of the layer.
        from_zero: whether a range of values above zero begins at zero.

    Raises:
        UnsupportedTensor: `planes` are complex.
        ValueError: `planes` are not three-dimensional.
    """
    half, limit = halved(planes)
    low, high = finite_range(half, np.abs(half) < limit)
    peaks = np.fmax(np.abs(low), np.abs(high))
    largest = float(np.fmax.reduce(peaks, initial=0.0))
    flat = (high / 2 - low / 2 <= NOISE_FLOOR * largest / 2) & (peaks > 0)
    if shared:
        low[:], high[:] = np.fmin.reduce(low, initial=np.nan), np.fmax.reduce(high, initial=np.nan)
        peaks = np.fmax(np.abs(low), np.abs(high))
    if centred:
        low, high = widened(-peaks, peaks, largest)
    else:
        low = np.minimum(low, 0.0) if from_zero else low
        with np.errstate(over="ignore"):  # next to the largest float: cut off there
            high = np.minimum(np.maximum(high, low + narrowest(largest)), LARGEST)
    # A channel of zeros has no range: it is marked.
    return Span(np.where(peaks == 0, 0.0, low), np.where(peaks == 0, 0.0, high), flat)


def baseline_range(
    low: npt.ArrayLike | None, high: npt.ArrayLike | None, count: int
) -> tuple[Floats, Floats]:
    """Return the baseline's range per channel, NaN where there is none.

    Raises:
        ValueError: there is one end only, or not one for each channel.
    """
    if low is None and high is None:
        return np.full(count, np.nan), np.full(count, np.nan)
    if low is None or high is None:
        raise ValueError("a baseline's range has two ends: give both low and high, or neither")
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if low.shape != (count,) or high.shape != (count,):
        raise ValueError(
            f"{count} planes need a low and a high of shape ({count},), "
            f"not {low.shape} and {high.shape}"
        )
    return low, high


def halved(planes: npt.NDArray[Any]) -> tuple[Floats, float]:
    """Return half of every value, and half of what counts as infinite.

    Halving is exact, and keeps the range of two huge values of opposite sign finite.

    Raises:
        UnsupportedTensor: `planes` are complex.
        ValueError: `planes` are not three-dimensional.
    """
    if planes.ndim != 3:
        raise ValueError(
            f"a picture is drawn from (channels, height, width), not from {planes.ndim} dimensions"
        )
    if planes.dtype.kind == "c":
        raise UnsupportedTensor(
            "complex values have no grey level; draw their magnitude, or the real and the "
            "imaginary part"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        half = np.multiply(planes, 0.5, dtype=np.float64)
    if planes.dtype.kind != "f":
        return half, np.inf
    return half, float(np.finfo(planes.dtype).max) / 2


def finite_range(half: Floats, finite: Mask) -> tuple[Floats, Floats]:
    """Return the extremes of each channel's finite values, NaN where there is none."""
    where: Any = True if finite.all() else finite
    low = half.min(axis=(1, 2), initial=np.inf, where=where)
    high = half.max(axis=(1, 2), initial=-np.inf, where=where)
    empty = low > high
    low[empty] = high[empty] = np.nan
    return 2 * low, 2 * high


def widened(low: Floats, high: Floats, layer_max: float) -> tuple[Floats, Floats]:
    """Return ranges in which no level is finer than the noise floor."""
    margin = narrowest(layer_max) / 2
    middle = low / 2 + high / 2
    narrow = high / 2 - low / 2 < margin
    with np.errstate(over="ignore"):  # next to the largest float: cut off there
        bottom = np.maximum(middle - margin, -LARGEST)
        top = np.minimum(middle + margin, LARGEST)
    return np.where(narrow, bottom, low), np.where(narrow, top, high)


def narrowest(layer_max: float) -> float:
    """Return the width of the narrowest range in which no level is finer than the noise floor."""
    return max(STEPS * NOISE_FLOOR * layer_max, _SMALLEST)
