"""Draws the channels of a feature map as one palette picture, and reads it back."""

from __future__ import annotations

from pytest_featuremaps.rendering.around import between_words, over
from pytest_featuremaps.rendering.changes import changes
from pytest_featuremaps.rendering.choosing import pick, render_channels, render_coloured
from pytest_featuremaps.rendering.colours import FLAT, Colours, palette
from pytest_featuremaps.rendering.drawing import NOISE_FLOOR, render, span
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
from pytest_featuremaps.rendering.pages import Band, bare, check_size, numbered, page, stacked
from pytest_featuremaps.rendering.panels import readable, side_by_side
from pytest_featuremaps.rendering.png import (
    MAX_BYTES,
    MAX_PIXELS,
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
    "Colours",
    "Mosaic",
    "PictureTooLarge",
    "as_file",
    "bare",
    "between_words",
    "changes",
    "check_size",
    "decode",
    "encode",
    "enlarged",
    "grid",
    "heat_map",
    "numbered",
    "over",
    "page",
    "palette",
    "pick",
    "readable",
    "render",
    "render_channels",
    "render_coloured",
    "side_by_side",
    "span",
    "stacked",
]
