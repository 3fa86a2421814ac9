"""Draws the channels of a feature map as one palette picture, and reads it back."""

from __future__ import annotations

from pytest_featuremaps.rendering.colours import palette
from pytest_featuremaps.rendering.drawing import (
    pick,
    render,
    render_channels,
)
from pytest_featuremaps.rendering.mosaic import (
    DEAD,
    GUTTER,
    HIGHEST,
    LEVELS,
    LOWEST,
    MARKS_FROM,
    MIDDLE,
    MINUS_INF,
    NAN,
    PALETTE,
    PLUS_INF,
    Mosaic,
    grid,
)
from pytest_featuremaps.rendering.pages import Band, numbered, page
from pytest_featuremaps.rendering.panels import side_by_side
from pytest_featuremaps.rendering.png import (
    MAX_BYTES,
    MAX_TEXT,
    BadPicture,
    PictureTooLarge,
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
    "MAX_BYTES",
    "MAX_TEXT",
    "MIDDLE",
    "MINUS_INF",
    "NAN",
    "PALETTE",
    "PLUS_INF",
    "BadPicture",
    "Band",
    "Mosaic",
    "PictureTooLarge",
    "decode",
    "encode",
    "grid",
    "numbered",
    "page",
    "palette",
    "pick",
    "render",
    "render_channels",
    "side_by_side",
]
