"""What the colours of a picture mean, in words: the legend below it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_featuremaps.layouts.planes import Planes
from pytest_featuremaps.rendering import captions, colours
from pytest_featuremaps.rendering.mosaic import Mosaic

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Drawing:
    """Channels as levels, and what the levels mean.

    Attributes:
        mosaic: the chosen channels.
        palette_name: the colours of its levels.
        shared: whether all channels are drawn in one range.
        low: the smallest finite value of the layer; NaN where there is none.
        high: the largest one.
    """

    mosaic: Mosaic
    palette_name: colours.PaletteName
    shared: bool
    low: float
    high: float

    @property
    def palette(self) -> bytes:
        """The colours of all indices."""
        return colours.palette(self.palette_name)


def explained(
    drawing: Drawing,
    planes: Planes,
    tiles: npt.NDArray[np.uint8],
    *,
    on_a_sheet: bool = False,
) -> list[captions.Entry]:
    """Say what the colours of a drawing mean.

    Args:
        drawing: what is shown.
        planes: what it shows.
        tiles: what is seen of it.
        on_a_sheet: whether several maps have one legend, and their values beside their names.
    """
    mosaic, bar = drawing.mosaic, captions.bar(drawing.palette)
    entries: list[captions.Entry] = []
    ranged = mosaic.low < mosaic.high
    alone = drawing.shared or len(mosaic.tiles) == 1
    if alone and not on_a_sheet:
        if ranged.any():
            ends = span(float(mosaic.low[ranged].min()), float(mosaic.high[ranged].max()))
            entries.append((bar, ends))
    else:
        entries.append((bar, _meaning(drawing, planes)))
        if not on_a_sheet:
            entries.append((None, f"values of the layer: {span(drawing.low, drawing.high)}"))
    slices = prod(planes.parts)
    if slices > 1:
        entries.append((None, f"slices 0 to {slices - 1} of each channel, row by row"))
    _, height, width = planes.pictures.shape
    is_vector = len(planes.pictures) == 1 and not planes.has_places and not planes.is_attention
    if is_vector and height > 1:
        entries.append((None, f"{height * width} values of a vector, row by row"))
    return entries + captions.marks(tiles, drawing.palette)


def _meaning(drawing: Drawing, planes: Planes) -> str:
    whose = "the layer" if drawing.shared else "each channel"
    if drawing.palette_name == "diverging":
        return f"{whose} around 0, up to its largest value"
    start = "0" if planes.is_attention and drawing.low >= 0 else "lowest"
    return f"{start} to highest value of {whose}"


def span(low: float, high: float) -> str:
    """Write the ends of a range, or the one value that both are."""
    if np.isnan(low):
        return "nothing finite"
    first, last = f"{low:.3g}", f"{high:.3g}"
    return first if first == last else f"{first} to {last}"


def extremes(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and the largest finite value; NaN where there is none.

    The largest value of a float type, which masks are filled with, counts as infinite.
    """
    if not values.size:
        return np.nan, np.nan
    low, high = float(values.min()), float(values.max())
    limit = float(np.finfo(values.dtype).max) if values.dtype.kind == "f" else np.inf
    if -limit < low and high < limit:  # NaN is neither
        return low, high
    finite = values[np.abs(values) < limit]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
