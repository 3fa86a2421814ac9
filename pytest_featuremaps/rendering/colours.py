"""Colours for levels: grey, one ramp whose lightness rises evenly, and one that parts at zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from pytest_featuremaps.rendering.mosaic import (
    DEAD,
    GUTTER,
    HIGHEST,
    LEVELS,
    LOWEST,
    MARK_COLOURS,
    PALETTE,
    colour,
)

PaletteName: TypeAlias = Literal["grey", "ramp", "diverging"]
"""`"ramp"` runs from dark purple over teal to yellow, `"diverging"` from blue over white to red."""

PAPER, INK, SOFT_INK = (255, 255, 255), (36, 41, 47), (101, 109, 118)

# Neither ramp has a grey.
_SHOWN_MARKS = {**MARK_COLOURS, DEAD: (128, 132, 138), GUTTER: (200, 204, 209)}


def palette(name: PaletteName) -> bytes:
    """Return the colours of all indices: the levels' and the marks'."""
    if name == "grey":
        return PALETTE
    shades = [*map(_COLOURS[name], range(LEVELS)), *_SHOWN_MARKS.values()]
    return bytes(part for shade in shades for part in shade)


def _ramp(level: int) -> tuple[int, int, int]:
    if not LOWEST <= level <= HIGHEST:
        return colour(level)
    share = (level - LOWEST) / (HIGHEST - LOWEST)
    return _srgb(0.22 + 0.73 * share, 0.097 + 0.05 * share**4, 310 - 205 * share)


def _diverging(level: int) -> tuple[int, int, int]:
    if not LOWEST <= level <= HIGHEST:
        return colour(level)
    share = 2 * (level - LOWEST) / (HIGHEST - LOWEST) - 1
    chroma, hue = (0.165, 27) if share > 0 else (0.135, 258)
    return _srgb(0.95 - 0.5 * abs(share), chroma * abs(share), hue)


def _srgb(lightness: float, chroma: float, hue: float) -> tuple[int, int, int]:
    """Return the colour of a place in OKLCH, hue in degrees.

    Source: Björn Ottosson, "A perceptual color space for image processing", 2020.
    """
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short
    return _eight_bits(red), _eight_bits(green), _eight_bits(blue)


def _eight_bits(light: float) -> int:
    """Return the sRGB value of a share of light, cut off at the ends."""
    value = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return round(255 * min(max(value, 0.0), 1.0))


_COLOURS: dict[str, Callable[[int], Sequence[int]]] = {"ramp": _ramp, "diverging": _diverging}
