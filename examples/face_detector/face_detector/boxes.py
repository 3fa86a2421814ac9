"""Geometry of boxes: plain tensors (N, 4) of left, top, right, bottom, in pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def shifted(boxes: Tensor, shifts: Tensor) -> Tensor:
    """Move each side of a box by its shift (N, 4), given in shares of the box's size."""
    return boxes + shifts * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def squared(boxes: Tensor) -> Tensor:
    """Grow the shorter sides about the centre until every box is a square."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """Round to whole pixels and cut at the picture's border; boxes left empty are dropped."""
    limits = boxes.new_tensor([width, height, width, height])
    boxes = boxes.round().clamp(min=0).minimum(limits)
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]


def overlap(box: Tensor, others: Tensor, *, nested: bool = False) -> Tensor:
    """Return how much of `box` (4,) and each of the others (N, 4) is shared, from 0 to 1.

    Relative to their union; with `nested`, to the smaller one: 1 means one lies in the other.
    """
    corner = torch.maximum(box[:2], others[:, :2])
    shared = _area(torch.cat([corner, torch.minimum(box[2:], others[:, 2:])], dim=1))
    area, areas = _area(box[None]), _area(others)
    return shared / (torch.minimum(area, areas) if nested else area + areas - shared)


def suppress(boxes: Tensor, scores: Tensor, limit: float, *, nested: bool = False) -> Tensor:
    """Return the indices of the boxes that no better box overlaps by more than `limit`.

    Best first. Source: greedy non-maximum suppression, as in Felzenszwalb et al., 2010.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[overlap(boxes[best], boxes[rest], nested=nested) <= limit]
    return torch.stack(kept) if kept else order


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
