"""Values become levels and marks, the same on every machine: all channels of a map, or some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.rendering.mosaic import (
    DEAD,
    HIGHEST,
    LEVELS,
    LOWEST,
    MINUS_INF,
    NAN,
    PLUS_INF,
    Mosaic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_featuremaps.rendering.mosaic import Floats, Tiles

    Mask = npt.NDArray[np.bool_]

NOISE_FLOOR = 1e-4
"""No level is finer than this share of the layer's max|x|: below it lies another machine's drift.

A channel whose whole range is smaller is therefore flat: every value is drawn at `MIDDLE`.
"""

_STEPS = HIGHEST - LOWEST
_SMALLEST = float(np.finfo(np.float64).tiny)
_LARGEST = float(np.finfo(np.float64).max)


def render(
    planes: npt.NDArray[Any],
    *,
    channels: Sequence[int] | None = None,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
    layer_max: float | None = None,
) -> Mosaic:
    """Draw the channels of one sample, the same on every machine.

    Each channel is drawn between its own smallest and largest finite value, or, with `low` and
    `high`, in the range of a baseline; a range narrower than the noise floor allows is widened
    around its middle. NaN and both infinities have a mark; the largest finite value of a float
    type counts as infinity, because attention masks are filled with it. A channel of zeros is
    marked dead; against a baseline, dust below the noise floor does not change that mark.

    Args:
        planes: one sample, (C, H, W), any real dtype.
        channels: the number of each channel; 0 to C-1 by default.
        low: the `low` of the baseline's mosaic, (C,). A channel without a range there (dead, or
            nothing finite) is drawn in its own.
        high: the `high` of the same mosaic.
        layer_max: the largest finite |x| of the layer, where `planes` are only some of its
            channels or where there is a baseline; by default that of `planes`.

    Raises:
        UnsupportedTensor: `planes` are complex.
        ValueError: `planes` are not three-dimensional, or the other arguments do not fit them.
    """
    half, limit = _halved(planes)
    labels = tuple(range(len(planes))) if channels is None else tuple(map(int, channels))
    if len(labels) != len(planes):
        raise ValueError(f"{len(planes)} planes were given with {len(labels)} channel numbers")
    base_low, base_high = _baseline_range(low, high, len(planes))
    finite = np.abs(half) < limit
    own_low, own_high = _finite_range(half, finite)
    peaks = np.fmax(np.abs(own_low), np.abs(own_high))
    largest = float(np.fmax.reduce(peaks, initial=0.0) if layer_max is None else layer_max)
    if not 0 <= largest <= _LARGEST:
        raise ValueError(f"layer_max is the largest finite |x| of the layer, not {largest}")

    known = base_high > base_low
    own_low, own_high = _widened(own_low, own_high, largest)
    drawn_low = np.where(known, base_low, own_low)
    drawn_high = np.where(known, base_high, own_high)
    tiles = _levels(half, finite, drawn_low, drawn_high)
    if not finite.all():
        tiles[np.isnan(half)] = NAN
        tiles[half >= limit] = PLUS_INF
        tiles[half <= -limit] = MINUS_INF
    zero = (peaks == 0) & ~planes.any(axis=(1, 2))
    dead = _dead(zero, peaks, base_low, base_high, largest) & finite.all(axis=(1, 2))
    tiles[dead] = DEAD
    drawn_low[dead] = drawn_high[dead] = 0.0
    return Mosaic(tiles, labels, drawn_low, drawn_high, largest)


def span(
    planes: npt.NDArray[Any], *, centred: bool = False, shared: bool = False
) -> tuple[Floats, Floats]:
    """Return the ranges to draw channels in, for `low` and `high` of `render`, (C,) each.

    Args:
        planes: one sample, (C, H, W), any real dtype.
        centred: whether zero is to be in the middle.
        shared: whether all channels are drawn in one range, that of the layer.
    """
    half, limit = _halved(planes)
    low, high = _finite_range(half, np.abs(half) < limit)
    if shared:
        low[:], high[:] = np.fmin.reduce(low, initial=np.nan), np.fmax.reduce(high, initial=np.nan)
    peaks = np.fmax(np.abs(low), np.abs(high))
    if centred:
        low, high = -peaks, peaks
    low, high = _widened(low, high, float(np.fmax.reduce(peaks, initial=0.0)))
    # A channel of zeros has no range: it is marked.
    return np.where(peaks == 0, 0.0, low), np.where(peaks == 0, 0.0, high)


def render_channels(
    planes: npt.NDArray[Any], channels: Sequence[int] | None = None, like: Mosaic | None = None
) -> Mosaic:
    """Draw channels of one sample, each in its own range of values or in that of a baseline.

    Args:
        planes: all channels, (C, H, W).
        channels: the numbers of those to draw; all of them when None.
        like: a mosaic whose ranges of values are used, where it shows the same channels, so
            that a change of scale shows.

    Raises:
        IndexError: there is no such channel.
    """
    numbers = _checked(planes, channels)
    if like is None or like.channels != numbers:
        return pick(render(planes), numbers)
    return render(
        planes[list(numbers)],
        channels=numbers,
        low=like.low,
        high=like.high,
        layer_max=like.layer_max,
    )


def render_coloured(
    planes: npt.NDArray[Any],
    channels: Sequence[int] | None = None,
    *,
    centred: bool,
    shared: bool,
) -> Mosaic:
    """Draw channels of one sample for people to look at.

    Args:
        planes: all channels, (C, H, W).
        channels: the numbers of those to draw; all of them when None.
        centred: whether zero is in the middle of each range.
        shared: whether all channels are drawn in one range.

    Raises:
        IndexError: there is no such channel.
    """
    low, high = span(planes, centred=centred, shared=shared)
    return pick(render(planes, low=low, high=high), _checked(planes, channels))


def pick(mosaic: Mosaic, channels: Sequence[int]) -> Mosaic:
    """Return some channels of a mosaic of all of them, as they are drawn there."""
    chosen = list(channels)
    return replace(
        mosaic,
        tiles=mosaic.tiles[chosen],
        channels=tuple(chosen),
        low=mosaic.low[chosen],
        high=mosaic.high[chosen],
    )


def _checked(planes: npt.NDArray[Any], channels: Sequence[int] | None) -> tuple[int, ...]:
    numbers = tuple(range(len(planes)) if channels is None else channels)
    for number in numbers:
        if not 0 <= number < len(planes):
            raise IndexError(f"there is no channel {number}: it has {len(planes)}, from 0")
    return numbers


def _halved(planes: npt.NDArray[Any]) -> tuple[Floats, float]:
    """Return half of every value, and half of what counts as infinite.

    Halving is exact, and keeps the range of two huge values of opposite sign finite.
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


def _finite_range(half: Floats, finite: Mask) -> tuple[Floats, Floats]:
    """Return the extremes of each channel's finite values, NaN where there is none."""
    where: Any = True if finite.all() else finite
    low = half.min(axis=(1, 2), initial=np.inf, where=where)
    high = half.max(axis=(1, 2), initial=-np.inf, where=where)
    empty = low > high
    low[empty] = high[empty] = np.nan
    return 2 * low, 2 * high


def _widened(low: Floats, high: Floats, layer_max: float) -> tuple[Floats, Floats]:
    """Return ranges in which no level is finer than the noise floor."""
    margin = _narrowest(layer_max) / 2
    middle = low / 2 + high / 2
    narrow = high / 2 - low / 2 < margin
    with np.errstate(over="ignore"):  # next to the largest float: cut off there
        bottom = np.maximum(middle - margin, -_LARGEST)
        top = np.minimum(middle + margin, _LARGEST)
    return np.where(narrow, bottom, low), np.where(narrow, top, high)


def _narrowest(layer_max: float) -> float:
    return max(_STEPS * NOISE_FLOOR * layer_max, _SMALLEST)


def _dead(zero: Mask, peaks: Floats, base_low: Floats, base_high: Floats, layer_max: float) -> Mask:
    """Tell which channels are marked dead: those that hold zeros only.

    Zero and dust are told apart by the last bit, which differs between machines. So the verdict
    of the baseline stands until a channel leaves the noise floor. (A baseline's faint channel
    around zero passes for dust here: its death costs it the mark, and shows as levels.)
    """
    dust = NOISE_FLOOR * layer_max
    was_dead = (base_low == 0) & (base_high == 0)
    middle, margin = base_low / 2 + base_high / 2, base_high / 2 - base_low / 2
    was_dust = (np.abs(middle) <= dust) & (margin > 0) & (margin < 0.505 * _narrowest(layer_max))
    verdict: Mask = (zero & ~was_dust) | ((peaks <= dust) & was_dead)
    return verdict


def _baseline_range(
    low: npt.ArrayLike | None, high: npt.ArrayLike | None, count: int
) -> tuple[Floats, Floats]:
    """Return the baseline's range per channel, NaN where there is none."""
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


def _levels(half: Floats, finite: Mask, low: Floats, high: Floats) -> Tiles:
    """Place every finite value on the ramp; only +, −, /, rounding: exact everywhere."""
    ranged = high > low
    low = np.where(ranged, low, 0.0) / 2
    step = (np.where(ranged, high, 1.0) / 2 - low) / _STEPS
    level = half if finite.all() else np.where(finite, half, 0.0)
    with np.errstate(over="ignore"):  # far outside the baseline's range: clipped below
        level = (level - low[:, None, None]) / step[:, None, None]
    np.rint(level, out=level)
    level += LOWEST
    np.clip(level, 0, LEVELS - 1, out=level)
    return level.astype(np.uint8)
