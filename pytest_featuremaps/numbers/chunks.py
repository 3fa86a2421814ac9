"""The way to a tensor's numbers: what can be read at all, piece by piece in logical order."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch._subclasses import FakeTensor
from torch.masked import MaskedTensor

from pytest_featuremaps.errors import UnsupportedTensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Squares of what lies between stay within float64, even summed over any tensor.
_SMALLEST, _LARGEST = 1e-100, 1e100


FAKE = "a fake tensor has a shape and no values: run the model outside `shapes_only`"
META = "a meta tensor has a shape and no values: move the model to a device that computes"
VALUELESS = frozenset({FAKE, META})
"""Why tensors have no values at all, rather than values that cannot be read."""


def readable(tensor: torch.Tensor) -> torch.Tensor:
    """Give a detached real view of a tensor's numbers, or say why there is none.

    Args:
        tensor: Any strided tensor with values, of any shape, strides, dtype and device.

    Returns:
        The tensor itself, detached; a complex one with a last axis of (real, imaginary).

    Raises:
        UnsupportedTensor: The numbers do not lie in a strided tensor; the message names the way
            to one that has them.
    """
    obstacle = _obstacle(tensor)
    if obstacle:
        raise UnsupportedTensor(obstacle)
    # Always: `requires_grad` does not tell of a tangent, the gradient of forward mode.
    tensor = tensor.detach()
    # Only a lazily conjugated tensor is copied here: its imaginary signs are not in memory.
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _obstacle(tensor: torch.Tensor) -> str:
    # Fake before meta: a fake tensor that stands for a GPU one is no meta tensor.
    if isinstance(tensor, FakeTensor) or tensor.is_meta:
        return FAKE if isinstance(tensor, FakeTensor) else META
    if isinstance(tensor, MaskedTensor):
        return "a masked tensor has values only where its mask says so: use `.to_tensor(0.0)`"
    if tensor.is_nested:
        return "a nested tensor has no common shape: use `.to_padded_tensor(0.0)` or `.unbind()`"
    if tensor.is_quantized:
        return f"a quantised tensor ({tensor.dtype}) holds codes, not values: use `.dequantize()`"
    if tensor.layout != torch.strided:
        return f"a {tensor.layout} tensor does not hold each value in its place: use `.to_dense()`"
    return ""


@functools.cache
def infinite_from(dtype: torch.dtype) -> float:
    """Give the magnitude from which values are taken as infinite.

    For a floating dtype its largest number: attention masks are filled with it, and mean −Inf.

    Raises:
        UnsupportedTensor: The dtype has no numbers of its own (packed sub-byte types).
    """
    if not dtype.is_floating_point:
        return float("inf")
    try:
        return torch.finfo(dtype).max
    except NotImplementedError as error:
        raise UnsupportedTensor(_packed(dtype)) from error


def count_infinite(tensor: torch.Tensor) -> int:
    """Count ±Inf alone, without the largest numbers of a dtype, which mean it in a mask.

    Raises:
        UnsupportedTensor: As for `readable`.
    """
    values = readable(tensor)
    # torch asks no float8 for it.
    values = values.float() if values.itemsize == 1 else values
    return int(torch.isinf(values).sum())


def _packed(dtype: torch.dtype) -> str:
    return (
        f"a tensor of {dtype} cannot be read as numbers: convert it first, "
        "for example with `.to(torch.float32)`"
    )


def scale_to_square(peaks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give, per magnitude, the factor before squaring: 1, or a power of two that brings it near 1.

    Only where the square, or a sum of squares, would leave float64 is it not 1.
    """
    _, exponent = np.frexp(peaks)
    ordinary = (peaks == 0) | ((peaks > _SMALLEST) & (peaks < _LARGEST))
    return np.ldexp(1.0, np.where(ordinary, 0, np.clip(-exponent, -1000, 1000)))


def read(buffer: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Copy values into a buffer of the same shape, converting to the buffer's dtype.

    Returns:
        The buffer.

    Raises:
        UnsupportedTensor: torch cannot convert the dtype (packed sub-byte types).
    """
    try:
        # To the CPU in the own dtype first: not every device knows float64. And torch copies half
        # to float32 without the lazy minus of a negated view.
        return buffer.copy_(values.cpu().resolve_neg())
    except RuntimeError as error:  # NotImplementedError among them, from torch 2.7
        if "not implemented" not in str(error):
            raise
        raise UnsupportedTensor(_packed(values.dtype)) from error


def read_flat(buffer: torch.Tensor, values: torch.Tensor, start: int) -> torch.Tensor:
    """Fill a buffer with consecutive elements of a tensor, in logical row-major order.

    Strides are followed while copying, so that no tensor is made contiguous as a whole.

    Args:
        buffer: Contiguous, of shape (elements,), at least one.
        values: A strided tensor of at least `start + elements` elements.
        start: The first element to read, from 0.

    Returns:
        The buffer.

    Raises:
        UnsupportedTensor: As for `read`.
    """
    stop = start + len(buffer)
    if values.is_contiguous():
        return read(buffer, values.view(-1)[start:stop])
    row = values[0].numel()
    first, last = start // row, (stop - 1) // row
    if first == last:
        return read_flat(buffer, values[first], start - first * row)
    head, tail = (first + 1) * row - start, last * row - start
    read_flat(buffer[:head], values[first], start - first * row)
    read(buffer[head:tail].view(last - first - 1, *values.shape[1:]), values[first + 1 : last])
    read_flat(buffer[tail:], values[last], 0)
    return buffer
