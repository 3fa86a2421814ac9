"""The numbers of a tensor: moments, extremes and counts, exact to float64 whatever the dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.numbers.chunks import (
    infinite_from,
    read,
    read_flat,
    readable,
    scale_to_square,
)
from pytest_featuremaps.numbers.merging import Parts, concatenate, merge, no_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

# A chunk is reduced row by row. torch gives each row to one thread, and a row alone, below its
# grain of 32,768 elements, to no second one: sums do not depend on the number of threads.
_ROW = 976
_CHUNK = 256 * _ROW
_GRAIN = 32_768


@dataclass(frozen=True, eq=False)
class ChannelStats:
    """The numbers of `Stats` for each channel, as arrays of shape (channels,).

    Moments, extremes and `zero_fraction` are float64, the counts int64.
    """

    mean: Floats
    std: Floats
    min: Floats
    max: Floats
    rms: Floats
    zero_fraction: Floats
    nan_count: Integers
    inf_count: Integers
    count: Integers


@dataclass(frozen=True)
class Stats:
    """The numbers of a tensor.

    Attributes:
        mean: Mean of the finite values; NaN when there are none, as for all moments and extremes.
        std: Population standard deviation of the finite values.
        min: Smallest finite value.
        max: Largest finite value.
        rms: Root of the mean square of the finite values.
        zero_fraction: Zeros (−0.0 is one) divided by `count`; 0.0 for an empty tensor.
        nan_count: How many values are NaN.
        inf_count: How many are ±Inf, or ±the largest number of a floating dtype: attention masks
            are filled with it and mean the same.
        count: How many values there are. A complex number counts as two, its real and its
            imaginary part.
        channels: The same per channel, where a channel axis was given.
    """

    mean: float
    std: float
    min: float
    max: float
    rms: float
    zero_fraction: float
    nan_count: int
    inf_count: int
    count: int
    channels: ChannelStats | None = None

    @property
    def dead_channels(self) -> tuple[int, ...]:
        """Channels whose every element is zero.

        Raises:
            UnsupportedTensor: There are no numbers per channel.
        """
        return _indices(_dead(self._require_channels()))

    @property
    def constant_channels(self) -> tuple[int, ...]:
        """Channels whose finite values are all the same, dead ones not repeated.

        A channel with a single finite value has nothing to vary, and is not named.

        Raises:
            UnsupportedTensor: There are no numbers per channel.
        """
        channels = self._require_channels()
        finite = channels.count - channels.nan_count - channels.inf_count
        return _indices((channels.min == channels.max) & (finite > 1) & ~_dead(channels))

    def _require_channels(self) -> ChannelStats:
        if self.channels is None:
            raise UnsupportedTensor(
                "there are no numbers per channel, because no channel axis is known: "
                'say which axis it is with `layout=`, such as layout="NCHW"'
            )
        return self.channels


def _dead(channels: ChannelStats) -> NDArray[np.bool_]:
    return np.equal(channels.zero_fraction, 1.0)


def _indices(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


def summarise(tensor: torch.Tensor, channel_axis: int | None = None) -> Stats:
    """Reduce a tensor to its numbers, exact to float64.

    The sums are taken over chunks in logical row-major order, so that neither strides nor the
    number of threads show, and no second copy of a large tensor is made. Each row of a chunk is
    reduced in two passes, and the rows are merged by their means (T. F. Chan, G. H. Golub and
    R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
    1979), so values that cancel keep their spread.

    Args:
        tensor: Strided, of any shape, dtype and device, with or without gradient. Integers beyond
            2**53 are rounded to float64.
        channel_axis: The axis to give numbers for as well, counted from the end when negative.

    Returns:
        The numbers of all elements, and per channel where an axis is given.

    Raises:
        UnsupportedTensor: The tensor has no plain values (fake, meta, sparse, quantised, nested,
            packed), or has no such axis.
    """
    values = readable(tensor)
    reader = _Reader(values.dtype)
    if channel_axis is None:
        return _stats(reader.whole(values), None)
    parts = reader.channels(values.movedim(_checked_axis(tensor, channel_axis), 0))
    return _stats(merge(parts), ChannelStats(**_numbers(parts)))


def _checked_axis(tensor: torch.Tensor, axis: int) -> int:
    dimensions = tensor.dim()
    if not -dimensions <= axis < dimensions:
        raise UnsupportedTensor(
            f"a tensor of shape {tuple(tensor.shape)} has no axis {axis} for its channels: "
            "say which axis it is with `layout=`"
        )
    return axis % dimensions


def _stats(total: Parts, channels: ChannelStats | None) -> Stats:
    numbers = {name: array.item() for name, array in _numbers(total).items()}
    return Stats(**numbers, channels=channels)


def _numbers(parts: Parts) -> dict[str, NDArray[Any]]:
    """Give the public numbers of each part, by name."""
    empty = parts.finite == 0
    mean, std, low, high = (
        np.where(empty, np.nan, values)
        for values in (parts.mean + parts.rest, parts.std, parts.low, parts.high)
    )
    return {
        "mean": mean,
        "std": std,
        "min": low,
        "max": high,
        "rms": np.hypot(mean, std),
        "zero_fraction": parts.zeros / np.maximum(parts.size, 1),
        "nan_count": parts.nan,
        "inf_count": parts.inf,
        "count": parts.size,
    }


# ---------------------------------------------------------------- reading


class _Reader:
    """Reads the values of a tensor of one dtype, chunk by chunk, through float64 buffers."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._limit = infinite_from(dtype)
        self._needs_scale = dtype == torch.float64
        self._values = torch.empty(0, dtype=torch.float64, device="cpu")
        self._spare = self._values

    def whole(self, values: torch.Tensor) -> Parts:
        """Give the numbers of all values, as one part."""
        count = values.numel()
        parts: list[Parts] = []
        for start in range(0, count, _CHUNK):
            chunk = read_flat(self._take(min(_CHUNK, count - start)), values, start)
            parts += [self._reduce(rows) for rows in _rows(chunk)]
        return merge(concatenate(parts or [no_values(0)]))

    def channels(self, values: torch.Tensor) -> Parts:
        """Give the numbers of each `values[i]`, one part each."""
        count = values.shape[0]
        size = values.numel() // max(count, 1)
        if size > _GRAIN:
            return concatenate([self.whole(channel) for channel in values])
        if not size:
            return no_values(count)
        parts = []
        step = _CHUNK // size
        for start in range(0, count, step):
            group = values[start : start + step]
            chunk = self._take(group.numel())
            read(chunk.view(group.shape), group)
            parts.append(self._reduce(chunk.view(-1, size)))
        return concatenate(parts)

    def _take(self, size: int) -> torch.Tensor:
        if size > len(self._values):
            self._values = torch.empty(size, dtype=torch.float64, device="cpu")
            self._spare = torch.empty_like(self._values)
        return self._values[:size]

    def _reduce(self, rows: torch.Tensor) -> Parts:
        """Give the numbers of each row of (rows, columns), neither of them 0, overwriting them."""
        low, high = rows.amin(1).numpy(), rows.amax(1).numpy()
        zeros = self._count_zeros(rows, low, high)
        nan, inf = np.zeros((2, len(rows)), np.int64)
        strange = None
        # One NaN shows in both extremes of its row, and no comparison with it is true.
        if not (low.min() > -self._limit and high.max() < self._limit):
            strange = ~(rows.abs() < self._limit)
            nan = rows.isnan().sum(1).numpy()
            inf = strange.sum(1).numpy() - nan
            low = rows.masked_fill(strange, np.inf).amin(1).numpy()
            high = rows.masked_fill(strange, -np.inf).amax(1).numpy()
            rows.masked_fill_(strange, 0.0)
        size = np.full(len(rows), rows.shape[1], np.int64)
        peaks = np.maximum(np.abs(low), np.abs(high))
        scale = scale_to_square(peaks) if self._needs_scale else np.ones(len(rows))
        moments = _moments(rows, strange, np.maximum(size - nan - inf, 1), scale)
        return Parts(*moments, low, high, zeros, nan, inf, size)

    def _count_zeros(self, rows: torch.Tensor, low: Floats, high: Floats) -> Integers:
        if low.min() > 0 or high.max() < 0:
            return np.zeros(len(rows), np.int64)
        # Summing ones in float64 is many times faster than counting a mask, and as exact.
        ones = torch.eq(rows, 0, out=self._spare[: rows.numel()].view(rows.shape))
        return ones.sum(1).numpy().astype(np.int64)


def _rows(chunk: torch.Tensor) -> Iterator[torch.Tensor]:
    """Cut a chunk into rows that no second thread divides: equal ones, and what is left."""
    count = len(chunk)
    rest = count if count <= _GRAIN else count % _ROW
    if count > rest:
        yield chunk[: count - rest].view(-1, _ROW)
    if rest:
        yield chunk[count - rest :].view(1, -1)


def _moments(
    rows: torch.Tensor, strange: torch.Tensor | None, count: Integers, scale: Floats
) -> tuple[Floats, Floats, Floats]:
    """Give mean, the rest of the mean, and std of each row, overwriting the rows.

    Args:
        rows: Values of shape (rows, columns), 0 where they are not to count.
        strange: Where they are not to count, if anywhere.
        count: How many count, at least 1, per row.
        scale: What to multiply by while squaring, per row.
    """
    if (scale != 1.0).any():
        rows.mul_(torch.from_numpy(scale)[:, None])
    mean = rows.sum(1).numpy() / count
    rows.sub_(torch.from_numpy(mean)[:, None])
    if strange is not None:
        rows.masked_fill_(strange, 0.0)
    rest = rows.sum(1).numpy() / count
    square = torch.linalg.vector_norm(rows, dim=1).numpy() ** 2 / count
    std = np.sqrt(np.maximum(square - rest**2, 0.0))
    return mean / scale, rest / scale, std / scale
