"""Values become levels and marks, the same on every machine: all channels of a map, or some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_featuremaps.rendering import ranges
from pytest_featuremaps.rendering.colours import FLAT
from pytest_featuremaps.rendering.mosaic import (
    DEAD,
    LEVELS,
    LOWEST,
    MARKS_FROM,
    MINUS_INF,
    NAN,
    PLUS_INF,
    Mosaic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_featuremaps.rendering.mosaic import Floats, Mask, Tiles

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True


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
    half, limit = ranges.halved(planes)
    labels = tuple(range(len(planes))) if channels is None else tuple(map(int, channels))
    if len(labels) != len(planes):
        raise ValueError(f"{len(planes)} planes were given with {len(labels)} channel numbers")
    base_low, base_high = ranges.baseline_range(low, high, len(planes))
    finite = np.abs(half) < limit
    own_low, own_high = ranges.finite_range(half, finite)
    peaks = np.fmax(np.abs(own_low), np.abs(own_high))
    largest = float(np.fmax.reduce(peaks, initial=0.0) if layer_max is None else layer_max)
    if not 0 <= largest <= ranges.LARGEST:
        raise ValueError(f"layer_max is the largest finite |x| of the layer, not {largest}")

    known = base_high > base_low
    own_low, own_high = ranges.widened(own_low, own_high, largest)
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


def render_channels(
    planes: npt.NDArray[Any], channels: Sequence[int] | None = None, like: Mosaic | None = None
) -> Mosaic:
    """Draw the channels of one sample.

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
    from_zero: bool,
) -> Mosaic:
    """Draw the channels of one sample for people to look at.

    A channel that is constant to within the noise floor is marked as flat, unless all are drawn
    in one range, where its colour is its value.

    Args:
        planes: all channels, (C, H, W).
        channels: the numbers of those to draw; all of them when None.
        centred: whether zero is in the middle of each range.
        shared: whether all channels are drawn in one range.
        from_zero: whether a range of values above zero begins at zero.

    Raises:
        IndexError: there is no such channel.
    """
    found = ranges.span(planes, centred=centred, shared=shared, from_zero=from_zero)
    whole = render(planes, low=found.low, high=found.high)
    if not shared and found.flat.any():
        whole.tiles[found.flat[:, None, None] & (whole.tiles < MARKS_FROM)] = FLAT
    return pick(whole, _checked(planes, channels))


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


def _dead(zero: Mask, peaks: Floats, base_low: Floats, base_high: Floats, layer_max: float) -> Mask:
    """Tell which channels are marked dead: those that hold zeros only.

    Zero and dust are told apart by the last bit, which differs between machines. So the verdict
    of the baseline stands until a channel leaves the noise floor. (A baseline's faint channel
    around zero passes for dust here: its death costs it the mark, and shows as levels.)
    """
    dust = ranges.NOISE_FLOOR * layer_max
    was_dead = (base_low == 0) & (base_high == 0)
    middle, margin = base_low / 2 + base_high / 2, base_high / 2 - base_low / 2
    was_dust = (
        (np.abs(middle) <= dust) & (margin > 0) & (margin < 0.505 * ranges.narrowest(layer_max))
    )
    verdict: Mask = (zero & ~was_dust) | ((peaks <= dust) & was_dead)
    return verdict


def _levels(half: Floats, finite: Mask, low: Floats, high: Floats) -> Tiles:
    """Place every finite value on the ramp; only +, −, /, rounding: exact everywhere."""
    ranged = high > low
    low = np.where(ranged, low, 0.0) / 2
    step = (np.where(ranged, high, 1.0) / 2 - low) / ranges.STEPS
    level = half if finite.all() else np.where(finite, half, 0.0)
    with np.errstate(over="ignore"):  # far outside the baseline's range: clipped below
        level = (level - low[:, None, None]) / step[:, None, None]
    np.rint(level, out=level)
    level += LOWEST
    np.clip(level, 0, LEVELS - 1, out=level)
    return level.astype(np.uint8)
