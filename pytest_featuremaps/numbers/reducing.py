"""The numbers and the sketch of a tensor, fast enough to be taken inside a forward hook."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch._C import DisableTorchFunction

from pytest_featuremaps.numbers import folding
from pytest_featuremaps.numbers.chunks import infinite_from, read_flat, readable
from pytest_featuremaps.numbers.sketch import Sketch, drawn_from, sketch
from pytest_featuremaps.numbers.stats import Stats, summarise

# A chunk is summed row by row, and the rows are added in float64. Rows are short because float32
# drifts where many values are alike: over 256 equal ones an RMS is wrong by up to 4e-7, over 976 by
# 1e-6, and a dot product over 62,464 by 6e-5. torch gives each row to one thread.
_ROW = 256

# Nearly every map is one chunk: calling what reduces it takes as long as 100,000 more values would.
_CHUNK = 4096 * _ROW

# Up to here one call of NumPy is faster than a few of torch, and its dot product stays on one
# thread: BLAS starts others at 10,000 elements, and they get in the way of torch's.
_SMALL = 39 * _ROW


class _Pass(NamedTuple):
    """A way to sum, and what it can be trusted with.

    Squares, and sums of them, stay within the dtype for magnitudes from `smallest` to `largest`.
    The variance is a difference of two sums: below `spread` of the mean square it keeps too little.
    """

    dtype: torch.dtype
    smallest: float
    largest: float
    spread: float


_FAST = _Pass(torch.float32, 1e-15, 1e15, 0.5)
_WIDE = _Pass(torch.float64, 1e-100, 1e100, 1e-6)


def reduce(tensor: torch.Tensor, channel_axis: int | None = None) -> Stats:
    """Reduce a tensor to its numbers, as fast as they can be had within 1e-6 × RMS.

    Counts and extremes are exact. Mean, std and RMS are taken from sums and sums of squares, in
    one pass: in float32 where that is good enough, else in float64. What no such pass does justice
    to is left to `summarise`: values that are not finite or whose squares leave float64, and a
    spread that is lost beside the mean; so are any numbers per channel.

    The number of threads does not show. A tensor that fills its memory without gaps is read in the
    order in which it lies there, so its strides may show in the last digits. Modes that watch
    torch's functions do not see this one, and gradients and random numbers are left alone.

    Args:
        tensor: Strided, of any shape, dtype and device, with or without gradient.
        channel_axis: The axis to give numbers for as well, counted from the end when negative.

    Returns:
        The numbers of all elements, and per channel where an axis is given.

    Raises:
        UnsupportedTensor: As for `summarise`.
    """
    with DisableTorchFunction():
        if channel_axis is None:
            values = readable(tensor)
            for way in _ways(values.dtype):
                numbers = _one_pass(_in_memory_order(values), way)
                if numbers:
                    return numbers
        return summarise(tensor, channel_axis)


def reduce_and_sketch(tensor: torch.Tensor) -> tuple[Stats, Sketch]:
    """Give what `reduce` and `sketch` give, and take the signed sums in float32 where that will do.

    Each sum of the sketch is then within one unit of that of `sketch`, as measured: no bound holds
    for values that follow the signs. Strides show in the last digits of its RMS, as for `reduce`.

    Args:
        tensor: As for `sketch`.

    Raises:
        UnsupportedTensor: As for `sketch`.
    """
    with DisableTorchFunction():
        values = readable(tensor)
        for way in _ways(values.dtype) if values.is_floating_point() else ():
            numbers = _one_pass(_in_memory_order(values), way)
            if numbers:
                return numbers, _drawn(values, numbers, way)
    return reduce(tensor), sketch(tensor)


def _drawn(values: torch.Tensor, numbers: Stats, way: _Pass) -> Sketch:
    """Make the sketch of values whose numbers are known, and all of them finite."""
    sums = np.zeros(folding.BUCKETS)
    squares = numbers.rms**2 * numbers.count
    peak = max(-numbers.min, numbers.max)
    # Beside one value that outweighs a bucket of the others, float32 keeps too little of them.
    alone = numbers.count > folding.ROW and folding.BUCKETS * peak**2 > squares
    dtype = torch.float64 if alone else way.dtype
    for index, chunk in enumerate(_chunks(values, dtype, folding.CHUNK)):
        sums += folding.signed_sums(chunk, index)
    return drawn_from(sums, squares, numbers.count)


@functools.cache
def _ways(dtype: torch.dtype) -> tuple[_Pass, ...]:
    """Give the ways to sum values of a dtype, the fastest first."""
    narrow = dtype.is_floating_point and dtype != torch.float64
    return (_FAST, _WIDE) if narrow else (_WIDE,)


def _in_memory_order(values: torch.Tensor) -> torch.Tensor:
    """Turn the axes into the order of memory: without gaps, the tensor is contiguous then."""
    if values.is_contiguous():
        return values
    return values.permute(sorted(range(values.dim()), key=values.stride, reverse=True))


def _one_pass(values: torch.Tensor, way: _Pass) -> Stats | None:
    """Give the numbers of all values; None where this way cannot be trusted with them."""
    count = values.numel()
    limit = min(infinite_from(values.dtype), way.largest)
    low, high, zeros = math.inf, -math.inf, 0
    total = squares = 0.0
    for chunk in _chunks(values, way.dtype, _CHUNK):
        # A NaN shows in both extremes, and no comparison with it is true.
        least, most = map(torch.Tensor.item, chunk.aminmax())
        if not -limit < least <= most < limit:
            return None
        low, high = min(low, least), max(high, most)
        more, more_squares = _moments(chunk)
        total += more
        squares += more_squares
        if least <= 0 <= most:
            # NumPy compares and counts several times faster than torch does. It does so on one
            # thread: last, for all of the chunk lies with that core then.
            zeros += int(np.count_nonzero(chunk.numpy() == 0))
    if not count or 0 < max(-low, high) < way.smallest:
        return None
    mean, square = total / count, squares / count
    variance = square - mean * mean
    if variance < way.spread * square:
        return None
    return Stats(
        mean=mean,
        std=math.sqrt(variance),
        min=low,
        max=high,
        rms=math.sqrt(square),
        zero_fraction=zeros / count,
        nan_count=0,
        inf_count=0,
        count=count,
    )


def _chunks(values: torch.Tensor, dtype: torch.dtype, size: int) -> Iterator[torch.Tensor]:
    """Yield the values in a dtype, `size` at a time: views where possible, or one buffer."""
    count = values.numel()
    if _is_plain(values, dtype):
        flat = values.view(-1)
        # Whole where possible: a slice takes as long to make as 20,000 values to sum.
        whole = 0 < count <= size
        yield from [flat] if whole else (flat[at : at + size] for at in range(0, count, size))
        return
    buffer = torch.empty(min(count, size), dtype=dtype, device="cpu")
    for start in range(0, count, size):
        yield read_flat(buffer[: count - start], values, start)


def _is_plain(values: torch.Tensor, dtype: torch.dtype) -> bool:
    """Tell whether the values lie in memory one after the other, as NumPy can read them."""
    readable_by_both = dtype in {torch.float32, torch.float64} and values.dtype == dtype
    return readable_by_both and values.is_cpu and values.is_contiguous() and not values.is_neg()


def _moments(chunk: torch.Tensor) -> tuple[float, float]:
    """Give the sum and the sum of squares."""
    size = len(chunk)
    whole = size - size % _ROW if size > _SMALL else 0
    total = squares = 0.0
    if whole:
        rows = (chunk if whole == size else chunk[:whole]).view(-1, _ROW)
        norms = torch.linalg.vector_norm(rows, dim=1).numpy().astype(np.float64)
        total = float(rows.sum(1).numpy().sum(dtype=np.float64))
        squares = float(norms @ norms)
    if whole < size:
        rest = chunk[whole:].numpy().astype(np.float64)
        total += float(rest.sum())
        squares += float(rest @ rest)
    return total, squares
