"""The cascade: from every window of a photograph, in three stages, to its faces."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from face_detector.boxes import clipped, shifted, squared, suppress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from face_detector.networks import ONet, PNet, RNet

WINDOW = 12  # pixels that one score of P-Net has seen
STRIDE = 2  # pixels between two of its windows
SHRINK = 0.709  # from one level of the pyramid to the next: about half the pixels


class Box(NamedTuple):
    """Where a face is, in pixels from the upper left corner of the photograph."""

    left: float
    top: float
    right: float
    bottom: float


class Point(NamedTuple):
    """A place in the photograph, in pixels."""

    x: float
    y: float


class Landmarks(NamedTuple):
    """The five landmarks of a face; left and right as seen in the photograph."""

    left_eye: Point
    right_eye: Point
    nose: Point
    left_mouth: Point
    right_mouth: Point


@dataclass(frozen=True)
class Face:
    """One face: its box, the probability that it is one, and its landmarks."""

    box: Box
    score: float
    landmarks: Landmarks


class FaceDetector(nn.Module):
    """The three networks at work: P-Net proposes boxes, R-Net refines them, O-Net decides.

    `smallest` is the size in pixels of the smallest face looked for; `thresholds` are the
    probabilities that a box must reach in the three stages.

    Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
    Convolutional Networks", 2016; thresholds and overlaps are those of its authors' code.
    """

    def __init__(
        self,
        pnet: PNet,
        rnet: RNet,
        onet: ONet,
        *,
        smallest: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
    ) -> None:
        super().__init__()
        self.pnet = pnet
        self.rnet = rnet
        self.onet = onet
        self.smallest = smallest
        self.thresholds = thresholds

    @torch.no_grad()
    def forward(self, photo: Tensor) -> list[Face]:
        """Find the faces in one normalised photograph (1, 3, H, W), the surest first.

        Raises:
            ValueError: `photo` has another shape.
        """
        if photo.dim() != 4 or photo.shape[:2] != (1, 3):
            raise ValueError(f"one photograph (1, 3, H, W) is expected, not {tuple(photo.shape)}")
        boxes = self.propose(photo)
        boxes = self.refine(photo, boxes)
        return self.decide(photo, boxes)

    def propose(self, photo: Tensor) -> Tensor:
        """Return the boxes (N, 4) that P-Net suspects, over all sizes."""
        levels = [self._suspects(photo, level) for level in pyramid(photo, self.smallest)]
        if not levels:
            return photo.new_empty(0, 4)
        boxes, scores, shifts = (torch.cat(parts) for parts in zip(*levels, strict=True))
        kept = suppress(boxes, scores, 0.7)
        return shifted(boxes[kept], shifts[kept])

    def refine(self, photo: Tensor, boxes: Tensor) -> Tensor:
        """Return those of the boxes (N, 4) that R-Net confirms, moved to where it sees the face."""
        boxes = clipped(squared(boxes), *photo.shape[-2:])
        if not len(boxes):
            return boxes
        scores, shifts = self.rnet(crops(photo, boxes, 24))
        sure = scores >= self.thresholds[1]
        boxes, scores, shifts = boxes[sure], scores[sure], shifts[sure]
        kept = suppress(boxes, scores, 0.7)
        return shifted(boxes[kept], shifts[kept])

    def decide(self, photo: Tensor, boxes: Tensor) -> list[Face]:
        """Return the faces that O-Net finds in the boxes (N, 4), the surest first."""
        boxes = clipped(squared(boxes), *photo.shape[-2:])
        if not len(boxes):
            return []
        scores, shifts, landmarks = self.onet(crops(photo, boxes, 48))
        points = located(landmarks, boxes)
        boxes = shifted(boxes, shifts)
        sure = scores >= self.thresholds[2]
        boxes, scores, points = boxes[sure], scores[sure], points[sure]
        # By now a box inside another one is the same face, however different their sizes.
        kept = suppress(boxes, scores, 0.7, nested=True).tolist()
        return [_face(boxes[i], scores[i], points[i]) for i in kept]

    def _suspects(self, photo: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (N, 4) in pixels of the photo, scores (N,) and shifts (N, 4) of a level."""
        scores, shifts = self.pnet(level)
        row, column = torch.nonzero(scores[0] >= self.thresholds[0], as_tuple=True)
        scores, shifts = scores[0, row, column], shifts[0, :, row, column].T
        corner = STRIDE * torch.stack([column, row], dim=1)
        # The zoom is taken from the sizes, as a level's size is rounded to whole pixels.
        zoom = [photo.shape[axis] / level.shape[axis] for axis in (3, 2, 3, 2)]
        boxes = torch.cat([corner, corner + WINDOW], dim=1) * photo.new_tensor(zoom)
        kept = suppress(boxes, scores, 0.5)
        return boxes[kept], scores[kept], shifts[kept]


def pyramid(photo: Tensor, smallest: int) -> Iterator[Tensor]:
    """Yield a photo (1, 3, H, W) at ever smaller sizes, until its shorter side fits one window.

    At the first size a face of `smallest` pixels fills a window of P-Net.
    """
    height, width = photo.shape[-2:]
    scale = WINDOW / smallest
    while min(height, width) * scale >= WINDOW:
        size = (ceil(height * scale), ceil(width * scale))
        yield interpolate(photo, size=size, mode="area")
        scale *= SHRINK


def crops(photo: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut whole-pixel boxes (N, 4) out of a photo and bring them to (N, 3, size, size)."""
    cut = [photo[..., y0:y1, x0:x1] for x0, y0, x1, y1 in boxes.int().tolist()]
    return torch.cat([interpolate(crop, size=(size, size), mode="area") for crop in cut])


def located(landmarks: Tensor, boxes: Tensor) -> Tensor:
    """Turn landmarks (N, 10), shares of their boxes (N, 4), into points (N, 5, 2) in pixels."""
    shares = landmarks.reshape(-1, 2, 5).transpose(1, 2)
    corner, far_corner = boxes[:, None, :2], boxes[:, None, 2:]
    return corner + shares * (far_corner - corner)


def _face(box: Tensor, score: Tensor, points: Tensor) -> Face:
    landmarks = Landmarks(*(Point(*point) for point in points.tolist()))
    return Face(Box(*box.tolist()), score.item(), landmarks)
