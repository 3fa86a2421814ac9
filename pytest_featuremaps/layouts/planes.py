"""One sample of a feature map as planes: a picture for each channel, whatever its axes mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from pytest_featuremaps.layouts.grids import Grid, nearest

if TYPE_CHECKING:
    import numpy.typing as npt

    Values = npt.NDArray[Any]


# The longest vector that is drawn in one row.
_ROW = 32


@dataclass(frozen=True)
class Planes:
    """What is drawn of one sample.

    Attributes:
        pictures: one for each channel, (channels, rows, columns).
        apart: the values of the tokens before the patches, (channels, tokens).
        parts: rows and columns of the slices that each picture of a volume is made of; (1, 1)
            elsewhere.
        has_places: whether rows and columns are those of an image.
        is_attention: whether these are weights of attention.
    """

    pictures: Values
    apart: Values
    parts: tuple[int, int] = (1, 1)
    has_places: bool = False
    is_attention: bool = False


def lay_out(
    values: Values, axes: str, grid: Grid | None = None, query: int | None = None
) -> Planes | None:
    """Return the first sample as planes; None where the axes cannot be drawn.

    A vector without positions makes one picture: its values in rows, as near to a square as
    their number allows. Positions of a sequence make one row, or the grid that they lie on.
    The slices of a volume are laid out side by side. Heads of attention are channels, who
    looks a row, and who is looked at a column; of one query, only that row is left.

    Args:
        values: the whole map.
        axes: one letter for each axis, see `layouts`; none where they are not known.
        grid: how the sequence lies over an image.
        query: who looks; all when None.
    """
    if len(axes) != values.ndim:
        return None
    found = _lay_out(values, axes, grid, query)
    places = grid is not None or {"H", "W"} <= set(axes)
    return found and replace(found, has_places=places, is_attention="Q" in axes)


def _lay_out(values: Values, axes: str, grid: Grid | None, query: int | None) -> Planes | None:
    if "N" in axes:
        values, axes = values.take(0, axes.index("N")), axes.replace("N", "")
    if query is not None:
        values, axes = values.take(query, axes.index("Q")), axes.replace("Q", "").replace("K", "L")
    channels = [letter for letter in "CE" if letter in axes]
    positions = [letter for letter in "DLQKHW" if letter in axes]
    values = values.transpose([axes.index(letter) for letter in channels + positions])
    sizes = values.shape[len(channels) :]
    values = values.reshape(prod(values.shape[: len(channels)]), *sizes)
    if not positions:
        return _drawn(in_rows(values)[None], values[None, :0]) if channels else None
    if grid is not None and "L" in positions:
        apart, values = values[:, : grid.before], values[:, grid.before :]
        return _drawn(values.reshape(len(values), *grid.sizes), apart)
    return _drawn(values, values[:, :0].reshape(len(values), 0))


def _drawn(values: Values, apart: Values) -> Planes | None:
    """Return planes of an array (channels, positions...) with up to three axes of positions."""
    if values.ndim == 2:
        return Planes(values[:, None, :], apart)
    if values.ndim == 3:
        return Planes(values, apart)
    if values.ndim != 4:
        return None
    count, depth, height, width = values.shape
    rows, columns = nearest(depth)
    slices = values.reshape(count, rows, columns, height, width).swapaxes(2, 3)
    return Planes(slices.reshape(count, rows * height, columns * width), apart, (rows, columns))


def in_rows(values: Values) -> Values:
    """Return a vector as a picture (rows, columns): one row, or several once it is long."""
    rows, columns = nearest(values.size) if values.size > _ROW else (1, values.size)
    return values.reshape(rows, columns)
