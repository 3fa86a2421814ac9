"""Several feature maps on one page, from the first layers to the last, each with its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from PIL import Image

from pytest_featuremaps import rendering
from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.layouts.planes import Planes
from pytest_featuremaps.maps.feature_map import FeatureMap
from pytest_featuremaps.rendering import looks
from pytest_featuremaps.rendering.looks import Look

_WIDTH, _TILE, _ROW, _GAP = 1000, 64, 8, 4


def sheet(maps: Mapping[str, FeatureMap], look: Look, *, sample: int, most: int) -> Image.Image:
    """Draw maps under each other; see `FeatureMaps.sheet`."""
    return rendering.page([_band(key, one, look, sample, most) for key, one in maps.items()])


def _band(key: str, one: FeatureMap, look: Look, sample: int, most: int) -> rendering.Band:
    title = f"{key}  ({one.module_type})"
    shape = "x".join(map(str, one.shape)) or "scalar"
    try:
        planes = one.planes(sample)
    except (CaptureError, UnsupportedTensor) as error:
        reason = str(error).splitlines()[0].removeprefix(one.place.title).strip(": ")
        return rendering.Band(title, f"{shape}, not drawn: {reason}", None)
    if not planes.pictures.size:
        return rendering.Band(title, f"{shape}, no values", None)
    whole, palette = looks.drawn(planes, look)
    count, height, width = whole.tiles.shape
    scale = max(1, _TILE // max(height, width, 1))
    columns = 1 if height == 1 else max(1, _WIDTH // (width * scale + _GAP))
    shown = min(count, most, count if height == 1 else columns)
    image = rendering.numbered(
        _cut(rendering.pick(whole, range(shown))),
        palette,
        max(scale, _ROW) if height == 1 and width * _ROW <= _WIDTH else scale,
        labels=None if count > 1 else [""],
        parts=planes.parts,
        columns=min(columns, shown),
    )
    return rendering.Band(title, f"{shape}, {_note(planes, shown)}", image)


def _cut(tiles: rendering.Mosaic) -> rendering.Mosaic:
    """Leave of long sequences what fits on the page."""
    row = tiles.tiles.shape[1] == 1
    return replace(tiles, tiles=tiles.tiles[:, :, :_WIDTH]) if row else tiles


def _note(planes: Planes, shown: int) -> str:
    count, height, width = planes.pictures.shape
    low, high = looks.extremes(planes)
    channels = "" if count == 1 else f"channels 0 to {shown - 1} of {count}, "
    cut = f"the first {_WIDTH} of {width} positions, " if height == 1 and width > _WIDTH else ""
    return f"{channels}{cut}values {low:.3g} to {high:.3g}"
