"""Several feature maps on one page, from the first layers to the last, each with its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pytest_featuremaps import rendering
from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.layouts.planes import Planes
from pytest_featuremaps.maps import axes, pictures
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.rendering import captions, legends, looks
from pytest_featuremaps.rendering.looks import Look

if TYPE_CHECKING:
    import numpy.typing as npt

    Tiles = npt.NDArray[np.uint8]

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True

_WIDTH, _TILE, _CELL, _GAP = 1000, 64, 8, 4
_TALLEST_ROW, _LARGEST_TILE = 12, 120


def sheet(
    maps: Mapping[str, Record],
    look: Look,
    *,
    sample: int,
    most: int,
    layout: str | None = None,
) -> Image.Image:
    """Draw maps under each other; see `FeatureMaps.sheet`."""
    if look.colours == "pca":
        raise ValueError("colours='pca' is one picture of all channels: image() draws it")
    legend: dict[str, captions.Entry] = {}
    bands = []
    for key, one in maps.items():
        band, entries = _band(f"{key}  ({one.module_type})", one, look, (sample, most, layout))
        bands.append(band)
        legend |= {text: (swatch, text) for swatch, text in entries if text not in legend}
    return rendering.page(bands, list(legend.values()))


def _band(
    title: str, one: Record, look: Look, options: tuple[int, int, str | None]
) -> tuple[rendering.Band, list[captions.Entry]]:
    """Draw one map, and say what its colours mean."""
    sample, most, layout = options
    shape = "x".join(map(str, one.shape)) or "scalar"
    try:
        planes = pictures.planes(one, sample, axes.refined(one, layout))
    except (CaptureError, UnsupportedTensor) as error:
        return rendering.Band(title, f"{shape}, not drawn: {_reason(one, error)}", None), []
    if not planes.pictures.size:
        return rendering.Band(title, f"{shape}, no values", None), []
    drawing = looks.drawn(planes, look)
    seen, image, smaller = _row(drawing, planes, most)
    note = f"{shape}, {_note(drawing, planes, len(seen))}{smaller}"
    entries = legends.explained(drawing, planes, seen, on_a_sheet=True)
    return rendering.Band(title, note, image), entries


def _row(drawing: legends.Drawing, planes: Planes, most: int) -> tuple[Tiles, Image.Image, str]:
    """Return the tiles that fit in a row, the row, and how they were made smaller."""
    tiles, each = drawing.mosaic.tiles[:most], 1
    if planes.parts == (1, 1) and tiles.shape[1] > 1:
        each = -(-max(tiles.shape[1:]) // _LARGEST_TILE)
        tiles = _smaller(tiles, each) if each > 1 else tiles
    count, height, width = tiles.shape
    if height == 1:
        tiles = tiles[:, :, :_WIDTH]
        labels = list(map(str, range(count))) if len(drawing.mosaic.tiles) > 1 else [""]
        size = min(max(1, _TILE // count), _TALLEST_ROW), min(max(1, _WIDTH // width), _CELL)
        return tiles, rendering.heat_map(tiles[:, 0], drawing.palette, labels, size), ""
    scale = max(1, _TILE // max(height, width))
    tiles = tiles[: max(1, _WIDTH // (width * scale + _GAP))]
    several = len(drawing.mosaic.tiles) > 1
    seen = replace(rendering.pick(drawing.mosaic, range(len(tiles))), tiles=tiles)
    image = rendering.numbered(
        seen,
        drawing.palette,
        scale,
        labels=None if several else [""],
        parts=planes.parts,
        columns=len(tiles),
    )
    return tiles, image, f", one of each {each}x{each} values" if each > 1 else ""


def _smaller(tiles: Tiles, each: int) -> Tiles:
    """Return tiles with one value of each so many rows and columns, and every mark."""
    count, height, width = tiles.shape
    ends = (0, -height % each), (0, -width % each)
    padded = np.pad(tiles, ((0, 0), *ends))
    blocks = padded.reshape(count, padded.shape[1] // each, each, padded.shape[2] // each, each)
    marks = blocks.max(axis=(2, 4))
    return np.where(marks >= rendering.MARKS_FROM, marks, tiles[:, ::each, ::each])


def _reason(one: Record, error: Exception) -> str:
    """Say why there is no picture, and what would give one."""
    reason = str(error).splitlines()[0].removeprefix(one.title).strip(": ")
    readings = axes.readings(one)
    if not readings:
        return reason
    *others, last = (f'"{reading}"' for reading in readings)
    return f"{reason}: choose layout={', '.join(others)} or {last}, here or where you capture"


def _note(drawing: legends.Drawing, planes: Planes, shown: int) -> str:
    count, height, width = planes.pictures.shape
    channels = "" if count == 1 else f"channels 0 to {shown - 1} of {count}, "
    cut = f"the first {_WIDTH} of {width} positions, " if height == 1 and width > _WIDTH else ""
    return f"{channels}{cut}values {legends.span(drawing.low, drawing.high)}"
