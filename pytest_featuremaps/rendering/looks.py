"""One sample's planes as a picture for people: in colours, numbered, its tokens beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from pytest_featuremaps.layouts.planes import Planes, in_rows
from pytest_featuremaps.rendering import (
    around,
    captions,
    colours,
    components,
    legends,
    lettering,
    pages,
)
from pytest_featuremaps.rendering.drawing import render_coloured
from pytest_featuremaps.rendering.mosaic import MARK_COLOURS, NAN, enlarged
from pytest_featuremaps.rendering.png import check_size
from pytest_featuremaps.rendering.ranges import NOISE_FLOOR
from pytest_featuremaps.rendering.rows import heat_map
from pytest_featuremaps.wording import listed, plain

if TYPE_CHECKING:
    import numpy.typing as npt

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True

Colours: TypeAlias = Literal["auto", "grey", "ramp", "diverging", "pca"]
Ranges: TypeAlias = Literal["channel", "layer"]

COLOURS: tuple[Colours, ...] = ("auto", "grey", "ramp", "diverging", "pca")
RANGES: tuple[Ranges, ...] = ("channel", "layer")

_TOKEN_SCALE, _TOKEN_ROW = 8, 13
_LONGEST_WORD = 24
_NARROWEST = 320
_MOST_RANGES = 64


@dataclass(frozen=True)
class Look:
    """How a picture is drawn; see `FeatureMap.image`."""

    channels: Sequence[int] | None = None
    scale: int | None = None
    colours: Colours = "auto"
    ranges: Ranges = "channel"
    numbers: bool = True
    over: Image.Image | None = None
    words: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not isinstance(self.scale, int):
            raise TypeError(f"scale={self.scale!r}: it is a whole number of pixels, such as 4")
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
        ValueError: the shape is another.
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
    """Draw planes, below them the tokens before the patches, and what the colours mean.

    Raises:
        IndexError: there is no such channel.
        PictureTooLarge: there are more values than anybody can look at.
        ValueError: there is not one word for each column, or nothing to lay over a picture.
    """
    if look.colours == "pca":
        return _in_components(planes, look)
    count, height, width = planes.pictures.shape
    check_size(count if look.channels is None else len(look.channels), height, width)
    drawing = drawn(planes, look)
    parts = [_main(drawing, planes, look)]
    if planes.apart.size:
        parts.append(_tokens(planes, look, drawing))
    if look.numbers:
        entries = legends.explained(drawing, planes, drawing.mosaic.tiles)
        parts.append(captions.note(entries, max(parts[0].width, _NARROWEST)))
    return pages.stacked(parts) if len(parts) > 1 else parts[0]


def _main(drawing: legends.Drawing, planes: Planes, look: Look) -> Image.Image:
    """Draw the tiles: over a picture, between words, numbered or plain."""
    mosaic, palette = drawing.mosaic, drawing.palette
    if look.over is not None:
        if planes.parts != (1, 1):
            raise ValueError("over= lies under rows and columns, not under the slices of a volume")
        if not planes.has_places:
            raise ValueError(
                "over= lies under the rows and columns of an image, and this map has none; where "
                'it is a sequence of patches, say so with layout="tokens"'
            )
        return around.over(mosaic, palette, look.over, look.scale, numbers=look.numbers)
    if look.words is not None:
        words = [plain(lettering.written(word), _LONGEST_WORD) for word in look.words]
        columns = mosaic.tiles.shape[2]
        if len(words) != columns:
            raise ValueError(f"words= holds {len(words)} words for {columns} columns")
        return around.between_words(mosaic, palette, words, look.scale, numbers=look.numbers)
    if not look.numbers or len(mosaic.tiles) == 1:
        return pages.bare(mosaic, palette, look.scale)
    longer = _with_ranges(drawing, planes) if len(mosaic.tiles) <= _MOST_RANGES else ()
    return pages.numbered(mosaic, palette, look.scale, longer=longer, parts=planes.parts)


def drawn(planes: Planes, look: Look) -> legends.Drawing:
    """Return the chosen channels as a mosaic of levels, and what they mean.

    Channels of one value each have no range of their own: they are drawn over the layer's.
    """
    low, high = legends.extremes(planes.pictures)
    name = _chosen(low, high, look)
    shared = look.ranges == "layer" or planes.pictures[0].size == 1
    mosaic = render_coloured(
        planes.pictures,
        look.channels,
        centred=name == "diverging",
        shared=shared,
        from_zero=planes.is_attention,
    )
    return legends.Drawing(mosaic, name, shared, low, high)


def _with_ranges(drawing: legends.Drawing, planes: Planes) -> list[str]:
    """Return the number of each channel with its smallest and largest value."""
    return [
        f"{number}: {legends.span(*legends.extremes(planes.pictures[number]))}"
        for number in drawing.mosaic.channels
    ]


def _chosen(low: float, high: float, look: Look) -> colours.PaletteName:
    """Return the colours: those that part at zero for values on both sides of it."""
    if look.colours == "auto":
        dust = NOISE_FLOOR * max(-low, high)
        return "diverging" if low < -dust and high > dust else "ramp"
    return "ramp" if look.colours == "pca" else look.colours


def _tokens(planes: Planes, look: Look, drawing: legends.Drawing) -> Image.Image:
    """Draw each token before the patches as one tile of its channels, over its own range."""
    tokens = planes.apart if look.channels is None else planes.apart[list(look.channels)]
    tiles = np.stack([in_rows(one) for one in tokens.T])
    whole = render_coloured(
        tiles,
        centred=drawing.palette_name == "diverging",
        shared=False,
        from_zero=planes.is_attention,
    )
    labels = [f"token {number}: {len(tokens)} channels" for number in whole.channels]
    scale = look.scale or _TOKEN_SCALE
    if whole.tiles.shape[1] == 1:
        size = max(scale, _TOKEN_ROW), scale
        return heat_map(whole.tiles[:, 0], drawing.palette, labels, size)
    return pages.numbered(whole, drawing.palette, scale, labels=labels)


def _in_components(planes: Planes, look: Look) -> Image.Image:
    """Draw the principal components of the channels that are finite, and say what is left out."""
    numbers = list(range(len(planes.pictures)) if look.channels is None else look.channels)
    pictures = planes.pictures[numbers]
    finite = components.finite_channels(pictures)
    left_out = [str(number) for number, one in zip(numbers, finite, strict=True) if not one]
    shades, known = components.colours(pictures[finite] if finite.any() else pictures)
    shades[~known] = MARK_COLOURS[NAN]
    image = Image.fromarray(shades)
    longest = max(*image.size, 1)
    scale = max(1, 512 // longest) if look.scale is None else look.scale
    image = enlarged(image, scale)
    if not look.numbers:
        return image
    entries: list[captions.Entry] = [(None, "red, green, blue: principal components 1, 2, 3")]
    if not known.all():
        mark = captions.patch(MARK_COLOURS[NAN])
        entries.append((mark, "not finite in a channel"))
    if left_out and finite.any():
        which = f"channel{'s' * (len(left_out) > 1)} {listed(left_out)}"
        entries.append((None, f"left out, mostly not finite: {which}"))
    return pages.stacked([image, captions.note(entries, max(image.width, _NARROWEST))])
