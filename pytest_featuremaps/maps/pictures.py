"""The pictures of a recorded tensor: one sample, one tile for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pytest_featuremaps import rendering
from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.layouts import layouts
from pytest_featuremaps.layouts.grids import Grid
from pytest_featuremaps.layouts.planes import Planes, lay_out
from pytest_featuremaps.maps import axes, values
from pytest_featuremaps.maps.picture_options import (
    DrawingOptions,
    require_channels,
    require_layout,
)
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.numbers import chunks
from pytest_featuremaps.rendering import looks

if TYPE_CHECKING:
    import numpy.typing as npt

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True


def picture(one: Record, planes: Planes, look: looks.Look) -> Image.Image:
    """Draw what `planes` gave of a tensor; errors are those of `FeatureMap.image`."""
    if not planes.pictures.size:
        raise _no_picture(one, "no values")
    require_channels(look.channels, len(planes.pictures), one.title)
    return looks.picture(planes, look)


def save_channels(one: Record, folder: Path, options: DrawingOptions) -> list[Path]:
    """Write one picture for each channel of one sample; see `FeatureMap.save_channels`."""
    scale, colours = options.get("scale"), options.get("colours", "grey")
    look = looks.Look(None, scale, colours, options.get("ranges", "channel"))
    if colours == "pca":
        raise ValueError("colours='pca' is one picture of all channels: save() writes it")
    shown = planes(one, options.get("sample", 0), options.get("layout"), options.get("query"))
    drawing = looks.drawn(shown, look)
    whole, palette = drawing.mosaic, drawing.palette
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"channel_{number}.png" for number in whole.channels]
    for number, path in zip(whole.channels, paths, strict=True):
        rendering.pick(whole, [number]).image(scale, palette).save(path)
    return paths


def mosaic(
    one: Record,
    *,
    sample: int = 0,
    channels: Sequence[int] | None = None,
    like: rendering.Mosaic | None = None,
) -> rendering.Mosaic:
    """Draw one sample, one tile for each channel, as it is kept in a baseline.

    Args:
        one: the tensor.
        sample: which sample of the batch to draw.
        channels: which channels to draw; all of them when None.
        like: a mosaic of the same channels, whose ranges of values are used, so that a
            change of scale shows.

    Raises:
        UnsupportedTensor: the tensor has no axes to draw.
        IndexError: there is no such sample or channel.
    """
    pictures = planes(one, sample).pictures
    require_channels(channels, len(pictures), one.title)
    return rendering.render_channels(pictures, channels, like)


def planes(
    one: Record, sample: int = 0, layout: str | None = None, query: int | None = None
) -> Planes:
    """Return what is drawn of one sample; arguments and errors are those of `FeatureMap.image`."""
    values.require(one)
    if values.tensor(one).is_complex():
        raise _no_picture(one, "complex values")
    letters, declared = _reading(one, layout)
    grid = _grid(one, letters, declared, query)
    _require_query(one, letters, query)
    found = lay_out(_drawable(values.sample_of(one, sample, letters)), letters, grid, query)
    if found is None:
        raise _no_picture(one, f"shape {one.shape}")
    return found


def _no_picture(one: Record, kind: str) -> UnsupportedTensor:
    return UnsupportedTensor(
        f"{one.title} has {kind}: there is no picture of it.\n"
        "A picture needs an axis of channels, or one to three of positions. Declare them "
        'when you capture, such as layout="NHWC", or compare the numbers.'
    )


def _reading(one: Record, layout: str | None) -> tuple[str, str]:
    """Return the letters of the axes, and the layout that they come from."""
    declared = axes.declared(one) if layout is None else layout
    if declared is None:
        guess = axes.guess(one) or ""
        _require_one_reading(one)
        return guess, guess
    require_layout(declared, "image")
    return axes.letters(one, declared), declared


def _require_one_reading(one: Record) -> None:
    readings = axes.readings(one)
    if not readings:
        return
    spelled = {f'layout="{layout}"': layout for layout in readings}
    choices = [
        f"  {spelling:<15}  {layouts.describe(layout, one.shape)}"
        for spelling, layout in spelled.items()
    ]
    raise CaptureError(
        f"{one.title} has shape {one.shape}, which can be read in several ways:\n"
        + "\n".join(choices)
        + "\nSay which one is meant when you capture, or in image(layout=...)."
    )


def _grid(one: Record, letters: str, declared: str, query: int | None) -> Grid | None:
    letter = "L" if query is None else "K"
    if letter not in letters:
        return None
    grid, reason = layouts.grid(declared, one.shape[letters.index(letter)])
    if reason:
        raise CaptureError(f"{one.title} has shape {one.shape}: {reason}.")
    return grid


def _require_query(one: Record, letters: str, query: int | None) -> None:
    if query is None:
        return
    if "Q" not in letters:
        raise CaptureError(
            f"{one.title} has layout {letters!r}, which has no queries.\n"
            'query= is for weights of attention, with a layout such as "NCQK".'
        )
    count = one.shape[letters.index("Q")]
    if not 0 <= query < count:
        raise IndexError(f"{one.title} has no query {query}: it has {count}, from 0.")


def _drawable(one: Record) -> npt.NDArray[Any]:
    """Return the values; the largest of a narrow float, which masks are filled with, as Inf."""
    drawn = values.array(one)
    if values.tensor(one).is_floating_point() and one.dtype not in values.NUMPY_FLOATS:
        drawn[np.abs(drawn) >= chunks.infinite_from(one.dtype)] *= np.inf
    return drawn
