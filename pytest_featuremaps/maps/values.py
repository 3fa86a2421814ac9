"""The values of a recorded tensor, and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.maps import axes
from pytest_featuremaps.maps.keeping import keep
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.numbers import chunks
from pytest_featuremaps.numbers.stats import Stats, summarise

if TYPE_CHECKING:
    import numpy.typing as npt

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True

NUMPY_FLOATS = frozenset({torch.float16, torch.float32, torch.float64})


def tensor(one: Record) -> torch.Tensor:
    """Return the recorded values, detached, on the device they were made on.

    Raises:
        CaptureError: they were not kept.
    """
    if one.kept.tensor is None:
        raise CaptureError(
            f'{one.title} was captured with keep="{one.kept.how}", so its values are gone.\n'
            'Capture it with keep="values", which is the default.'
        )
    return one.kept.tensor


def require(one: Record) -> None:
    """Refuse a tensor without plain values.

    Raises:
        UnsupportedTensor: it has none; the text says why, and the way out.
        CaptureError: they were not kept.
    """
    if one.kept.obstacle:
        raise UnsupportedTensor(f"{one.title}: {one.kept.obstacle}")
    try:
        chunks.infinite_from(chunks.readable(tensor(one)).dtype)
    except UnsupportedTensor as error:
        reason = str(error)
    else:
        return
    raise UnsupportedTensor(f"{one.title}: {reason}")


def widened(one: Record) -> torch.Tensor:
    """Return the values, in float32 or complex64 where their dtype is one that numpy lacks."""
    values = tensor(one)
    if values.dtype == torch.complex32:
        return values.to(torch.complex64)
    narrow = values.is_floating_point() and values.dtype not in NUMPY_FLOATS
    return values.float() if narrow else values


def array(one: Record) -> npt.NDArray[Any]:
    """Return the values as a new array; what NumPy lacks becomes float32 or complex64.

    Raises:
        UnsupportedTensor: the tensor has no readable values (meta, sparse, quantised).
        CaptureError: they were not kept.
    """
    require(one)
    return np.array(widened(one).cpu().resolve_conj().resolve_neg().numpy())


def stats(one: Record) -> Stats:
    """Return the statistics, of the whole tensor and per channel; they are computed once.

    Raises:
        UnsupportedTensor: the tensor has no readable values (meta, sparse, quantised).
        CaptureError: the declared layout does not fit the shape, or nothing but the shape was
            kept.
    """
    if one.stats is None:
        require(one)
        one.stats = summarise(tensor(one), axes.channel_axis(one))
    return one.stats


def infinite_count(one: Record) -> int:
    """Return how many values are ±Inf; errors are those of `stats`.

    `stats(one).inf_count` counts ±the largest number of a dtype as well: attention masks are
    filled with it.
    """
    if not stats(one).inf_count or one.kept.tensor is None:
        return one.kept.infinite
    return chunks.count_infinite(one.kept.tensor)


def not_finite(one: Record) -> str:
    """Say how many values are NaN or infinite and where the first is; empty when none is.

    Where only statistics were kept, the place is not known.

    Raises:
        UnsupportedTensor: the tensor has no readable values.
    """
    numbers = one.kept.stats
    if numbers is not None:
        return _counted(one, numbers.nan_count, one.kept.infinite, numbers.count)
    require(one)
    values = widened(one)
    bad = ~torch.isfinite(values)
    count = int(bad.sum())
    if not count:
        return ""
    nans = int(torch.isnan(values).sum())
    first = tuple(bad.nonzero()[0].tolist())
    told = _counted(one, nans, count - nans, values.numel())
    return f"{told}\n  the first at index {first} of shape {one.shape}"


def _counted(one: Record, nans: int, infinite: int, count: int) -> str:
    if not nans + infinite:
        return ""
    return f"{one.title} is not finite: {nans} NaN and {infinite} infinite of {count} values."


def take(one: Record, sample: int | None) -> Record:
    """Return a tensor with one sample of its batch; the whole of it for None.

    Raises:
        UnsupportedTensor: the tensor has no readable values.
        CaptureError: they were not kept, or the declared layout does not fit the shape.
        IndexError: there is no such sample.
    """
    known = axes.layout(one)
    if known is None:
        known = "N" if one.shape else ""
    return one if sample is None else sample_of(one, sample, known)


def sample_of(one: Record, sample: int, letters: str) -> Record:
    """Return one sample of a tensor whose axes have these letters; errors are those of `take`."""
    axis = letters.find("N")
    if axis < 0 and sample == 0:
        return one
    count = one.shape[axis] if axis >= 0 else 1
    if not 0 <= sample < count:
        raise IndexError(f"{one.title} has no sample {sample}: it has {count}, from 0.")
    require(one)
    return Record(one.place, keep(tensor(one).narrow(axis, sample, 1)))
