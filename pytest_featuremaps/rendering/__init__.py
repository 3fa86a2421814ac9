"""Draws the channels of a feature map as one palette picture, and reads it back."""

from __future__ import annotations

from pytest_featuremaps.rendering.changes import changes
from pytest_featuremaps.rendering.colours import FLAT, palette
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
from pytest_featuremaps.rendering.panels import readable, side_by_side
from pytest_featuremaps.rendering.png import (
    MAX_BYTES,
    MAX_TEXT,
    BadPicture,
    PictureTooLarge,
    as_file,
    decode,
    encode,
)
from pytest_featuremaps.rendering.rows import heat_map

__all__ = [
    "DEAD",
    "FLAT",
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
    "as_file",
    "changes",
    "decode",
    "encode",
    "grid",
    "heat_map",
    "numbered",
    "page",
    "palette",
    "pick",
    "readable",
    "render",
    "render_channels",
    "side_by_side",
]
