"""One sample's planes as a picture for people: in colours, numbered, its tokens beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from pytest_featuremaps.layouts.planes import Planes, in_rows
from pytest_featuremaps.rendering import around, colours, components, pages
from pytest_featuremaps.rendering.drawing import NOISE_FLOOR, render_coloured
from pytest_featuremaps.rendering.mosaic import MARK_COLOURS, NAN, Mosaic, enlarged
from pytest_featuremaps.rendering.png import check_size
from pytest_featuremaps.wording import plain

if TYPE_CHECKING:
    import numpy.typing as npt

Colours: TypeAlias = Literal["auto", "grey", "ramp", "diverging", "pca"]
Ranges: TypeAlias = Literal["channel", "layer"]

COLOURS: tuple[Colours, ...] = ("auto", "grey", "ramp", "diverging", "pca")
RANGES: tuple[Ranges, ...] = ("channel", "layer")

_TOKEN_SCALE = 8
_LONGEST_WORD = 24


@dataclass(frozen=True)
class Look:
    """How a picture is drawn; see `DrawnTensor.image`."""

    channels: Sequence[int] | None = None
    scale: int | None = None
    colours: Colours = "auto"
    ranges: Ranges = "channel"
    numbers: bool = True
    over: Image.Image | None = None
    words: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, known in (("colours", COLOURS), ("ranges", RANGES)):
            value = getattr(self, name)
            if value not in known:
                choices = ", ".join(map(repr, known))
                raise ValueError(f"{name}={value!r}: it is one of {choices}")
        if self.colours == "pca" and (self.over is not None or self.words is not None):
            raise ValueError(
                "colours='pca' is one picture of all channels, without over= or words="
            )
        if self.over is not None and self.words is not None:
            raise ValueError("over= is for positions on a picture, words= for those of a text")


def backdrop(picture: npt.NDArray[Any], sample: int = 0) -> Image.Image:
    """Return what a model was shown as a picture, its values from the smallest to the largest.

    Args:
        picture: one or three channels, (C, H, W) or (N, C, H, W), in any range, such as a
            normalised photo.
        sample: which of a batch of several.

    Raises:
        IndexError: there is no such sample.
        ValueError: it has another shape.
    """
    if picture.ndim == 4 and len(picture):
        picture = picture[sample if len(picture) > 1 else 0]
    if picture.ndim != 3 or len(picture) not in {1, 3} or not picture.size:
        raise ValueError(
            "over= is a picture of Pillow, or a tensor of one or three channels, (C, H, W) or "
            f"(N, C, H, W): this one's shape is {picture.shape}"
        )
    known = np.nan_to_num(picture.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = known.min(), known.max()
    levels = np.rint((known - low) * (255 / ((high - low) or 1.0))).astype(np.uint8)
    return Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1).copy())


def picture(planes: Planes, look: Look) -> Image.Image:
    """Draw planes, and below them the tokens that come before the patches.

    Raises:
        IndexError: there is no such channel.
        PictureTooLarge: there are more values than anybody can look at.
        ValueError: there is not one word for each column, or a volume to lay over a picture.
    """
    if look.colours == "pca":
        return _in_components(planes, look)
    count, height, width = planes.pictures.shape
    check_size(count if look.channels is None else len(look.channels), height, width)
    mosaic, palette = drawn(planes, look)
    main = _main(mosaic, palette, planes.parts, look)
    explained = look.numbers and len(mosaic.tiles) > 1
    legend = pages.legend(mosaic.tiles, palette) if explained else None
    tokens = _tokens(planes, look, palette) if planes.apart.size else None
    parts = [one for one in (main, tokens, legend) if one is not None]
    return pages.stacked(parts) if len(parts) > 1 else main


def _main(mosaic: Mosaic, palette: bytes, parts: tuple[int, int], look: Look) -> Image.Image:
    """Draw the tiles: over a picture, between words, numbered or plain."""
    if look.over is not None:
        if parts != (1, 1):
            raise ValueError("over= lies under rows and columns, not under the slices of a volume")
        return around.over(mosaic, palette, look.over, look.scale, numbers=look.numbers)
    if look.words is not None:
        words = [plain(word, _LONGEST_WORD) for word in look.words]
        columns = mosaic.tiles.shape[2]
        if len(words) != columns:
            raise ValueError(f"words= holds {len(words)} words for {columns} columns")
        return around.between_words(mosaic, palette, words, look.scale, numbers=look.numbers)
    if not look.numbers or len(mosaic.tiles) == 1:
        return mosaic.image(look.scale, palette)
    return pages.numbered(mosaic, palette, look.scale, parts=parts)


def drawn(planes: Planes, look: Look) -> tuple[Mosaic, bytes]:
    """Return the chosen channels as a mosaic of levels, and the colours of the levels."""
    name = _chosen(planes, look)
    mosaic = render_coloured(
        planes.pictures,
        look.channels,
        centred=name == "diverging",
        shared=look.ranges == "layer",
    )
    return mosaic, colours.palette(name)


def extremes(planes: Planes) -> tuple[float, float]:
    """Return the smallest and the largest finite value drawn; NaN where there is none."""
    finite = planes.pictures[np.isfinite(planes.pictures)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)


def _chosen(planes: Planes, look: Look) -> colours.PaletteName:
    """Return the colours: those that part at zero for values on both sides of it."""
    if look.colours == "auto":
        low, high = extremes(planes)
        dust = NOISE_FLOOR * max(-low, high)
        return "diverging" if low < -dust and high > dust else "ramp"
    return "ramp" if look.colours == "pca" else look.colours


def _tokens(planes: Planes, look: Look, palette: bytes) -> Image.Image:
    """Draw each token before the patches as one tile of its channels, over its own range."""
    tokens = planes.apart if look.channels is None else planes.apart[list(look.channels)]
    tiles = np.stack([in_rows(one) for one in tokens.T])
    whole = render_coloured(tiles, centred=_chosen(planes, look) == "diverging", shared=False)
    labels = [f"token {number}: {len(tokens)} channels" for number in whole.channels]
    return pages.numbered(whole, palette, look.scale or _TOKEN_SCALE, labels=labels)


def _in_components(planes: Planes, look: Look) -> Image.Image:
    pictures = planes.pictures
    if look.channels is not None:
        pictures = pictures[list(look.channels)]
    shades, known = components.colours(pictures)
    shades[~known] = MARK_COLOURS[NAN]
    image = Image.fromarray(shades)
    longest = max(*image.size, 1)
    scale = max(1, 512 // longest) if look.scale is None else look.scale
    return enlarged(image, scale)
