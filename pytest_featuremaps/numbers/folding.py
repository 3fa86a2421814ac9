"""A tensor's values in float64, chunk by chunk, and the sums of each with pseudo-random signs."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

import numpy as np
import torch

from pytest_featuremaps.numbers.chunks import read_flat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# A prime: with 64, one dead channel of a token or NHWC map would fall into a single bucket.
BUCKETS = 61

# Whole words of signs and whole rounds of buckets: every chunk starts with both anew.
_PERIOD = 64 * BUCKETS
CHUNK = 128 * _PERIOD

# A long chunk is for torch, on all its threads. A gap in which only NumPy works puts the others to
# sleep, and sends half of the chunk from one core to another: both take longer than any sum here.
# One thread sums a group. A dot product is split among all: how many there are may show in the last
# digits of its float64, as the machine's BLAS may.
_GROUPS = 4


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


# A forward asks for the first chunks again with every map: these 8 MB are kept wide, as they are
# used. Of those that follow, 8 MB hold eight times as many.
_WIDE = 2


@functools.lru_cache(maxsize=16)
def _chunk_signs(index: int) -> torch.Tensor:
    chosen = signs(index * CHUNK, (index + 1) * CHUNK)
    return torch.from_numpy(chosen.astype(np.float64) if index < _WIDE else chosen)


class _Scratch(threading.local):
    """Room for one chunk, per thread and kept: fresh memory costs more than the sums do.

    The arrays are NumPy's, so that a tensor made of one belongs to the mode (inference or not) it
    is used in.
    """

    def __init__(self) -> None:
        self.values = np.empty(CHUNK)
        self.signs = np.empty(CHUNK)


_scratch = _Scratch()


def wide_chunks(values: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the values as float64, in logical row-major order, a chunk at a time in one buffer.

    The last chunk is filled up to whole periods with zeros, which no sum sees.
    """
    count = values.numel()
    buffer = torch.from_numpy(_scratch.values)
    for start in range(0, count, CHUNK):
        size = min(count - start, CHUNK)
        chunk = buffer[: _whole_periods(size)]
        if size == len(chunk):
            read_flat(chunk, values, start)
        else:
            read_flat(chunk[:size], values, start)
            chunk[size:].zero_()
        yield chunk


def _whole_periods(size: int) -> int:
    """Round up to whole periods; less than one, to whole rounds of buckets."""
    unit = _PERIOD if size > _PERIOD else BUCKETS
    return -(-size // unit) * unit


def sum_of(chunk: torch.Tensor) -> float:
    """Sum a chunk of `wide_chunks`, all of whose values are finite."""
    if len(chunk) <= _PERIOD:
        return float(chunk.numpy().sum())
    return float(chunk.view(-1, _PERIOD).sum(1).numpy().sum())


def total_square(chunk: torch.Tensor) -> float:
    """Sum the squares of a chunk of `wide_chunks`; infinite where float64 cannot hold them."""
    return float(torch.dot(chunk, chunk))


def signed_sums(chunk: torch.Tensor, index: int) -> NDArray[np.float64]:
    """Sum a chunk of `wide_chunks` per bucket, each value with its sign, overwriting the chunk.

    Args:
        chunk: Finite values.
        index: Which chunk of its tensor it is, from 0.
    """
    size = len(chunk)
    chosen = _chunk_signs(index)[:size]
    if index >= _WIDE:
        # Into one buffer: torch would otherwise widen them into a new one each time.
        chosen = torch.from_numpy(_scratch.signs)[:size].copy_(chosen)
    signed = chunk.mul_(chosen)
    # In groups of neighbours, so that each thread adds up what it has just multiplied.
    if size > _PERIOD:
        signed = signed.view(_GROUPS, -1, _PERIOD // _GROUPS).sum(1)
    sums: NDArray[np.float64] = signed.numpy().reshape(-1, BUCKETS).sum(axis=0)
    return sums
