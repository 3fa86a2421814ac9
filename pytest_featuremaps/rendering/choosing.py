"""Some channels of a feature map: drawn as in the whole, or as a baseline was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from pytest_featuremaps.rendering.colours import FLAT
from pytest_featuremaps.rendering.drawing import render, span
from pytest_featuremaps.rendering.mosaic import MARKS_FROM, Mosaic

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True


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
    numbers = _numbers(planes, channels)
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
    from_zero: bool = False,
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
    found = span(planes, centred=centred, shared=shared, from_zero=from_zero)
    whole = render(planes, low=found.low, high=found.high)
    if not shared and found.flat.any():
        whole.tiles[found.flat[:, None, None] & (whole.tiles < MARKS_FROM)] = FLAT
    return pick(whole, _numbers(planes, channels))


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


def _numbers(planes: npt.NDArray[Any], channels: Sequence[int] | None) -> tuple[int, ...]:
    numbers = tuple(range(len(planes)) if channels is None else channels)
    for number in numbers:
        if not 0 <= number < len(planes):
            raise IndexError(f"there is no channel {number}: it has {len(planes)}, from 0")
    return numbers
