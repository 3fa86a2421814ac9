"""What a drawn feature map is: palette, tiles, and the grid they are laid out in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pytest_featuremaps.wording import counted

if TYPE_CHECKING:
    import numpy.typing as npt

    Tiles = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True

LEVELS = 247
"""The first so many palette indices are a ramp: the distance of two of them means something."""

LOWEST, MIDDLE, HIGHEST = 16, 123, 230
"""What a channel's range occupies.

The rest of the ramp is headroom, and tinted: a value outside a baseline's range would otherwise
vanish into black or white, and the brightest pixel could grow unseen.
"""

NAN, PLUS_INF, MINUS_INF, DEAD, GUTTER = range(LEVELS, LEVELS + 5)
MARKS_FROM = LEVELS
"""From here on indices are marks: equal to themselves, and near to nothing."""


def colour(level: int) -> tuple[int, int, int]:
    """Return grey inside the range; teal below it and yellow above, stronger the farther out."""
    below, above = max(0, LOWEST - level), max(0, level - HIGHEST)
    if below:
        return 0, 5 * below, 5 * below
    if above:
        return 255, 255 - 2 * above, 235 - 13 * above
    grey = (level - LOWEST) * 255 // (HIGHEST - LOWEST)
    return grey, grey, grey


MARK_COLOURS = {
    NAN: (255, 0, 200),
    PLUS_INF: (255, 96, 0),
    MINUS_INF: (0, 140, 255),
    DEAD: (32, 40, 104),
    GUTTER: (92, 96, 104),
}
PALETTE = bytes(
    part for shade in (*map(colour, range(LEVELS)), *MARK_COLOURS.values()) for part in shade
)


# Of an enlarged picture, which takes a byte for each, and three in RGB.
_MOST_PIXELS = 1 << 28


@dataclass(frozen=True, eq=False)
class Mosaic:
    """The channels of one feature map, drawn.

    Attributes:
        tiles: palette indices, uint8, (C, H, W), one pixel per value.
        channels: the channel number of each tile.
        low: the value drawn at `LOWEST`, float64, (C,). NaN where no value was finite.
        high: the value drawn at `HIGHEST`, likewise. A dead channel has 0 in both.
        layer_max: the largest finite |x| of the layer, which the noise floor is a share of.
    """

    tiles: Tiles
    channels: tuple[int, ...]
    low: Floats
    high: Floats
    layer_max: float

    def image(self, scale: int | None = None, palette: bytes = PALETTE) -> Image.Image:
        """Return the mosaic as one palette image; a channel alone has no line around it.

        Args:
            scale: pixels per value, enlarged without interpolation. None makes the longer side
                about 512 pixels, and never shrinks.
            palette: the colours of the indices.

        Raises:
            ValueError: `scale` is below 1, or makes the picture too large for the memory.
        """
        canvas = self.tiles[0] if len(self.tiles) == 1 else assemble(self.tiles)
        image = indexed(canvas, palette)
        return enlarged(image, max(1, 512 // max(image.size)) if scale is None else scale)


def extent(shape: tuple[int, int, int]) -> str:
    """Write the size of tiles, such as `64 channels of 7x7`."""
    count, height, width = shape
    return f"{counted(count, 'channel')} of {height}x{width}"


def grid(count: int, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns that keep a mosaic nearest to a square, counted in pixels."""

    def shape(columns: int) -> tuple[int, int, int]:
        rows = -(-count // columns)
        return max(rows * (height + 1), columns * (width + 1)), rows * columns, -columns

    columns = min(range(1, count + 1), key=shape, default=0)
    return (-(-count // columns) if columns else 0), columns


def size(count: int, height: int, width: int) -> tuple[int, int]:
    """Return the height and width of a mosaic in pixels."""
    rows, columns = grid(count, height, width)
    return rows * (height + 1) + 1, columns * (width + 1) + 1


def assemble(tiles: Tiles) -> Tiles:
    """Lay tiles out on one canvas, with a line of one pixel around each, even if it is empty."""
    count, height, width = tiles.shape
    rows, columns = grid(count, height, width)
    cells = np.full((rows * columns, height + 1, width + 1), GUTTER, np.uint8)
    cells[:count, :height, :width] = tiles
    cells = cells.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    inner = cells.reshape(rows * (height + 1), columns * (width + 1))
    return np.pad(inner, ((1, 0), (1, 0)), constant_values=GUTTER)


def take_apart(canvas: Tiles, count: int, height: int, width: int) -> Tiles:
    """Cut a canvas of `assemble` back into its tiles."""
    rows, columns = grid(count, height, width)
    cells = canvas[1:, 1:].reshape(rows, height + 1, columns, width + 1).swapaxes(1, 2)
    return cells.reshape(-1, height + 1, width + 1)[:count, :height, :width]


def indexed(canvas: Tiles, palette: bytes) -> Image.Image:
    """Return a canvas of indices as a palette image."""
    height, width = canvas.shape
    image = Image.frombytes("P", (width, height), canvas.tobytes())
    image.putpalette(palette)
    return image


def enlarged(image: Image.Image, scale: int) -> Image.Image:
    """Return an image with every pixel `scale` pixels wide and high.

    Raises:
        ValueError: `scale` is below 1, or makes the picture too large for the memory.
    """
    check_scale(scale, image.width * image.height)
    size = image.width * scale, image.height * scale
    return image.resize(size, Image.Resampling.NEAREST)


def check_scale(scale: int, values: int) -> None:
    """Refuse a scale that shrinks, or makes a picture too large for the memory.

    Args:
        scale: pixels per value, in both directions.
        values: how many values there are in the picture.

    Raises:
        ValueError: it does.
    """
    if scale < 1:
        raise ValueError(f"scale is {scale}, but a picture is only ever enlarged: 1 or more")
    pixels = values * scale * scale
    if pixels > _MOST_PIXELS:
        raise ValueError(
            f"scale is {scale}, which makes a picture of {pixels:,} pixels; at most "
            f"{_MOST_PIXELS:,} are drawn: scale={math.isqrt(_MOST_PIXELS // values)} is the largest"
        )
