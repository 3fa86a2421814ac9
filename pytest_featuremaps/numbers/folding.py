"""Sums of a tensor's values with pseudo-random signs, chunk by chunk."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pytest_featuremaps.numbers.chunks import read_flat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# A prime: with 64, one dead channel of a token or NHWC map would fall into a single bucket.
BUCKETS = 61

# Whole words of signs and whole rounds of buckets: every row starts with both anew. Up to one row,
# nothing is added up in less than float64.
ROW = 64 * BUCKETS

# In float32, sums down more rows than these would lose what a sketch stores.
CHUNK = 128 * ROW


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


# A forward asks for the first chunks again with every map: these are kept as they are used. Of
# those that follow, the same room holds more.
_READY = 2


@functools.lru_cache(maxsize=16)
def _chunk_signs(index: int, dtype: np.dtype[np.floating]) -> NDArray[Any]:
    chosen = signs(index * CHUNK, (index + 1) * CHUNK)
    return chosen.astype(dtype) if index < _READY else chosen


class _Room(threading.local):
    """Room for one chunk, per thread and kept: fresh memory costs more than the sums do.

    The arrays are NumPy's, so that a tensor made of one belongs to the mode (inference or not) it
    is used in.
    """

    def __init__(self) -> None:
        self.values = np.empty(CHUNK)
        self.signs = np.empty(CHUNK)


_room = _Room()


def wide_chunks(values: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the values as float64, in logical row-major order, a chunk at a time in one buffer."""
    count = values.numel()
    buffer = torch.from_numpy(_room.values)
    for start in range(0, count, CHUNK):
        yield read_flat(buffer[: count - start], values, start)


def total_square(chunk: torch.Tensor) -> float:
    """Sum the squares of a chunk of `wide_chunks`; infinite where float64 cannot hold them."""
    return float(torch.dot(chunk, chunk))


def signed_sums(chunk: torch.Tensor, index: int) -> NDArray[np.float64]:
    """Sum the values of a chunk per bucket, each with its sign.

    In float32 a bucket's error is below the unit in which sketches are stored, unless a few values
    outweigh the rest or many follow the signs. Each sum is taken in one order, whatever the machine
    and its threads.

    Args:
        chunk: Finite values, of float32 or float64, contiguous and on the CPU.
        index: Which chunk of its tensor it is, from 0.
    """
    values = chunk.numpy()
    size = len(values)
    chosen = _chunk_signs(index, values.dtype)[:size]
    if chosen.dtype != values.dtype:
        room = _room.signs.view(values.dtype)[:size]
        room[:] = chosen
        chosen = room
    whole = size - size % ROW
    sums = np.zeros(BUCKETS)
    if whole:
        # Column by column, without the products in between: nothing is written but the sums.
        rows, signs_ = (one[:whole].reshape(-1, ROW) for one in (values, chosen))
        sums += np.einsum("ij,ij->j", rows, signs_).reshape(-1, BUCKETS).sum(0, np.float64)
    if whole < size:
        rest = np.zeros(ROW, values.dtype)
        np.multiply(values[whole:], chosen[whole:], out=rest[: size - whole])
        sums += rest.reshape(-1, BUCKETS).sum(0, np.float64)
    return sums
