"""Draws the channels of a feature map as one palette picture, and reads it back."""

from __future__ import annotations

from pytest_featuremaps.rendering.around import between_words, over
from pytest_featuremaps.rendering.colours import PaletteName, palette
from pytest_featuremaps.rendering.drawing import (
    NOISE_FLOOR,
    pick,
    render,
    render_channels,
    render_coloured,
    span,
)
from pytest_featuremaps.rendering.mosaic import (
    DEAD,
    GUTTER,
    HIGHEST,
    LEVELS,
    LOWEST,
    MARK_COLOURS,
    MARKS_FROM,
    MIDDLE,
    MINUS_INF,
    NAN,
    PALETTE,
    PLUS_INF,
    Mosaic,
    enlarged,
    grid,
)
from pytest_featuremaps.rendering.pages import Band, legend, numbered, page, stacked
from pytest_featuremaps.rendering.panels import side_by_side
from pytest_featuremaps.rendering.png import (
    MAX_BYTES,
    MAX_PIXELS,
    MAX_TEXT,
    BadPicture,
    PictureTooLarge,
    check_size,
    decode,
    encode,
)

__all__ = [
    "DEAD",
    "GUTTER",
    "HIGHEST",
    "LEVELS",
    "LOWEST",
    "MARKS_FROM",
    "MARK_COLOURS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_TEXT",
    "MIDDLE",
    "MINUS_INF",
    "NAN",
    "NOISE_FLOOR",
    "PALETTE",
    "PLUS_INF",
    "BadPicture",
    "Band",
    "Mosaic",
    "PaletteName",
    "PictureTooLarge",
    "between_words",
    "check_size",
    "decode",
    "encode",
    "enlarged",
    "grid",
    "legend",
    "numbered",
    "over",
    "page",
    "palette",
    "pick",
    "render",
    "render_channels",
    "render_coloured",
    "side_by_side",
    "span",
    "stacked",
]
