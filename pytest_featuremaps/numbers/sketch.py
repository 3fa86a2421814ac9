"""A tensor in 61 integers, from which the relative change between two tensors can be estimated."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch._C import DisableTorchFunction

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.numbers.chunks import infinite_from, read_flat, readable, scale_to_square
from pytest_featuremaps.numbers.folding import (
    BUCKETS,
    CHUNK,
    signed_sums,
    total_square,
    wide_chunks,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Values are stored in this unit, relative to the RMS.
UNIT = 1e-7

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Sketch:
    """A count sketch of a tensor.

    Attributes:
        values: One integer per bucket, in units of `UNIT` × `rms`.
        rms: Root of the mean square over all `count` values, non-finite ones taken as 0.
        count: How many values there are. A complex number counts as two.
        nonfinite: The raw bucket sums of the non-finite values, each taken as 1 (NaN), 2 (+Inf) or
            3 (−Inf), so that one that moves or turns shows; None when all are finite.
    """

    values: tuple[int, ...]
    rms: float
    count: int
    nonfinite: tuple[int, ...] | None


def sketch(tensor: torch.Tensor) -> Sketch:
    """Reduce a tensor to 61 signed sums.

    Source: M. Charikar, K. Chen and M. Farach-Colton, "Finding frequent items in data streams",
    2002. Element i of the tensor, flattened in logical row-major order, goes with its
    pseudo-random sign into bucket i mod 61. The sums are linear: the difference of two sketches is
    the sketch of the difference, and its length estimates the length of that.

    Neither strides nor the number of threads show in the integers; threads may in the last digits
    of the RMS. Values of ±the largest number of the dtype, with which attention masks are filled,
    are taken as ±Inf. Modes that watch torch's functions do not see this one.

    Args:
        tensor: Of a floating or complex dtype; of any shape, strides and device.

    Raises:
        UnsupportedTensor: The tensor is of integers or booleans, which `digest` compares exactly,
            or has no plain values (fake, meta, sparse, quantised, nested, packed).
    """
    with DisableTorchFunction():
        values = readable(tensor)
        if values.is_floating_point():
            return _sketch(values)
    raise UnsupportedTensor(
        f"a tensor of {values.dtype} has no sketch: integers and booleans are compared "
        "exactly, by `digest(tensor)`"
    )


def _sketch(values: torch.Tensor) -> Sketch:
    limit = infinite_from(values.dtype)
    scale = _scale(values, limit)
    sums, codes, squares = np.zeros(BUCKETS), None, 0.0
    for index, chunk in enumerate(wide_chunks(values)):
        square = total_square(chunk)
        # Less than the square of one value that is to be taken out: there is none. The factor
        # makes up for rounding; a NaN fails every comparison.
        if scale != 1.0 or not square < 0.999 * limit * limit:
            strange = _take_out(chunk, limit)
            if strange is not None:
                codes = (0 if codes is None else codes) + signed_sums(strange, index)
            square = total_square(chunk.mul_(scale))
        sums += signed_sums(chunk, index)
        squares += square
    nonfinite = None if codes is None else _integers(codes)
    return drawn_from(sums, squares, values.numel(), scale, nonfinite)


def drawn_from(
    sums: NDArray[np.float64],
    squares: float,
    count: int,
    scale: float = 1.0,
    nonfinite: tuple[int, ...] | None = None,
) -> Sketch:
    """Make a sketch of the signed sums per bucket and the sum of squares, both times a scale."""
    rms = math.sqrt(squares / max(count, 1))
    units = sums / (math.sqrt(count) * rms * UNIT) if rms else sums
    return Sketch(_integers(units), rms / scale, count, nonfinite)


def digest(tensor: torch.Tensor) -> str:
    """Hash a tensor's values, as little-endian bytes in logical row-major order.

    Equal digests mean equal bits: −0.0 is not 0.0 here, and a NaN equals itself. Shape and dtype
    are not part of it.

    Args:
        tensor: Of any dtype, shape, strides and device.

    Returns:
        16 hexadecimal digits, BLAKE2b of 8 bytes.

    Raises:
        UnsupportedTensor: The tensor has no plain values (fake, meta, sparse, quantised, nested).
    """
    values = readable(tensor).resolve_neg()
    codes = values.view(_INTEGERS[values.element_size()])
    hasher = hashlib.blake2b(digest_size=8)
    count = codes.numel()
    buffer = torch.empty(min(count, CHUNK), dtype=codes.dtype, device="cpu")
    for start in range(0, count, CHUNK):
        chunk = read_flat(buffer[: count - start], codes, start).numpy()
        hasher.update(chunk.astype(chunk.dtype.newbyteorder("<"), copy=False).data)
    return hasher.hexdigest()


def digest_text(text: str) -> str:
    """Hash a text, such as a list of digests, to 16 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def estimate(a: Sketch, b: Sketch) -> float:
    """Estimate the relative L2 change between two tensors, ‖a − b‖ / √n / max(RMS a, RMS b).

    Without bias, with a spread of 9 %; exact up to 61 elements. Two tensors of zeros differ by 0.

    Raises:
        ValueError: The two stand for different numbers of values.
    """
    if a.count != b.count:
        raise ValueError(f"sketches of {a.count} and {b.count} values cannot be compared")
    top = max(a.rms, b.rms)
    if top == 0.0:
        return 0.0
    before, after = (np.array(one.values, np.float64) * (one.rms / top) for one in (a, b))
    return UNIT * float(np.linalg.norm(before - after))


def _scale(values: torch.Tensor, limit: float) -> float:
    """Give what to multiply by while squaring. Only float64 itself has values that need it."""
    if values.dtype != torch.float64:
        return 1.0
    peak = 0.0
    for chunk in wide_chunks(values):
        _take_out(chunk, limit)
        peak = max(peak, float(torch.linalg.vector_norm(chunk, math.inf)))
    return float(scale_to_square(np.array(peak)))


def _take_out(chunk: torch.Tensor, limit: float) -> torch.Tensor | None:
    """Set non-finite values to 0 and give their codes; None when there are none."""
    low, high = chunk.aminmax()
    # A NaN shows in both, and no comparison with it is true.
    if -limit < float(low) and float(high) < limit:
        return None
    codes = chunk.isnan() + 2.0 * (chunk >= limit) + 3.0 * (chunk <= -limit)
    chunk.masked_fill_(codes != 0, 0.0)
    return codes.double()


def _integers(values: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(map(round, values.tolist()))  # in a hook, NumPy takes longer for so few
