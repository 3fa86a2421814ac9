"""One sample's planes as a picture for people: in colours, numbered, its tokens beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from pytest_featuremaps import components, rendering
from pytest_featuremaps.planes import Planes, in_rows

Colours: TypeAlias = Literal["auto", "grey", "ramp", "diverging", "pca"]
Ranges: TypeAlias = Literal["channel", "layer"]

COLOURS: tuple[Colours, ...] = ("auto", "grey", "ramp", "diverging", "pca")
RANGES: tuple[Ranges, ...] = ("channel", "layer")

_TOKEN_SCALE = 8


@dataclass(frozen=True)
class Look:
    """How a picture is drawn; see `DrawnTensor.image`."""

    channels: Sequence[int] | None = None
    scale: int | None = None
    colours: Colours = "auto"
    ranges: Ranges = "channel"
    numbers: bool = True

    def __post_init__(self) -> None:
        for name, known in (("colours", COLOURS), ("ranges", RANGES)):
            value = getattr(self, name)
            if value not in known:
                choices = ", ".join(map(repr, known))
                raise ValueError(f"{name}={value!r}: it is one of {choices}")


def picture(planes: Planes, look: Look) -> Image.Image:
    """Draw planes, and below them the tokens that come before the patches.

    Raises:
        IndexError: there is no such channel.
        PictureTooLarge: there are more values than anybody can look at.
    """
    if look.colours == "pca":
        return _in_components(planes, look)
    count, height, width = planes.pictures.shape
    rendering.check_size(count if look.channels is None else len(look.channels), height, width)
    mosaic, palette = drawn(planes, look)
    if not look.numbers or len(mosaic.tiles) == 1:
        main, legend = mosaic.image(look.scale, palette), None
    else:
        main = rendering.numbered(mosaic, palette, look.scale, parts=planes.parts)
        legend = rendering.legend(mosaic.tiles, palette)
    tokens = _tokens(planes, look, palette) if planes.apart.size else None
    parts = [one for one in (main, tokens, legend) if one is not None]
    return rendering.stacked(parts) if len(parts) > 1 else main


def drawn(planes: Planes, look: Look) -> tuple[rendering.Mosaic, bytes]:
    """Return the chosen channels as a mosaic of levels, and the colours of the levels."""
    colours = _chosen(planes, look)
    mosaic = rendering.render_coloured(
        planes.pictures,
        look.channels,
        centred=colours == "diverging",
        shared=look.ranges == "layer",
    )
    return mosaic, rendering.palette(colours)


def extremes(planes: Planes) -> tuple[float, float]:
    """Return the smallest and the largest finite value drawn; NaN where there is none."""
    finite = planes.pictures[np.isfinite(planes.pictures)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)


def _chosen(planes: Planes, look: Look) -> rendering.Colours:
    """Return the colours: those that part at zero for values on both sides of it."""
    if look.colours == "auto":
        low, high = extremes(planes)
        dust = rendering.NOISE_FLOOR * max(-low, high)
        return "diverging" if low < -dust and high > dust else "ramp"
    return "ramp" if look.colours == "pca" else look.colours


def _tokens(planes: Planes, look: Look, palette: bytes) -> Image.Image:
    """Draw each token before the patches as one tile of its channels, over its own range."""
    tokens = planes.apart if look.channels is None else planes.apart[list(look.channels)]
    tiles = np.stack([in_rows(one) for one in tokens.T])
    whole = rendering.render_coloured(
        tiles, centred=_chosen(planes, look) == "diverging", shared=False
    )
    labels = [f"token {number}: {len(tokens)} channels" for number in whole.channels]
    return rendering.numbered(whole, palette, look.scale or _TOKEN_SCALE, labels=labels)


def _in_components(planes: Planes, look: Look) -> Image.Image:
    pictures = planes.pictures
    if look.channels is not None:
        pictures = pictures[list(look.channels)]
    shades, known = components.colours(pictures)
    shades[~known] = rendering.MARK_COLOURS[rendering.NAN]
    image = Image.fromarray(shades)
    longest = max(*image.size, 1)
    scale = max(1, 512 // longest) if look.scale is None else look.scale
    return rendering.enlarged(image, scale)
