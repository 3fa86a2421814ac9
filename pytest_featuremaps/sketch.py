"""A tensor in 61 integers, from which the relative change between two tensors can be estimated."""

from __future__ import annotations

import functools
import hashlib
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch._C import DisableTorchFunction

from pytest_featuremaps.chunks import infinite_from, read_flat, readable, scale_to_square
from pytest_featuremaps.errors import UnsupportedTensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# A prime: with 64, one dead channel of a token or NHWC map would fall into a single bucket.
BUCKETS = 61
# Values are stored in this unit, relative to the RMS.
UNIT = 1e-7

# Whole words of signs and whole rounds of buckets: every chunk starts with both anew.
_PERIOD = 64 * BUCKETS
_CHUNK = 64 * _PERIOD

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

    Neither strides nor the number of threads show. Values of ±the largest number of the dtype,
    with which attention masks are filled, are taken as ±Inf. Modes that watch torch's functions do
    not see this one.

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
    sums, squares, codes = np.zeros(BUCKETS), 0.0, None
    # Signs widened into one buffer: torch would otherwise widen them into a new one each time.
    signed_by, square = map(torch.from_numpy, (_scratch.signs, _scratch.squares))
    for index, chunk in enumerate(_chunks(values)):
        size = len(chunk)
        signed_by[:size].copy_(_chunk_signs(index)[:size])
        total = _total_square(chunk, square)
        # Less than the square of one value that is to be taken out: there is none. The factor
        # makes up for rounding; a NaN fails every comparison.
        if scale != 1.0 or not total < 0.999 * limit * limit:
            strange = _take_out(chunk, limit)
            if strange is not None:
                sums_of = _bucket_sums(strange.mul_(signed_by[:size]))
                codes = (0 if codes is None else codes) + sums_of
            total = _total_square(chunk.mul_(scale), square)
        sums += _bucket_sums(chunk.mul_(signed_by[:size]))
        squares += total
    count = values.numel()
    rms = math.sqrt(squares / max(count, 1))
    units = sums / (math.sqrt(count) * rms) / UNIT if rms else sums
    return Sketch(_integers(units), rms / scale, count, None if codes is None else _integers(codes))


def _total_square(chunk: torch.Tensor, buffer: torch.Tensor) -> float:
    squares = torch.mul(chunk, chunk, out=buffer[: len(chunk)])
    # torch gives each row to one thread: no sum depends on how many there are.
    return math.fsum(squares.view(-1, min(len(chunk), _PERIOD)).sum(1).tolist())


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
    buffer = torch.empty(min(count, _CHUNK), dtype=codes.dtype, device="cpu")
    for start in range(0, count, _CHUNK):
        chunk = read_flat(buffer[: count - start], codes, start).numpy()
        hasher.update(chunk.astype(chunk.dtype.newbyteorder("<"), copy=False).data)
    return hasher.hexdigest()


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


def signs(start: int, stop: int) -> NDArray[np.int8]:
    """Give the signs, +1 or −1, of elements `start` to `stop`: the bits of SplitMix64, seed 0.

    Source: G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators",
    2014.
    """
    first = start // 64
    words = _words(first, -(-stop // 64))
    bits = np.unpackbits(words.astype("<u8", copy=False).view(np.uint8), bitorder="little")
    chosen = bits[start - first * 64 : stop - first * 64].view(np.int8)
    return 2 * chosen - np.int8(1)


def _words(start: int, stop: int) -> NDArray[np.uint64]:
    z = np.arange(start + 1, stop + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


# 8 MB at most, and a forward pass asks for the first chunks again with every map.
@functools.lru_cache(maxsize=32)
def _chunk_signs(index: int) -> torch.Tensor:
    return torch.from_numpy(signs(index * _CHUNK, (index + 1) * _CHUNK))


def _chunks(values: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the values as float64, a chunk of whole periods at a time, in one buffer.

    The last chunk is filled up with zeros, which no sum sees.
    """
    count = values.numel()
    buffer = torch.from_numpy(_scratch.values)
    for start in range(0, count, _CHUNK):
        size = min(count - start, _CHUNK)
        read_flat(buffer[:size], values, start)
        padded = _whole_periods(size)
        buffer[size:padded].zero_()
        yield buffer[:padded]


class _Scratch(threading.local):
    """Room for one chunk, per thread and kept: fresh memory costs more than the sums do.

    The arrays are NumPy's, so that a tensor made of one belongs to the mode (inference or not) it
    is used in.
    """

    def __init__(self) -> None:
        self.values = np.empty(_CHUNK)
        self.signs = np.empty(_CHUNK)
        self.squares = np.empty(_CHUNK)


_scratch = _Scratch()


def _whole_periods(size: int) -> int:
    """Round up to whole periods; less than one, to whole rounds of buckets."""
    unit = _PERIOD if size > _PERIOD else BUCKETS
    return -(-size // unit) * unit


def _scale(values: torch.Tensor, limit: float) -> float:
    """Give what to multiply by while squaring. Only float64 itself has values that need it."""
    if values.dtype != torch.float64:
        return 1.0
    peak = 0.0
    for chunk in _chunks(values):
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


def _bucket_sums(signed: torch.Tensor) -> NDArray[np.float64]:
    """Sum a chunk per bucket.

    torch folds a long one, on all its threads: a gap in which only NumPy works puts the others to
    sleep, and waking them takes longer than the sum. Their number may show in the last digit of a
    float64, far below the unit that is stored.
    """
    if len(signed) > _PERIOD:
        signed = signed.view(-1, _PERIOD).sum(0)
    sums: NDArray[np.float64] = signed.numpy().reshape(-1, BUCKETS).sum(axis=0)
    return sums


def _integers(values: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(np.rint(values).astype(np.int64).tolist())
